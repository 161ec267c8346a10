"""How is one collected test run again and again, as fast as its own setup allows?"""
# ruff: noqa: BLE001

from __future__ import annotations

import resource
import signal
from typing import Any

from veilig_worker_unittest import Collector

REPEAT_S = 0.05  # the timer fires again: a bare `except` in the loop of a mutant swallows the first one
FIRES_MAX = 40  # a mutant that catches everything for two CPU seconds is stopped with its process


class OutOfTime(BaseException):
    """The test used more CPU time than it may; CPU time, so that the machine's load changes nothing."""


class Clock:
    """A CPU time limit around one test."""

    def __init__(self) -> None:
        self.fires = 0
        signal.signal(signal.SIGPROF, self._fire)

    def start(self, limit_s: float) -> None:
        self.fires = 0
        signal.setitimer(signal.ITIMER_PROF, max(limit_s, 0.001), REPEAT_S)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0.0)

    def _fire(self, _signal: int, _frame: Any) -> None:
        self.fires += 1
        if self.fires > FIRES_MAX:
            import os

            os._exit(97)
        raise OutOfTime


def cpu_s() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def run_item(item: Any, clock: Clock, limit_s: float, following: Any) -> str:
    """One of passed, failed, skipped, xfailed, xpassed, timeout.

    following: the next item of this run, None for the last.


    The hooks for setup, call and teardown are called as they are: the full protocol would also render every
    failure as text, which costs more than the tests themselves.
    """
    # The timer may fire between any two bytecodes here, the clean-up included; what is left is then cleaned
    # by the next candidate's process, since a timeout always ends the batch.
    clock.start(limit_s)
    try:
        outcome = _run_unittest(item) if not hasattr(item, "ihook") else _run_filtered(item, following)
    except OutOfTime:
        outcome = "timeout"
    clock.stop()
    return "timeout" if clock.fires else outcome


def _run_filtered(item: Any, following: Any) -> str:
    """With the warning filters of the project when one makes an error: no hook called here sets them."""
    if not hasattr(item, "veilig_strict"):
        marks = [one for mark in item.iter_markers(name="filterwarnings") for one in mark.args]
        asked = [*marks, *item.config.getini("filterwarnings"), *(item.config.option.pythonwarnings or ())]
        item.veilig_strict = any(str(one).strip().startswith("error") for one in asked)
    if not item.veilig_strict:
        return _run_pytest(item, following)
    import _pytest.warnings

    filters: Any = _pytest.warnings
    with filters.catch_warnings_for_item(config=item.config, ihook=item.ihook, when="runtest", item=item):
        return _run_pytest(item, following)


def _run_pytest(item: Any, following: Any) -> str:
    has_request = hasattr(item, "_request")
    if has_request and not item._request:
        item._initrequest()
    item.__dict__.pop("_excinfo", None)
    item.veilig_subtest_failed = False
    outcome = _phase(item, item.ihook.pytest_runtest_setup, {})
    _report(item, "setup", outcome)
    if outcome == "passed":
        outcome = _phase(item, item.ihook.pytest_runtest_call, {})
        # A unittest case keeps its exceptions instead of raising them.
        kept = item.__dict__.get("_excinfo")
        if outcome == "passed" and kept:
            outcome = _outcome(kept[0].value)
        if outcome == "passed" and item.veilig_subtest_failed:
            outcome = "failed"
        _report(item, "call", outcome)
    ended = _phase(item, item.ihook.pytest_runtest_teardown, {"nextitem": following})
    if has_request:
        item._request = False
        item.funcargs = None
    if outcome == "passed" and ended != "passed":
        outcome = ended
    return _expected(item, outcome)


def _report(item: Any, when: Any, outcome: str) -> None:
    """What fixtures may read at their end: `tmp_path` and others look at how the phases before went.

    A phase that did not pass gets no report, for its text is what costs; the test has failed anyway.
    """
    if outcome != "passed":
        return
    from _pytest.runner import CallInfo

    try:
        item.ihook.pytest_runtest_makereport(item=item, call=CallInfo.from_call(_nothing, when))
    except OutOfTime:
        raise
    # veilig: ignore[CWE-396] reason=pytest's outcomes are BaseExceptions, and a plugin's trouble is not ours
    except BaseException:
        return  # its fixtures will say so


def _nothing() -> None:
    return None


def _phase(item: Any, hook: Any, arguments: dict[str, Any]) -> str:
    try:
        hook(item=item, **arguments)
    except OutOfTime:
        raise
    except BaseException as error:
        return _outcome(error)
    return "passed"


def _outcome(error: BaseException) -> str:
    if isinstance(error, OutOfTime):
        raise error
    name = type(error).__name__
    if name == "Skipped":
        return "skipped"
    return "xfailed" if name == "XFailed" else "failed"


def _expected(item: Any, outcome: str) -> str:
    # An xfail mark turns the outcome around in the report hook, which is not called here.
    marks = [mark for mark in item.iter_markers(name="xfail") if mark.kwargs.get("run", True)]
    if not marks or outcome not in {"passed", "failed"}:
        return outcome
    return "xfailed" if outcome == "failed" else "xpassed"


def _run_unittest(case: Any) -> str:
    import unittest

    result = Collector("")
    unittest.TestSuite([case]).run(result)
    if isinstance(result.error, OutOfTime):
        raise result.error
    return "failed" if result.outcome == "error" else result.outcome
