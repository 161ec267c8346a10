"""What do an exact replacement or a patch in the model's format change? Texts in, new texts out.

The patch format is the one that OpenAI's models are trained on (`*** Begin Patch`); context lines are
looked for exactly first, then without trailing blanks, then without any, since models copy imperfectly.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from veilig.core.errors import VeiligError


class PatchError(VeiligError):
    """The edit does not fit; the text says what to do about it."""


def replaced(text: str | None, path: str, old: str, new: str, *, every: bool = False) -> str:
    """The text with `old` replaced. Raises PatchError when it is not there, or more than once."""
    if old == new:
        raise PatchError(f"{path}: old and new are the same")
    if not old:
        if text:
            raise PatchError(f"{path} exists already; name the text to replace in old")
        return new
    if text is None:
        raise PatchError(f"{path}: no such file; an empty old makes it")
    count = text.count(old)
    if count == 0 and "\r\n" in text and "\r" not in old:
        return replaced(text, path, old.replace("\n", "\r\n"), new.replace("\n", "\r\n"), every=every)
    if count == 0:
        raise PatchError(f"{path}: old does not stand there exactly; read the file again{_near(text, old)}")
    if count > 1 and not every:
        raise PatchError(f"{path}: old stands there {count} times; give more lines around it, or all=true")
    return text.replace(old, new)


def _near(text: str, old: str) -> str:
    """Where the first line of `old` stands, if it does."""
    first = next((line.strip() for line in old.splitlines() if line.strip()), "")
    lines = [n for n, line in enumerate(text.splitlines(), 1) if first and line.strip() == first]
    return f" (its first line is line {', '.join(map(str, lines[:3]))})" if lines else ""


@dataclass(slots=True)
class _Hunk:
    anchor: str
    old: list[str] = field(default_factory=list[str])
    new: list[str] = field(default_factory=list[str])
    at_end: bool = False


@dataclass(slots=True)
class _Part:
    verb: str
    path: str
    moved: str = ""
    added: list[str] = field(default_factory=list[str])
    hunks: list[_Hunk] = field(default_factory=list[_Hunk])


_FILE = re.compile(r"\*\*\* (Update|Add|Delete) File: (.+)")
_MOVE = re.compile(r"\*\*\* Move to: (.+)")


def patch_paths(patch: str) -> tuple[str, ...]:
    """The files a patch reads or writes. Raises PatchError when it is none."""
    parts = _parts(patch)
    return tuple(dict.fromkeys(p for part in parts for p in (part.path, part.moved) if p))


def patched(patch: str, texts: Mapping[str, str | None]) -> dict[str, str | None]:
    """New text of each file, None for those that go. Raises PatchError and changes nothing then."""
    now: dict[str, str | None] = dict(texts)
    for part in _parts(patch):
        text = now.get(part.path)
        if part.verb == "Add":
            if text is not None:
                raise PatchError(f"{part.path} exists already; use Update File")
            now[part.path] = "\n".join([*part.added, ""]) if part.added else ""
        elif text is None:
            raise PatchError(f"{part.path}: no such file")
        elif part.verb == "Delete":
            now[part.path] = None
        else:
            after = _updated(part, text)
            if part.moved:
                if now.get(part.moved) is not None:
                    raise PatchError(f"{part.moved} exists already")
                now[part.path], now[part.moved] = None, after
            else:
                now[part.path] = after
    return {path: text for path, text in now.items() if text != texts.get(path)}


def _parts(patch: str) -> list[_Part]:
    lines = patch.replace("\r\n", "\n").strip("\n").split("\n")
    if not lines or lines[0].strip() != "*** Begin Patch" or lines[-1].strip() != "*** End Patch":
        raise PatchError("a patch begins with '*** Begin Patch' and ends with '*** End Patch'")
    parts: list[_Part] = []
    for line in lines[1:-1]:
        if found := _FILE.fullmatch(line.rstrip()):
            parts.append(_Part(found[1], _clean(found[2])))
        elif not parts:
            raise PatchError(f"{line!r:.80}: the patch names no file before it")
        else:
            _take(parts[-1], line)
    if not parts:
        raise PatchError("the patch changes no file")
    return parts


def _clean(path: str) -> str:
    return path.strip().removeprefix("./")


def _take(part: _Part, line: str) -> None:
    if moved := _MOVE.fullmatch(line.rstrip()):
        part.moved = _clean(moved[1])
        return
    if part.verb == "Add":
        if line and not line.startswith("+"):
            raise PatchError(f"{part.path}: every line of a new file begins with '+', not {line!r:.60}")
        part.added.append(line[1:])
        return
    if part.verb == "Delete":
        if line.strip():
            raise PatchError(f"{part.path}: a deleted file has no lines in a patch")
        return
    if line.startswith("@@"):
        part.hunks.append(_Hunk(line[2:].strip()))
        return
    if line.strip() == "*** End of File":
        if part.hunks:
            part.hunks[-1].at_end = True
        return
    if not part.hunks:
        part.hunks.append(_Hunk(""))
    mark, rest = (line[0], line[1:]) if line else (" ", "")
    if mark not in " +-":
        raise PatchError(f"{part.path}: a line begins with ' ', '+' or '-', not {line!r:.60}")
    hunk = part.hunks[-1]
    if mark in " -":
        hunk.old.append(rest)
    if mark in " +":
        hunk.new.append(rest)


def _updated(part: _Part, text: str) -> str:
    ending = "\r\n" if "\r\n" in text else "\n"
    lines = text.replace("\r\n", "\n").split("\n")
    last = lines.pop() if lines and lines[-1] == "" else None
    at = 0
    for hunk in part.hunks:
        if hunk.anchor and not hunk.anchor.startswith("-"):
            at = _anchor(lines, hunk.anchor, at)
        place = _find(lines, hunk.old, at, at_end=hunk.at_end)
        if place is None and at:
            place = _find(lines, hunk.old, 0, at_end=hunk.at_end)
        if place is None:
            shown = "\n".join(hunk.old[:4])
            raise PatchError(f"{part.path}: these lines do not stand there; read the file again\n{shown}")
        lines[place : place + len(hunk.old)] = hunk.new
        at = place + len(hunk.new)
    return ending.join(lines if last is None else [*lines, last])


def _anchor(lines: list[str], anchor: str, at: int) -> int:
    """The line after the anchor (a class or function header); where we are when it is not found."""
    wanted = anchor.removesuffix("@@").strip()
    for start in (at, 0):
        for number in range(start, len(lines)):
            if lines[number].strip() == wanted:
                return number + 1
    return at


def _find(lines: list[str], old: list[str], at: int, *, at_end: bool) -> int | None:
    if not old:
        return len(lines) if at_end or not at else at
    for same in (str, str.rstrip, str.strip):
        wanted = [same(line) for line in old]
        places = range(len(lines) - len(old), at - 1, -1) if at_end else range(at, len(lines) - len(old) + 1)
        for place in places:
            if [same(line) for line in lines[place : place + len(old)]] == wanted:
                return place
    return None
