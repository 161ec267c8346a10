"""Which names, paths, hosts and commands does a pattern mean? Exactly itself, unless its author wrote `*`."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

SERVICE_NAME = re.compile(r"[a-z0-9._-]+")
_SERVICE_PATTERN = re.compile(r"[a-z0-9._*-]+")
_MODEL_PATTERN = re.compile(r"[A-Za-z0-9._:/*-]+")
_SECRET_PATTERN = re.compile(r"[A-Za-z0-9._:/*-]+")
_HOST_PATTERN = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*(:[1-9][0-9]{0,4})?")
_WORD = re.compile(r"[a-z0-9][a-z0-9._-]*")
_SERVER = re.compile(r"[a-z0-9][a-z0-9-]{0,19}")
HTTPS_PORT = "443"  # what a host without a port means

# Levels no patch may have, in any spelling; `git~1` is what Windows may call `.git`.
PROTECTED_LEVELS = frozenset({".git", "git~1", ".veilig", "veilig.yaml"})
_STORE = re.compile(
    r"postgres(ql)?://([A-Za-z0-9._%-]+@)?[A-Za-z0-9._:,%\[\]-]*/[A-Za-z0-9._%-]+"
    r"(\?(?!.*password)[A-Za-z0-9_]+=[!-~]*)?"
)
_SERVER_URL = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~%/?=&-]*)?")
_LOCAL_URL = re.compile(r"http://(127\.0\.0\.1|localhost)(:|/|$)")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,60}")
_OWN_HEADERS = frozenset({"host", "content-length", "content-type", "accept", "mcp-session-id", "connection"})


@dataclass(frozen=True, slots=True)
class NamePattern:
    """A whole-name, case-sensitive pattern; `*` stands for any run of characters.

    Matching is linear in the name: no name from the world can make a decision slow.
    """

    text: str
    _parts: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_parts", tuple(self.text.split("*")))

    def matches(self, name: str) -> bool:
        parts = self._parts
        first, last = parts[0], parts[-1]
        if len(parts) == 1:
            return name == first
        end = len(name) - len(last)
        if not name.startswith(first) or not name.endswith(last) or end < len(first):
            return False
        at = len(first)
        for part in parts[1:-1]:  # leftmost fits are enough: what is left over is the next star's
            at = name.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True


@dataclass(frozen=True, slots=True)
class PathGlob:
    """A glob relative to the workspace: `*` within one folder level, `**` across levels."""

    text: str
    _levels: tuple[NamePattern | None, ...] = field(init=False, repr=False, compare=False)
    _folded: tuple[NamePattern | None, ...] = field(init=False, repr=False, compare=False)
    _hint: str = field(init=False, repr=False, compare=False)  # every match has it: a cheap first look

    def __post_init__(self) -> None:
        object.__setattr__(self, "_levels", _levels(self.text))
        object.__setattr__(self, "_folded", _levels(fold_path(self.text)))
        literal = fold_path(self.text).replace("/", "*").split("*")
        object.__setattr__(self, "_hint", max(literal, key=len))

    def matches(self, path: str) -> bool:
        """Exactly this spelling: for what is allowed."""
        return self.text == "**" or _levels_match(self._levels, path.split("/"), inside=False)

    def matches_any_spelling(self, folded: str) -> bool:
        """Any spelling a file system may take for the same file (see `fold_path`): for what is refused.

        A file inside a refused folder is refused too.
        """
        return self._hint in folded and _levels_match(self._folded, folded.split("/"), inside=True)


def _levels(text: str) -> tuple[NamePattern | None, ...]:
    """Patterns of the levels; None stands for any number of levels, and a last `**` for at least one."""
    found = [None if level == "**" else NamePattern(level) for level in text.split("/")]
    return (*found, NamePattern("*")) if found[-1] is None else tuple(found)


def _levels_match(pattern: tuple[NamePattern | None, ...], levels: list[str], *, inside: bool) -> bool:
    """Greedy, going back to the last `**` only; `inside`: the first levels may be enough."""
    i = j = 0
    retry: tuple[int, int] | None = None
    while True:
        if i == len(pattern):
            if j == len(levels) or inside:
                return True
        elif (part := pattern[i]) is None:
            retry = (i + 1, j)
            i += 1
            continue
        elif j < len(levels) and part.matches(levels[j]):
            i, j = i + 1, j + 1
            continue
        if retry is None or retry[1] >= len(levels):
            return False
        i, j = retry[0], retry[1] + 1
        retry = (i, j)


def clean_path(path: str) -> str:
    """The same path without `.` levels."""
    return path if "." not in path else "/".join(p for p in path.split("/") if p not in (".", "")) or "."


@lru_cache(maxsize=4096)
def fold_path(path: str) -> str:
    """One spelling for all that some file system (ignoring case, folding Unicode, Windows) takes as equal."""
    if not path.isascii():
        path = unicodedata.normalize("NFKC", path)
        path = unicodedata.normalize("NFKC", path.casefold())
        path = "".join(c for c in path if unicodedata.category(c) not in ("Cf", "Mn"))
    levels = path.lower().replace("\\", "/").split("/")
    return "/".join(p for p in (level.rstrip(". ") if level.strip(".") else "" for level in levels) if p)


def protected(path: str) -> bool:
    """May this path never be written, whatever the policy says? (The repository's own files and the law.)"""
    return not PROTECTED_LEVELS.isdisjoint(fold_path(path).split("/"))


def argv_matches(pattern: Sequence[str], argv: Sequence[str]) -> bool:
    """Word by word: `*` is any one argument, a last `**` the rest (or nothing), everything else is exact."""
    head = pattern
    if pattern and pattern[-1] == "**":
        head = pattern[:-1]
        if len(argv) < len(head):
            return False
    elif len(argv) != len(pattern):
        return False
    return all(p in ("*", a) for p, a in zip(head, argv, strict=False))


def host_matches(pattern: str, host: str) -> bool:
    """`*.` stands for one or more leading labels; without a port only HTTPS's own is meant."""
    host = host.lower()
    name, _, port = host.partition(":")
    wanted, _, wanted_port = pattern.partition(":")
    if (port or HTTPS_PORT) != (wanted_port or HTTPS_PORT):
        return False
    name = name.removesuffix(".")
    if wanted == "*":
        return True
    return name.endswith(wanted[1:]) and name != wanted[2:] if wanted.startswith("*.") else name == wanted


# --- what is wrong with a pattern, for the schema -------------------------------------------------


_URL = re.compile(
    r"https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?(/[!-~]*)?|https?://\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?(/[!-~]*)?"
)


def wrong_service_pattern(text: str) -> str | None:
    """What is wrong with a pattern of service names, or None."""
    if "**" in text:
        return "has `**`, which means nothing in a name"
    return (
        None if _SERVICE_PATTERN.fullmatch(text) else "is no pattern of the characters a-z 0-9 . _ - and `*`"
    )


def wrong_service_name(text: str) -> str | None:
    """What is wrong with a service's canonical name, or None."""
    return None if SERVICE_NAME.fullmatch(text) else "is no name of the characters a-z 0-9 . _ -"


def wrong_model_pattern(text: str) -> str | None:
    """What is wrong with a pattern of model names, or None."""
    return None if _MODEL_PATTERN.fullmatch(text) else "is no model name (letters, digits, . _ : / - and `*`)"


def wrong_secret_pattern(text: str) -> str | None:
    """What is wrong with a pattern of secrets' names, or None."""
    return (
        None
        if _SECRET_PATTERN.fullmatch(text)
        else "is no secret's name (letters, digits, . _ : / - and `*`)"
    )


def wrong_word(text: str) -> str | None:
    """What is wrong with a role's name, or None."""
    return None if _WORD.fullmatch(text) else "is no name of the characters a-z 0-9 . _ -"


def wrong_server(text: str) -> str | None:
    """What is wrong with an MCP server's name, or None."""
    return None if _SERVER.fullmatch(text) else "is no name of at most 20 characters a-z 0-9 -"


def wrong_tool(text: str) -> str | None:
    """What is wrong with the name of a tool, or None."""
    ok = text and text.isprintable() and not any(c.isspace() or c in "*?[" for c in text)
    return None if ok else "is empty, unprintable, or has spaces, `*`, `?` or `[`"


def wrong_person(text: str) -> str | None:
    """What is wrong with a person's id, or None."""
    ok = text and text.isprintable() and not any(c.isspace() or c == "*" for c in text)
    return None if ok else "is empty, unprintable, or has spaces or a `*`"


def wrong_host(text: str) -> str | None:
    """What is wrong with a host, or None."""
    if text == "*":
        return None  # the builder asks for `all: true`
    return (
        None if _HOST_PATTERN.fullmatch(text) else "is no host such as pypi.org, *.example.org or db.lan:5432"
    )


def wrong_server_url(text: str) -> str | None:
    """What is wrong with the address of a server, or None."""
    if not _SERVER_URL.fullmatch(text):
        return "is no address such as https://mcp.example.org/mcp"
    if text.startswith("http:") and not _LOCAL_URL.match(text):
        return "sends what is said in the clear: http: is for this machine only"
    return None


def wrong_header(text: str) -> str | None:
    """What is wrong with the name of an HTTP header, or None."""
    if text.lower() in _OWN_HEADERS:
        return "is set by the protocol"
    return None if _HEADER.fullmatch(text) else "is no header name"


def wrong_path_glob(text: str) -> str | None:
    """What is wrong with a path glob, or None."""
    levels = text.split("/")
    if not text or text.startswith("/") or ".." in levels or "." in levels or "" in levels:
        return "is empty, absolute, or has an empty, `.` or `..` level"
    if any("**" in level and level != "**" for level in levels):
        return "has a `**` that is not a whole level"
    if any(c in "?[]{}!\\" or not c.isprintable() for c in text):
        return "has one of ? [ ] { } ! \\, which have no meaning here; `*` and `**` do"
    return None


def wrong_argument(text: str) -> str | None:
    """What is wrong with a word of a command's pattern, or None."""
    if "\0" in text or "\n" in text:
        return "has a NUL or a line break"
    if "*" in text and text not in ("*", "**"):
        return "has a `*` that is not the whole argument: `*` is any one argument, a last `**` the rest"
    return None


def wrong_folder(text: str) -> str | None:
    """What is wrong with a path, or None."""
    return None if text and text.isprintable() and ".." not in text.split("/") else "is no path without `..`"


def wrong_url(text: str) -> str | None:
    """What is wrong with a URL that is to be reached over HTTP, or None."""
    if not _URL.fullmatch(text):
        return "write http:// or https://, a host, and no user, password or blank"
    return None


def wrong_store(text: str) -> str | None:
    """What is wrong with the address of a ledger in a database, or None."""
    if not _STORE.fullmatch(text):
        return "write postgresql://user@host/database?org=NAME; a password stands in PGPASSFILE"
    return None


def wrong_line(text: str) -> str | None:
    """What is wrong with a line of text, or None."""
    return None if text and text.isprintable() else "is empty or unprintable"
