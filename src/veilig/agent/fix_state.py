"""What does a fix session know between two steps? Everything, as JSON: resuming starts from here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from veilig.core.action import Action, DeleteFile, PatchFile, WriteFile
from veilig.core.action_json import JSON, to_json
from veilig.core.provider import Outcome

STATE_VERSION = 1

# How a problem can end.
OPEN, FIXED, PROPOSED, UNFIXED = "open", "fixed", "proposed", "not fixed"

# Kinds of problems, in the order in which they are worked on.
KINDS = ("syntax", "config", "import", "test", "weakness", "dependency")

type Json = dict[str, JSON]


@dataclass(frozen=True, slots=True)
class FixOptions:
    """What the user asked for. budget_s: wall seconds for repairing; proofs run to their end."""

    source: str
    test_command: tuple[str, ...] = ()
    only: str = ""  # "", "tests", "audit" or "config"
    budget_s: float = 300.0
    deliver: str = ""  # "", "apply" or "branch:NAME"
    model: str = ""  # who is asked where nothing else helps; "" nobody

    def to_json(self) -> dict[str, JSON]:
        """The options as `session.started` records them."""
        return {
            "source": self.source,
            "test_command": list(self.test_command),
            "only": self.only,
            "budget_s": self.budget_s,
            "deliver": self.deliver,
            "model": self.model,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "FixOptions":
        """The inverse of `to_json`."""
        command = tuple(str(word) for word in value["test_command"])
        budget_s, model = float(value["budget_s"]), str(value.get("model", ""))
        return cls(value["source"], command, value["only"], budget_s, value["deliver"], model)


@dataclass(slots=True)
class Problem:
    """One thing that is wrong, and what became of it.

    kind: syntax, config, import, test, weakness or dependency. proposals: the repairs still to try,
    best first, each with ready actions. edited: what was applied, to be undone in reverse.
    """

    id: str
    kind: str
    title: str
    path: str
    line: int
    message: str = ""
    rule: str = ""
    cwe: int = 0
    severity: str = ""
    flow: list[Json] = field(default_factory=list[Json])
    proposals: list[Json] = field(default_factory=list[Json])
    tests: list[str] = field(default_factory=list[str])
    failure: Json = field(default_factory=dict[str, JSON])
    lines: list[JSON] = field(default_factory=list[JSON])
    reasons: list[str] = field(default_factory=list[str])  # why each of the first lines is suspected
    asked: bool = False  # deterministic repairs were asked for
    searched: bool = False
    asks: int = 0  # questions to a model
    history: Json = field(default_factory=dict[str, JSON])  # what agent/fix_history.py knows of older states
    undo: Json = field(default_factory=dict[str, JSON])  # an undo that only a person may choose
    tried: int = 0
    status: str = OPEN
    fix: str = ""
    why: str = ""
    proof: list[str] = field(default_factory=list[str])
    confidence: str = ""
    pending_tests: bool = False
    stale: bool = False  # another fix changed its file: its proposals must be made again


@dataclass(slots=True)
class Trial:
    """The proposal being tried: changes done (with their undo) and still to do."""

    problem: int
    proposal: Json
    todo: list[Json]
    undo: list[Json] = field(default_factory=list[Json])
    rescanned: bool = False
    pretested: bool = False  # its own failing tests pass; the others are not known yet
    seen: list[list[str]] = field(default_factory=list[list[str]])  # the findings of that re-scan
    failed: str = ""  # why it is being undone


@dataclass(slots=True)
class State:
    """A fix session between two steps. `stage` says what the last proposed action was for."""

    stage: str = "open"
    scanned_again: bool = False
    late: bool = False  # the baseline is known: every kind of problem may be worked on
    problems: list[Problem] = field(default_factory=list[Problem])
    trial: Trial | None = None
    findings: list[list[str]] = field(default_factory=list[list[str]])  # id, kind and path of what stands
    tests: Json = field(default_factory=dict[str, JSON])  # the last accepted test report
    baseline: Json = field(default_factory=dict[str, JSON])
    final: Json = field(default_factory=dict[str, JSON])
    scan: Json = field(default_factory=dict[str, JSON])
    rescan: Json = field(default_factory=dict[str, JSON])
    skipped: list[JSON] = field(default_factory=list[JSON])
    notes: list[str] = field(default_factory=list[str])
    missed: list[str] = field(default_factory=list[str])  # looks that failed: the result is not whole
    diff: str = ""
    base: list[JSON] = field(default_factory=list[JSON])
    files_changed: int = 0
    applied: str = ""
    used_s: float = 0.0
    proven: bool = False  # `tests` is a run of every test, and nothing was changed since
    probes: int = 0  # test runs of older states, over all problems
    restarts: int = 0  # how often a step in doubt made us begin again
    sources: Json = field(default_factory=dict[str, JSON])  # what a model is about to be shown
    unread: list[str] = field(default_factory=list[str])
    tokens: dict[str, int] = field(default_factory=dict[str, int])  # that models used
    mute: bool = False  # the model does not answer: it is not asked again
    unproven: str = ""  # why the whole may not be brought back
    v: int = STATE_VERSION

    def to_json(self) -> dict[str, JSON]:
        """The state as JSON values; closed problems keep no proposals."""
        for problem in self.problems:
            if problem.status != OPEN:
                problem.proposals, problem.history, problem.undo = [], {}, {}
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "State":
        """The inverse of `to_json`; fields of a newer or older veilig that are unknown here are left out."""
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        known["problems"] = [
            Problem(**{k: v for k, v in p.items() if k in Problem.__dataclass_fields__})
            for p in known.get("problems", [])
        ]
        trial = known.get("trial")
        known["trial"] = Trial(**trial) if trial else None
        return cls(**known)


def number(value: Json, key: str) -> int:
    """An integer field of a report, 0 when it is missing."""
    found = value.get(key, 0)
    return found if isinstance(found, int) else 0


def seconds(value: Json, key: str = "wall_s") -> float:
    """A time field of a report, 0 when it is missing."""
    found = value.get(key, 0.0)
    return float(found) if isinstance(found, int | float) else 0.0


def outcomes(report: Json) -> dict[str, str]:
    """Test id -> outcome, for the tests of a report that did not pass."""
    found = report.get("nonpassing", {})
    return {k: str(v) for k, v in found.items()} if isinstance(found, dict) else {}


_RANK = {"passed": 0, "skipped": 1, "xfailed": 1, "failed": 2, "error": 2}


def regressions(before: Json, after: Json) -> list[str]:
    """Why `after` is worse than `before`, in words; empty when it is not.

    A test that passed and is skipped, expected to fail, failing or gone now counts.
    """
    if not after.get("complete"):
        return [str(after.get("problem") or "the test run did not finish")]
    worse: list[str] = []
    was, now = outcomes(before), outcomes(after)
    for test, outcome in now.items():
        if _RANK.get(outcome, 2) > _RANK.get(was.get(test, "passed"), 0):
            worse.append(f"{test} is {outcome} now")
    gone = number(before, "total") - number(after, "total")
    if gone > 0 and not before.get("collect_errors"):
        worse.append(f"{gone} tests are gone")
    return worse


def missed(now: State, what: str) -> None:
    """Remember a look that failed, once: what it would have seen is not known to be right."""
    if what not in now.missed:
        now.missed.append(what)


def not_looked_at(result: Mapping[str, Any]) -> list[str]:
    """What the result of a fix does not cover, in words: such a result is not clean."""
    scan: dict[str, Any] = result.get("rescan") or result.get("scan") or {}
    said = [str(what) for what in result.get("missed", [])]
    said += [f"{path}: {reason}" for path, reason in scan.get("skipped", [])]
    said += [f"{path} {name}: {reason}" for path, name, reason in scan.get("incomplete", [])]
    about = scan.get("advisories", {})
    said += [f"{path}: not read as a dependency file" for path in about.get("unread", [])]
    return [*said, *([f"dependencies: {about['error']}"] if about.get("error") else [])]


def went_away(now: State) -> None:
    """Close the open problems whose tests all passed in the last run: they had the same cause."""
    red = outcomes(now.tests)
    for problem in now.problems if now.proven else ():
        if problem.status == OPEN and problem.kind == "test" and problem.tests:
            if any(test in red for test in problem.tests):
                continue
            problem.status, problem.fix, problem.why = FIXED, "went away with another fix", ""
            problem.proof = ["its failing tests pass"]


def problem_of(item: Json) -> Problem:
    """The problem a scan or a test run reported; fields that are unknown here are left out."""
    known = {k: v for k, v in item.items() if k in Problem.__dataclass_fields__}
    return Problem(**cast(dict[str, Any], known))


def undo_of(action: Action, outcome: Outcome) -> Json:
    """The action that takes a change of the copy back, as JSON; its `edits` are none when nothing changed."""
    after, undo = str(outcome.data["after"]), cast(list[list[JSON]], outcome.data["undo"])
    if isinstance(action, DeleteFile):
        return to_json(WriteFile(action.path, "".join(str(text) for _, _, text in undo)))
    if isinstance(action, WriteFile) and not action.before:
        return to_json(DeleteFile(action.path, after))
    if isinstance(action, PatchFile | WriteFile):
        return {"kind": "file.patch", "path": action.path, "before": after, "edits": cast(JSON, undo)}
    raise AssertionError(f"{action.kind} is no change of the copy")
