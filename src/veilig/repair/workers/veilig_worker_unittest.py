"""How does a unittest suite report the same way when pytest is not there?"""

from __future__ import annotations

import signal
import time
import unittest
from pathlib import Path
from typing import Any

from veilig_worker_failure import failure
from veilig_worker_trace import Trace

Tell = Any  # a function that takes one record


class TestTimedOut(BaseException):
    """A test ran longer than it may."""


def discover(task: dict[str, Any]) -> list[unittest.TestCase]:
    """The test cases that `unittest discover` finds; a module that cannot be imported is a failing case."""
    start = str((task.get("args") or ["."])[0])
    top = task["root"] if Path(task["root"], start, "__init__.py").exists() else None
    patterns = ("test*.py", "*_test.py")
    loader = unittest.TestLoader()
    cases: dict[str, unittest.TestCase] = {}
    for pattern in patterns:
        for case in _flat(loader.discover(start, pattern=pattern, top_level_dir=top)):
            cases.setdefault(case.id(), case)
    return list(cases.values())


def run(task: dict[str, Any], tell: Tell) -> int:
    """Run every case; 0 when all passed, 1 otherwise, 5 when there is none (as pytest counts)."""
    cases = discover(task)
    tell({"kind": "collected", "ids": [case.id() for case in cases]})
    wanted = None if task.get("tests") is None else set(task["tests"])
    trace = Trace(str(task["root"])) if task.get("trace") else None
    if trace is not None:
        trace.start()
    failed = False
    for case in cases:
        if wanted is not None and case.id() not in wanted:
            continue
        tell({"kind": "start", "id": case.id()})
        record = _one(case, task, trace)
        failed = failed or record["outcome"] in {"failed", "error"}
        tell({"kind": "test", **record})
    return 5 if not cases else int(failed)


class Collector(unittest.TestResult):
    """Keeps the exception itself, where the standard result keeps text."""

    def __init__(self, root: str) -> None:
        super().__init__()
        self.root = root
        self.outcome = "passed"
        self.reason = ""
        self.error: BaseException | None = None

    def addError(self, test: Any, err: Any) -> None:  # noqa: ARG002, N802
        self.outcome, self.error = "error", err[1]

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: ARG002, N802
        self.outcome, self.error = "failed", err[1]

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: ARG002, N802
        if err is not None:
            self.outcome, self.error = "failed", err[1]

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: ARG002, N802
        self.outcome, self.reason = "skipped", reason

    def addExpectedFailure(self, test: Any, err: Any) -> None:  # noqa: ARG002, N802
        self.outcome = "xfailed"

    def addUnexpectedSuccess(self, test: Any) -> None:  # noqa: ARG002, N802
        self.outcome, self.reason = "failed", "unexpected success"


def _one(case: unittest.TestCase, task: dict[str, Any], trace: Trace | None) -> dict[str, Any]:
    wall_s = float(task.get("test_wall_s", 60.0))

    def too_long(_signal: int, _frame: Any) -> None:
        raise TestTimedOut(f"the test took longer than {wall_s:g} s")

    result = Collector(str(task["root"]))
    signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, wall_s, 1.0)
    started_s, cpu_s = time.monotonic(), time.process_time()
    if trace is not None:
        trace.begin()
    try:
        unittest.TestSuite([case]).run(result)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
    record: dict[str, Any] = {
        "id": case.id(),
        "file": case.__class__.__module__.replace(".", "/") + ".py",
        "outcome": result.outcome,
        "phase": "call",
        "reason": result.reason,
        "duration_s": round(time.monotonic() - started_s, 6),
        "cpu_s": round(time.process_time() - cpu_s, 6),
        "failure": failure(result.error, result.root) if result.error is not None else None,
    }
    if trace is not None:
        record["lines"] = trace.end()
    return record


def _flat(suite: Any) -> list[unittest.TestCase]:
    if isinstance(suite, unittest.TestCase):
        return [suite]
    return [case for part in suite for case in _flat(part)]
