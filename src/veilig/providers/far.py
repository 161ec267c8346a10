"""Who acts in a world that somebody else has set up? Commands and files of an evaluation's own environment.

Nothing is copied: what is changed there stays, and what is started there goes on when the session ends. The
wall is whatever the environment's makers have built; this provider claims none. Files are read and written by
commands in that world, so a link there leads nowhere else.
"""

import base64
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from veilig.core.action import (
    Action,
    DeleteFile,
    OpenWorkspace,
    PatchFile,
    ReadDiff,
    ReadFile,
    RunCommand,
    ViewImage,
    WriteFile,
)
from veilig.core.action_json import JSON, digest
from veilig.core.clock import Clock
from veilig.core.errors import ProviderError, UsageError
from veilig.core.limits import OUTPUT_BYTES_MAX, SOURCE_FILE_BYTES_MAX
from veilig.core.provider import Found, Outcome, Permit, Status, must_fit
from veilig.providers.files import IMAGE_BYTES_MAX, image_media
from veilig.providers.tree import sha256
from veilig.repair.edit import Edit, apply

FILE_TIMEOUT_S = 60.0
GRACE_S = 20.0  # for a world that is slow to begin a command, beyond the command's own time
_STDIN_BYTES_MAX = 64 << 10  # it travels as a word of a command line, of which Linux takes 128 KiB
_CHUNK_BYTES = 48 << 10

# $1: seconds; $2: standard input as base64; $3: where; then the command.
# Its output goes to files: what it leaves running would hold a pipe open, and the world would wait for it.
_RUN = f"""
t=$1; i=$2; cd "$3" || exit 126; shift 3; d=$(mktemp -d) || exit 125
printf %s "$i" | base64 -d >"$d/i"
timeout -k 5 "$t" "$@" <"$d/i" >"$d/o" 2>"$d/e"; c=$?
cut() {{
  n=$(wc -c <"$1"); if [ "$n" -le {OUTPUT_BYTES_MAX} ]; then cat "$1"; return; fi
  head -c {OUTPUT_BYTES_MAX // 2} "$1"; printf '\\n[... %s bytes left out ...]\\n' $((n - {OUTPUT_BYTES_MAX}))
  tail -c {OUTPUT_BYTES_MAX // 2} "$1"
}}
cut "$d/o"; cut "$d/e" >&2; rm -rf "$d"; exit $c
"""
_READ = """
[ -e "$1" ] || exit 44; [ -f "$1" ] || exit 45; [ "$(wc -c <"$1")" -le "$2" ] || exit 46; base64 <"$1"
"""
# The mode of what stands there is kept; a half-written file never stands under the name.
_WRITE = """
set -e; case "$1" in */*) mkdir -p "$(dirname "$1")";; esac
[ ! -d "$1" ] || exit 45; n="$1.veilig-$$"; trap 'rm -f "$n"' EXIT
if [ -e "$1" ]; then cp -p "$1" "$n"; fi; base64 -d <"$2" >"$n"; mv -f "$n" "$1"; rm -f "$2"
"""

# Name and content of every small file of the working folder, a line each, both as base64. $1: lines at most;
# $2, $3: from which byte, and how many, since what a command may print is bounded.
_LOOK = """
find . -type f -size -129k ! -path '*/.git/*' ! -path '*/node_modules/*' ! -path '*/.venv/*' -exec sh -c '
  for f; do printf %s "$f" | base64 | tr -d "\\n"; printf " "; base64 <"$f" | tr -d "\\n"; echo; done
' sh {} + 2>/dev/null | head -n "$1" | tail -c "+$2" | head -c "$3"
"""
_LOOK_BYTES = 512 << 10
_LOOKS_MAX = 16  # 8 MiB, a quarter less of files
LEARNT_FILES_MAX = 2000  # a task's folder; of a larger one secrets are known by their shape, or once read


@dataclass(frozen=True, slots=True)
class FarResult:
    """How a command in the other world ended. timed_out: the world itself gave up on it."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    timed_out: bool = False


class FarWorld(Protocol):
    """A world with commands. name: what it is called; enforces: what of a wall it is known to hold."""

    @property
    def name(self) -> str: ...

    @property
    def enforces(self) -> frozenset[str]: ...

    async def exec(self, argv: Sequence[str], *, env: Mapping[str, str], timeout_s: float) -> FarResult:
        """Run one argv in the task's working folder. Raises ProviderError when nobody can be reached."""
        ...


class Learn(Protocol):
    """Takes note of the secrets of a file."""

    def __call__(self, path: str, text: str, /) -> object: ...


