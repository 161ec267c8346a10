"""Which rules does the program break, told call by call while the engine follows it?"""

import ast
import re
from dataclasses import dataclass, field
from typing import Protocol

from veilig.audit.engine.frame import CallSite, Frame
from veilig.audit.engine.state import children, deep_taints
from veilig.audit.engine.value import EVERY_KIND, Hop, Opaque, OriginKind, Ref, Seq, Taint, Value
from veilig.audit.finding import Confidence, Finding, Severity, Step
from veilig.audit.rules.rule import AssignCheck, Check, Rule, Sink

FLOW_STEPS_MAX = 24
_HOST_FIXED = re.compile(r"^[a-z][a-z0-9+.-]*://[^/?#]+[/?#]", re.IGNORECASE)
_LOCAL_PATH = re.compile(r"^/[^/\\]|^[a-zA-Z0-9_.-]+/|^[?#]")


@dataclass(slots=True, eq=False)
class Hit:
    """One broken rule before it becomes a finding; better proof of the same place replaces it."""

    rule: Rule
    frame_path: str
    scope: str
    node: ast.AST
    message: str
    severity: Severity
    confidence: Confidence
    flow: tuple[Step, ...]

    def node_column(self) -> int:
        """Where on its line the weakness starts, from 0."""
        column: int = getattr(self.node, "col_offset", 0)
        return column


class LinesByPath(Protocol):
    """Source lines of any file: a dict, or something that splits texts when asked."""

    def get(self, path: str, default: list[str], /) -> list[str]:
        """The lines, or the default when there is no such file."""
        ...


type Place = tuple[str, str, int, int]  # rule, path, line, column


