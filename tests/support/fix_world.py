"""What does a fix planner's world answer? Problems, reports, a copy, and the loop that drives the planner."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, cast

from veilig.agent.fix import FixPlanner
from veilig.core.action import Action, PatchFile
from veilig.core.action_json import JSON
from veilig.core.provider import Finish, Outcome, Step

STEPS_MAX = 600  # far above what any run of these worlds takes: an endless loop fails here
SHA = "0" * 64


def patch(path: str, tag: str, before: str = SHA) -> dict[str, JSON]:
    return {"kind": "file.patch", "path": path, "before": before, "edits": [[0, 0, tag]]}


def proposal(tag: str, path: str = "a.py", changes: int = 1, decision: str = "") -> dict[str, JSON]:
    ready: list[JSON] = [cast(JSON, patch(path, f"{tag}.{n}")) for n in range(changes)]
    return {"title": tag, "changes": ready, "confidence": "high", "decision": decision}


def problem(name: str, kind: str = "weakness", *, proposals: int = 1, path: str = "a.py") -> dict[str, JSON]:
    found: list[JSON] = [cast(JSON, proposal(f"{name}-{n}", path)) for n in range(proposals)]
    tests: list[JSON] = [name] if kind == "test" else []
    lines: list[JSON] = [["a.py", 1, 900]] if kind == "test" else []
    return {
        "id": name, "kind": kind, "title": name, "path": path, "line": 1,
        "proposals": found, "tests": tests, "lines": lines, "failure": {"text": name},
    }  # fmt: skip


def report(
    passed: int = 5, failing: tuple[str, ...] = (), *, complete: bool = True, wall_s: float = 1.0
) -> dict[str, JSON]:
    groups: list[JSON] = [cast(JSON, {**problem(t, "test"), "proposals": []}) for t in failing]
    return {
        "total": passed + len(failing), "passed": passed, "nonpassing": dict.fromkeys(failing, "failed"),
        "complete": complete, "problem": "" if complete else "killed", "wall_s": wall_s, "exit_code": 0,
        "groups": groups,
    }  # fmt: skip


@dataclass
class Copy:
    """The copy as a stack of edits per file; an undo must name the newest state of its file."""

    edits: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def sha(self, path: str) -> str:
        return hashlib.sha256("|".join(self.edits.get(path, [])).encode()).hexdigest()

    def perform(self, action: PatchFile) -> Outcome:
        tag, stack = action.edits[0].replacement, self.edits.setdefault(action.path, [])
        if tag == "undo":
            assert action.before == self.sha(action.path), "an undo names what stands there"
            stack.pop()
            return Outcome(True, data={"after": self.sha(action.path), "undo": []})
        stack.append(tag)
        return Outcome(True, data={"after": self.sha(action.path), "undo": [[0, 0, "undo"]]})

    @property
    def tags(self) -> set[str]:
        return {tag.partition(".")[0] for stack in self.edits.values() for tag in stack}


def run(planner: FixPlanner, answer: Any) -> tuple[Finish, list[Action]]:
    """Drive the planner; every state goes through JSON as it does in the ledger."""
    step: Step = planner.first()
    proposed: list[Action] = []
    for _ in range(STEPS_MAX):
        if isinstance(step.propose, Finish):
            return step.propose, proposed
        proposed.append(step.propose)
        state = json.loads(json.dumps(step.state))
        step = planner.next(state, step.propose, answer(step.propose))
    raise AssertionError("it never finished")


def problems_of(finish: Finish) -> dict[str, dict[str, Any]]:
    return {p["id"]: p for p in cast(list[dict[str, Any]], finish.data["problems"])}
