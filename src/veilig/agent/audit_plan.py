"""What is done to audit a folder? Copy it, read the copy, report: two looks and no change."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, cast

from veilig.core.action import Action, OpenWorkspace, ScanCode
from veilig.core.action_json import JSON
from veilig.core.errors import SessionError
from veilig.core.provider import Finish, Outcome, Status, Step

SCAN_TIMEOUT_S = 900.0  # half a million lines take a few minutes on a small machine


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """What the user asked for. pattern: also what only looks like a weakness. diff: what would it add?

    jobs: processes at once, 0 for as many as there are cores. fresh: believe nothing found before.
    rules: the text of the user's own rules.
    """

    source: str
    pattern: bool = False
    diff: str = ""
    jobs: int = 0
    fresh: bool = False
    rules: str = ""

    def to_json(self) -> dict[str, JSON]:
        """The options as `session.started` records them."""
        kept: dict[str, JSON] = {"source": self.source, "pattern": self.pattern}
        kept |= {"jobs": self.jobs, "fresh": self.fresh, "rules": self.rules}
        if self.diff:  # the diff itself may hold a secret that nobody has looked for yet
            kept["diff_sha256"] = hashlib.sha256(self.diff.encode()).hexdigest()
        return kept

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "AuditOptions":
        """The inverse of `to_json`. Raises SessionError for the audit of a patch."""
        if "diff_sha256" in value:
            raise SessionError(
                "the audit of a patch cannot be resumed",
                why="its diff is not kept: it may hold secrets",
                fix="run `veilig audit --patch` again",
            )
        jobs, fresh = int(value.get("jobs", 0)), bool(value.get("fresh", False))
        rules = str(value.get("rules", ""))
        return cls(str(value["source"]), bool(value["pattern"]), jobs=jobs, fresh=fresh, rules=rules)


class AuditPlanner:
    """The planner of `veilig audit`. State: what the copy left out, once it is made."""

    def __init__(self, options: AuditOptions) -> None:
        self._options = options

    def first(self) -> Step:
        """Start with the copy."""
        return Step({}, OpenWorkspace(self._options.source))

    def next(self, state: dict[str, JSON], action: Action, outcome: Outcome) -> Step:
        """After the copy the scan, after the scan the end."""
        if isinstance(action, OpenWorkspace):
            if outcome.status is Status.IN_DOUBT:
                return self.first()  # a crash came into the copying: making it anew harms nothing
            if not outcome.ok:
                return Step(state, Finish(False, outcome.detail))
            return Step({**state, "left_out": outcome.data.get("skipped", [])}, self._scan())
        if not outcome.ok and outcome.status is Status.FAILED and not state.get("again"):
            # After a resume the copy may be gone: one fresh start, and the second failure is final.
            return Step({"again": True}, OpenWorkspace(self._options.source))
        if not outcome.ok:
            return Step(state, Finish(False, outcome.detail))
        if outcome.data.get("error"):
            return Step(state, Finish(False, str(outcome.data["error"])))
        data: dict[str, JSON] = {**outcome.data, "left_out": state.get("left_out", [])}
        problems = cast(list[dict[str, JSON]], data.pop("problems", []))
        data["problems"] = [
            {k: v for k, v in p.items() if k != "proposals"} for p in problems if p["kind"] != "weakness"
        ]  # the report holds the weaknesses, with more
        return Step(state, Finish(True, outcome.detail, data))

    def _scan(self) -> ScanCode:
        wanted = self._options
        return ScanCode(
            report=True,
            pattern=wanted.pattern,
            diff=wanted.diff,
            options=json.dumps({"jobs": wanted.jobs, "fresh": wanted.fresh, "rules": wanted.rules}),
            timeout_s=SCAN_TIMEOUT_S,
        )
