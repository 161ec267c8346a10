"""What did the tests say? Reads what workers/testrun.py wrote, and believes nothing it does not check."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, cast

from veilig.core.errors import VeiligError
from veilig.repair.recipes.proposal import Failure, Frame


class TestReportError(VeiligError):
    """The result is missing, damaged, or not the answer to this task."""

    __test__ = False


class Outcome(StrEnum):
    """How one test ended; an error is a failure outside the test's own body."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"
    XFAILED = "xfailed"
    XPASSED = "xpassed"


RED = frozenset({Outcome.FAILED, Outcome.ERROR})


def _no_lines() -> Mapping[str, int]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Test:
    """One test. lines: path -> bit mask of executed lines (bit n is line n), only when the run was traced."""

    __test__ = False

    id: str
    outcome: Outcome
    duration_s: float
    cpu_s: float
    failure: Failure | None = None
    causes: tuple[Failure, ...] = ()
    reason: str = ""
    file: str = ""
    lines: Mapping[str, int] = field(default_factory=_no_lines)


@dataclass(frozen=True, slots=True)
class CollectError:
    """A module or test that could not be collected; `text` is what the runner printed."""

    id: str
    failure: Failure


@dataclass(frozen=True, slots=True)
class Warned:
    """One warning that the run recorded."""

    category: str
    message: str
    path: str
    line: int
    id: str = ""


@dataclass(frozen=True, slots=True)
class TestReport:
    """One run. `complete` is False when the session itself died: then a missing test proves nothing."""

    __test__ = False

    runner: str
    complete: bool
    exit_code: int | None
    problem: str
    tests: Mapping[str, Test]
    collected: tuple[str, ...]
    collect_errors: tuple[CollectError, ...]
    warnings: tuple[Warned, ...]
    output_tail: str
    wall_s: float

    @property
    def red(self) -> tuple[Test, ...]:
        return tuple(test for test in self.tests.values() if test.outcome in RED)

    @property
    def green(self) -> tuple[Test, ...]:
        return tuple(test for test in self.tests.values() if test.outcome is Outcome.PASSED)

    @property
    def totals(self) -> dict[str, int]:
        found = dict.fromkeys((str(one) for one in Outcome), 0)
        for test in self.tests.values():
            found[str(test.outcome)] += 1
        return {**found, "collect_errors": len(self.collect_errors)}


def read(text: str, nonce: str) -> TestReport:
    """The report in a result file. Raises TestReportError when the nonce differs or the text is damaged."""
    try:
        data = cast("dict[str, Any]", json.loads(text))
        if data.get("nonce") != nonce:
            raise TestReportError(
                "the test result does not answer this task",
                why="its nonce is missing or another one, so something else wrote the file",
                fix="run the tests again; look at what in the project writes to the result path",
            )
        tests = {str(one["id"]): _test(one) for one in data["tests"]}
        return TestReport(
            runner=str(data["runner"]),
            complete=bool(data["complete"]),
            exit_code=None if data["exit_code"] is None else int(data["exit_code"]),
            problem=str(data["problem"]),
            tests=MappingProxyType(tests),
            collected=tuple(str(one) for one in data["collected"]),
            collect_errors=tuple(
                CollectError(str(one["id"]), _failure(one)) for one in data["collect_errors"]
            ),
            warnings=tuple(_warned(one) for one in data["warnings"]),
            output_tail=str(data["output_tail"]),
            wall_s=float(data["wall_s"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TestReportError(
            "the test result cannot be read",
            why=f"{type(error).__name__}: {error}",
            fix="run the tests again; if it stays, report it with the file",
        ) from error


def _test(one: dict[str, Any]) -> Test:
    failure = one.get("failure")
    causes: list[dict[str, Any]] = failure.get("causes", []) if failure else []
    return Test(
        id=str(one["id"]),
        outcome=Outcome(one["outcome"]),
        duration_s=float(one["duration_s"]),
        cpu_s=float(one["cpu_s"]),
        failure=_failure(failure) if failure else None,
        causes=tuple(_failure(cause) for cause in causes),
        reason=str(one.get("reason", "")),
        file=str(one.get("file", "")),
        lines={str(path): int(mask, 16) for path, mask in one.get("lines", {}).items()},
    )


def _failure(one: dict[str, Any]) -> Failure:
    frames = tuple(
        Frame(str(frame["path"]), int(frame["line"]), str(frame["function"]), str(frame["text"]))
        for frame in one["frames"]
    )
    return Failure(
        exception=str(one["exception"]),
        message=str(one["message"]),
        path=str(one["path"]),
        line=int(one["line"]),
        frames=frames,
        text=str(one.get("text", "")),
    )


def _warned(one: dict[str, Any]) -> Warned:
    return Warned(
        str(one["category"]), str(one["message"]), str(one["path"]), int(one["line"]), str(one.get("id", ""))
    )
