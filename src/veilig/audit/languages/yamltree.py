"""What does a YAML file say, and where? A tree with positions that an alias cannot blow up."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from veilig.audit.finding import Confidence
from veilig.audit.languages.rule import Place, UnreadableError

if TYPE_CHECKING:
    import yaml

CHARS_MAX = 400_000  # the safe parser is slow: larger YAML is data
NODES_MAX = 200_000
FLOW_DEPTH_MAX = 60
_DEEP = re.compile(r"[\[{]\s*" * FLOW_DEPTH_MAX)


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One value of the tree; a key that is not there gives an item without a node."""

    node: "yaml.Node | None"
    key: "yaml.Node | None" = None

    def get(self, *keys: str) -> "Item":
        """The value below these keys."""
        item = self
        for key in keys:
            item = next((v for k, v in item.items() if k == key), Item(None))
        return item

    def items(self) -> "Iterator[tuple[str, Item]]":
        """The pairs of a mapping; nothing for anything else."""
        if _kind(self.node) == "mapping" and self.node is not None:
            pairs = cast("list[tuple[yaml.Node, yaml.Node]]", self.node.value)
            for key, value in pairs:
                if isinstance(key.value, str):
                    yield key.value, Item(value, key)

    def each(self) -> "Iterator[Item]":
        """The items of a list; nothing for anything else."""
        if _kind(self.node) == "sequence" and self.node is not None:
            yield from (Item(n) for n in cast("list[yaml.Node]", self.node.value))

    def keys(self) -> set[str]:
        """The keys of a mapping."""
        return {key for key, _ in self.items()}

    @property
    def text(self) -> str:
        """The words of a scalar; empty for anything else."""
        return str(self.node.value) if self.node is not None and _kind(self.node) == "scalar" else ""

    @property
    def texts(self) -> list[str]:
        """The words of a scalar, or of a list of scalars."""
        return [self.text] if self.text else [i.text for i in self.each()]

    @property
    def on(self) -> bool:
        """Whether it says true."""
        return self.text.lower() in ("true", "yes", "on")

    @property
    def off(self) -> bool:
        """Whether it says false."""
        return self.text.lower() in ("false", "no", "off")

    def __bool__(self) -> bool:
        return self.node is not None

    def below(self) -> "Iterator[tuple[str, Item]]":
        """Every pair inside, each node once however many aliases lead to it."""
        seen: set[int] = set()
        stack: list[Item] = [self]
        while stack and len(seen) < NODES_MAX:
            item = stack.pop()
            if item.node is None or id(item.node) in seen:
                continue
            seen.add(id(item.node))
            pairs = list(item.items())
            yield from pairs
            stack.extend(reversed([*(v for _, v in pairs), *item.each()]))

    def place(self, confidence: Confidence = Confidence.CERTAIN, detail: str = "") -> Place:
        """From the key (when there is one) to the end of its first line."""
        at = self.key or self.node
        if at is None:
            return Place(1, 0, 1, 0, confidence, detail)
        mark, end = at.start_mark, at.end_mark
        return Place(mark.line + 1, mark.column, end.line + 1, end.column, confidence, detail)


class Yaml:
    """A YAML file: its documents."""

    def __init__(self, path: str, text: str) -> None:
        """Raises UnreadableError."""
        import yaml

        if len(text) > CHARS_MAX:
            raise UnreadableError(f"YAML of more than {CHARS_MAX} characters")
        if _DEEP.search(text):
            raise UnreadableError("nested too deeply to parse")
        self.path = path
        self.lines = text.splitlines()
        try:
            nodes = cast("list[yaml.Node | None]", list(yaml.compose_all(text, Loader=yaml.SafeLoader)))
        except (yaml.YAMLError, ValueError, AttributeError) as error:
            raise UnreadableError(f"not parsable as YAML: {str(error).splitlines()[0]}") from error
        except RecursionError as error:
            raise UnreadableError("nested too deeply to parse") from error
        self.documents = tuple(Item(n) for n in nodes if n is not None)


def _kind(node: "yaml.Node | None") -> str:
    """mapping, sequence or scalar; empty for none."""
    return str(getattr(node, "id", ""))
