"""Is this process that service? Its command line, where it is, what it holds open; when in doubt, no.

A pid in a file is a claim, not a proof: the number may belong to somebody else by now. A process is believed
when it was started by us, or when its command line can come from the service's command and nothing speaks
against it, or when it holds the service's port or log and lives in the service's folder.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from veilig.core.service import HOLD_FILE, Service
from veilig.providers.heal import processes_table as kernel
from veilig.providers.heal.processes_table import Proc

SCRIPT_BYTES_MAX = 64 << 10  # a start script is short; what is longer is a program
_INTERPRETER = re.compile(r"(python|pypy|node|nodejs|ruby|perl|php|java|lua|sh|bash|dash|zsh|ksh)[0-9.]*")
_WRAPPERS = frozenset(
    {"env", "nohup", "setsid", "nice", "ionice", "stdbuf", "exec", "chrt", "taskset", "command"}
)
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh"})
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_SHARED = "/ /tmp /var/tmp /var/log /var/run /run /etc /usr /usr/bin /bin /opt /srv /home /root /var/lib"
_WIDE = frozenset(_SHARED.split())  # being there says nothing of who somebody is


class Belief(StrEnum):
    """Whether a process is the service."""

    YES = "yes"
    NO = "no"
    DOUBT = "doubt"  # it may be, and nobody can show it: never touched, never doubled


@dataclass(frozen=True, slots=True)
class Judged:
    """A belief and why, for people."""

    belief: Belief
    why: str = ""


@dataclass(frozen=True, slots=True)
class Home:
    """What of a service a process can be recognised by.

    places: folders that are its own, no other's. commands: those of the shell text `script` that its command
    runs. strangers: ports of other services. unique: no other service has the same command.
    """

    service: Service
    places: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]
    script: str
    strangers: tuple[int, ...] = ()
    unique: bool = True


def home(service: Service, services: Sequence[Service], base: Path) -> Home:
    """The marks of `service` among all `services` of the file in the folder `base`."""
    script = _script(service, base)
    places = [str(Path(h).parent) for h in service.hold if Path(h).name == HOLD_FILE] or [service.folder]
    others = [s for s in services if s.name != service.name and s.provider == "process"]
    return Home(
        service,
        tuple(p for p in dict.fromkeys(places) if p and p not in _WIDE),
        tuple(_simple_commands(script)) if script else (),
        script,
        tuple(s.port for s in others if s.port and s.port != service.port),
        all(s.cmd != service.cmd for s in others),
    )


def folders(service: Service, base: Path) -> list[str]:
    """Where its command may have been meant to run, the likeliest first."""
    near = [service.folder, str(Path(service.folder).parent) if service.folder else "", str(base)]
    logs = [str(Path(path).parent) for path in (*service.config, *service.log)]
    return [p for p in dict.fromkeys((*near, *logs)) if p]


def named_files(cmd: Sequence[str]) -> list[str]:
    """Relative paths that a command, or the text it gives a shell, seems to name."""
    words = list(_unwrapped(cmd))
    if len(words) >= 3 and Path(words[0]).name in _SHELLS and words[1].endswith("c"):
        words = [word for simple in _simple_commands(words[2]) for word in simple]
    return [w for w in words if ("/" in w or "." in w) and not w.startswith(("/", "-")) and " " not in w]


def _script(service: Service, base: Path) -> str:
    """The text that the command runs: of `sh -c`, or of a start script; "" for a program."""
    words = _unwrapped(service.cmd)
    if len(words) >= 3 and Path(words[0]).name in _SHELLS and words[1].endswith("c"):
        return words[2]
    named = words[1] if len(words) > 1 and Path(words[0]).name in _SHELLS else words[0] if words else ""
    data = next((d for p in folders(service, base) if (d := _head(Path(p) / named)) is not None), b"")
    first = data.split(b"\n", 1)[0]
    told = len(words) > 1 and Path(words[0]).name in _SHELLS and b"\0" not in data
    shell = told or (first.startswith(b"#!") and any(s.encode() in first for s in _SHELLS))
    return data.decode("utf-8", "replace") if shell else ""


def plausible(marks: Home, proc: Proc) -> bool:
    """Is it worth a closer look? Few of a machine's processes are."""
    if _fits(marks, proc) or _titled(proc.argv, marks.service.cmd):
        return True
    return _inside(marks, proc, kernel.link(proc.pid, "cwd"))


