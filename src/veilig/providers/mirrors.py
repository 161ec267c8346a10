"""How does a far repository come here? One commit into a bare mirror, bounded, and nothing of it runs."""

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from veilig.core.action import Action, FetchRepository
from veilig.core.action_json import JSON, digest
from veilig.core.clock import Clock
from veilig.core.errors import ProviderError
from veilig.core.limits import WORKSPACE_BYTES_MAX, WORKSPACE_FILES_MAX
from veilig.core.provider import Found, Outcome, Permit, must_fit
from veilig.providers.copying import LEFT_BEHIND
from veilig.providers.fetching import alone

LOOK_S = 0.2  # between two looks at how large the mirror has grown
GIT_TIMEOUT_S = 300.0
SAID_CHARS_MAX = 300
# Nothing that a repository or a server says makes git run a program, reach another host or fetch more.
SAFE = (
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.attributesFile", "/dev/null"),
    ("credential.helper", ""),
    ("http.followRedirects", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("transfer.fsckObjects", "true"),
    ("transfer.bundleURI", "false"),
    ("protocol.allow", "never"),
    ("gc.auto", "0"),
    ("http.lowSpeedLimit", "100"),
    ("http.lowSpeedTime", "60"),
)
FETCH = ("fetch", "-q", "--depth=1", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance")
_PASSED = (
    "PATH",
    "LANG",
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)


class MirrorProvider:
    """Performs `repository.fetch`: the commit lies in a bare mirror below `folder` afterwards.

    environment: may name a proxy, and hold the token an action names.
    """

    kinds = frozenset({"repository.fetch"})

    def __init__(self, clock: Clock, folder: Path, environment: Mapping[str, str]) -> None:
        self._clock = clock
        self._folder = folder
        self._environment = environment

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        """data: mirror, commit, size_bytes. Raises ProviderError."""
        must_fit(permit, digest(action), self._clock.boottime_s())
        if not isinstance(action, FetchRepository):
            raise ProviderError(f"no mirror performs {action.kind}", why="the gate was wired wrongly")
        return await asyncio.to_thread(self._fetch, action)

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        """The commit is there; git has checked every object on its way."""
        del action, permit
        mirror, commit = Path(str(outcome.data["mirror"])), str(outcome.data["commit"])
        kind = await asyncio.to_thread(git, mirror, "cat-file", "-t", commit)
        if kind.strip() == "commit":
            return outcome
        return Outcome(False, f"{commit} is not in {mirror}", data=outcome.data)

    async def inspect(self, action: Action) -> Found:
        """Fetching again harms nothing."""
        del action
        await asyncio.sleep(0)
        return Found.NOT_DONE

    def _fetch(self, action: FetchRepository) -> Outcome:
        mirror = mirror_of(self._folder, action.url)
        header = _header(action, self._environment) if action.token_env else ""
        bounds = Bounds(action.size_bytes_max, action.timeout_s)
        commit = fetch(mirror, action.url, action.ref, bounds, self._environment, header)
        size = size_of(mirror)
        data: dict[str, JSON] = {"mirror": str(mirror), "commit": commit, "size_bytes": size}
        return Outcome(True, f"{commit[:12]}, {size >> 10} KiB", data=data)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large a mirror may grow, and how long a fetch may take."""

    size_bytes_max: int
    timeout_s: float


def mirror_of(folder: Path, place: str) -> Path:
    """Where the mirror of an address or a repository's folder lies."""
    return folder / f"{hashlib.sha256(place.encode()).hexdigest()[:32]}.git"


def fetch(
    mirror: Path, place: str, ref: str, bounds: Bounds, environment: Mapping[str, str], header: str = ""
) -> str:
    """The commit that `ref` (empty: HEAD) means at `place`; it is in the mirror afterwards.

    place: an address, or the folder of a repository on this machine. header: sent to that host alone.
    Raises ProviderError.
    """
    try:
        mirror.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with alone(mirror.with_suffix(".lock")):
            if mirror.is_dir() and size_of(mirror) > bounds.size_bytes_max // 2:
                shutil.rmtree(mirror)  # old commits are kept until they weigh too much
            if not (mirror / "HEAD").is_file():
                git(mirror.parent, "init", "--bare", "-q", "--template=", mirror.name)
            kept = f"refs/veilig/{hashlib.sha256(ref.encode()).hexdigest()[:16]}"
            _run(place, mirror, f"+{ref or 'HEAD'}:{kept}", bounds, environment, header)
            return git(mirror, "rev-parse", "-q", "--verify", f"{kept}^{{commit}}").strip()
    except OSError as error:
        raise ProviderError(
            f"{place} could not be kept", why=str(error), fix="free space in the state folder"
        ) from error


def _run(
    place: str, mirror: Path, wanted: str, bounds: Bounds, given: Mapping[str, str], header: str
) -> None:
    """Raises ProviderError when git fails, takes too long, or the mirror grows too large."""
    parts = urlsplit(place)
    more = [(f"protocol.{parts.scheme or 'file'}.allow", "always")]
    if header:  # in git's environment: never among its words, which every process may read
        more.append((f"http.{parts.scheme}://{parts.netloc}/.extraHeader", header))
    process = subprocess.Popen(
        ["git", "-C", str(mirror), *FETCH, "--end-of-options", place, wanted],
        env=_environment(mirror, given, *more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        said = _said(process, place, mirror, bounds)
    except ProviderError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        shutil.rmtree(mirror, ignore_errors=True)
        raise
    if process.returncode:
        raise ProviderError(f"{place} cannot be fetched", why=_why(said, place))


def _said(process: "subprocess.Popen[bytes]", place: str, mirror: Path, bounds: Bounds) -> str:
    """What git says until its end, while the mirror is watched. Raises ProviderError."""
    until_s = time.monotonic() + bounds.timeout_s
    while True:
        try:
            return process.communicate(timeout=LOOK_S)[1].decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            late, size = time.monotonic() > until_s, size_of(mirror)
        if late:
            raise ProviderError(f"{place} takes too long", why=f"more than {bounds.timeout_s:.0f} s")
        if size > bounds.size_bytes_max:
            raise ProviderError(f"{place} is too large", why=f"more than {bounds.size_bytes_max} bytes")


def _header(action: FetchRepository, environment: Mapping[str, str]) -> str:
    """What says who we are. Raises ProviderError when the variable is not set."""
    token = environment.get(action.token_env, "")
    if not token:
        raise ProviderError(f"the variable {action.token_env} is not set", why="it holds the token")
    return f"Authorization: Basic {b64encode(f'x-access-token:{token}'.encode()).decode()}"


def export(mirror: Path, commit: str, target: Path) -> None:
    """Write the files of a commit into `target`, which is made anew. Raises ProviderError.

    No filter, hook or submodule takes part: what git would put in their place stays as it is stored.
    """
    entries = git(mirror, "ls-tree", "-r", "-l", "-z", commit).split("\0")
    sizes = [entry.partition("\t")[0].split()[3] for entry in entries if entry]
    if len(sizes) > WORKSPACE_FILES_MAX or sum(int(s) for s in sizes if s != "-") > WORKSPACE_BYTES_MAX:
        raise ProviderError(
            f"{commit[:12]} has more than {WORKSPACE_FILES_MAX} files or {WORKSPACE_BYTES_MAX >> 20} MiB",
            why="a copy of that size would take the disk",
        )
    index = target.with_name(f"{target.name}.index")
    try:
        shutil.rmtree(target, ignore_errors=True)
        index.unlink(missing_ok=True)
        target.mkdir(mode=0o700, parents=True)
        place = {"GIT_INDEX_FILE": str(index)}
        git(mirror, "read-tree", commit, place=place)
        git(mirror, f"--work-tree={target}", "checkout-index", "-a", "-q", place=place)
    except OSError as error:
        raise ProviderError(f"cannot write {target}", why=str(error), fix="free some space") from error
    finally:
        index.unlink(missing_ok=True)


def content_of(folder: Path) -> str:
    """A digest of names and bytes of what an audit would copy, wherever it lies.

    Raises ProviderError when something cannot be read.
    """
    whole = hashlib.sha256()
    try:
        for inner, names, files in os.walk(folder, onerror=_refuse):
            names[:] = sorted(name for name in names if name not in LEFT_BEHIND)
            links = [name for name in names if Path(inner, name).is_symlink()]
            for name in sorted((*files, *links)):
                path = Path(inner, name)
                whole.update(f"{path.relative_to(folder).as_posix()}\0".encode("utf-8", "surrogateescape"))
                whole.update(_bytes_digest(path))
    except OSError as error:
        raise ProviderError(f"cannot read {error.filename}", why=error.strerror or str(error)) from error
    return whole.hexdigest()


def _bytes_digest(path: Path) -> bytes:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return hashlib.sha256(b"link\0" + os.fsencode(path.readlink())).digest()
    if not stat.S_ISREG(mode):
        return hashlib.sha256(b"other").digest()
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").digest()


def _refuse(error: OSError) -> None:
    raise error


def remove_tree(folder: Path) -> None:
    """Take an exported tree away."""
    shutil.rmtree(folder, ignore_errors=True)


def size_of(folder: Path) -> int:
    """Bytes of the regular files below it; what vanishes meanwhile counts nothing."""
    total = 0
    for inner, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(inner, name).lstat().st_size
    return total


def git(folder: Path, *words: str, place: Mapping[str, str] | None = None) -> str:
    """What git says; it reads no configuration but the repository's own. Raises ProviderError."""
    environment = {**_environment(folder, os.environ), **(place or {})}
    environment |= {"GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-c", f"safe.directory={folder}", "-C", str(folder), *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProviderError("git gives no answer", why=str(error), fix="is git installed?") from error
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()[:SAID_CHARS_MAX]
        raise ProviderError(f"git {words[0]} fails in {folder}", why=said or f"exit code {done.returncode}")
    return done.stdout.decode("utf-8", "surrogateescape")


def _environment(folder: Path, given: Mapping[str, str], *more: tuple[str, str]) -> dict[str, str]:
    found = {name: given[name] for name in _PASSED if given.get(name)}
    found |= {
        "HOME": str(folder),  # no ~/.netrc and no keys of the user
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_LFS_SKIP_SMUDGE": "1",
    }
    for number, (key, value) in enumerate((*SAFE, *more)):
        found[f"GIT_CONFIG_KEY_{number}"], found[f"GIT_CONFIG_VALUE_{number}"] = key, value
    found["GIT_CONFIG_COUNT"] = str(len(SAFE) + len(more))
    return found


def _why(said: str, place: str) -> str:
    """What git said, in one line; a redirect is named as what it is."""
    if "requested URL returned error: 30" in said:
        return f"{urlsplit(place).hostname} sends us to another place; give that address, if you trust it"
    return " ".join(said.split())[:SAID_CHARS_MAX] or "git gave no reason"
