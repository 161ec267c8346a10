"""What does the interpreter carry while it walks one function: state, way out, budget and who listens?"""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from veilig.audit.engine.knowledge import Knowledge
from veilig.audit.engine.loading import Load, Loads, Notes
from veilig.audit.engine.source import ClassInfo, FunctionInfo, ModuleInfo, Project
from veilig.audit.engine.state import State, join_states, new_key
from veilig.audit.engine.value import (
    NO_FACTS,
    UNKNOWN,
    Dict,
    Func,
    HeapObject,
    Hop,
    Import,
    Opaque,
    Origin,
    OriginKind,
    Seq,
    Taint,
    Taints,
    Value,
    both_facts,
    facts_on,
    moved,
)
from veilig.audit.finding import Incomplete

STEPS_PER_ENTRY_MAX = 6_000  # statements and calls below one entry point; then no further call is entered
STEPS_TO_FINISH_MAX = 24_000  # what is left to end the functions begun; beyond it the entry point is given up
CALL_DEPTH_MAX = 8
LABEL_CHARS_MAX = 60


class OutOfBudgetError(Exception):
    """The function needs more steps than one entry point may spend."""


@dataclass(slots=True, eq=False)
class CallSite:
    """One call as the rules see it: resolved name, receiver, evaluated arguments."""

    node: ast.Call
    qual: str
    name: str
    receiver: Value | None
    args: list[Value]
    kwargs: dict[str, Value]
    splat: bool = False  # arguments nobody can count came in through * or **

    def arg(self, position: int, keyword: str = "") -> Value | None:
        """The argument by position or keyword; None when it is not given."""
        if keyword and keyword in self.kwargs:
            return self.kwargs[keyword]
        return self.args[position] if 0 <= position < len(self.args) else None


class Listener(Protocol):
    """What the rules are told while the program is followed. Called often: must be quick to say no."""

    def on_call(self, frame: "Frame", site: CallSite) -> None:
        """A call that is not to a project function."""
        ...

    def on_assign(self, frame: "Frame", name: str, value: Value, node: ast.AST) -> None:
        """`name` (dotted, or the key of an item) gets a value."""
        ...

    def on_return(self, frame: "Frame", value: Value, node: ast.AST) -> None:
        """The function hands a value back."""
        ...

    def on_compare(self, frame: "Frame", node: ast.Compare, values: list[Value]) -> None:
        """Two or more values are compared."""
        ...

    def turn(self, told: "Told | None") -> "Told":
        """From now on note what is told here (None: nowhere before); gives what was noted until now."""
        ...


type Told = dict[Any, Any]  # what the rules made of it: the engine only keeps it
type Entry = tuple[Func, State, Func]  # function, state it was defined in, what its decorators made of it
type Evaluator = Callable[["Frame", ast.expr], Value]
type Executor = Callable[["Frame", ast.stmt], None]
type Invoker = Callable[["Frame", Func, list[Value], dict[str, Value], ast.AST], Value]


