"""How is an edit found that makes failing tests pass? Candidates are made here and run behind the wall."""

import asyncio
import os
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from veilig.core.action import SearchPatch
from veilig.core.action_json import JSON
from veilig.core.errors import ProviderError
from veilig.core.limits import SOURCE_FILE_BYTES_MAX
from veilig.core.provider import Outcome, Permit, Status
from veilig.providers.ahead import Ahead
from veilig.providers.changes import ready_changes
from veilig.providers.sandbox.wall import OnOutput
from veilig.providers.testing import Tests
from veilig.providers.workspace import Workspace
from veilig.repair import search
from veilig.repair.candidates import Candidate, generate
from veilig.repair.choose import Evidence, choose
from veilig.repair.detect import TestCommand
from veilig.repair.locate import Line, is_test_path, nearest
from veilig.repair.simplify import simplify
from veilig.repair.testreport import Test, TestReport

PROPOSALS_MAX = 8  # plausible patches handed to the proof; more are the same guess again
AHEAD_MAX = 8_000  # candidates made while others run: more than a round takes, and a few MiB
GRACE_S = 20.0  # collection and the last batch, beyond the search's own deadline


@dataclass(frozen=True, slots=True)
class Hit:
    """A candidate that passed, and what it answers to calls near those of the tests."""

    candidate: Candidate
    answers: tuple[str, ...]