def _head(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(SCRIPT_BYTES_MAX)
    except OSError:
        return None


def _fits(marks: Home, proc: Proc) -> bool:
    """Its command, or a command of its start script."""
    if fits(proc.argv, marks.service.cmd):
        return True
    return any(fits(proc.argv, one) for one in marks.commands)


def judge(marks: Home, proc: Proc, sockets: frozenset[str], *, named: bool) -> Judged:
    """Is `proc` this service? sockets: those listening on its port. named: its pidfile names this pid."""
    service, held = marks.service, kernel.opened(proc.pid)
    listens = bool(sockets) and not sockets.isdisjoint(held)
    cwd = kernel.link(proc.pid, "cwd")
    if marks.strangers and not listens and _listens_elsewhere(marks, held):
        return Judged(Belief.NO, f"{proc.name} serves the port of another service")
    inside = _inside(marks, proc, cwd)
    fit = _fits(marks, proc)
    if fit and _elsewhere(marks, proc, cwd):
        return Judged(Belief.NO, f"{proc.name} has its command and runs in {cwd}")
    if fit and (listens or inside or named or _specific(service)):
        if marks.unique or listens or named or inside:
            return Judged(Belief.YES)
        return Judged(Belief.DOUBT, f"{proc.name} has its command, and so has another service")
    logs = named and kernel.writes(proc.pid, service.log)  # who only reads a log follows it
    hinted = _hinted(marks.script, proc.argv) or _titled(proc.argv, service.cmd)
    if (inside and (listens or logs or hinted)) or (hinted and listens):
        return Judged(Belief.YES)
    if named and not held and not cwd:
        return Judged(Belief.DOUBT, f"{proc.name} of the pidfile may not be looked at")
    return Judged(Belief.NO, f"{proc.name} has another command line")


def _listens_elsewhere(marks: Home, held: list[str]) -> bool:
    sockets = [item for item in held if item.startswith("socket:")]
    return bool(sockets) and any(not kernel.listening(port).isdisjoint(sockets) for port in marks.strangers)


def _inside(marks: Home, proc: Proc, cwd: str) -> bool:
    words = [word.partition("=")[2] if word.startswith("-") and "=" in word else word for word in proc.argv]
    exe = kernel.link(proc.pid, "exe")
    return any(
        path == place or path.startswith(f"{place}/")
        for path in (cwd, exe, *words)
        if path.startswith("/")
        for place in marks.places
    )


def _elsewhere(marks: Home, proc: Proc, cwd: str) -> bool:
    """Its relative file is another one: it runs in a folder where that name means something else."""
    service = marks.service
    relative = [w for w in service.cmd[1:] if "." in w and not w.startswith(("-", "/")) and w in proc.argv]
    if not cwd or not relative or not service.folder:
        return False
    own = [(Path(service.folder) / w) for w in relative]
    return all(p.exists() for p in own) and not any(
        _same(Path(cwd) / w, p) for w, p in zip(relative, own, strict=True)
    )


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _specific(service: Service) -> bool:
    """Does the command alone say which service it is: an absolute file, or its port among the arguments?"""
    words = service.cmd
    return any(w.startswith("/") for w in words[1:]) or (
        bool(service.port) and any(str(service.port) in w for w in words)
    )


def fits(argv: Sequence[str], cmd: Sequence[str]) -> bool:
    """Can a process with this command line come from this command, by exec alone?

    An interpreter may stand before a script, wrappers such as env or nohup may be gone, and a shell may have
    replaced itself by the last command of its text; a word with `$` in that text stands for any word.
    """
    words = _unwrapped(cmd)
    if not argv or not words:
        return False
    for start in range(min(4, len(argv))):  # interpreter, its option, its option's value, script
        same = len(argv) - start == len(words) and _program(argv[start], words[0], script=start > 0)
        if same and all(_word(a, w) for a, w in zip(argv[start + 1 :], words[1:], strict=True)):
            return True
    if (
        Path(words[0]).name in _SHELLS
        and len(words) >= 3
        and words[1].startswith("-")
        and words[1].endswith("c")
    ):
        return any(fits(argv, simple) for simple in _simple_commands(words[2]))
    return False


def _word(given: str, wanted: str) -> bool:
    return given == wanted or ("$" in wanted and "\0" not in given)


def _program(given: str, wanted: str, *, script: bool) -> bool:
    if given == wanted:
        return True
    one, other = Path(given).name, Path(wanted).name
    if one == other:
        # A bare name is looked up in PATH; two full paths that differ are two programs, unless links say no.
        return (
            "/" not in given
            or (not wanted.startswith("/") and given.endswith(f"/{wanted.removeprefix('./')}"))
            or "/" not in wanted
            or not script
            or _same(Path(given), Path(wanted))
        )
    kinds = [m[1] for m in (_INTERPRETER.fullmatch(one), _INTERPRETER.fullmatch(other)) if m]
    return not script and len(kinds) == 2 and kinds[0] == kinds[1]


def _unwrapped(cmd: Sequence[str]) -> tuple[str, ...]:
    """Without env, nohup and their like, which leave no trace in the command line."""
    words = tuple(cmd)
    while words and Path(words[0]).name in _WRAPPERS:
        words = words[1:]
        while words and (words[0].startswith("-") or _ASSIGNMENT.fullmatch(words[0]) or words[0].isdecimal()):
            words = words[1:]
    return words


def _simple_commands(text: str) -> list[tuple[str, ...]]:
    """The simple commands of a shell text, without assignments, exec and redirections."""
    found: list[tuple[str, ...]] = []
    for part in re.split(r"&&|\|\||[;|\n]|&(?!\d|>)", text):
        try:
            words = shlex.split(re.sub(r"\d*(>>?|<)&?\s*\S+", " ", part), comments=True)
        except ValueError:
            continue
        while words and (_ASSIGNMENT.fullmatch(words[0]) or words[0] == "exec"):
            words = words[1:]
        if words:
            found.append(_unwrapped(words))
    return [words for words in found if words]


def _hinted(script: str, argv: Sequence[str]) -> bool:
    """Does the start script name this program and its first file? A hint; a folder or port must agree."""
    if not script or not argv:
        return False
    program = Path(argv[0]).name
    kind = _INTERPRETER.fullmatch(program)
    files = [Path(w).name for w in argv[1:3] if "." in Path(w).name and not w.startswith("-")]
    return (kind[1] if kind else program) in script and all(name in script for name in files[:1])


def _titled(argv: Sequence[str], cmd: Sequence[str]) -> bool:
    """Has a server given itself a title ("nginx: master process ...")?"""
    title = argv[0].partition(":")[0] if argv and ": " in " ".join(argv)[:80] else ""
    return bool(title) and title in {Path(word).name for word in _unwrapped(cmd)[:3]}
