"""How is the copy audited, and who proposes repairs? Our own reader, behind the same wall."""

import asyncio
import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any, cast

from veilig.audit.advisories import ENVIRONMENT_NAME
from veilig.core.action import ProposePatch, ScanCode
from veilig.core.action_json import JSON
from veilig.core.provider import Outcome, Permit, Status
from veilig.providers.box import Box, own_program
from veilig.providers.changes import edits_from_json, ready_changes
from veilig.providers.testing import told
from veilig.providers.workspace import Workspace

MODULE = "veilig.repair.worker"
JOBS_MAX = 8  # more processes than that wait for one another's memory
MEMORY_BYTES_MAX = 16 << 20
PROPOSALS_MAX = 8  # per problem: what a planner tries before it gives up


class Scanner:
    """Runs `python -m veilig.repair.worker` in the box and carries its edits over to what a planner sees."""

    def __init__(self, workspace: Workspace, box: Box, advisories: Path | None) -> None:
        self._workspace = workspace
        self._box = box
        self._advisories = advisories
        self._memory = memory_of(workspace)

    async def scan(self, action: ScanCode, permit: Permit) -> Outcome:
        """Problems found by reading: weaknesses, vulnerable pins, syntax and configuration defects."""
        # A secret in the diff stays a handle: the reader reports the handle, and needs no value for it.
        task: dict[str, JSON] = {"do": "scan", "paths": list(action.paths), "repairs": action.repairs}
        task |= {"report": action.report, "pattern": action.pattern, "diff": action.diff}
        options = cast(dict[str, JSON], json.loads(action.options or "{}"))
        jobs = int(str(options.get("jobs", 0))) or min(len(os.sched_getaffinity(0)), JOBS_MAX)
        memory = "" if options.get("fresh") else recall(self._memory)
        task |= {"jobs": jobs, "rules": options.get("rules", ""), "memory": memory}
        task["made"] = bool(options.get("made"))
        answer = await self._ask(task, action.timeout_s)
        if isinstance(answer, Outcome):
            return answer
        # Where project code runs it could reach the reader: only the memory of an audit is kept.
        if (found := answer.pop("memory", "")) and action.report:
            await asyncio.to_thread(remember, self._memory, str(found))
        problems = cast(list[dict[str, Any]], answer.pop("problems"))
        for problem in problems:
            problem["proposals"] = self._ready(problem.get("proposals", []), permit)
        files, findings = answer.get("files", 0), len(problems)
        return Outcome(
            True, f"{files} files, {findings} problems", data={**answer, "problems": cast(JSON, problems)}
        )

    async def propose(self, action: ProposePatch, permit: Permit) -> Outcome:
        """Deterministic repairs for one failure, best first, as ready changes.

        Secrets in the failure's message stay handles: it is evidence, and no repair needs their values.
        """
        task: dict[str, JSON] = {"do": "propose", "failure": json.loads(action.failure)}
        task["python"] = str(self._box.python)
        answer = await self._ask(task, action.timeout_s)
        if isinstance(answer, Outcome):
            return answer
        proposals = self._ready(cast(list[dict[str, Any]], answer["proposals"]), permit)
        return Outcome(True, f"{len(proposals)} repairs proposed", data={"proposals": cast(JSON, proposals)})

    async def _ask(self, task: dict[str, JSON], timeout_s: float) -> "dict[str, JSON] | Outcome":
        """The worker's answer, or the failed Outcome that says why there is none."""
        task = {**task, "root": str(self._box.root)}
        argv = own_program(MODULE)
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


def memory_of(workspace: Workspace) -> Path:
    """Where the audits of this project are remembered: beside the sessions, a file for each folder."""
    name = hashlib.sha256(os.fsencode(workspace.source.resolve())).hexdigest()
    return workspace.folder.parent.parent / "cache" / "audit" / f"{name[:32]}.json"


def recall(file: Path) -> str:
    """What was remembered; empty when there is nothing, or nothing that may be believed."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        found = file.lstat()
        ours = found.st_uid == os.geteuid() and not found.st_mode & 0o022
        if ours and file.is_file() and not file.is_symlink() and found.st_size <= MEMORY_BYTES_MAX:
            return file.read_text(encoding="utf-8")
    return ""


def remember(file: Path, text: str) -> None:
    """Keep it for the next audit, whole or not at all; a full disk costs time next time, no finding."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=file.parent)  # 0600
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
        Path(name).replace(file)