@dataclass(slots=True, eq=False)
class Engine:
    """Everything that is shared between all functions of one scan."""

    project: Project
    knowledge: Knowledge
    listener: Listener
    evaluators: Mapping[type, Evaluator]
    executors: Mapping[type, Executor]
    invoke: "Invoker"
    base: dict[int, HeapObject] = field(default_factory=dict[int, HeapObject])
    loads: Loads = field(default_factory=Loads)
    notes: Notes = field(default_factory=Notes)  # of the unit that is followed, or the module that is loaded
    home: ModuleInfo | None = None  # that unit's or load's module: functions inside are its entry points
    functions: dict[ast.AST, FunctionInfo] = field(default_factory=dict[ast.AST, FunctionInfo])
    classes: dict[ast.AST, ClassInfo] = field(default_factory=dict[ast.AST, ClassInfo])
    entries: list[Entry] = field(default_factory=list["Entry"])
    entered: set[ast.AST] = field(default_factory=set[ast.AST])
    summaries: dict[ast.AST, dict[object, object]] = field(
        default_factory=dict[ast.AST, dict[object, object]]
    )
    stack: list[ast.AST] = field(default_factory=list[ast.AST])
    # parts of tainted values and what checking them grants the whole: see origins.py
    parts: dict[tuple[int, object], Origin] = field(default_factory=dict[tuple[int, object], Origin])
    grants: dict[int, tuple[int, frozenset[str]]] = field(
        default_factory=dict[int, tuple[int, frozenset[str]]]
    )
    incomplete: list[Incomplete] = field(default_factory=list[Incomplete])
    steps_left: int = STEPS_PER_ENTRY_MAX
    reserve: int = 0  # a call that would start below this is not entered: the caller needs the rest itself
    cuts: int = 0  # calls that were not entered so far: what was made of them is less sure
    literal_route: bool = False  # every route of the entry point is fixed text: so is request.path
    position: ast.AST | None = None  # the statement being executed, for steps of a flow
    undo: "list[Write]" = field(default_factory=list["Write"])  # outer names written: undone at the end
    run_module: "Callable[[Engine, Load], None]" = lambda _engine, _load: None

    def spend(self) -> None:
        """Count one step; raises OutOfBudgetError when even the functions begun do not come to an end."""
        self.steps_left -= 1
        if self.steps_left < -STEPS_TO_FINISH_MAX:
            raise OutOfBudgetError

    def let_go(self) -> None:
        """Forget everything that was worked out. Names that stand for an import lead back here: without
        this, trees would stay until the interpreter looks for rings."""
        for load in (*self.loads.known.values(), *self.loads.by_themselves.values()):
            load.names.clear()
        self.loads = Loads()
        for known in (self.base, self.functions, self.classes, self.summaries, self.parts, self.grants):
            known.clear()
        self.entries, self.entered, self.undo = [], set(), []
        self.position, self.home = None, None

    def renew(self) -> None:
        """The full budget, for the next entry point or module."""
        self.steps_left, self.reserve = STEPS_PER_ENTRY_MAX, 0

    def module_globals(self, module: ModuleInfo) -> dict[str, Value]:
        """The module's names after its body ran; what is there so far while it is still running."""
        return self.loads.names(self, module)

    def write_outside(self, names: dict[str, Value], name: str, value: Value) -> None:
        """Change a name of a module or closure, for as long as the present unit is followed."""
        active = self.loads.active
        if not active or names is not active[-1].names:
            self.undo.append((names, name, names.get(name)))
        names[name] = value

    def roll_back(self) -> "list[Write]":
        """Undo what was written outside; the result is for `redo`."""
        again: list[Write] = []
        while self.undo:
            names, name, old = self.undo.pop()
            again.append((names, name, names.get(name)))
            _put(names, name, old)
        return again

    def redo(self, writes: "list[Write]") -> None:
        """Write again what `roll_back` undid."""
        for names, name, value in reversed(writes):
            self.undo.append((names, name, names.get(name)))
            _put(names, name, value)


type Write = tuple[dict[str, Value], str, Value | None]


def _put(names: dict[str, Value], name: str, value: Value | None) -> None:
    if value is None:
        names.pop(name, None)
    else:
        names[name] = value


