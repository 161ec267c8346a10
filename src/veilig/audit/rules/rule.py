"""What does one rule say: what it finds, why it hurts, where, with examples that run as its tests?"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from veilig.audit.engine.frame import CallSite, Frame
from veilig.audit.engine.value import OriginKind, Value
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.sketch import Sketch

REMOTE = frozenset({OriginKind.REMOTE})
OUTSIDE = frozenset({OriginKind.REMOTE, OriginKind.LOCAL})
KEPT = frozenset({OriginKind.REMOTE, OriginKind.STORED})
ANYBODY = frozenset({OriginKind.REMOTE, OriginKind.LOCAL, OriginKind.PARAMETER})

type Condition = Callable[[Frame, CallSite], bool]
type Shape = Callable[[Sketch], Iterator[tuple[ast.AST, Confidence]]]
type Comparison = Callable[[Frame, ast.Compare, list[Value]], bool]


@dataclass(frozen=True, slots=True)
class Sink:
    """Calls that are dangerous when a tainted value arrives in one of `args` (position, keyword, or "*" for
    all)."""

    calls: tuple[str, ...]  # "os.system", or ".execute" for a method of an object that is not the project's
    args: tuple[int | str, ...] = (0,)
    when: Condition | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """Calls that are a weakness by how they are made."""

    calls: tuple[str, ...]
    when: Condition
    confidence: Confidence = Confidence.CERTAIN


@dataclass(frozen=True, slots=True)
class AssignCheck:
    """Values that must not be given to such a name; the name is dotted or the key of an item."""

    names: Callable[[str], bool]  # asked once per name: most names are of no interest to any rule
    when: Callable[[Frame, str, Value], bool]
    confidence: Confidence = Confidence.CERTAIN
    written: bool = False  # the value must stand in the source, not come in as an argument, as from a test


@dataclass(frozen=True, slots=True)
class Rule:
    """One weakness. `bad` and `good` are whole modules: the first must be found, the second must stay
    silent."""

    id: str
    cwe: int
    title: str
    severity: Severity
    what: str
    why: str
    advice: str
    silent: str
    bad: str
    good: str
    kind: str = ""  # the use a sanitiser must make the value harmless for
    origins: frozenset[OriginKind] = REMOTE
    sinks: tuple[Sink, ...] = ()
    checks: tuple[Check, ...] = ()
    assigns: tuple[AssignCheck, ...] = ()
    returned: Callable[[Frame, Value], bool] | None = None  # a tainted return value is a sink
    shape: Shape | None = None  # what the tree of one module shows without following values
    compared: Comparison | None = None  # comparisons that are a weakness
    fix_id: str | None = None
    check_confidence: Confidence = Confidence.CERTAIN  # of a comparison
    flow_confidence: Confidence = Confidence.FLOW  # the best a flow of this rule can claim


def shaped(  # a rule has that many parts
    name: str,
    cwe: int,
    title: str,
    what: str,
    why: str,
    advice: str,
    silent: str,
    shape: Shape,
    bad: str,
    good: str,
) -> Rule:
    """A rule of medium severity that looks at the shape of a module; its parts in the order of `Rule`."""
    return Rule(
        id=name,
        cwe=cwe,
        title=title,
        severity=Severity.MEDIUM,
        what=what,
        why=why,
        advice=advice,
        silent=silent,
        shape=shape,
        bad=bad,
        good=good,
    )
