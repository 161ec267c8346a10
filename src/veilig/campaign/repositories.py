"""Which repositories does a list name? One folder or address a line, with a ref where one is meant."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from veilig.core.action_checks import need_address, need_ref
from veilig.core.errors import InvalidAction, UsageError

LINES_MAX = 1_000_000  # a list of everything a large company has
_NAME = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Repository:
    """One line of the list. place: an absolute folder, or an address. ref: a branch, tag or commit.

    name: as the line writes it, without the ref; unique in a list with its ref.
    """

    name: str
    place: str
    ref: str = ""
    line: int = 0

    @property
    def far(self) -> bool:
        """Whether it must be fetched."""
        return "://" in self.place

    @property
    def label(self) -> str:
        """How reports call it: stable from campaign to campaign."""
        return f"{self.name}@{self.ref}" if self.ref else self.name

    @property
    def slug(self) -> str:
        """The label as the name of a file; not unique by itself."""
        short = urlsplit(self.place).path.strip("/").removesuffix(".git") if self.far else self.name
        return _NAME.sub("-", f"{short}@{self.ref}" if self.ref else short).strip("-.")[-80:] or "repository"


def read_repositories(text: str, base: Path, where: str) -> list[Repository]:
    r"""The repositories of a list, each once, in its order.

    A line is `PLACE [REF]`; `#` begins a comment at the start of a line or after a blank. A relative folder
    is meant from `base`; a blank in a folder is written `\ `. Raises UsageError with the line for what cannot
    be meant, as an address with a password; a folder that is missing is a result of the campaign.
    """
    found: dict[tuple[str, str], Repository] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        if number > LINES_MAX:
            raise UsageError(f"{where} has more than {LINES_MAX} lines", fix="make several lists of it")
        words = [w.replace("\0", " ") for w in _uncommented(raw).replace("\\ ", "\0").split()]
        if not words:
            continue
        if len(words) > 2:
            raise _wrong(where, number, "a line is a folder or an address, and at most one ref")
        place, ref = words[0], words[1] if len(words) == 2 else ""
        try:
            if ref:
                need_ref(ref)
            if "://" in place:
                need_address(place, "repository.fetch")
            elif re.match(r"[^/]+@[^/]+:", place):
                raise InvalidAction("", why="an scp-like address; write https://HOST/PATH")
        except InvalidAction as error:
            raise _wrong(where, number, error.why) from error
        absolute = place if "://" in place else str((base / Path(place).expanduser()).absolute())
        found.setdefault((absolute, ref), Repository(place, absolute, ref, number))
    if not found:
        raise UsageError(f"{where} names no repository", fix="write one folder or git address on a line")
    return list(found.values())


def _uncommented(line: str) -> str:
    return re.split(r"(?:^|\s)#", line, maxsplit=1)[0]


def _wrong(where: str, line: int, why: str) -> UsageError:
    return UsageError(f"{where}:{line}: no repository can be meant", why=why, fix="write `PLACE [REF]`")