@dataclass(slots=True, eq=False)
class Frame:
    """One activation of a function, class body or module body."""

    engine: Engine
    module: ModuleInfo
    state: State
    func: FunctionInfo | None = None
    scope: str = ""  # qualified name of where we are, for messages and fingerprints
    closure: dict[str, Value] | None = None
    depth: int = 0
    live: bool = True
    returns: list[tuple[Value, State]] = field(default_factory=list[tuple[Value, State]])
    yields: Value | None = None
    breaks: list[State] = field(default_factory=list[State])
    continues: list[State] = field(default_factory=list[State])
    outer_names: set[str] = field(default_factory=set[str])
    caught: list[State] | None = None  # states in which a surrounding try may be left
    class_info: ClassInfo | None = None  # set while a class body runs
    self_class: Value | None = None
    self_value: Value | None = None

    def eval(self, node: ast.expr) -> Value:
        """The abstract value of the expression; unknown kinds of expression are unknown values."""
        evaluator = self.engine.evaluators.get(type(node))
        return evaluator(self, node) if evaluator is not None else UNKNOWN

    def run(self, statements: list[ast.stmt]) -> None:
        """Execute until the end or until control leaves; rules still see nothing of dead code."""
        executors = self.engine.executors
        spend = self.engine.spend
        for statement in statements:
            if not self.live:
                return
            spend()
            self.engine.position = statement
            executor = executors.get(type(statement))
            if executor is not None:
                executor(self, statement)

    def branch(self, state: State, statements: list[ast.stmt]) -> State | None:
        """The state after the statements from `state`, or None when control does not come out."""
        self.state, self.live = state, True
        self.run(statements)
        return self.state if self.live else None

    def resume(self, state: State | None, fallback: State) -> None:
        """Go on from `state`; None means nothing goes on, `fallback` is kept for what is still looked up."""
        self.live = state is not None
        self.state = state if state is not None else fallback

    def learn(self, facts: Mapping[int, frozenset[str]]) -> None:
        """From here on the facts hold."""
        if facts:
            self.state.facts = both_facts(self.state.facts, facts)

    def source(self, node: ast.AST, kind: OriginKind, label: str = "") -> Taints:
        """Taints of a value decided by `kind` at this place: a new origin each time."""
        line: int = getattr(node, "lineno", 1)
        column: int = getattr(node, "col_offset", 0)
        text = label or short_source(node)
        hop = Hop(self.module.path, line, column, f"{text} is decided by {DECIDERS[kind]}")
        return (Taint(Origin(new_key(), kind, text), hop),)

    def source_part(self, whole: str, part: str, kind: OriginKind) -> Taints:
        """Taints of a named part of a source; read twice within one entry point, it is one origin."""
        key = (0, f"{whole}.{part}")
        origin = self.engine.parts.get(key)
        if origin is None:
            label = f"{whole.removeprefix('http.')}.{part}"
            origin = self.engine.parts[key] = Origin(new_key(), kind, label)
        node = self.engine.position
        what = f"{origin.label} is decided by {DECIDERS[kind]}"
        line: int = getattr(node, "lineno", 1)
        return (Taint(origin, Hop(self.module.path, line, getattr(node, "col_offset", 0), what)),)

    def move(self, taints: Taints, node: ast.AST, what: str) -> Taints:
        """The taints with a stop at this node."""
        if not taints:
            return taints
        line: int = getattr(node, "lineno", 1)
        return moved(taints, self.module.path, line, getattr(node, "col_offset", 0), what)

    def safe_for(self, taint: Taint) -> frozenset[str]:
        """What the value may be used for here, sanitisers and guards together."""
        facts = self.state.facts
        known = facts_on(facts, taint.origin) if facts else None
        return taint.safe | known if known else taint.safe

    def lookup(self, name: str) -> Value | None:
        """What the name means here; None when the module does not define it."""
        value = self.state.env.get(name)
        if value is None and self.closure is not None:
            value = self.closure.get(name)
        if value is None:
            value = self.engine.module_globals(self.module).get(name)
        return value.get() if isinstance(value, Import) else value

    def new_seq(self, kind: str, *items: Value, rest: Value | None = None) -> Value:
        """A new sequence on the heap."""
        return self.state.new(Seq(kind, items, rest))

    def new_dict(self, items: dict[object, Value], rest: Value | None = None) -> Value:
        """A new mapping on the heap."""
        return self.state.new(Dict(items, rest))

    def join(self, left: State | None, right: State | None) -> State | None:
        """The meeting of two ways."""
        return join_states(left, right)


DECIDERS = {
    OriginKind.REMOTE: "whoever sends the request",
    OriginKind.LOCAL: "whoever starts the program",
    OriginKind.ENVIRONMENT: "the environment",
    OriginKind.STORED: "what was stored before",
    OriginKind.PARAMETER: "the caller",
    OriginKind.SECRET: "a secret",
    OriginKind.RANDOM: "a predictable generator",
    OriginKind.ARCHIVE: "whoever made the archive",
    OriginKind.CLOCK: "the clock",
    OriginKind.ERROR: "an internal error",
}


def short_source(node: ast.AST) -> str:
    """The code of the node on one line, cut to LABEL_CHARS_MAX characters."""
    try:
        text = ast.unparse(node)
    except (RecursionError, ValueError, AttributeError):
        return "value"
    text = " ".join(text.split())
    return text if len(text) <= LABEL_CHARS_MAX else text[: LABEL_CHARS_MAX - 3] + "..."


def opaque(qual: str, taints: Taints = (), prefix: str = "") -> Opaque:
    """An unknown value reached as `qual`; very long chains lose their beginning."""
    if len(qual) > 160:
        qual = "..." + qual[-120:]
    return Opaque(qual, taints, prefix, NO_FACTS, NO_FACTS)
