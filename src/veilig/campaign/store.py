"""Where does a campaign keep its results, so that a crash loses none and the next one can compare?

A folder for each campaign: `campaign.json`, and `results.jsonl`, of which every line is durable when it is
added. What an audit found is kept once for each content, beside the campaigns.
"""

import contextlib
import gzip
import hashlib
import json
import os
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from io import BufferedReader
from pathlib import Path
from typing import Any, Self, cast, overload

from veilig.campaign.result import Result, compared
from veilig.core.errors import UsageError

CAMPAIGNS_KEPT_MAX = 20  # of one list; what is older goes


@dataclass(frozen=True, slots=True)
class Heading:
    """What a campaign is. about: which list, for what; terms: what it is done with, as a digest."""

    id: str
    kind: str
    list: str
    about: str
    terms: str
    repositories: int
    began_at: str
    ended_at: str = ""


def about_of(kind: str, listed: str) -> str:
    """The name under which campaigns of one list and kind follow each other."""
    return hashlib.sha256(f"{kind}\0{listed}".encode()).hexdigest()[:16]


class Campaigns:
    """The campaigns of one state folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def unfinished(self, about: str, terms: str) -> "Campaign | None":
        """The newest campaign on this list, if it did not come to its end and its terms were the same."""
        newest = next(iter(self._of(about)), None)
        if newest is None or newest.heading.ended_at or newest.heading.terms != terms:
            return None
        return newest

    def last(self, about: str) -> "Campaign | None":
        """The newest campaign on this list that came to its end."""
        return next((c for c in self._of(about) if c.heading.ended_at), None)

    def begin(self, heading: Heading) -> "Campaign":
        """A new one; the oldest of its list go. Raises UsageError when the folder cannot be written."""
        for old in self._of(heading.about)[CAMPAIGNS_KEPT_MAX - 1 :]:
            old.remove()
        made = Campaign(self.folder / heading.id, heading)
        made.write()
        return made

    def _of(self, about: str) -> "list[Campaign]":
        found: list[Campaign] = []
        for place in self.folder.glob("*/campaign.json") if self.folder.is_dir() else ():
            campaign = Campaign.at(place.parent)
            if campaign is not None and campaign.heading.about == about:
                found.append(campaign)
        return sorted(found, key=lambda c: c.heading.id, reverse=True)

    # --- what audits found, by content --------------------------------------------------------------

    def keep(self, key: str, data: Mapping[str, Any]) -> None:
        """Keep what an audit ended with. Raises UsageError."""
        place = self._report(key)
        text = json.dumps(dict(data), ensure_ascii=False, separators=(",", ":"))
        _write(place, gzip.compress(text.encode("utf-8", "surrogatepass"), 3, mtime=0))

    def kept(self, key: str) -> dict[str, Any] | None:
        """What an audit of this content ended with; None where none is kept, or it is damaged."""
        try:
            text = gzip.decompress(self._report(key).read_bytes()).decode("utf-8", "surrogatepass")
            return cast("dict[str, Any]", json.loads(text))
        except (OSError, EOFError, ValueError, zlib.error):
            return None

    def _report(self, key: str) -> Path:
        return self.folder / "reports" / key[:2] / f"{key}.json.gz"


class Campaign:
    """One campaign: its heading, and the results so far."""

    def __init__(self, folder: Path, heading: Heading) -> None:
        self.folder = folder
        self.heading = heading
        self._results = folder / "results.jsonl"
        self._places: dict[str, int] = {}  # where each label's line begins
        self._reader: BufferedReader | None = None
        self._writing, self._reading = threading.Lock(), threading.Lock()

    @classmethod
    def at(cls, folder: Path) -> Self | None:
        """The campaign in a folder; None when it is none."""
        try:
            told = json.loads((folder / "campaign.json").read_text(encoding="utf-8"))
            return cls(folder, Heading(**told))
        except (OSError, ValueError, TypeError):
            return None

    def __contains__(self, label: str) -> bool:
        return label in self._places

    def write(self) -> None:
        """Make the heading durable. Raises UsageError."""
        _write(self.folder / "campaign.json", json.dumps(asdict(self.heading), indent=1).encode())

    def write_ended(self, ended_at: str) -> None:
        """It is over. Raises UsageError."""
        self.heading = replace(self.heading, ended_at=ended_at)
        self.write()

    def scan(self) -> Iterator[Result]:
        """Every result so far, in the order in which they came; what follows later goes for its label.

        A line that a crash cut off is not there: its repository is done again. Raises UsageError.
        """
        self._places.clear()
        try:
            file = self._results.open("rb")
        except FileNotFoundError:
            return
        except OSError as error:
            raise UsageError(f"cannot read {self._results}", why=error.strerror or str(error)) from error
        with file:
            at = 0
            for line in file:
                if line.endswith(b"\n"):
                    with contextlib.suppress(UsageError, UnicodeDecodeError):
                        result = Result.from_json(line.decode())
                        self._places[result.label] = at
                        yield result
                at += len(line)

    def find(self, label: str) -> Result | None:
        """The result of one repository, once `scan` has been through. Raises UsageError."""
        at = self._places.get(label)
        if at is None:
            return None
        try:
            with self._reading:
                if self._reader is None:
                    self._reader = self._results.open("rb")
                self._reader.seek(at)
                line = self._reader.readline()
        except OSError as error:
            raise UsageError(f"cannot read {self._results}", why=error.strerror or str(error)) from error
        return Result.from_json(line.decode())

    def add(self, result: Result, *, durable: bool = True) -> None:
        """Append one result; it is on the disk when this returns. Raises UsageError.

        durable: False where it can be had again.
        """
        line = f"{result.to_json()}\n".encode()
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._writing, self._results.open("ab+") as file:
                end = file.seek(0, os.SEEK_END)
                if end and os.pread(file.fileno(), 1, end - 1) != b"\n":  # cut off by a crash
                    end += file.write(b"\n")
                file.write(line)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
                self._places[result.label] = end
        except OSError as error:
            raise _unwritable(self._results, error) from error

    def remove(self) -> None:
        """Take its files away."""
        for name in ("results.jsonl", "campaign.json"):
            (self.folder / name).unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


class Kept(Sequence[Result]):
    """The results of a campaign that are known, in the order of its list, each read when it is asked for.

    labels: the list. before: the campaign to compare with. more: results that are not kept.
    """

    def __init__(
        self, campaign: Campaign, labels: Sequence[str], before: Campaign | None, more: Mapping[str, Result]
    ) -> None:
        self._campaign = campaign
        self._labels = [label for label in labels if label in campaign or label in more]
        self._before = before
        self._more = more

    def __len__(self) -> int:
        return len(self._labels)

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> "Sequence[Result]": ...
    def __getitem__(self, index: int | slice) -> "Result | Sequence[Result]":
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        label = self._labels[index]
        result = self._more.get(label) or self._campaign.find(label)
        if result is None:  # an IndexError would end a walk as if there were no more
            raise UsageError(f"the result of {label!r} is gone", why="its campaign was removed meanwhile")
        return compared(result, self._before.find(label)) if self._before else result


def _write(place: Path, data: bytes) -> None:
    fresh = place.with_name(f"{place.name}.{os.getpid()}.new")
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(place)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise _unwritable(place, error) from error


def _unwritable(place: Path, error: OSError) -> UsageError:
    return UsageError(
        f"cannot write {place}", why=error.strerror or str(error), fix="free space, or set VEILIG_HOME"
    )
