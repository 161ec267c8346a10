"""What does a unified diff make of some files? Strict: no fuzz, no offsets, every context line must stand."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from veilig.repair.edit import EditError

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_ESCAPE = re.compile(rb'\\([0-7]{3}|["\\abfnrtv])')
_SIMPLE = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}


@dataclass(frozen=True, slots=True)
class Hunk:
    """A run of lines: `old` must stand from line `start` (1-based) and becomes `new` at line `new_start`."""

    start: int
    old: tuple[str, ...]
    new_start: int
    new: tuple[str, ...]

    def undone(self) -> "Hunk":
        return Hunk(self.new_start, self.new, self.start, self.old)


@dataclass(frozen=True, slots=True)
class FilePatch:
    """What happens to one file; made when `old` is None, removed when `new` is None."""

    old: str | None
    new: str | None
    hunks: tuple[Hunk, ...]

    @property
    def path(self) -> str:
        return self.new or self.old or ""

    def undone(self) -> "FilePatch":
        return FilePatch(self.new, self.old, tuple(hunk.undone() for hunk in self.hunks))


def parse_unified(diff: str) -> list[FilePatch]:
    """The files of a diff as `edit.unified` or git writes it (no renames, no binary files).

    Raises EditError naming the line that cannot be read.
    """
    lines = diff.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    found: list[FilePatch] = []
    i = 0
    while i < len(lines):
        if not lines[i].startswith("diff --git "):
            raise _unreadable(i, lines[i], "expected 'diff --git'")
        header = lines[i]
        made = removed = False
        i += 1
        while i < len(lines) and not lines[i].startswith(("--- ", "diff --git ")):
            made |= lines[i].startswith("new file mode")
            removed |= lines[i].startswith("deleted file mode")
            if not lines[i].startswith(("new file mode", "deleted file mode", "index ")):
                raise _unreadable(i, lines[i], "renames, modes and binary patches are not taken")
            i += 1
        path = _path(header)
        hunks: list[Hunk] = []
        if i < len(lines) and lines[i].startswith("--- "):
            if i + 1 >= len(lines) or not lines[i + 1].startswith("+++ "):
                raise _unreadable(i, lines[i], "expected '+++' after '---'")
            i += 2
            while i < len(lines) and lines[i].startswith("@@ "):
                hunk, i = _hunk(lines, i)
                hunks.append(hunk)
        found.append(FilePatch(None if made else path, None if removed else path, tuple(hunks)))
    return found


def apply_unified(files: Mapping[str, str], diff: str) -> dict[str, str | None]:
    """Path -> text after the diff (None: removed), for the files it touches only.

    Raises EditError when a line of context is not there, or a new file already is.
    """
    return applied(files, parse_unified(diff))


def without(diff: str, paths: Collection[str]) -> str:
    """The diff without the parts about these files."""
    parts = re.split(r"(?m)^(?=diff --git )", diff)
    return "".join(part for part in parts if part and _path(part.split("\n", 1)[0]) not in paths)


def applied(files: Mapping[str, str], patches: Iterable[FilePatch]) -> dict[str, str | None]:
    """As `apply_unified`, for parsed patches."""
    after: dict[str, str | None] = {}
    for patch in patches:
        text = files.get(patch.path)
        if (patch.old is None) != (text is None):
            what = "exists already" if text is not None else "is not there"
            raise EditError(
                f"{patch.path} {what}", why="the diff was made for another tree", fix="make it again"
            )
        changed = _apply(patch, text or "")
        after[patch.path] = None if patch.new is None else changed
    return after


def _apply(patch: FilePatch, text: str) -> str:
    lines = [f"{line}\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    if not lines[-1]:
        lines.pop()
    out: list[str] = []
    done = 0
    for hunk in patch.hunks:
        at = max(hunk.start - 1, 0) if hunk.old else hunk.start
        if at < done or tuple(lines[at : at + len(hunk.old)]) != hunk.old:
            raise EditError(
                f"{patch.path}:{hunk.start}: the lines of the diff do not stand there",
                why="the file changed after the diff was made",
                fix="make the diff again from the file as it is",
            )
        out += lines[done:at]
        out += hunk.new
        done = at + len(hunk.old)
    return "".join(out + lines[done:])


def _hunk(lines: list[str], i: int) -> tuple[Hunk, int]:
    match = _HUNK.match(lines[i])
    if match is None:
        raise _unreadable(i, lines[i], "not a hunk header")
    start, old_count, new_start, new_count = (1 if g is None else int(g) for g in match.groups())
    old: list[str] = []
    new: list[str] = []
    i += 1
    while len(old) < old_count or len(new) < new_count:
        if i >= len(lines):
            raise _unreadable(i - 1, lines[i - 1], "the hunk is cut")
        mark, body = lines[i][:1], f"{lines[i][1:]}\n"
        if mark not in (" ", "-", "+"):
            raise _unreadable(i, lines[i], "a hunk line starts with ' ', '-' or '+'")
        bare = i + 1 < len(lines) and lines[i + 1].startswith("\\ ")
        for side in _sides(mark, old, new):
            side.append(body[:-1] if bare else body)
        i += 2 if bare else 1
    return Hunk(start, tuple(old), new_start, tuple(new)), i


def _sides(mark: str, old: list[str], new: list[str]) -> Iterator[list[str]]:
    if mark != "+":
        yield old
    if mark != "-":
        yield new


def _path(header: str) -> str:
    """The path of `diff --git a/P b/P`: both sides name the same file."""
    rest = header.removeprefix("diff --git ")
    if rest.startswith('"'):
        raw = rest[1 : (len(rest) - 1) // 2 - 1].encode("utf-8", "surrogateescape")
        name = _ESCAPE.sub(_unescaped, raw).decode("utf-8", "surrogateescape")
    else:
        name = rest[: (len(rest) - 1) // 2]
    if not name.startswith("a/"):
        raise EditError(f"cannot read {header!r}", why="both sides must name one file as a/PATH and b/PATH")
    return name[2:]


def _unescaped(match: re.Match[bytes]) -> bytes:
    code = match.group(1)
    return bytes([int(code, 8)]) if code.isdigit() and len(code) == 3 else _SIMPLE.get(code, code)


def _unreadable(index: int, line: str, why: str) -> EditError:
    return EditError(
        f"line {index + 1} of the diff cannot be read: {line[:80]!r}", why=why, fix="make the diff again"
    )
