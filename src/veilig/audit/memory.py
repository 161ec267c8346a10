"""What did an earlier audit of this same project find, and of what does that still hold?

A text that travels in and out of the wall. Each module is remembered with the texts it was followed through
and with the questions it asked about its program; it is believed only where all are answered as before.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, cast

from veilig.audit.engine.program import EVERYTHING, Defined, Facts
from veilig.audit.engine.source import module_name
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rows import rows_of
from veilig.audit.units import FileFacts, Part, Row, Unit, World

VERSION = 2
CHARS_MAX = 16 << 20  # half a million lines need half; more is forgotten rather than carried
DIGEST_CHARS = 32


@dataclass(frozen=True, slots=True)
class Known:
    """One file as it was: the digest of its text, the program it was in, and what it showed."""

    digest: str
    program: int
    file: FileFacts
    unit: Unit


def digest_of(text: str) -> str:
    """What stands for a text in the memory."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_CHARS]


class Memory:
    """It belongs to one project folder: who could write a false one could already falsify the report of this
    project, and of no other. It holds no line of the source.
    """

    def __init__(self, text: str = "") -> None:
        """text: what `to_text` gave. What cannot be read is an empty memory: that costs time only."""
        self._settings = ""
        self._known: dict[str, Known] = {}
        self._worlds: list[frozenset[str]] = []
        self.recalled = 0
        self._text = text
        try:
            data = cast("dict[str, Any]", json.loads(text)) if text else {}
            if data.get("version") == VERSION:
                self._known = _decoded(data)
                self._settings = str(data["settings"])
                self._worlds = [frozenset(world) for world in data["worlds"]]
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
            self._known, self._worlds = {}, []
        self._size = len(self._known)
        self._fresh = not self._known

    def believe(self, settings: str) -> None:
        """Forget everything that was found with other rules, options or another engine."""
        if settings != self._settings:
            self._settings, self._known, self._worlds, self._fresh = settings, {}, [], True

    def facts(self, texts: Mapping[str, str]) -> dict[str, FileFacts]:
        """What is known of those of these files that are as they were."""
        found = {path: self._known[path] for path in texts if path in self._known}
        return {p: known.file for p, known in found.items() if known.digest == digest_of(texts[p])}

    def units(self, world: World, same: Mapping[str, FileFacts]) -> dict[str, Unit]:
        """What still holds of the world's modules; `same`: what `facts` gave for it."""
        paths = frozenset(world.texts)
        if len(same) == len(paths) and paths in self._worlds:
            return {path: self._known[path].unit for path in paths}
        world.prepare()
        held: dict[str, Unit] = {}
        changes: dict[tuple[int, int], _Change] = {}
        for path in sorted(same):
            known = self._known[path]
            members = world.members(path)
            pair = known.program, id(members)
            if pair not in changes:
                changes[pair] = self._change(world, same, known.program, members)
            change = changes[pair]
            flow, shape = known.unit.flow, known.unit.shape
            held[path] = Unit(
                flow if change.keeps(flow) else Part(), shape if change.keeps(shape) else Part()
            )
        return held

    def _change(
        self, world: World, same: Mapping[str, FileFacts], program: int, members: frozenset[str]
    ) -> "_Change":
        before = {path for path, known in self._known.items() if known.program == program}
        old_world = next((w for w in self._worlds if not before.isdisjoint(w)), frozenset[str]())
        now = frozenset(world.texts)
        differ = {p for p in before | members if p not in same or (p in before) is not (p in members)}
        called: set[str] = set()
        mentioned: set[str] = set()
        owned: set[Defined] = set()
        for path in differ:
            old = self._known[path].file.facts if path in before else None
            new = world.files[path].facts if path in members else None
            called |= (old.invoked if old else frozenset()) ^ (new.invoked if new else frozenset())
            mentioned |= (old.mentioned if old else frozenset()) ^ (new.mentioned if new else frozenset())
            owned |= set(old.defined if old else ()) ^ set(new.defined if new else ())
        names = {name for path in old_world ^ now for name in _importable(path)}
        texts = [world.texts[path] for path in sorted(differ & members)]
        defined = {name for name, _, _ in owned}
        return _Change(same, differ, called, mentioned, defined, names, texts)

    def remember(self, worlds: Iterable[tuple[World, Mapping[str, Unit]]]) -> None:
        """Keep these and nothing else; what was not followed to its end is not kept: there may be more."""
        old, old_worlds = self._known, set(self._worlds)
        self._known, self._worlds = {}, []
        numbers: dict[tuple[str, int], int] = {}
        for world, units in worlds:
            paths = frozenset(world.texts)
            self._worlds.append(paths)
            if paths in old_worlds and all(p in old and units.get(p) is old[p].unit for p in paths):
                for path in sorted(paths):
                    number = numbers.setdefault(("as before", old[path].program), len(numbers))
                    self._known[path] = replace(old[path], program=number)
                continue
            self._fresh = True
            for path in sorted(world.files):
                number = numbers.setdefault(("new", id(world.members(path))), len(numbers))
                unit = units.get(path) or Unit(Part(), Part())
                late = any("time" in item[2] for item in unit.flow.incomplete)
                unit = Unit(Part(), unit.shape) if late else unit
                self._known[path] = Known(digest_of(world.texts[path]), number, world.files[path], unit)

    def to_text(self) -> str:
        """The memory as JSON; an empty one when it grew beyond CHARS_MAX."""
        if not self._fresh and len(self._known) == self._size:
            return self._text
        order = {path: at for at, path in enumerate(self._known)}
        files = [_encoded(path, known, order) for path, known in self._known.items()]
        worlds = [sorted(world) for world in self._worlds]
        data = {"version": VERSION, "settings": self._settings, "files": files, "worlds": worlds}
        text = json.dumps(data, separators=(",", ":"))
        return text if len(text) <= CHARS_MAX else ""


