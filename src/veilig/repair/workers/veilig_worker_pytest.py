"""How does one pytest session report every test, its failure and its executed lines?"""

from __future__ import annotations

import os
import signal
import time
from typing import Any, Generator  # noqa: UP035  (read by Python 3.9)

import pytest
from veilig_worker_failure import failure
from veilig_worker_project import pytest_arguments, relative
from veilig_worker_trace import Trace

Tell = Any  # a function that takes one record
MESSAGE_CHARS_MAX = 1000
HANGING_WALL_S, HANGING_FACTOR = 1.0, 20.0
# A traced test that computes this long without reaching a line it had not reached before goes round in a
# circle; one whose siblings are known to be quick is given less.
CIRCLE_CPU_S, CIRCLE_QUICK_CPU_S, CIRCLE_FACTOR = 4.0, 1.0, 50.0
SIBLING_CPU_S = 0.4  # other parameters of a test function that went round in a circle
LOOK_S = 0.2


class TestTimedOut(BaseException):
    """A test ran longer than it may; a BaseException, since tested code catches the rest."""

    __test__ = False


class Reporter:
    """The pytest plugin: tells one record per test, collection error and warning."""

    def __init__(self, task: dict[str, Any], tell: Tell) -> None:
        self.root = str(task["root"])
        self.tell = tell
        self.wall_s = float(task.get("test_wall_s", 60.0))
        self.slowest_s = 0.0
        self.passed = 0
        self.until_s = 0.0
        self.reached = (0, 0.0)  # lines so far, and at which CPU second the last new one was seen
        self.wanted = None if task.get("tests") is None else {str(one) for one in task["tests"]}
        self.trace = Trace(self.root) if task.get("trace") else None
        self.current: dict[str, Any] = {}
        self.circled: set[str] = set()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        ids = [str(item.nodeid) for item in items]
        self.tell({"kind": "collected", "ids": ids})
        if self.wanted is not None:
            items[:] = [item for item in items if item.nodeid in self.wanted]

    def pytest_collection_finish(self) -> None:
        if self.trace is not None:
            self.trace.start()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Any:
        self.tell({"kind": "start", "id": item.nodeid})
        self.current = {"id": item.nodeid, "outcome": "", "phase": "setup", "failure": None}
        self.current["file"] = relative(str(item.path), self.root)
        before = signal.signal(signal.SIGALRM, self._too_long)
        started_s, cpu_s = time.monotonic(), time.process_time()
        self.until_s, self.reached = started_s + self.wall_s, (0, cpu_s)
        signal.setitimer(signal.ITIMER_REAL, min(self.wall_s, LOOK_S), LOOK_S)
        if self.trace is not None:
            self.trace.begin()
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, before)
            self.current["cpu_s"] = round(time.process_time() - cpu_s, 6)
            self.current["duration_s"] = round(time.monotonic() - started_s, 6)
            if self.trace is not None:
                self.current["lines"] = self.trace.end()
        if not self.current["outcome"]:  # pytest itself broke in the middle: that is no pass
            self.current.update(outcome="failed", failure=_plain("the session broke inside this test"))
        self._learn(float(self.current["duration_s"]))
        self.tell({"kind": "test", **self.current})

    def _learn(self, duration_s: float) -> None:
        # Where one test hangs, its siblings do too: they get a multiple of what passing tests took, not the
        # whole limit each. What was cut short says after how many seconds.
        if self.current["outcome"] == "passed":
            self.slowest_s = max(self.slowest_s, duration_s)
            self.passed += 1
            return
        failed: dict[str, Any] = self.current.get("failure") or {}
        if failed.get("exception") == "TestTimedOut":
            self.wall_s = min(self.wall_s, max(HANGING_WALL_S, HANGING_FACTOR * self.slowest_s))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, call: Any) -> Generator[None, Any, None]:
        wrapped = yield
        report: Any = wrapped.get_result()
        if report.outcome == "passed" and not hasattr(report, "wasxfail"):
            if report.when == "call" and not self.current["outcome"]:
                self.current.update(outcome="passed", phase="call")
            return
        if report.outcome == "failed" and not self.current.get("failure"):
            self.current["outcome"] = "failed" if report.when == "call" else "error"
            self.current["phase"] = report.when
            if call.excinfo is not None:
                self.current["failure"] = failure(call.excinfo.value, self.root)
            else:  # a strict xfail that passed: pytest fails it without an exception
                self.current["failure"] = _plain(str(report.longrepr))
        elif report.outcome == "skipped":
            self.current["outcome"] = "xfailed" if hasattr(report, "wasxfail") else "skipped"
            self.current["reason"] = str(getattr(report, "wasxfail", "") or report.longrepr)[
                -MESSAGE_CHARS_MAX:
            ]
        elif not self.current["outcome"] and report.when == "call":
            self.current["outcome"] = "xpassed"

    def pytest_exception_interact(self, node: Any, call: Any, report: Any) -> None:
        if isinstance(report, pytest.CollectReport):
            error = call.excinfo.value
            cause = error.__cause__ if error.__cause__ is not None else error
            record = failure(cause, self.root)
            self.tell(
                {"kind": "collect_error", "id": node.nodeid, **record, "text": str(report.longrepr)[-8000:]}
            )

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:  # the same error with less detail; kept when the hook above was not called
            text = str(report.longrepr)[-8000:]
            self.tell({"kind": "collect_failed", "id": report.nodeid, "text": text})

    def pytest_warning_recorded(self, warning_message: Any, when: str, nodeid: str, location: Any) -> None:
        path = relative(os.path.abspath(str(warning_message.filename)), self.root)  # noqa: PTH100
        self.tell(
            {
                "kind": "warning",
                "category": warning_message.category.__name__,
                "message": str(warning_message.message)[:MESSAGE_CHARS_MAX],
                "path": path,
                "line": int(warning_message.lineno),
                "when": when,
                "id": nodeid,
                "function": str(location[2]) if location else "",
            }
        )

    def _too_long(self, _signal: int, _frame: Any) -> None:
        if time.monotonic() >= self.until_s:
            raise TestTimedOut(f"the test took longer than {self.wall_s:g} s")
        if self.trace is None or self.trace.monitoring is None:
            return
        now_s, lines = time.process_time(), len(self.trace.hits)
        if lines != self.reached[0]:
            self.reached = (lines, now_s)
        elif now_s - self.reached[1] >= self._circle_s():
            self.circled.add(_function(self.current))
            raise TestTimedOut(f"the test ran in a circle for {now_s - self.reached[1]:.0f} s")

    def _circle_s(self) -> float:
        if _function(self.current) in self.circled:
            return max(SIBLING_CPU_S, min(CIRCLE_FACTOR * self.slowest_s, CIRCLE_CPU_S))
        if not self.passed:
            return CIRCLE_CPU_S
        return min(max(CIRCLE_QUICK_CPU_S, CIRCLE_FACTOR * self.slowest_s), CIRCLE_CPU_S)


def run(task: dict[str, Any], tell: Tell) -> int:
    """Run the session in this process; the exit code is pytest's own."""
    arguments = [*pytest_arguments(task), "-q", "--tb=short"]
    return int(pytest.main(arguments, plugins=[Reporter(task, tell)]))


def _function(record: dict[str, Any]) -> str:
    """The test function, whatever its parameters."""
    return str(record.get("id", "")).partition("[")[0]


def _plain(text: str) -> dict[str, Any]:
    record: dict[str, Any] = {"exception": "Failed", "bases": [], "message": text, "frames": [], "causes": []}
    return {**record, "path": "", "line": 0}
