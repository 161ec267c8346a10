"""What is a template family, what does it see, and what may it offer?"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from veilig.repair.source import Scope, Source

# How tightly a piece of text holds together, as in Python's grammar; a looser one needs parentheses.
ATOM, UNARY, ARITHMETIC, COMPARISON, NOT, AND, OR, TERNARY = 10, 9, 8, 6, 5, 4, 3, 2


@dataclass(frozen=True, slots=True)
class Hints:
    """What the failures say beyond their lines: exception names, keys, and constants that tests expect."""

    exceptions: tuple[str, ...] = ()
    strings: tuple[str, ...] = ()
    integers: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    words: tuple[str, ...] = ()  # what the failing tests themselves write as text
    of_none: bool = False  # something is None that should not be, as the failure says
    of_type: bool = False  # something is of another type than the code expects, as the failure says


@dataclass(frozen=True, slots=True)
class Draft:
    """Changes [start, end) -> text on one module, and what they cost on top of the family."""

    changes: tuple[tuple[int, int, str], ...]
    cost: float = 0.0


@dataclass(frozen=True, slots=True)
class Site:
    """One node of one statement, and everything that can be said about the place."""

    source: Source
    node: ast.AST
    statement: ast.stmt
    hints: Hints = field(default_factory=Hints)

    @property
    def scope(self) -> Scope:
        return self.source.scope(self.node)

    @property
    def parent(self) -> ast.AST | None:
        return self.source.parents.get(self.node)

    def text(self, node: ast.AST) -> str:
        return self.source.segment(node)

    def put(self, node: ast.AST, text: str, level: int = ATOM, cost: float = 0.0) -> Draft:
        """The node replaced by text of the given tightness, in parentheses where the place needs them."""
        start, end = self.source.span(node)
        if level < self.needed(node) and not self._in_parentheses(start, end):
            text = f"({text})"
        return Draft(((start, end, text),), cost)

    def needed(self, node: ast.AST) -> int:
        """The loosest level that may stand here without parentheses."""
        above = self.source.parents.get(node)
        match above:
            case ast.BinOp():
                return UNARY
            case ast.UnaryOp(op=ast.Not()):
                return NOT
            case ast.UnaryOp():
                return UNARY
            case ast.Compare():
                return ARITHMETIC
            case ast.BoolOp(op=ast.And()):
                return NOT
            case ast.BoolOp():
                return AND
            case ast.IfExp() | ast.comprehension():
                return OR
            case ast.Attribute() | ast.Await():
                return ATOM
            case ast.Subscript(value=inner) | ast.Call(func=inner) if inner is node:
                return ATOM
            case ast.Starred():
                return ARITHMETIC
            case _:
                return 0

    def _in_parentheses(self, start: int, end: int) -> bool:
        text = self.source.text
        above = self.parent
        # The parentheses of a call belong to the call, not to its argument.
        if isinstance(above, ast.Call):
            return False
        return text[start - 1 : start] == "(" and text[end : end + 1] == ")"

    def between(self, left: ast.AST, right: ast.AST, text: str, cost: float = 0.0) -> Draft:
        """The characters between two nodes (an operator) replaced."""
        start, end = self.source.span(left)[1], self.source.span(right)[0]
        old = self.source.text[start:end]
        # Parentheses around the operands and comments stay where they are.
        core = old.strip(" ()\\\n\t")
        place = old.find(core)
        return Draft(((start + place, start + place + len(core), text),), cost)


type Make = Callable[[Site], Iterator[Draft]]


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of repair: on which nodes it works, what it costs at best, and how to say it to a person.

    whole: True when it works on statements; it then gets the statement as its node.
    """

    name: str
    cost: float
    on: tuple[type[ast.AST], ...]
    make: Make
    says: str


def level_of(node: ast.AST) -> int:
    """How tightly an existing expression holds together."""
    match node:
        case ast.BinOp():
            return ARITHMETIC
        case ast.UnaryOp(op=ast.Not()):
            return NOT
        case ast.UnaryOp() | ast.Await():
            return UNARY
        case ast.Compare():
            return COMPARISON
        case ast.BoolOp(op=ast.And()):
            return AND
        case ast.BoolOp():
            return OR
        case ast.IfExp():
            return TERNARY
        case ast.Lambda() | ast.NamedExpr() | ast.Yield() | ast.YieldFrom() | ast.Starred():
            return 0
        case ast.GeneratorExp():
            return ATOM
        case ast.Tuple():
            return 0
        case _:
            return ATOM


def loads(node: ast.AST) -> bool:
    """True for an expression that is read, not assigned to or deleted."""
    return isinstance(node, ast.expr) and isinstance(getattr(node, "ctx", ast.Load()), ast.Load)
