"""Which values can an action never have? Checks that run where an action is born."""

import ipaddress
import re
from urllib.parse import urlsplit

from veilig.core.errors import InvalidAction
from veilig.core.limits import ACTION_BYTES_MAX, ARGV_ITEMS_MAX, COMMAND_TIMEOUT_S_MAX

ADDRESS_CHARS_MAX = 2000


def need_path(path: str) -> None:
    """One file below the workspace root, or InvalidAction."""
    parts = path.split("/")
    if not path or path.startswith("/") or ".." in parts or "\0" in path or "" in parts[:-1]:
        raise InvalidAction(
            f"path {path!r} is empty, absolute or leaves the workspace",
            why="an action names one file below the workspace root",
            fix="give a relative path without '..', '//' or NUL",
        )


def need_paths(paths: tuple[str, ...]) -> None:
    """Each as `need_path` says."""
    for path in paths:
        need_path(path)


def need_absolute(path: str) -> None:
    """An absolute folder without '..', or InvalidAction."""
    if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise InvalidAction(
            f"{path!r} is not an absolute path without '..'",
            why="a relative one would mean another folder in another process",
            fix="resolve the path first",
        )


def need_name(name: str, kind: str) -> None:
    """One concrete target, never a pattern, or InvalidAction."""
    if not name or not name.isprintable() or any(c in "*?[" or c.isspace() for c in name):
        raise InvalidAction(
            f"cannot act on {name!r} ({kind})",
            why="an action names one concrete target, never a pattern",
            fix="expand the pattern first and propose one action per target",
        )


def need_address(url: str, kind: str) -> None:
    """An address to fetch from, encrypted or on this machine, without a password, or InvalidAction."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    near = host == "localhost" or _loopback(host)
    plain = parts.scheme == "http" and near
    named = bool(host) and "@" not in parts.netloc and not parts.fragment
    if len(url) > ADDRESS_CHARS_MAX or not url.isprintable() or " " in url or not named:
        wrong = "it must be https://host[:port]/path, without user, password or fragment"
    elif parts.scheme != "https" and not plain:
        wrong = f"{parts.scheme!r} can be read and changed on the way"
    else:
        return
    shown = url[:80] if "@" not in url else "(an address with a name or password in it)"
    raise InvalidAction(
        f"{kind}: {shown!r} is no address to fetch from", why=wrong, fix="give an https address"
    )


def need_ref(ref: str) -> None:
    """One branch, tag or commit as git may be given it, or InvalidAction."""
    bad = ref.startswith(("-", "/", ".")) or ref.endswith(("/", ".", ".lock")) or ".." in ref or "//" in ref
    if bad or not re.fullmatch(r"[A-Za-z0-9._/+@-]{1,250}", ref) or "@{" in ref:
        raise InvalidAction(
            f"{ref[:80]!r} names no branch, tag or commit",
            why="letters, digits and ._/+@- only, nothing that git reads as an option or an expression",
            fix="name a branch, a tag or a whole commit id",
        )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def need_size(text: str, kind: str) -> None:
    """Content that can be recorded whole, or InvalidAction."""
    if len(text.encode("utf-8", "surrogatepass")) > ACTION_BYTES_MAX:
        raise InvalidAction(
            f"{kind}: content is larger than {ACTION_BYTES_MAX} bytes",
            why="an action is recorded whole",
            fix="split the change, or write the artefact with a command",
        )


def need_branch(name: str) -> None:
    """A branch name git takes, or InvalidAction."""
    bad = (
        not name
        or name.startswith(("-", "/"))
        or ".." in name
        or "//" in name
        or name.endswith((".lock", "/", "."))
    )
    if bad or any(c in " ~^:?*[\\" or not c.isprintable() for c in name) or "@{" in name:
        raise InvalidAction(
            f"{name!r} is no branch name",
            why="git would refuse it",
            fix="try 'fix/veilig'",
        )


def need_argv(argv: tuple[str, ...]) -> None:
    """An argv the kernel can execute, or InvalidAction."""
    if not argv or not argv[0] or len(argv) > ARGV_ITEMS_MAX or any("\0" in a for a in argv):
        raise InvalidAction(
            f"argv {argv[:4]!r} cannot be executed",
            why=f"it is empty, has more than {ARGV_ITEMS_MAX} items, or a NUL",
            fix="give the program and its arguments as separate strings",
        )


def need_timeout(timeout_s: float) -> float:
    """A finite, bounded time, or InvalidAction."""
    if not 0 < timeout_s <= COMMAND_TIMEOUT_S_MAX:
        raise InvalidAction(
            f"timeout {timeout_s} s is outside (0, {COMMAND_TIMEOUT_S_MAX}]",
            why="a command without an end holds its session",
            fix="split the work, or raise the bound in core/limits.py with a reason",
        )
    return float(timeout_s)  # 5 and 5.0 are one action, with one digest


def need_growth(group: str, current: int, replicas: int) -> None:
    """More replicas than now, or InvalidAction."""
    if not 0 <= current < replicas:
        raise InvalidAction(
            f"scale_up of {group!r} from {current} to {replicas} is not growth",
            why="shrinking destroys capacity and is another action",
            fix="propose container.scale_down",
        )


def need_shrink(group: str, current: int, replicas: int) -> None:
    """Fewer replicas than now, or InvalidAction."""
    if not 0 <= replicas < current:
        raise InvalidAction(
            f"scale_down of {group!r} from {current} to {replicas} does not shrink it",
            why="growing spends and is another action",
            fix="propose container.scale_up",
        )