class Searcher:
    """Runs rounds of candidates in the box until one is plausible or the budget ends."""

    def __init__(self, workspace: Workspace, tests: Tests, tell: Callable[[str], None] | None = None) -> None:
        """tell: gets a line about how the search goes, about twice a second."""
        self._workspace = workspace
        self._tests = tests
        self._tell = tell

    async def run(self, action: SearchPatch, permit: Permit) -> Outcome:
        """Plausible patches as ready changes, the simplest first; how many edits were tried."""
        command = self._tests.command()
        if command is None:
            return Outcome(False, "the project has no tests to search with", Status.FAILED)
        started_s = time.monotonic()
        report = await self._traced(command, action, permit)
        lines = [Line(path, line, score / 1000, "") for path, line, score in action.lines]
        files = await asyncio.to_thread(self._files, sorted({line.path for line in lines}))
        failing = [report.tests[t] for t in action.failing if t in report.tests]
        tests = await asyncio.to_thread(self._texts, sorted({test.file for test in failing}))
        hints = search.hints(failing, tests)
        literals = frozenset((*hints.strings, *map(str, hints.integers)))
        found = generate(files, lines, hints)
        keep = nearest(report.tests.values(), lines)
        with Ahead(found, AHEAD_MAX) as candidates:
            hits, before, tried = await self._rounds(candidates, command, failing, keep, action.budget_s)
        plausible = [simplify(files[hit.candidate.path], hit.candidate) for hit in hits]
        said = {number: hit.answers for number, hit in enumerate(hits) if hit.answers}
        choice = choose(plausible, Evidence(len(failing), 0, literals, said, before))
        if choice is not None:
            best = choice.best
            covering = sum(t.lines.get(best.path, 0) >> best.line & 1 for t in report.green)
            choice = choose(plausible, Evidence(len(failing), covering, literals, said, before))
        spent_s = round(time.monotonic() - started_s, 3)
        data: dict[str, JSON] = {"tried": tried, "wall_s": spent_s, "proposals": []}
        if choice is None:
            return Outcome(True, f"{tried} edits tried, none passes", data=data)
        proposals: list[JSON] = []
        for candidate in [choice.best, *choice.others][:PROPOSALS_MAX]:
            changes = ready_changes(self._workspace.tree, candidate.edits, (), candidate.title, permit.seal)
            if changes:
                first = candidate is choice.best
                proposals.append(
                    {
                        "recipe": f"search:{candidate.family}",
                        "title": candidate.title,
                        "cost": candidate.cost,
                        "needs": "tests",
                        "confidence": choice.confidence.value if first else "low",
                        "why": choice.why if first else "",
                        "decision": choice.decision if first else "",
                        "changes": changes,
                    }
                )
        data["proposals"] = proposals
        return Outcome(True, f"{len(plausible)} of {tried} edits pass: {choice.why}", data=data)

    async def _rounds(
        self,
        found: Iterator[Candidate],
        command: TestCommand,
        failing: list[Test],
        keep: list[str],
        budget_s: float,
    ) -> tuple[list[Hit], tuple[str, ...], int]:
        """Rounds of growing size until something passes; what the code answered; how many ran."""
        until_s = time.monotonic() + budget_s
        plan = search.plan(found, budget_s)
        tried = 0
        one = await asyncio.to_thread(next, plan, None)
        while one is not None:
            nonce = os.urandom(16).hex()
            task = search.task(
                one,
                root=str(self._workspace.tree.root),
                nonce=nonce,
                command=command,
                targets=failing,
                keep=keep,
            )
            shown = self._shown(search.Listener(one, nonce, tried))
            done = await self._tests.search_worker(task, one.deadline_s + GRACE_S, shown)
            news = [n for line in done.splitlines() if (n := search.news(line, nonce)) is not None]
            tried += next(
                (int(n.fields.get("tried", 0)) for n in reversed(news) if n.kind is search.Told.DONE), 0
            )
            hits = _hits(news, one)
            if hits:
                return hits, _before(news), tried
            left_s = until_s - time.monotonic()
            one = await asyncio.to_thread(_send, plan, left_s)
        return [], (), tried

    def _shown(self, listener: search.Listener) -> OnOutput | None:
        """Hands the search's progress on; None when nobody listens."""
        tell = self._tell
        if tell is None:
            return None

        def take(stream: int, data: bytes) -> None:
            if stream == 1 and listener.take(data):
                tell(listener.line)

        return take

    async def _traced(self, command: TestCommand, action: SearchPatch, permit: Permit) -> TestReport:
        """A traced report of the whole suite: the last one, or a new run after a crash or an edit."""
        last = self._tests.last
        if last is not None and set(action.failing) <= set(last.tests):
            return last
        report = await self._tests.report(command, (), trace=True, timeout_s=action.timeout_s, permit=permit)
        self._tests.last = report
        return report

    def _files(self, paths: list[str]) -> dict[str, str]:
        """Texts of the suspected modules, and of no test."""
        return self._texts([path for path in paths if not is_test_path(path)])

    def _texts(self, paths: list[str]) -> dict[str, str]:
        """Texts of Python files; what is not there, too large or no text is left out."""
        texts: dict[str, str] = {}
        for path in paths:
            file = Path(self._workspace.tree.root, path)
            if not path.endswith(".py") or not file.is_file() or file.stat().st_size > SOURCE_FILE_BYTES_MAX:
                continue
            try:
                text = self._workspace.tree.read(path)
            except ProviderError:
                continue  # not text: nothing to edit there
            if text is not None:
                texts[path] = text
        return texts


def _hits(news: list[search.News], one: search.Round) -> list[Hit]:
    """The candidates of a round that passed, each once; an answer to none of them is not believed."""
    numbers = dict.fromkeys(
        n.candidate for n in news if n.kind is search.Told.PLAUSIBLE and n.candidate is not None
    )
    answers = {n.candidate: search.answers(n) for n in news if n.kind is search.Told.BEHAVIOUR}
    known = [number for number in numbers if 0 <= number < len(one.candidates)]
    return [Hit(one.candidates[number], answers.get(number, ())) for number in known]


def _before(news: list[search.News]) -> tuple[str, ...]:
    """What the code answered as it was."""
    said = (search.answers(n) for n in news if n.kind is search.Told.BEHAVIOUR and n.candidate == -1)
    return next(said, ())


def _send(plan: Generator[search.Round, float | None], left_s: float) -> search.Round | None:
    try:
        return plan.send(left_s)
    except StopIteration:
        return None
