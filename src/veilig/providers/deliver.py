"""How does a proven diff reach the user's own tree or a branch, exactly as it was approved, or not at all?"""

import asyncio
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from veilig.core.action import Action, ApplyPatch, CommitBranch
from veilig.core.action_json import JSON, digest
from veilig.core.clock import Clock
from veilig.core.errors import ProviderError
from veilig.core.provider import Found, Outcome, Permit, must_fit
from veilig.providers.sandbox.wall import PROTECTED_PATHS
from veilig.providers.tree import Tree, sha256
from veilig.repair.edit import EditError
from veilig.repair.patch import applied, apply_unified, parse_unified, without

GIT_TIMEOUT_S = 60.0


class DeliverProvider:
    """Performs `workspace.apply` and `git.branch`; every touched file must still be what was copied."""

    kinds = frozenset({"workspace.apply", "git.branch"})

    def __init__(self, source: Path, clock: Clock, seal: Callable[[str], str]) -> None:
        self._source = source
        self._clock = clock
        self._seal = seal  # what a planner sees of a text: the base of a diff is told in those words

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        """The files changed, or the commit made. On failure the tree is put back as it was."""
        must_fit(permit, digest(action), self._clock.boottime_s())
        if isinstance(action, ApplyPatch):
            return await asyncio.to_thread(self._apply, action, permit)
        if isinstance(action, CommitBranch):
            return await asyncio.to_thread(self._branch, action, permit)
        raise ProviderError(
            f"the delivery provider does not perform {action.kind}", why="the gate was wired wrongly"
        )

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        """Looks at the files, or the branch, again."""
        del permit
        seen = await self.inspect(action)
        return (
            outcome
            if seen is not Found.NOT_DONE
            else Outcome(False, "the change is not there", data=outcome.data)
        )

    async def inspect(self, action: Action) -> Found:
        """A branch that exists has been made. A tree that a crash left half changed is not done: `perform`
        finishes it, since every file of it is known to be as before or as after.
        """
        if isinstance(action, CommitBranch):
            made = await asyncio.to_thread(
                _git, Path(action.root), ["rev-parse", "-q", "--verify", _ref(action)]
            )
            return Found.DONE if made.returncode == 0 else Found.NOT_DONE
        if isinstance(action, ApplyPatch):
            return await asyncio.to_thread(self._inspect_apply, action)
        return Found.UNKNOWN

    def _inspect_apply(self, action: ApplyPatch) -> Found:
        tree = Tree(Path(action.root))
        real = {path: tree.read(path) for path, _ in action.base}
        seen = {path: None if text is None else self._seal(text) for path, text in real.items()}
        changed = {path for path, sha in action.base if _sha(seen[path]) != sha}
        if changed - _arrived(seen, action):
            return Found.UNKNOWN
        return Found.DONE if len(changed) == len(action.base) else Found.NOT_DONE

    def _texts(
        self, root: str, base: tuple[tuple[str, str], ...], diff: str, permit: Permit
    ) -> Mapping[str, str | None]:
        """Path -> real text after the diff, whole; refuses what changed meanwhile or may not be touched."""
        if Path(root) != self._source:
            raise ProviderError(
                f"this session works on {self._source}, not on {root}", why="one session, one tree"
            )
        tree = Tree(self._source)
        seen: dict[str, str] = {}
        for path, sha in base:
            if set(path.split("/")) & set(PROTECTED_PATHS):
                raise ProviderError(f"{path} is protected", why="programs outside the wall run or obey it")
            real = tree.read(path)
            sealed = None if real is None else permit.seal(real)
            if _sha(sealed) != sha:
                raise ProviderError(
                    f"{path} changed since the fix was made",
                    why="your tree is not what was copied",
                    fix="run veilig fix again",
                )
            if sealed is not None:
                seen[path] = sealed
        after = apply_unified(seen, diff)
        stray = set(after) - {path for path, _ in base}
        if stray:
            raise ProviderError(
                f"the diff touches {min(stray)}, which its base does not name", why="it was altered"
            )
        return {path: None if text is None else permit.expand(text) for path, text in after.items()}

    def _apply(self, action: ApplyPatch, permit: Permit) -> Outcome:
        tree = Tree(self._source, _owner(self._source))
        after = self._texts(action.root, *_left(tree, action, permit.seal), permit)
        before = {path: tree.read(path) for path in after}
        done: list[str] = []
        try:
            for path, text in after.items():
                done.append(path)
                _put(tree, path, text)
        except (ProviderError, OSError) as error:
            for path in done:
                _put_back(tree, path, before[path])
            raise ProviderError(
                f"cannot write {done[-1]}", why=str(error), fix="your tree was put back as it was"
            ) from error
        files: list[JSON] = [*sorted(path for path, _ in action.base)]
        return Outcome(True, f"{len(files)} files changed in {self._source}", data={"files": files})

    def _branch(self, action: CommitBranch, permit: Permit) -> Outcome:
        after = self._texts(action.root, action.base, action.diff, permit)
        top = _need(_git(self._source, ["rev-parse", "--show-toplevel"]), "this is no git repository").strip()
        prefix = _need(
            _git(self._source, ["rev-parse", "--show-prefix"]), "git does not know the folder"
        ).strip()
        head = _need(
            _git(self._source, ["rev-parse", "-q", "--verify", "HEAD^{commit}"]), "there is no commit yet"
        ).strip()
        for path, text in ((p, Tree(self._source).read(p)) for p, _ in action.base):
            stored = _git(self._source, ["show", f"{head}:{prefix}{path}"])
            if (stored.stdout if stored.returncode == 0 else None) != text:
                raise ProviderError(
                    f"{path} has changes that are not committed",
                    why="a branch starts from the last commit and would lose them",
                    fix="commit or stash them first, or use --apply",
                )
        index = Path(
            _need(
                _git(self._source, ["rev-parse", "--git-path", f"veilig-index-{os.getpid()}"]), "no git"
            ).strip()
        )
        place = {"GIT_INDEX_FILE": str(index if index.is_absolute() else self._source / index)}
        try:
            _need(_git(Path(top), ["read-tree", head], place), "git cannot read the last commit")
            for path, text in after.items():
                self._stage(Path(top), f"{prefix}{path}", text, head, place)
            tree = _need(_git(Path(top), ["write-tree"], place), "git cannot write the tree").strip()
        finally:
            Path(place["GIT_INDEX_FILE"]).unlink(missing_ok=True)
        commit = _need(
            _git(Path(top), ["commit-tree", tree, "-p", head, "-m", action.message]), "git cannot commit"
        ).strip()
        _need(
            _git(Path(top), ["update-ref", _ref(action), commit, ""]),
            f"branch {action.branch!r} exists already",
        )
        return Outcome(True, f"branch {action.branch} at {commit[:10]}", data={"commit": commit})

    @staticmethod
    def _stage(top: Path, path: str, text: str | None, head: str, place: Mapping[str, str]) -> None:
        if text is None:
            _need(
                _git(top, ["update-index", "--force-remove", "--", path], place), f"git cannot remove {path}"
            )
            return
        blob = _need(
            _git(top, ["hash-object", "-w", "--stdin"], place, stdin=text), "git cannot store a file"
        ).strip()
        listed = _git(top, ["ls-tree", head, "--", path]).stdout.split()
        mode = listed[0] if listed else "100644"
        _need(
            _git(top, ["update-index", "--add", "--cacheinfo", f"{mode},{blob},{path}"], place),
            f"git cannot add {path}",
        )


