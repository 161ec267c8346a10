"""How does a bench drive the search of `veilig fix`? Behind the same wall, with no gate and no ledger."""

import asyncio
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

from veilig.app import operator_policy, terms
from veilig.core.action import PatchFile, RunTests, SearchPatch
from veilig.core.action_json import from_json
from veilig.core.provider import Outcome, Permit
from veilig.providers.box import Box
from veilig.providers.files import Workspace
from veilig.providers.sandbox.wall import CommandResult
from veilig.providers.searching import Searcher
from veilig.providers.testing import Tests
from veilig.repair.edit import Edit, apply

GROUPS_MAX = 3


@dataclass
class Found:
    """What came of one project: the failing groups, and for each the proposals best first."""

    failing: list[str] = field(default_factory=list)
    proposals: list[dict[str, Any]] = field(default_factory=list)
    tried: int = 0
    tests_s: float = 0.0
    search_s: float = 0.0
    problem: str = ""


class Desk:
    """A copy of a project behind a wall; `async with Desk(project, python) as desk`."""

    def __init__(self, project: Path, python: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="veilig-bench-"))
        self.space = Workspace(self.folder / "session", project)
        shutil.copytree(project, self.space.tree.root, ignore=shutil.ignore_patterns(".git"))

        async def stood(_wall: Any) -> None:
            return

        policy = operator_policy_of(self.folder)
        self.box = Box(self.space, python, terms(policy), stood)
        self.tests = Tests(self.box)
        self.searcher = Searcher(self.space, self.tests)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.box.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def solve(self, budget_s: float) -> Found:
        """The traced run, then one search per failing group; nothing is applied."""
        found = Found()
        began_s = time.monotonic()
        report = await self.tests.run(RunTests(trace=True, timeout_s=120), permit())
        found.tests_s = time.monotonic() - began_s
        groups = cast(list[dict[str, Any]], report.data.get("groups", []))
        if not groups:
            found.problem = report.detail
        for group in groups[:GROUPS_MAX]:
            if not group.get("tests") or not group.get("lines"):
                continue
            found.failing += group["tests"]
            lines = tuple((str(p), int(n), int(s)) for p, n, s in group["lines"])
            action = SearchPatch(tuple(group["tests"]), lines, budget_s=budget_s, timeout_s=budget_s + 60)
            began_s = time.monotonic()
            outcome: Outcome = await self.searcher.run(action, permit())
            found.search_s += time.monotonic() - began_s
            found.tried += cast(int, outcome.data.get("tried", 0))
            found.proposals += cast(list[dict[str, Any]], outcome.data.get("proposals", []))
        return found

    def patch(self, proposal: dict[str, Any]) -> dict[str, tuple[str, str]]:
        """Write the proposal into the copy; returns path -> (before, after)."""
        made: dict[str, tuple[str, str]] = {}
        for change in proposal["changes"]:
            action = from_json(change)
            assert isinstance(action, PatchFile), action
            before = self.space.tree.read(action.path) or ""
            after = apply(before, [Edit(action.path, e.start, e.end, e.replacement) for e in action.edits])
            made[action.path] = (before, after)
            self.write(action.path, after)
        return made

    def write(self, path: str, text: str) -> None:
        """Put a text into the copy."""
        Path(self.space.tree.root, path).write_text(text, encoding="utf-8", newline="")

    async def red(self) -> tuple[set[str], bool]:
        """The tests that do not pass now, in a fresh process, and whether the run came to its end."""
        outcome = await self.tests.run(RunTests(timeout_s=120), permit())
        return set(cast(dict[str, str], outcome.data.get("nonpassing", {}))), bool(
            outcome.data.get("complete")
        )

    async def python(self, *argv: str, timeout_s: float = 60) -> CommandResult:
        """Run the project's interpreter in the copy, behind the wall."""
        return await self.box.run([str(self.box.python), *argv], timeout_s=timeout_s)


def operator_policy_of(folder: Path) -> Any:
    """The built-in policy: nothing of the person's own settings takes part in a bench."""
    from veilig.app import Setting
    from veilig.home import find_home

    environment = {"VEILIG_HOME": str(folder / "home"), "HOME": str(folder)}
    return operator_policy(find_home(environment), Setting(environment=environment))


def permit() -> Permit:
    """A permit for a bench: there is no gate, since only throw-away copies are touched."""
    return Permit("bench", "", 1e12, "", "bench", lambda t: t, lambda t: t, lambda _s, _d: None)


def run(work: Any) -> Any:
    """Run one coroutine to its end."""
    return asyncio.run(work)
