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
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, cast

from veilig.campaign.result import Result
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
        except (OSError, EOFError, ValueError):
            return None

    def _report(self, key: str) -> Path:
        return self.folder / "reports" / key[:2] / f"{key}.json.gz"


class Campaign:
    """One campaign: its heading, and the results so far."""

    def __init__(self, folder: Path, heading: Heading) -> None:
        self.folder = folder
        self.heading = heading
        self._writing = threading.Lock()

    @classmethod
    def at(cls, folder: Path) -> Self | None:
        """The campaign in a folder; None when it is none."""
        try:
            told = json.loads((folder / "campaign.json").read_text(encoding="utf-8"))
            return cls(folder, Heading(**told))
        except (OSError, ValueError, TypeError):
            return None

    def write(self) -> None:
        """Make the heading durable. Raises UsageError."""
        _write(self.folder / "campaign.json", json.dumps(asdict(self.heading), indent=1).encode())

    def results(self) -> dict[str, Result]:
        """Label -> result. A line that a crash cut off is not there: its repository is done again."""
        found: dict[str, Result] = {}
        try:
            lines = (self.folder / "results.jsonl").read_bytes().split(b"\n")
        except OSError:
            return {}
        for line in lines[:-1]:
            with contextlib.suppress(UsageError, UnicodeDecodeError):
                result = Result.from_json(line.decode())
                found[result.label] = result
        return found

    def add(self, result: Result) -> None:
        """Append one result; it is on the disk when this returns. Raises UsageError."""
        place = self.folder / "results.jsonl"
        line = f"{result.to_json()}\n".encode()
        try:
            with self._writing, place.open("ab+") as file:
                end = file.seek(0, os.SEEK_END)
                if end and os.pread(file.fileno(), 1, end - 1) != b"\n":  # cut off by a crash
                    line = b"\n" + line
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _unwritable(place, error) from error

    def remove(self) -> None:
        """Take its files away."""
        for name in ("results.jsonl", "campaign.json"):
            (self.folder / name).unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def ordered(results: Mapping[str, Result], labels: Iterable[str]) -> list[Result]:
    """The results that are known, in the order of the list."""
    return [results[label] for label in labels if label in results]


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