def _arrived(seen: Mapping[str, str | None], action: ApplyPatch) -> set[str]:
    """The files that hold exactly what the diff makes of their base: an earlier attempt wrote them."""
    bases = dict(action.base)
    found: set[str] = set()
    for patch in parse_unified(action.diff):
        text = seen.get(patch.path)
        try:
            before = applied({} if text is None else {patch.path: text}, [patch.undone()])
        except EditError:
            continue
        if _sha(before[patch.path]) == bases.get(patch.path):
            found.add(patch.path)
    return found


def _left(
    tree: Tree, action: ApplyPatch, seal: Callable[[str], str]
) -> tuple[tuple[tuple[str, str], ...], str]:
    """Base and diff of what a crash left undone; all of it when there was none."""
    texts = {path: tree.read(path) for path, _ in action.base}
    seen = {path: None if text is None else seal(text) for path, text in texts.items()}
    there = {path for path in _arrived(seen, action) if _sha(seen[path]) != dict(action.base)[path]}
    if not there:
        return action.base, action.diff
    return tuple(part for part in action.base if part[0] not in there), without(action.diff, there)


def _put(tree: Tree, path: str, text: str | None) -> None:
    if text is None:
        tree.delete(path)
    else:
        tree.write(path, text)


def _put_back(tree: Tree, path: str, text: str | None) -> None:
    try:
        if tree.read(path) != text:
            _put(tree, path, text)
    except ProviderError:
        if text is not None:
            raise  # a file that never was there could not be made: nothing to take away


def _owner(root: Path) -> tuple[int, int] | None:
    """New files belong to whom the folder belongs, when we may give them away."""
    info = root.stat()
    return (info.st_uid, info.st_gid) if os.geteuid() == 0 else None


def _sha(text: str | None) -> str:
    return "" if text is None else sha256(text)


def _ref(action: CommitBranch) -> str:
    return f"refs/heads/{action.branch}"


def _need(done: subprocess.CompletedProcess[str], why: str) -> str:
    if done.returncode:
        raise ProviderError(why, why=done.stderr.strip()[-400:] or f"git ended with {done.returncode}")
    return done.stdout


def _git(
    folder: Path, arguments: list[str], env: Mapping[str, str] | None = None, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Git plumbing on the user's repository: no hooks, no pager, no configuration that runs programs."""
    safe = ["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", f"safe.directory={folder}"]
    name = {"GIT_AUTHOR_NAME": "veilig", "GIT_AUTHOR_EMAIL": "veilig@localhost"}
    name |= {"GIT_COMMITTER_NAME": "veilig", "GIT_COMMITTER_EMAIL": "veilig@localhost"}
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
    try:
        done = subprocess.run(
            ["git", "--no-pager", *safe, "-C", str(folder), *arguments],
            env=kept | name | {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"} | dict(env or {}),
            input=None if stdin is None else stdin.encode("utf-8", "surrogateescape"),
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProviderError("git cannot be run", why=str(error), fix="install git, or use --apply") from error
    # Decoded here, for text mode would turn the line ends of a file into others.
    out, said = (text.decode("utf-8", "surrogateescape") for text in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, out, said)