@dataclass(slots=True, eq=False)
class Detector:
    """A Listener that applies every rule to what it is told."""

    rules: tuple[Rule, ...]
    texts: LinesByPath
    hits: dict[Place, Hit] = field(default_factory=dict[Place, Hit])
    sinks: dict[str, list[tuple[Rule, Sink]]] = field(default_factory=dict[str, list[tuple[Rule, Sink]]])

    checks: dict[str, list[tuple[Rule, Check]]] = field(default_factory=dict[str, list[tuple[Rule, Check]]])
    assigns: list[tuple[Rule, AssignCheck]] = field(default_factory=list[tuple[Rule, AssignCheck]])
    names: dict[str, list[tuple[Rule, AssignCheck]]] = field(
        default_factory=dict[str, list[tuple[Rule, AssignCheck]]]
    )
    returns: list[Rule] = field(default_factory=list[Rule])
    comparisons: list[Rule] = field(default_factory=list[Rule])

    def __post_init__(self) -> None:
        for rule in self.rules:
            for check in rule.checks:
                for name in check.calls:
                    self.checks.setdefault(name, []).append((rule, check))
        for rule in self.rules:
            for sink in rule.sinks:
                for name in sink.calls:
                    self.sinks.setdefault(name, []).append((rule, sink))
        self.assigns = [(rule, check) for rule in self.rules for check in rule.assigns]
        self.returns = [rule for rule in self.rules if rule.returned is not None]
        self.comparisons = [rule for rule in self.rules if rule.compared is not None]

    def turn(self, told: dict[Place, Hit] | None) -> dict[Place, Hit]:
        """From now on collect in `told`; gives what was collected until now."""
        before, self.hits = self.hits, {} if told is None else told
        return before

    def on_call(self, frame: Frame, site: CallSite) -> None:
        """Sinks and checks of this call, by qualified name and by method name."""
        names = (site.qual, "." + site.name if site.name else "")
        for name in names:
            if not name:
                continue
            for rule, sink in self.sinks.get(name, ()):
                self._sink(frame, site, rule, sink)
            for rule, check in self.checks.get(name, ()):
                if check.when(frame, site):
                    self.hit(frame, site.node, rule, rule.what, rule.severity, check.confidence, ())

    def _sink(self, frame: Frame, site: CallSite, rule: Rule, sink: Sink) -> None:
        for where in sink.args:
            if where == "*":
                values = [*site.args, *site.kwargs.values()]
            elif where == "self":
                values = [site.receiver] if site.receiver is not None else []
            elif isinstance(where, int):
                values = site.args[where : where + 1]
            else:
                values = [site.kwargs[where]] if where in site.kwargs else []
            if rule.kind == "csv":
                values = [item for value in values for item in _cells(frame, value)]
            for value in values:
                taint = self._dangerous(frame, rule, value)
                if taint is not None and (sink.when is None or sink.when(frame, site)):
                    self._flow(frame, site.node, rule, taint)
                    return

    def _dangerous(self, frame: Frame, rule: Rule, value: Value) -> Taint | None:
        """The worst origin of the value that nobody made harmless for this use."""
        best: Taint | None = None
        if rule.kind == "html" and isinstance(value, Ref):
            held = frame.state.get(value)
            if isinstance(held, Seq) and held.items:
                value = held.items[0]  # (body, status, headers): only the body is a page
        if isinstance(value, Opaque) and value.prefix and _prefix_binds(rule.kind, value.prefix):
            return None
        for taint in deep_taints(frame.state, value):
            if taint.origin.kind not in rule.origins:
                continue
            safe = frame.safe_for(taint)
            if rule.kind in safe or (EVERY_KIND in safe) is not (rule.kind == "size"):
                continue
            if rule.kind == "code" and _is_literal(safe):
                continue
            if rule.kind == "redirect" and {"rooted", "not-double"} <= safe:
                continue
            if best is None or (best.weak and not taint.weak):
                best = taint
        return best

    def _flow(self, frame: Frame, node: ast.AST, rule: Rule, taint: Taint) -> None:
        kind = taint.origin.kind
        confidence = Confidence.POSSIBLE if taint.weak else rule.flow_confidence
        severity = rule.severity
        if kind in (OriginKind.PARAMETER, OriginKind.STORED):
            confidence = max(confidence, Confidence.POSSIBLE, key=lambda c: c.rank)
        elif kind in (OriginKind.LOCAL, OriginKind.ENVIRONMENT) and severity.rank > 0:
            severity = tuple(Severity)[severity.rank - 1]
        line: int = getattr(node, "lineno", 1)
        end = Hop(frame.module.path, line, getattr(node, "col_offset", 0), rule.what, taint.hop)
        message = f"{rule.what}: {taint.origin.label} arrives here"
        self.hit(frame, node, rule, message, severity, confidence, self._steps(end))

    def _steps(self, hop: Hop) -> tuple[Step, ...]:
        steps: list[Step] = []
        current: Hop | None = hop
        while current is not None and len(steps) < FLOW_STEPS_MAX:
            lines = self.texts.get(current.path, [])
            text = lines[current.line - 1].strip() if 0 < current.line <= len(lines) else ""
            steps.append(Step(current.path, current.line, current.column, text[:200], current.what))
            current = current.before
        return tuple(reversed(steps))

    def hit(
        self,
        frame: Frame,
        node: ast.AST,
        rule: Rule,
        message: str,
        severity: Severity,
        confidence: Confidence,
        flow: tuple[Step, ...],
    ) -> None:
        """Note a broken rule; at one place the best proof wins."""
        if frame.module.is_test:
            return
        self.add(Hit(rule, frame.module.path, frame.scope, node, message, severity, confidence, flow))

    def add(self, hit: Hit) -> None:
        """Keep the hit unless this place is known with better proof."""
        line: int = getattr(hit.node, "lineno", 1)
        key = (hit.rule.id, hit.frame_path, line, hit.node_column())
        seen = self.hits.get(key)
        if seen is None or (hit.confidence.rank, -hit.severity.rank) < (
            seen.confidence.rank,
            -seen.severity.rank,
        ):
            self.hits[key] = hit

    def on_assign(self, frame: Frame, name: str, value: Value, node: ast.AST) -> None:
        """Values given to names, fields and keys."""
        applicable = self.names.get(name)
        if applicable is None:
            applicable = self.names[name] = [pair for pair in self.assigns if pair[1].names(name)]
        for rule, check in applicable:
            if check.when(frame, name, value) and not (check.written and _passed_in(frame, node)):
                message = f"{rule.what}: {name.rpartition('.')[2]}"
                self.hit(frame, node, rule, message, rule.severity, check.confidence, ())

    def on_return(self, frame: Frame, value: Value, node: ast.AST) -> None:
        """Values handed back by functions whose result goes out."""
        for rule in self.returns:
            taint = self._dangerous(frame, rule, value)
            if taint is not None and rule.returned is not None and rule.returned(frame, value):
                self._flow(frame, node, rule, taint)

    def on_compare(self, frame: Frame, node: ast.Compare, values: list[Value]) -> None:
        """Comparisons whose duration tells something."""
        for rule in self.comparisons:
            if rule.compared is not None and rule.compared(frame, node, values):
                self.hit(frame, node, rule, rule.what, rule.severity, rule.check_confidence, ())