@dataclass(frozen=True, slots=True)
class _Change:
    """What is different in a program: files, names that may be called, mentioned, defined or imported
    otherwise."""

    same: Mapping[str, object]
    differ: set[str]
    called: set[str]
    mentioned: set[str]
    defined: set[str]
    importable: set[str]
    texts: list[str]

    def keeps(self, part: Part) -> bool:
        """Whether the part would come out the same again."""
        return (
            bool(part.touched)
            and all(p in self.same for p in part.touched)
            and all(map(self._holds, part.asked))
        )

    def _holds(self, question: str) -> bool:
        if question == EVERYTHING:
            return not self.differ
        kind, _, about = question.partition(":")
        match kind:
            case "c":
                return about not in self.called
            case "u":
                return about not in self.mentioned
            case "m" | "d":
                return about not in self.defined
            case "f":
                return about not in self.importable
            case "h":
                where, _, pattern = about.partition("\n")
                if where:
                    return where in self.same and where not in self.differ
                return not any(re.search(pattern, "\n".join(rows_of(text))) for text in self.texts)
            case _:
                return False


def _importable(path: str) -> set[str]:
    """Every name whose import may mean something else when this file comes or goes."""
    parts = module_name(path).split(".")
    ends = {".".join(parts[start:]) for start in range(len(parts))}
    return ends | {".".join(parts[:stop]) for stop in range(len(parts))}


def _encoded(path: str, known: Known, order: Mapping[str, int]) -> list[object]:
    facts = known.file.facts
    told: list[object] = []
    if facts is not None:
        plain = " ".join(sorted(facts.mentioned - facts.invoked))
        defined = " ".join(map(":".join, facts.defined))
        told = [" ".join(sorted(facts.invoked)), plain, defined, list(facts.imports)]
    parts = [_encoded_part(part, order) for part in (known.unit.flow, known.unit.shape)]
    return [path, known.digest, known.program, known.file.skipped, known.file.lines, told, *parts]


def _encoded_part(part: Part, order: Mapping[str, int]) -> list[object]:
    touched = [order[path] for path in part.touched]
    return [part.hits, part.incomplete, touched, part.asked]


def _decoded(data: Mapping[str, Any]) -> dict[str, Known]:
    paths = [str(item[0]) for item in data["files"]]
    known: dict[str, Known] = {}
    for path, digest, program, skipped, lines, told, flow, shape in data["files"]:
        unit = Unit(_decoded_part(flow, paths), _decoded_part(shape, paths))
        facts = _decoded_facts(*told) if told else None
        known[path] = Known(str(digest), int(program), FileFacts(str(skipped), int(lines), facts), unit)
    return known


def _decoded_facts(invoked: str, plain: str, defined: str, imports: list[str]) -> Facts:
    called = frozenset(invoked.split())
    named: list[Defined] = []
    for item in defined.split():
        name, owner, digest = item.split(":")
        named.append((name, owner, digest))
    return Facts(called, called | frozenset(plain.split()), tuple(named), tuple(map(str, imports)))


def _decoded_part(raw: list[Any], paths: list[str]) -> Part:
    hits, incomplete, touched, asked = raw
    return part_from([hits, incomplete, [paths[at] for at in touched], asked])


def part_from(raw: list[Any]) -> Part:
    """The part that was written as four lists. Raises ValueError or LookupError for anything else."""
    try:
        hits, incomplete, touched, asked = raw
        told = [[str(path), str(function), str(reason)] for path, function, reason in incomplete]
        return Part([_row(item) for item in hits], told, list(map(str, touched)), list(map(str, asked)))
    except (TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error


def _row(raw: list[Any]) -> Row:
    rule, path, scope, line, column, end, end_column, message, severity, confidence, flow = raw
    checked = Severity(severity), Confidence(confidence)
    if len(checked) != 2 or PurePosixPath(path).is_absolute():
        raise ValueError(path)
    steps = [(str(p), int(n), int(c), str(what)) for p, n, c, what in flow]
    place = int(line), int(column), int(end), int(end_column)
    return str(rule), str(path), str(scope), *place, str(message), str(severity), str(confidence), steps