class FarProvider:
    """Commands and files in a FarWorld, as a planner wants them; secrets in files become handles."""

    kinds = frozenset(
        {
            "command.run",
            "file.read",
            "file.view",
            "file.write",
            "file.patch",
            "file.delete",
            "workspace.open",
            "workspace.diff",
        }
    )

    def __init__(self, world: FarWorld, clock: Clock, learn: Learn) -> None:
        self._world = world
        self._clock = clock
        self._learn = learn
        self._pictures: dict[str, bytes] = {}

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        """What came of it. Raises ProviderError for what cannot be done there."""
        must_fit(permit, digest(action), self._clock.boottime_s())
        match action:
            case RunCommand():
                return await self._run(action, permit)
            case ReadFile():
                text = await self._see(action.path, permit)
                if text is None:
                    return Outcome(False, f"{action.path}: no such file", Status.FAILED)
                return Outcome(True, text, data={"sha256": sha256(text)})
            case ViewImage():
                return await self._view(action.path)
            case WriteFile():
                return await self._change(action.path, action.before, action.content, permit)
            case PatchFile():
                seen = await self._see(action.path, permit)
                if seen is None:
                    raise ProviderError(f"{action.path}: no such file", why="it cannot be patched")
                edits = [Edit(action.path, e.start, e.end, e.replacement) for e in action.edits]
                return await self._change(action.path, action.before, apply(seen, edits), permit)
            case DeleteFile():
                return await self._change(action.path, action.before, None, permit)
            case OpenWorkspace():
                return await self._open()
            case ReadDiff():
                return Outcome(True, "", data={"base": [], "files": 0})  # nothing waits to be brought back
            case _:
                raise ProviderError(f"a far world does not perform {action.kind}", why="wired wrongly")

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        """Reads a changed file again: what stands there is what was meant."""
        if not isinstance(action, WriteFile | PatchFile | DeleteFile) or not outcome.ok:
            return outcome
        now = await self._see(action.path, permit)
        if ("" if now is None else sha256(now)) == outcome.data.get("after"):
            return outcome
        return Outcome(False, f"{action.path} is not what was written", Status.FAILED, outcome.data)

    async def inspect(self, action: Action) -> Found:
        """Looks are repeated without harm; nobody can tell how far anything else came."""
        return Found.NOT_DONE if isinstance(action, ReadFile | ViewImage | ReadDiff) else Found.UNKNOWN

    def picture(self, path: str) -> bytes:
        """The picture that was looked at last under this name, for the question that shows it."""
        return self._pictures.get(path, b"")

    async def _open(self) -> Outcome:
        found = await self._sh("pwd; command -v bash timeout base64 mktemp >/dev/null || exit 43", ())
        if found.exit_code != 0:
            raise ProviderError(
                f"{self._world.name} cannot be worked in",
                why=_said(found) or "it lacks bash, timeout, base64 or mktemp",
                fix="give the task's image coreutils and bash",
            )
        where = found.stdout.decode("utf-8", "replace").strip()
        await self._learn_all()
        data: dict[str, JSON] = {"files": 0, "size_bytes": 0, "skipped": [], "tree": "", "folder": where}
        return Outcome(True, f"the working folder is {where}", data=data)

    async def _learn_all(self) -> None:
        """Know the secrets of the folder before anything is shown: a command may print what nobody read."""
        seen = b""
        for _ in range(_LOOKS_MAX):
            words = (str(LEARNT_FILES_MAX), str(len(seen) + 1), str(_LOOK_BYTES))
            told = await self._sh(_LOOK, words)
            if told.timed_out or told.exit_code != 0:
                raise ProviderError(
                    f"the files of {self._world.name} cannot be looked through for secrets", why=_said(told)
                )
            seen += told.stdout
            if len(told.stdout) < _LOOK_BYTES:
                break
        for line in seen.splitlines():
            name, _, body = line.partition(b" ")
            try:
                path, content = base64.b64decode(name), base64.b64decode(body)
                self._learn(path.decode("utf-8", "replace").removeprefix("./"), content.decode("utf-8"))
            except UnicodeDecodeError:
                continue  # no text: a picture, a database
            except ValueError as error:
                raise ProviderError(
                    f"{self._world.name} answers in no form of ours", why=str(error)
                ) from error
            except UsageError as error:
                raise ProviderError(
                    "more secrets than can be kept out of the record", why=error.what, fix="a smaller folder"
                ) from error

    async def _run(self, action: RunCommand, permit: Permit) -> Outcome:
        if action.hosts:
            raise ProviderError(
                f"no way to {', '.join(action.hosts)} can be granted here",
                why="the network of this world is the evaluation's own affair",
            )
        given = permit.expand(action.stdin).encode()
        if len(given) > _STDIN_BYTES_MAX:
            raise ProviderError(f"{len(given)} bytes of standard input", why=f"{_STDIN_BYTES_MAX} go there")
        words = [permit.expand(word) for word in action.argv]
        limit_s = max(1, round(action.timeout_s))
        put_in = base64.b64encode(given).decode()
        argv = ("sh", "-c", _RUN, "run", str(limit_s), put_in, f"./{action.cwd}", *words)
        env = {name: permit.expand(value) for name, value in action.env}
        begun_s = time.monotonic()
        done = await self._world.exec(argv, env=env, timeout_s=limit_s + GRACE_S)
        late = done.timed_out or (done.exit_code in (124, 137) and time.monotonic() - begun_s >= limit_s)
        for stream, part in (("stdout", done.stdout), ("stderr", done.stderr)):
            if part:
                permit.emit(stream, part)
        data: dict[str, JSON] = {
            "exit_code": done.exit_code,
            "signal": 0,
            "reason": "timeout" if late else "exited",
            "wall_s": round(time.monotonic() - begun_s, 3),
            "stderr": done.stderr.decode("utf-8", "replace"),
        }
        text = done.stdout.decode("utf-8", "replace")
        if done.exit_code == 0 and not late:
            return Outcome(True, text, data=data)
        why = f"stopped after {limit_s} s" if late else f"exit code {done.exit_code}, signal 0"
        return Outcome(False, f"{text}\n{why}" if text else why, Status.FAILED, data)

    async def _see(self, path: str, permit: Permit) -> str | None:
        """The file as a planner sees it: its secrets are learnt, then handles."""
        data = await self._bytes(path, SOURCE_FILE_BYTES_MAX)
        if data is None:
            return None
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ProviderError(f"{path}: not UTF-8 text", why=str(error)) from error
        self._learn(path, text)
        return permit.seal(text)

    async def _change(self, path: str, before: str, after: str | None, permit: Permit) -> Outcome:
        seen = await self._see(path, permit)
        found = "" if seen is None else sha256(seen)
        if found != before:
            raise ProviderError(
                f"{path} is not what the change was made for",
                why=f"its SHA-256 is {found[:12] or 'none'}, the change expects {before[:12] or 'no file'}",
                fix="read it again and propose the change anew",
            )
        shown = ""
        if after is None:
            await self._must("delete", path, await self._sh('rm -- "$1"', (path,)))
        else:
            written = permit.expand(after)
            await self._put(path, written.encode())
            shown = permit.seal(written)
        data: dict[str, JSON] = {"before": found, "after": "" if after is None else sha256(shown)}
        return Outcome(True, f"{path} changed", data=data)

    async def _view(self, path: str) -> Outcome:
        data = await self._bytes(path, IMAGE_BYTES_MAX)
        media = image_media(data, path)
        self._pictures[path] = data or b""
        return Outcome(True, f"{path} ({media}) is shown to you", data={"media": media})

    async def _bytes(self, path: str, most: int) -> bytes | None:
        found = await self._sh(_READ, (f"./{path}", str(most)))
        match found.exit_code:
            case 0:
                return base64.b64decode(found.stdout)
            case 44:
                return None
            case 45:
                raise ProviderError(f"{path}: not a regular file", why="devices and folders are not read")
            case 46:
                raise ProviderError(f"{path} is larger than {most} bytes", why="it is not edited")
            case _:
                raise ProviderError(f"cannot read {path}", why=_said(found))

    async def _put(self, path: str, data: bytes) -> None:
        """Write in pieces that fit a command line, then move the whole into place."""
        made = await self._must("write", path, await self._sh("mktemp", ()))
        part = made.stdout.decode("utf-8", "replace").strip()
        for at in range(0, len(data), _CHUNK_BYTES):
            piece = base64.b64encode(data[at : at + _CHUNK_BYTES]).decode()
            await self._must("write", path, await self._sh('printf %s "$1" >>"$2"', (piece, part)))
        await self._must("write", path, await self._sh(_WRITE, (f"./{path}", part)))

    async def _must(self, verb: str, path: str, found: FarResult) -> FarResult:
        if found.exit_code != 0:
            raise ProviderError(f"cannot {verb} {path}", why=_said(found), fix="nothing was changed")
        return found

    async def _sh(self, script: str, words: Sequence[str]) -> FarResult:
        argv = ("sh", "-c", script, "veilig", *words)
        return await self._world.exec(argv, env={}, timeout_s=FILE_TIMEOUT_S)


def _said(found: FarResult) -> str:
    return (found.stderr or found.stdout).decode("utf-8", "replace").strip()[-600:]
