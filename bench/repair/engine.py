"""How does a bench drive the search of `veilig fix`? Behind the same wall, with no gate and no ledger."""

import asyncio
import contextlib
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
from veilig.providers.changes import ready_changes
from veilig.providers.sandbox.wall import CommandResult
from veilig.providers.searching import Searcher
from veilig.providers.testing import Tests
from veilig.providers.workspace import Workspace
from veilig.repair import propose, search
from veilig.repair.candidates import Candidate
from veilig.repair.edit import Edit, apply
from veilig.repair.locate import Line, is_test_path, nearest
from veilig.repair.source import Source, Unit

GROUPS_MAX = 3
RECIPES_MAX = 6  # as in agent/fix.py


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
            if (recipe := await self._by_recipe(group, report)) is not None:
                found.proposals.append(recipe)
                continue
            lines = tuple((str(p), int(n), int(s)) for p, n, s in group["lines"])
            action = SearchPatch(tuple(group["tests"]), lines, budget_s=budget_s, timeout_s=budget_s + 60)
            began_s = time.monotonic()
            outcome: Outcome = await self.searcher.run(action, permit())
            found.search_s += time.monotonic() - began_s
            found.tried += cast(int, outcome.data.get("tried", 0))
            found.proposals += cast(list[dict[str, Any]], outcome.data.get("proposals", []))
        return found

    async def _by_recipe(self, group: dict[str, Any], report: Outcome) -> dict[str, Any] | None:
        """The first deterministic repair of the failure that holds, as `veilig fix` tries them first."""
        root, files = self.space.tree.root, {}
        for path in root.rglob("*.py"):
            with contextlib.suppress(UnicodeDecodeError):
                files[path.relative_to(root).as_posix()] = path.read_text(encoding="utf-8")
        red = set(cast(dict[str, str], report.data.get("nonpassing", {})))
        told = {**group["failure"], "lines": group["lines"]}
        for one in propose.for_failure(files, told, {})[:RECIPES_MAX]:
            if one.decision or any(is_test_path(edit.path) for edit in one.edits) or one.removed:
                continue
            paths = {edit.path for edit in one.edits}
            for path in paths:
                self.write(path, apply(files[path], [edit for edit in one.edits if edit.path == path]))
            now, complete = await self.red(tuple(group["tests"]))
            if complete and not now:
                now, complete = await self.red()
            for path in paths:
                self.write(path, files[path])
            if complete and not now.intersection(group["tests"]) and now <= red:
                changes = ready_changes(self.space.tree, one.edits, (), one.title, lambda text: text)
                return {
                    "title": one.title,
                    "confidence": one.confidence.value,
                    "decision": "",
                    "changes": changes,
                    "cost": one.cost,
                    "recipe": one.recipe,
                }
        return None

    async def answers(self, path: str, texts: list[str], failing: list[str]) -> list[tuple[str, ...]]:
        """What the function that the texts change answers to calls near those of the tests, for each text.

        Nothing when the texts change more than one function, or when a test fails with one of them.
        """
        command = self.tests.command()
        old = self.space.tree.read(path) or ""
        edits = [edit_between(path, old, text) for text in texts]
        source = Source(path, old)
        units = {unit_at(source, edit) for edit in edits}
        unit = units.pop()
        if command is None or units or unit is None:
            return []
        report = await self.tests.report(command, (), trace=True, timeout_s=120, permit=permit())
        targets = [report.tests[one] for one in failing if one in report.tests]
        keep = nearest(report.tests.values(), [Line(path, source.lines.position(edits[0].start)[0], 1.0, "")])
        made = tuple(Candidate(path, (edit,), "", 1.0, "", 1, unit) for edit in edits)
        task = search.task(
            search.Round(made, 60),
            root=str(self.space.tree.root),
            nonce="compare",
            command=command,
            targets=targets,
            keep=keep,
        )
        done = await self.tests.search_worker(task, 90)
        news = [n for line in done.splitlines() if (n := search.news(line, "compare")) is not None]
        said = {n.candidate: search.answers(n) for n in news if n.kind is search.Told.BEHAVIOUR}
        return [said[number] for number in range(len(texts))] if len(said) > len(texts) else []

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

    async def red(self, only: tuple[str, ...] = ()) -> tuple[set[str], bool]:
        """The tests that do not pass now, in a fresh process, and whether the run came to its end."""
        outcome = await self.tests.run(RunTests(tests=only, timeout_s=120), permit())
        ended = cast(dict[str, str], outcome.data.get("nonpassing", {}))
        red = {name for name, how in ended.items() if how in {"failed", "error"}}
        return red, bool(outcome.data.get("complete"))

    async def python(self, *argv: str, timeout_s: float = 60) -> CommandResult:
        """Run the project's interpreter in the copy, behind the wall."""
        return await self.box.run([str(self.box.python), *argv], timeout_s=timeout_s)


def edit_between(path: str, old: str, new: str) -> Edit:
    """The one replacement that makes the new text of the old one."""
    most = min(len(old), len(new))
    start = next((at for at in range(most) if old[at] != new[at]), most)
    end = next((at for at in range(most - start) if old[-1 - at] != new[-1 - at]), most - start)
    return Edit(path, start, len(old) - end, new[start : len(new) - end])


def unit_at(source: Source, edit: Edit) -> Unit | None:
    """The outermost function that holds the edit."""
    for statement in source.statements:
        unit = source.unit(statement)
        if unit is not None and unit.start <= edit.start and edit.end <= unit.end:
            return unit
    return None


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
