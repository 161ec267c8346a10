"""What have a service's logs said since its last start? They are followed through rotation and truncation."""

import os
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

    paths: tuple[str, ...]
    seal: Callable[[str], str] = str
    skipped_bytes: int = 0
    notes: dict[str, str] = field(default_factory=dict[str, str])
    _files: dict[str, _File] = field(default_factory=dict[str, _File])
    _found: dict[LogKind, _Found] = field(default_factory=dict[LogKind, _Found])
    _frame: bool = False  # the line before named a place in code: the next one quotes it

    def begin(self) -> None:
        """The service was started anew: what was said before belongs to another life of it."""
        self._found.clear()

    def read(self, now_s: float, *, history: bool = False) -> None:
        """Read what is new in all files.

        Of a file met for the first time only what comes later counts; with `history` its last lines do,
        for a service that is down or ill when we come.
        """
        for path in self.paths:
            file = self._files.setdefault(path, _File(path))
            self.notes.pop(path, None)
            try:
                lines = self._new_lines(file, history)
            except OSError as error:
                self.notes[path] = f"{path}: {error.strerror or error}"
                continue
            self._sort(lines, now_s)

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
