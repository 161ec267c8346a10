"""How is a script parsed? By tree-sitter when `veilig[languages]` is installed; imported on first use."""

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from veilig.audit.finding import Confidence
from veilig.audit.languages.rule import GrammarMissingError, Place, UnreadableError
from veilig.audit.rows import diff_rows

if TYPE_CHECKING:
    from tree_sitter import Node, Parser, Query

# grammar -> (module, function that hands out the grammar)
GRAMMARS = {
    "javascript": ("tree_sitter_javascript", "language"),
    "typescript": ("tree_sitter_typescript", "language_typescript"),
    "tsx": ("tree_sitter_typescript", "language_tsx"),
    "bash": ("tree_sitter_bash", "language"),
    "hcl": ("tree_sitter_hcl", "language"),
}
WIDTH_MAX = 20_000  # nodes looked at below one expression: generated tables are not followed to their end
ERRORS_SHARE_MAX = 0.2  # of the text: above, the file is something else than its name says


class Tree:
    """One parsed file: its nodes by kind, in reading order."""

    def __init__(self, path: str, text: str, grammar: str, kinds: tuple[str, ...]) -> None:
        """Raises GrammarMissingError without the grammar, UnreadableError when the text is another language."""
        self.path = path
        self.source = text.encode("utf-8", "surrogatepass")
        self.lines = diff_rows(text)  # as tree-sitter counts: LF alone
        parser, query = parser_of(grammar, kinds)
        from tree_sitter import QueryCursor

        self.root = parser.parse(self.source).root_node
        captured = QueryCursor(query).captures(self.root)
        self.nodes: dict[str, list[Node]] = dict(captured)
        for nodes in self.nodes.values():
            nodes.sort(key=lambda node: (node.start_byte, -node.end_byte))
        wrong = sum(node.end_byte - node.start_byte for node in self.nodes.get("ERROR", ()))
        if wrong > ERRORS_SHARE_MAX * max(len(self.source), 1):
            raise UnreadableError(f"not parsable as {grammar}: {wrong} of {len(self.source)} bytes")

    def of(self, *kinds: str) -> "Iterator[Node]":
        """All nodes of these kinds."""
        for kind in kinds:
            yield from self.nodes.get(kind, ())

    def place(
        self,
        node: "Node",
        confidence: Confidence = Confidence.CERTAIN,
        detail: str = "",
        origin: tuple[int, str] | None = None,
    ) -> Place:
        """The place of a node, its columns counted in characters."""
        start, end = node.start_point, node.end_point
        return Place(
            start[0] + 1,
            self._column(start[0], start[1]),
            end[0] + 1,
            self._column(end[0], end[1]),
            confidence,
            detail,
            origin,
        )

    def _column(self, row: int, column: int) -> int:
        if row >= len(self.lines):
            return column
        return len(self.lines[row].encode("utf-8", "surrogatepass")[:column].decode("utf-8", "replace"))


def text_of(node: "Node | None") -> str:
    """The source of a node; empty for none."""
    return node.text.decode("utf-8", "replace") if node is not None and node.text is not None else ""


def field(node: "Node", name: str) -> "Node | None":
    """The child in this role."""
    return node.child_by_field_name(name)


def below(node: "Node", *, stop: frozenset[str] = frozenset()) -> "Iterator[Node]":
    """The node and everything inside in reading order, without what lies in nodes of the kinds `stop`."""
    stack, count = [node], 0
    while stack and count < WIDTH_MAX:
        item = stack.pop()
        count += 1
        yield item
        if item is node or item.type not in stop:
            stack.extend(reversed(item.named_children))


def above(node: "Node") -> "Iterator[Node]":
    """The nodes around, innermost first."""
    parent = node.parent
    while parent is not None:
        yield parent
        parent = parent.parent


@cache
def parser_of(grammar: str, kinds: tuple[str, ...]) -> "tuple[Parser, Query]":
    """The parser of a grammar and a query for these kinds of node. Raises GrammarMissingError."""
    module, function = GRAMMARS[grammar]
    try:
        import tree_sitter

        pointer: Any = getattr(import_module(module), function)()
    except ImportError as error:
        raise GrammarMissingError(module) from error
    language = _language(pointer)
    query = " ".join(f"({kind}) @{kind}" for kind in (*kinds, "ERROR"))
    return tree_sitter.Parser(language), tree_sitter.Query(language, query)


def _language(pointer: Any) -> Any:
    import warnings

    import tree_sitter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        make: Any = tree_sitter.Language
        return make(pointer)
