"""What have a service's logs said since its last start? They are followed through rotation and truncation."""

import os
import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from veilig.core.signal import LogHit, LogKind
from veilig.providers.heal.logs_kinds import LINE_CHARS, is_frame, kind_of

LOOK_BYTES = (
    256 << 10
)  # of one file in one look: a crash loop writes kilobytes; a flood is sampled from its end
TAIL_BYTES = 16 << 10  # of a log that was there before us: what a service that is down said last
LINE_SHOWN = 200
FILES_MAX = 16  # of one service
_LOG = re.compile(r".+\.(?:log|out|err)|std(?:out|err)")


@dataclass(slots=True)
class _File:
    """How far one log was read. rest: the begin of a line whose end is not written yet."""

    path: str
    inode: tuple[int, int] = (0, 0)
    offset: int = 0
    rest: bytes = b""
    met: bool = False


@dataclass(slots=True)
class _Found:
    line: str
    subject: str
    count: int
    at_s: float


@dataclass(slots=True)
class Log:
    """The logs of one service, and what was found in them since its last start.

    seal: takes secrets out of a line. skipped_bytes: what was written faster than it is read.
    """

    paths: tuple[str, ...]  # a folder stands for the logs in it
    seal: Callable[[str], str] = str
    skipped_bytes: int = 0
    notes: dict[str, str] = field(default_factory=dict[str, str])
    _files: dict[str, _File] = field(default_factory=dict[str, _File])
    _found: dict[LogKind, _Found] = field(default_factory=dict[LogKind, _Found])
    _folders: set[str] = field(default_factory=set[str])
    _frame: bool = False  # the line before named a place in code: the next one quotes it

    def follow(self, paths: Iterable[str]) -> None:
        """Follow these, too: the service writes to them, though nobody named them."""
        for path in paths:
            if len(self.paths) < FILES_MAX and path not in self.paths:
                self.paths = (*self.paths, path)

    def begin(self) -> None:
        """The service was started anew: what was said before belongs to another life of it."""
        self._found.clear()

    def read(self, now_s: float, *, history: bool = False) -> None:
        """Read what is new in all files.

        Of a file met for the first time only what comes later counts; with `history` its last lines do,
        for a service that is down or ill when we come.
        """
        for path in self._all():
            file = self._files.setdefault(path, _File(path))
            self.notes.pop(path, None)
            try:
                lines = self._new_lines(file, history)
            except OSError as error:
                self.notes[path] = f"{path}: {error.strerror or error}"
                continue
            self._sort(lines, now_s)

    def _all(self) -> list[str]:
        """The files to read now. One that comes into a known folder is new from its first byte."""
        found: list[str] = []
        for named in self.paths:
            inside = _inside(named)
            if inside != (named,):
                if named in self._folders:
                    for path in inside:
                        self._files.setdefault(path, _File(path, met=True))
                self._folders.add(named)
            found += inside
        return found

    def hits(self, now_s: float) -> tuple[LogHit, ...]:
        """One hit per kind since the start, the latest line of each."""
        return tuple(
            LogHit(kind, one.line, one.count, one.subject, round(max(now_s - one.at_s, 0.0), 1))
            for kind, one in sorted(self._found.items())
        )

    def _sort(self, lines: Iterable[bytes], now_s: float) -> None:
        for raw in lines:
            text = raw[:LINE_CHARS].decode("utf-8", "replace")
            quoted, self._frame = self._frame and text[:1].isspace(), is_frame(text)
            known = None if quoted or self._frame else kind_of(text)
            if known is None:
                continue
            kind, subject = known
            count = self._found[kind].count if kind in self._found else 0
            line = " ".join(self.seal(text).split())[:LINE_SHOWN]
            self._found[kind] = _Found(line, self.seal(subject)[:LINE_SHOWN], count + 1, now_s)

    def _new_lines(self, file: _File, history: bool) -> list[bytes]:
        """Whole lines since the last look. A rotated file is read to its end before the new one is begun."""
        try:
            descriptor = os.open(file.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            file.met = True  # what will stand there is new from its first byte
            return []
        with os.fdopen(descriptor, "rb", buffering=0) as reader:
            state = os.fstat(reader.fileno())
            if _led_elsewhere(file.path, state):
                self.notes[file.path] = (
                    f"{file.path}: a link to a file of another owner, so it is not followed"
                )
                return []
            if not stat.S_ISREG(state.st_mode):
                self.notes[file.path] = f"{file.path}: not a regular file, so it is not followed"
                return []
            here = (state.st_dev, state.st_ino)
            lines: list[bytes] = []
            if not file.met:
                file.offset = max(state.st_size - TAIL_BYTES, 0) if history else state.st_size
                lines = []
            elif file.inode != here:
                lines = self._rotated(file)
                file.offset, file.rest = 0, b""
            elif state.st_size < file.offset:  # truncated in place
                file.offset, file.rest = 0, b""
            first = not file.met and history and file.offset > 0
            file.met, file.inode = True, here
            fresh = self._read_from(reader.fileno(), file, state.st_size)
        return lines + (fresh[1:] if first else fresh)  # its first line was cut

    def _rotated(self, file: _File) -> list[bytes]:
        """What the old file got after the last look, where it went by one of the usual names."""
        if file.inode == (0, 0):
            return []
        for name in (".1", ".old", ".0"):
            there = Path(file.path + name)
            try:
                with there.open("rb", buffering=0) as reader:
                    state = os.fstat(reader.fileno())
                    if (state.st_dev, state.st_ino) == file.inode:
                        return self._read_from(reader.fileno(), file, state.st_size)
            except OSError:
                continue
        return []

    def _read_from(self, descriptor: int, file: _File, size: int) -> list[bytes]:
        if size - file.offset > LOOK_BYTES:
            self.skipped_bytes += size - LOOK_BYTES - file.offset
            file.offset, file.rest = size - LOOK_BYTES, b""
        data = os.pread(descriptor, LOOK_BYTES, file.offset)
        file.offset += len(data)
        *lines, rest = (file.rest + data).split(b"\n")
        if len(rest) > LINE_CHARS:  # a line without an end: what it says stands at its beginning
            lines.append(rest)
            rest = b""
        file.rest = rest
        return lines

    def close_line(self, now_s: float) -> None:
        """The service ended: a last line without an end was its last word."""
        for file in self._files.values():
            rest, file.rest = file.rest, b""
            if rest:
                self._sort([rest], now_s)


def _led_elsewhere(path: str, state: os.stat_result) -> bool:
    """A link by which its owner would let us read what is not his: a service's user could lay it."""
    link = os.lstat(path)
    return stat.S_ISLNK(link.st_mode) and link.st_uid not in (0, state.st_uid)


def _inside(path: str) -> tuple[str, ...]:
    """The path; of a folder the files in it that are named like live logs."""
    if not Path(path).is_dir():
        return (path,)
    try:
        with os.scandir(path) as listing:
            names = sorted(
                e.path for e in listing if _LOG.fullmatch(e.name) and e.is_file(follow_symlinks=False)
            )
    except OSError:
        return (path,)
    return tuple(names[:FILES_MAX])
