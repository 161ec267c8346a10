"""Which blocks does a Terraform file hold, with which values?"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from veilig.audit.finding import Confidence
from veilig.audit.languages.grammar import Tree, below, field, text_of
from veilig.audit.languages.rule import Place

if TYPE_CHECKING:
    from tree_sitter import Node

KINDS = ("block", "object", "function_call")


@dataclass(frozen=True, slots=True)
class Value:
    """One attribute's value; `text` without quotes, lower case."""

    node: "Node"

    @property
    def source(self) -> str:
        """The expression as written."""
        return text_of(self.node)

    @property
    def text(self) -> str:
        """The literal, or the expression, without quotes and in lower case."""
        return text_of(self.node).strip().strip('"').lower()

    @property
    def literal(self) -> bool:
        """Whether it is a text without anything to be filled in."""
        source = text_of(self.node)
        return source.startswith('"') and "${" not in source and "%{" not in source


@dataclass(frozen=True, slots=True)
class Block:
    """One block: `resource "aws_instance" "web" {` has kind resource and labels (aws_instance, web)."""

    kind: str
    labels: tuple[str, ...]
    node: "Node"

    @property
    def type(self) -> str:
        """What it declares: the first label."""
        return self.labels[0] if self.labels else ""

    def _body(self) -> "list[Node]":
        body = next((c for c in self.node.named_children if c.type == "body"), None)
        return body.named_children if body is not None else []

    def attributes(self) -> Iterator[tuple[str, Value]]:
        """The attributes that stand directly in it."""
        for item in self._body():
            parts = item.named_children
            if item.type == "attribute" and len(parts) >= 2:
                yield text_of(parts[0]), Value(parts[-1])

    def get(self, name: str) -> Value | None:
        """The attribute of this name; None when it is not given."""
        return next((value for key, value in self.attributes() if key == name), None)

    def blocks(self, *kinds: str) -> "Iterator[Block]":
        """The blocks directly inside; a `dynamic` one counts as what it makes."""
        for item in self._body():
            if item.type == "block":
                block = block_of(item)
                if block.kind == "dynamic" and block.type in kinds:
                    yield from (b for b in block.blocks("content"))
                elif not kinds or block.kind in kinds:
                    yield block

    def find(self, *path: str) -> Value | None:
        """The attribute at the end of a path of blocks."""
        blocks = [self]
        for kind in path[:-1]:
            blocks = [inner for block in blocks for inner in block.blocks(kind)]
        return next((v for b in blocks if (v := b.get(path[-1])) is not None), None)


class Terraform(Tree):
    """A Terraform (or other HCL) file."""

    def __init__(self, path: str, text: str) -> None:
        """Raises GrammarMissingError and UnreadableError."""
        super().__init__(path, text, "hcl", KINDS)
        self.blocks = tuple(block_of(n) for n in self.of("block"))

    def resources(self, *types: str) -> Iterator[Block]:
        """The resources of these types; a type may end in *."""
        stems = tuple(t[:-1] for t in types if t.endswith("*"))
        for block in self.blocks:
            if block.kind == "resource" and (block.type in types or (stems and block.type.startswith(stems))):
                yield block

    def statements(self) -> "Iterator[dict[str, Value]]":
        """The statements of policies: objects in jsonencode, and `statement` blocks of policy documents."""
        for node in self.of("object"):
            pairs: dict[str, Value] = {}
            for item in node.named_children:
                key, value = field(item, "key"), field(item, "val")
                if item.type == "object_elem" and key is not None and value is not None:
                    pairs[text_of(key).strip('"').lower()] = Value(value)
            if "effect" in pairs or "action" in pairs:
                yield pairs
        for block in self.blocks:
            if block.kind == "statement":
                renamed = {"actions": "action", "resources": "resource"}
                yield {renamed.get(k, k): v for k, v in block.attributes()}

    def at(
        self, value: Value | Block, detail: str = "", confidence: Confidence = Confidence.CERTAIN
    ) -> Place:
        """The place of a value, or of a block's first line."""
        node = value.node
        if isinstance(value, Block):
            node = node.named_children[0]
        return self.place(node, confidence, detail)


def block_of(node: "Node") -> Block:
    """The block that a node is."""
    names: list[str] = []
    for child in node.named_children:
        if child.type in ("identifier", "string_lit"):
            names.append(text_of(child).strip('"'))
        elif child.type == "block_start":
            break
    return Block(names[0] if names else "", tuple(names[1:]), node)


__all__ = ["Block", "Terraform", "Value", "below"]
