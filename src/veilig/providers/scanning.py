"""How is the copy audited, and who proposes repairs? Our own reader, behind the same wall."""

import json
import sys
from pathlib import Path
from typing import Any, cast

from veilig.audit.advisories import ENVIRONMENT_NAME
from veilig.core.action import ProposePatch, ScanCode
from veilig.core.action_json import JSON
from veilig.core.provider import Outcome, Permit, Status
from veilig.providers.box import Box
from veilig.providers.changes import edits_from_json, ready_changes
from veilig.providers.files import Workspace
from veilig.providers.testing import told

MODULE = "veilig.repair.worker"
PROPOSALS_MAX = 8  # per problem: what a planner tries before it gives up


class Scanner:
    """Runs `python -m veilig.repair.worker` in the box and carries its edits over to what a planner sees."""

    def __init__(self, workspace: Workspace, box: Box, advisories: Path | None) -> None:
        self._workspace = workspace
        self._box = box
        self._advisories = advisories

    async def scan(self, action: ScanCode, permit: Permit) -> Outcome:
        """Problems found by reading: weaknesses, vulnerable pins, syntax and configuration defects."""
        # A secret in the diff stays a handle: the reader reports the handle, and needs no value for it.
        task: dict[str, JSON] = {"do": "scan", "paths": list(action.paths), "repairs": action.repairs}
        task |= {"report": action.report, "pattern": action.pattern, "diff": action.diff}
        answer = await self._ask(task, action.timeout_s)
        if isinstance(answer, Outcome):
            return answer
        problems = cast(list[dict[str, Any]], answer.pop("problems"))
        for problem in problems:
            problem["proposals"] = self._ready(problem.get("proposals", []), permit)
        files, findings = answer.get("files", 0), len(problems)
        return Outcome(
            True, f"{files} files, {findings} problems", data={**answer, "problems": cast(JSON, problems)}
        )

    async def propose(self, action: ProposePatch, permit: Permit) -> Outcome:
        """Deterministic repairs for one failure, best first, as ready changes."""
        task: dict[str, JSON] = {"do": "propose", "failure": json.loads(permit.expand(action.failure))}
        task["python"] = str(self._box.python)
        answer = await self._ask(task, action.timeout_s)
        if isinstance(answer, Outcome):
            return answer
        proposals = self._ready(cast(list[dict[str, Any]], answer["proposals"]), permit)
        return Outcome(True, f"{len(proposals)} repairs proposed", data={"proposals": cast(JSON, proposals)})

    async def _ask(self, task: dict[str, JSON], timeout_s: float) -> "dict[str, JSON] | Outcome":
        """The worker's answer, or the failed Outcome that says why there is none."""
        task = {**task, "root": str(self._box.root)}
        # -I: the copy is the working folder, and a module of it must never be taken for one of ours.
        argv = [sys.executable, "-I", "-m", MODULE]
        env = {ENVIRONMENT_NAME: str(self._advisories)} if self._advisories else {}
        done = await self._box.run(argv, stdin=json.dumps(task).encode(), env=env, timeout_s=timeout_s)
        if not done.ok:
            return Outcome(False, f"the code could not be read: {told(done)}", Status.FAILED)
        try:
            answer = json.loads(done.stdout)
        except ValueError as error:
            return Outcome(False, f"the reader's answer is damaged: {error}", Status.FAILED)
        return cast(dict[str, JSON], answer)

    def _ready(self, proposals: list[dict[str, Any]], permit: Permit) -> list[dict[str, Any]]:
        """Proposals whose edits fit the copy, with their actions instead of raw edits."""
        kept: list[dict[str, Any]] = []
        for proposal in proposals:
            edits = edits_from_json(proposal.pop("edits"))
            removed = proposal.pop("removed", [])
            changes = ready_changes(self._workspace.tree, edits, removed, str(proposal["title"]), permit.seal)
            if changes or proposal.get("decision"):
                kept.append({**proposal, "changes": changes})
        return kept[:PROPOSALS_MAX]
