"""Does a value of veilig.yaml have the shape its key asks for? Shapes as data, and typed reading."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from veilig.core.action_json import JSON
from veilig.core.policy_load import Broken, Fields, Items, Mark, Node, Scalar, Source
from veilig.core.suggest import nearest

TEXT_CHARS_MAX = 500  # a name, a pattern, a path; nothing in a policy is longer
LIST_ITEMS_MAX = 1000  # more rules than a person reviews


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number in [low, high]."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Real:
    """A finite number in [low, high]."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Text:
    """Text that `wrong` has nothing to say against; it returns what is wrong, or None."""

    name: str
    wrong: Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these words."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Many:
    """A list of such values."""

    item: "Shape"
    least: int = 0
    most: int = LIST_ITEMS_MAX


@dataclass(frozen=True, slots=True)
class Either:
    """The short form (text or list), or a table that says more."""

    short: "Shape"
    long: "Table"


@dataclass(frozen=True, slots=True)
class MapOf:
    """Free names -> such values."""

    key: Text
    value: "Shape"


@dataclass(frozen=True, slots=True)
class Free:
    """A mapping that somebody else validates."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a table: its shape, unit, default when absent, and the reason for that default."""

    name: str
    shape: "Shape"
    unit: str
    default: object
    reason: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping with exactly these keys."""

    entries: tuple[Entry, ...]

    def entry(self, name: str) -> Entry | None:
        return next((e for e in self.entries if e.name == name), None)


type Shape = Flag | Whole | Real | Text | Choice | Many | Either | MapOf | Free | Table


def shown(shape: Shape) -> str:
    """What a value of this shape is, for messages and the reference."""
    match shape:
        case Flag():
            return "true or false"
        case Whole(low, high):
            return f"a whole number from {low} to {high}"
        case Real(low, high):
            return f"a number from {low:g} to {high:g}"
        case Text(name, _):
            return name
        case Choice(words):
            return " or ".join(words) if len(words) < 5 else "one of " + ", ".join(words)
        case Many(item):
            return "a list, each " + shown(item)
        case Either(short, _):
            return f"{shown(short)}, or a mapping"
        case MapOf(key, value):
            return f"a mapping of {key.name} to {shown(value)}"
        case Free() | Table():
            return "a mapping"


def validate(node: Node, shape: Shape, where: str, source: Source) -> None:
    """Report everything in `node` that does not have `shape`; `where` is its path in the file."""
    if isinstance(node, Broken):
        return
    match shape:
        case Table():
            _table(node, shape, where, source)
        case Many():
            _many(node, shape, where, source)
        case Either(short, long):
            validate(node, long if isinstance(node, Fields) else short, where, source)
        case MapOf(key, value):
            if not isinstance(node, Fields):
                _wrong(node, shape, where, source)
                return
            for name, (mark, item) in node.fields.items():
                if reason := key.wrong(name):
                    source.report(mark, f"{where}: key {name!r} {reason}", key.name)
                validate(item, value, f"{where}.{name}", source)
        case Free():
            if not isinstance(node, Fields):
                _wrong(node, shape, where, source)
        case _:
            _scalar(node, shape, where, source)


def _table(node: Node, shape: Table, where: str, source: Source) -> None:
    if not isinstance(node, Fields):
        _wrong(node, shape, where, source)
        return
    known = [e.name for e in shape.entries]
    inside = f" in {where}" if where else ""
    for name, (mark, item) in node.fields.items():
        entry = shape.entry(name)
        if entry is None:
            near = nearest(name, known)
            fix = f"did you mean {near!r}?" if near else "remove it"
            source.report(mark, f"unknown key {name!r}{inside}", ", ".join(known), fix)
        else:
            validate(item, entry.shape, f"{where}.{name}" if where else name, source)
    for entry in shape.entries:
        if entry.required and entry.name not in node.fields:
            source.report(node.mark, f"key {entry.name!r} is missing{inside}", shown(entry.shape), "add it")


def _many(node: Node, shape: Many, where: str, source: Source) -> None:
    if not isinstance(node, Items):
        _wrong(node, shape, where, source)
        return
    if not shape.least <= len(node.items) <= shape.most:
        source.report(node.mark, f"{where} has {len(node.items)} items", f"{shape.least} to {shape.most}")
        return
    for i, item in enumerate(node.items):
        validate(item, shape.item, f"{where}[{i}]", source)


def _scalar(node: Node, shape: Shape, where: str, source: Source) -> None:
    value = node.value if isinstance(node, Scalar) else None
    match shape:
        case Flag() if isinstance(value, bool):
            return
        case Whole(low, high) if type(value) is int and low <= value <= high:
            return
        case Real(low, high) if type(value) in (int, float) and low <= cast(float, value) <= high:
            return
        case Choice(words) if isinstance(value, str):
            if value not in words:
                near = nearest(value, words)
                fix = f"did you mean {near!r}?" if near else "use one of them"
                source.report(node.mark, f"{where} is {value!r}", shown(shape), fix)
            return
        case Text(name, wrong) if isinstance(value, str):
            reason = (
                f"is longer than {TEXT_CHARS_MAX} characters" if len(value) > TEXT_CHARS_MAX else wrong(value)
            )
            if reason:
                source.report(node.mark, f"{where}: {value[:80]!r} {reason}", name)
            return
        case _:
            _wrong(node, shape, where, source)


def _wrong(node: Node, shape: Shape, where: str, source: Source) -> None:
    value, fix = _seen(node), "correct the value"
    if isinstance(shape, Text) and isinstance(node, Scalar):
        fix = f"put it in quotes: {str(node.value)!r}"
    elif isinstance(shape, Many) and isinstance(node, Scalar):
        fix = "write a list: [..., ...]"
    source.report(node.mark, f"{where or 'the file'} is {value}", shown(shape), fix)


def _seen(node: Node) -> str:
    if isinstance(node, Scalar):
        kind = {bool: "the boolean", int: "the number", float: "the number", str: "the text"}[
            type(node.value)
        ]
        text = str(node.value).lower() if isinstance(node.value, bool) else repr(node.value)[:80]
        return f"{kind} {text}"
    return "a list" if isinstance(node, Items) else "a mapping"


def plain(node: Node) -> JSON:
    """The node as plain JSON values."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Items):
        return [plain(item) for item in node.items]
    if isinstance(node, Fields):
        return {name: plain(item) for name, (_, item) in node.fields.items()}
    return None


