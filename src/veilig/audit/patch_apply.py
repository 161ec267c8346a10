"""How would a tree read with a unified diff applied, and which lines are new then?

More forgiving than the repairs' own reader, since models and people write these diffs: plain `---` and `+++`
heads, wrong hunk positions and renames are read. What does not fit is still an error, never a guess.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from veilig.core.errors import UsageError

_HEAD = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_HANDLE = re.compile(r"‹secret:[^›\n]{1,120}›")
_SWAPPED = {"+": "-", "-": "+"}
_RENAME = re.compile(r"^rename (from|to) (.*)$")


@dataclass(slots=True)
class _Hunk:
    at: int  # line in the old file, from 0
    old: list[str] = field(default_factory=list[str])
    new: list[tuple[str, bool]] = field(default_factory=list[tuple[str, bool]])  # (line, whether it is added)


@dataclass(slots=True)
class _File:
    old: str = ""
    new: str = ""
    hunks: list[_Hunk] = field(default_factory=list[_Hunk])


@dataclass(frozen=True, slots=True)
class Applied:
    """after: touched path -> text (None: removed). added: path -> numbers of its new lines, from 1."""

    after: dict[str, str | None]
    added: dict[str, frozenset[int]]


def apply_diff(files: Mapping[str, str], diff: str) -> Applied:
    """The touched files after a unified diff, in memory.

    Raises UsageError with path and line when the diff is none, is cut off, or does not fit the tree.
    """
    after: dict[str, str | None] = {}
    added: dict[str, frozenset[int]] = {}
    changed = _read(diff)
    if not changed:
        raise UsageError("this is not a unified diff", why="it holds no file head", fix="use `git diff -U3`")
    for one in changed:
        target = one.new or one.old
        if one.old not in files and one.hunks and not any(hunk.old for hunk in one.hunks):
            one.old = ""  # `diff -N` names a new file on both sides
        if one.old and one.old not in files and not (one.new and one.new in files):
            raise UsageError(f"{one.old} is not in the folder", why="the diff was made for another tree")
        source = one.old if one.old in files else one.new if one.old else ""
        text, numbers = _applied(target, files.get(source, ""), one.hunks)
        if not one.new:
            after[one.old] = None
            continue
        if one.old and one.old != one.new:
            after[one.old] = None
        after[one.new] = text
        added[one.new] = frozenset(numbers)
    return Applied(after, added)


def _applied(path: str, text: str, hunks: list[_Hunk]) -> tuple[str, list[int]]:
    lines = text.split("\n")
    ends = bool(lines) and not lines[-1]
    if ends:
        lines.pop()
    out: list[str] = []
    numbers: list[int] = []
    done = 0
    for hunk in hunks:
        at = _place(lines, hunk, done)
        if at is None:
            raise UsageError(
                f"{path}:{hunk.at + 1}: the lines of the diff do not stand there",
                why="the file is not what the diff was made from",
                fix="make the diff again from the folder as it is",
            )
        out += lines[done:at]
        taken = iter(lines[at : at + len(hunk.old)])
        for line, fresh in hunk.new:
            out.append(line)
            if fresh:
                numbers.append(len(out))
        done = at + sum(1 for _ in taken)
    out += lines[done:]
    return "\n".join(out) + ("\n" if out and (ends or not text) else ""), numbers


def _place(lines: list[str], hunk: _Hunk, done: int) -> int | None:
    """Where the old lines stand: as written, else the nearest place after what is done."""
    last = len(lines) - len(hunk.old)
    if not hunk.old:
        return min(max(hunk.at, done), len(lines))
    places = sorted(range(done, last + 1), key=lambda at: abs(at - hunk.at))
    return next((at for at in places if _same(lines, at, hunk.old)), None)


def _same(lines: list[str], at: int, old: list[str]) -> bool:
    return all(_equal(lines[at + i], line) for i, line in enumerate(old))


def _equal(line: str, written: str) -> bool:
    """A handle in the diff stands for any value: the tree may hold the secret itself."""
    if "‹secret:" not in written:
        return line.rstrip("\r") == written.rstrip("\r")
    pattern = ".*".join(re.escape(part) for part in _HANDLE.split(written))
    return re.fullmatch(pattern, line) is not None


def _read(diff: str) -> list[_File]:
    rows = diff.split("\n")
    found: list[_File] = []
    index = 0
    while index < len(rows):
        row = rows[index]
        following = rows[index + 1] if index + 1 < len(rows) else ""
        heads = row.startswith("--- ") and following.startswith("+++ ")
        fresh = not found or bool(found[-1].new or found[-1].old)
        if row.startswith("diff --git ") or (heads and (fresh or found[-1].hunks)):
            found.append(_File())
        if heads:
            found[-1].old, found[-1].new = _path(row), _path(following)
            index += 1
        elif found and (match := _RENAME.match(row)):
            if match[1] == "from":
                found[-1].old = match[2]
            else:
                found[-1].new = match[2]
        elif (match := _HEAD.match(row)) and found:
            index = _hunk(rows, index + 1, match, found[-1])
            continue
        elif row.startswith(("GIT binary patch", "Binary files ")):
            raise UsageError("the diff holds a binary change", why="it cannot be judged", fix="leave it out")
        index += 1
    return [one for one in found if one.old or one.new]


def _hunk(rows: list[str], index: int, head: "re.Match[str]", into: _File) -> int:
    olds, news = int(head[2] or 1), int(head[4] or 1)
    hunk = _Hunk(max(int(head[1]) - (1 if olds else 0), 0))
    while olds > 0 or news > 0:
        row = rows[index] if index < len(rows) else "?"
        mark, line = row[:1], row[1:]
        if mark == "\\":
            index += 1
            continue
        if mark not in ("+", "-", " ", ""):
            raise UsageError(f"line {index + 1} of the diff cannot be read", why="a hunk is cut off")
        if mark != "+":
            hunk.old.append(line)
            olds -= 1
        if mark != "-":
            hunk.new.append((line, mark == "+"))
            news -= 1
        index += 1
    into.hunks.append(hunk)
    return index


def _path(head: str) -> str:
    """The path of a `---` or `+++` line, "" for /dev/null. Raises UsageError for one outside the tree."""
    written = head[4:].split("\t", maxsplit=1)[0].strip().strip('"')
    if written == "/dev/null":
        return ""
    path = written[2:] if re.match(r"[abiwco]/", written) else written.removeprefix("./")
    if path.startswith("/") or ".." in path.split("/"):
        raise UsageError(f"the diff names {path!r}", why="it is not inside the folder")
    return path


def reversed_diff(diff: str) -> str:
    """The diff that takes a change back: what it adds is removed, what it removes is added.

    Raises UsageError as apply_diff does for a hunk that is cut off.
    """
    rows, out, index = diff.split("\n"), list[str](), 0
    while index < len(rows):
        row, following = rows[index], rows[index + 1] if index + 1 < len(rows) else ""
        if row.startswith("--- ") and following.startswith("+++ "):
            out += [f"--- {following[4:]}", f"+++ {row[4:]}"]
            index += 2
        elif match := _RENAME.match(row):
            out.append(f"rename {'to' if match[1] == 'from' else 'from'} {match[2]}")
            index += 1
        elif match := _HEAD.match(row):
            end = _hunk(rows, index + 1, match, _File())
            old, new = (match[2] or "1", match[4] or "1")
            out.append(f"@@ -{match[3]},{new} +{match[1]},{old} @@")
            out += [_SWAPPED.get(line[:1], line[:1]) + line[1:] for line in rows[index + 1 : end]]
            index = end
        else:
            out.append(row)
            index += 1
    return "\n".join(out)


def without_binary(diff: str) -> tuple[str, list[str]]:
    """The diff without its binary parts, and the files that those are about."""
    kept: list[str] = []
    names: list[str] = []
    for part in re.split(r"^(?=diff --git )", diff, flags=re.MULTILINE):
        if not part.startswith(
            "diff --git "
        ):  # `diff -r` says it in one line, and what follows is another file
            names += re.findall(r"^Binary files .* and (.*) differ$", part, re.MULTILINE)
            kept.append(re.sub(r"^Binary files .* differ\n?", "", part, flags=re.MULTILINE))
        elif re.search(r"^(?:Binary files .* differ|GIT binary patch)$", part, re.MULTILINE):
            head = part.split("\n", 1)[0]
            names.append(head.rpartition(" b/")[2] or head)
        else:
            kept.append(part)
    return "".join(kept), names


def sections(diff: str) -> dict[str, str]:
    """Path (as after the change, or of what is removed) -> the part of a diff that is about it, in order."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    path = ""
    rows, index = diff.split("\n"), 0
    while index < len(rows):
        row, following = rows[index], rows[index + 1] if index + 1 < len(rows) else ""
        heads = row.startswith("--- ") and following.startswith("+++ ")
        if row.startswith("diff --git ") or (heads and path):
            current, path = [], ""
        current.append(row)
        index += 1
        if heads:
            path = _path(following) or _path(row)
            current.append(following)
            found[path] = current
            index += 1
        elif (match := _RENAME.match(row)) and match[1] == "to":
            found[match[2]] = current
        elif match := _HEAD.match(row):
            end = _hunk(rows, index, match, _File())
            current += rows[index:end]
            index = end
    return {name: "\n".join(lines) for name, lines in found.items()}
