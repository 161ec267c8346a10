"""What is new in a feed of advisories since it was read the last time?

A feed is a folder or a file as `veilig advisories sync` takes it: OSV records in JSON, YAML, lines or zips.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from veilig.audit.advisories_files import LEFT_OUT, SUFFIXES, AdvisoryError, is_advisory, records
from veilig.audit.advisories_source import read_record
from veilig.campaign.sboms import Alert, News, Page, Sboms

PAGES_AT_ONCE = 500  # one transaction: a million records must not be one, nor a file one each
_KINDS = (*SUFFIXES, ".jsonl", ".jsonl.gz", ".zip")


def take_in(sboms: Sboms, source: Path, name: str = "") -> tuple[list[Alert], list[str], int]:
    """(alerts, what could not be read, pages read). A broken page is read again when it was mended.

    name: how a page that was fetched is called, when its file is not it. Raises AdvisoryError when the
    source is not there: a feed that is gone must not look like one without news.
    """
    if not source.exists():
        raise AdvisoryError(f"{source}: there is no such feed", why="nothing new can be learnt from it")
    alerts, troubles, read = list[Alert](), list[str](), 0
    waiting: list[Page] = []
    for place, stamp, file in _pages(source, name):
        if sboms.is_read(place, stamp):
            continue
        try:
            waiting.append(Page(place, stamp, tuple(_news(file))))
        except (AdvisoryError, OSError) as error:
            troubles.append(" ".join(str(error).split()))
            continue
        read += 1
        if len(waiting) >= PAGES_AT_ONCE:
            alerts += sboms.read(waiting)
            waiting = []
    if waiting:
        alerts += sboms.read(waiting)
    return alerts, troubles, read


def _pages(source: Path, name: str) -> Iterator[tuple[str, str, Path]]:
    if source.is_file():
        yield name or str(source.absolute()), _stamp(source), source
        return
    for folder, names, files in os.walk(source):
        names[:] = sorted(n for n in names if n not in LEFT_OUT)
        for file in sorted(files):
            if file.endswith(_KINDS) and not file.startswith("."):
                place = Path(folder, file)
                yield str(place.absolute()), _stamp(place), place


def _stamp(file: Path) -> str:
    try:
        seen = file.stat()
    except OSError:
        return ""  # gone meanwhile: reading it will say so
    return f"{seen.st_size}-{seen.st_mtime_ns}-{seen.st_ino}"


def _news(file: Path) -> Iterator[News]:
    for where, record in records(file, None):
        if "_meta" not in record and (is_advisory(record) or ("id" in record and record.get("withdrawn"))):
            advisory, modified, gone = read_record(where, record)
            yield News(advisory, modified, gone)