class Section:
    """One validated table; a key that is absent answers with its default.

    node: None when the whole table is absent. file: the short name shown in rules.
    """

    __slots__ = ("file", "node", "path", "table")

    def __init__(self, node: Node | None, table: Table, file: str, path: str) -> None:
        self.node = node if isinstance(node, Fields) else None
        self.table = table
        self.file = file
        self.path = path

    def has(self, name: str) -> bool:
        """Did the author write this key?"""
        return self.node is not None and name in self.node.fields

    def mark(self, name: str = "") -> Mark:
        """Where the key (or the table) stands; line 0 when nobody wrote it."""
        if self.node is None or (name and name not in self.node.fields):
            return Mark(0, 0)
        return self.node.fields[name][0] if name else self.node.mark

    def rule(self, name: str = "", index: int | None = None) -> str:
        """`veilig.yaml:14 agent.commands[2]`, as decisions cite it."""
        path = ".".join(p for p in (self.path, name) if p)
        mark = self.mark(name)
        if index is not None:
            path, mark = f"{path}[{index}]", self._items(name)[index].mark
        return f"{self.file}:{mark.line} {path}" if mark.line else f"{self.file} {path} (default)"

    def flag(self, name: str) -> bool:
        return cast(bool, self._value(name))

    def whole(self, name: str) -> int:
        return cast(int, self._value(name))

    def real(self, name: str) -> float:
        return float(cast(float, self._value(name)))

    def text(self, name: str) -> str:
        return cast(str, self._value(name))

    def texts(self, name: str) -> tuple[str, ...]:
        if not self.has(name):
            return cast(tuple[str, ...], self._value(name))
        return tuple(str(item.value) for item in self._items(name) if isinstance(item, Scalar))

    def section(self, name: str) -> "Section":
        """The table below `name`, all defaults when it is absent."""
        entry = self.table.entry(name)
        shape = entry.shape if entry else None
        if not isinstance(shape, Table):
            raise TypeError(f"{name} is no table of the schema")
        node = self.node.fields[name][1] if self.node is not None and self.has(name) else None
        return Section(node, shape, self.file, f"{self.path}.{name}" if self.path else name)

    def sections(self, name: str) -> tuple["Section | Node", ...]:
        """The items of list `name`: tables as sections, short forms as nodes."""
        entry = self.table.entry(name)
        item = entry.shape.item if entry and isinstance(entry.shape, Many) else None
        table = item.long if isinstance(item, Either) else item
        if not isinstance(table, Table):
            raise TypeError(f"{name} is no list of tables of the schema")
        path = f"{self.path}.{name}" if self.path else name
        return tuple(
            Section(n, table, self.file, f"{path}[{i}]") if isinstance(n, Fields) else n
            for i, n in enumerate(self._items(name))
        )

    def tables(self, name: str) -> tuple["Section", ...]:
        """The items of list `name` that are tables."""
        return tuple(s for s in self.sections(name) if isinstance(s, Section))

    def value(self, name: str) -> Node | None:
        """The node below `name`, None when absent."""
        return self.node.fields[name][1] if self.node is not None and self.has(name) else None

    def _items(self, name: str) -> tuple[Node, ...]:
        node = self.value(name)
        return node.items if isinstance(node, Items) else ()

    def _value(self, name: str) -> object:
        node = self.value(name)
        if isinstance(node, Scalar):
            return node.value
        entry = self.table.entry(name)
        if entry is None:
            raise TypeError(f"{name} is no key of the schema; known: {[e.name for e in self.table.entries]}")
        return entry.default