def _passed_in(frame: Frame, node: ast.AST) -> bool:
    """Whether a value is, or is taken out of, a parameter that has no text of its own as default."""
    while isinstance(node, ast.Assign | ast.AnnAssign | ast.Attribute | ast.Subscript):
        node = node.value or node
        if isinstance(node, ast.AnnAssign):
            return False
    if not isinstance(node, ast.Name) or frame.func is None or isinstance(frame.func.node, ast.Lambda):
        return False
    given = frame.func.node.args
    plain = [*given.posonlyargs, *given.args]
    defaults = dict(
        zip((a.arg for a in plain[len(plain) - len(given.defaults) :]), given.defaults, strict=True)
    )
    defaults |= {a.arg: d for a, d in zip(given.kwonlyargs, given.kw_defaults, strict=True) if d is not None}
    named = [*plain, *given.kwonlyargs, *(a for a in (given.vararg, given.kwarg) if a is not None)]
    literal = isinstance(held := defaults.get(node.id), ast.Constant) and isinstance(held.value, str)
    return not literal and any(a.arg == node.id for a in named)


def _is_literal(safe: frozenset[str]) -> bool:
    """Checked to begin and end with a quote that does not come again inside: evaluated, it is a text."""
    return any({f"opens-{q}", f"closes-{q}", f"inside-no-{q}"} <= safe for q in ("'", '"'))


def _cells(frame: Frame, value: Value) -> list[Value]:
    """The cells of a row, or of a list of rows."""
    held = frame.state.get(value) if isinstance(value, Ref) else None
    if held is None:
        return [value]
    return [cell for item in children(held) for cell in _cells(frame, item)]


def _prefix_binds(kind: str, prefix: str) -> bool:
    """Whether the known beginning already decides what an attacker would want to."""
    if kind == "url":
        return _HOST_FIXED.match(prefix) is not None
    if kind == "csv":
        return prefix[0] not in "=+-@\t\r"
    if kind == "redirect":
        return _HOST_FIXED.match(prefix) is not None or _LOCAL_PATH.match(prefix) is not None
    return False


def finding_of(hit: Hit, fingerprint: str) -> Finding:
    """The finding a hit stands for."""
    node = hit.node
    line: int = getattr(node, "lineno", 1)
    column: int = getattr(node, "col_offset", 0)
    return Finding(
        rule=hit.rule.id,
        cwe=hit.rule.cwe,
        title=hit.rule.title,
        message=hit.message,
        path=hit.frame_path,
        line=line,
        column=column,
        end_line=getattr(node, "end_lineno", None) or line,
        end_column=getattr(node, "end_col_offset", None) or column,
        severity=hit.severity,
        confidence=hit.confidence,
        flow=hit.flow,
        fix_id=hit.rule.fix_id,
        fingerprint=fingerprint,
    )
