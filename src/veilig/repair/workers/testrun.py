"""What do the project's tests say? Runs them once and writes one JSON result.

Whatever the tests do to their process, the parent lives on and says so.

Task: root, result (path), nonce, runner ("pytest" | "unittest"), args, pythonpath, tests (ids, or null
for all), test_wall_s, wall_s, trace. The result repeats the nonce. Exit code 0 when a result was written.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from veilig_worker_child import End, watch
from veilig_worker_project import (
    OUTPUT_TAIL_BYTES,
    enter_project,
    has_pytest,
    read_task,
    silence,
    write_result,
)

TEST_WALL_S = 60.0  # a single test that takes longer counts as hanging
WALL_S = 600.0
INTERNAL_ERROR = 3  # pytest's exit code when it broke itself
RESTARTS_MAX = 5  # a test that kills its process is left out and the rest runs on; five such tests are enough


class Report:
    """What the children said so far."""

    def __init__(self, wanted: list[str] | None) -> None:
        self.wanted = set(wanted) if wanted is not None else None
        self.tests: dict[str, dict[str, Any]] = {}
        self.collected: list[str] = []
        self.collect_errors: list[dict[str, Any]] = []
        self.warnings: list[dict[str, Any]] = []
        self.running = ""
        self.exit_code: int | None = None
        self.finished = False
        self.problem = ""

    def take(self, record: dict[str, Any]) -> None:
        kind = record.pop("kind", "")
        if kind == "start":
            self.running = str(record["id"])
        elif kind == "test":
            self.tests[str(record["id"])] = record
            self.running = ""
        elif kind == "collected":
            self.collected = self.collected or [str(one) for one in record["ids"]]
        elif kind == "collect_error" and record not in self.collect_errors:
            self.collect_errors.append(record)
        elif kind == "warning" and record not in self.warnings:
            self.warnings.append(record)
        elif kind == "problem":
            self.problem = str(record["text"])
        elif kind == "end":
            self.exit_code = int(record["exit"])
            # After an error of its own pytest leaves the rest out; when nothing ran, no second start helps.
            self.finished = self.exit_code != INTERNAL_ERROR or not self.tests or not self.left()

    def left(self) -> list[str]:
        """The collected tests that nothing is known of yet."""
        wanted = self.collected if self.wanted is None else [x for x in self.collected if x in self.wanted]
        return [one for one in wanted if one not in self.tests]

    def died(self, end: End, wall_s: float) -> None:
        """The child ended before its tests did: charge the test that ran, or the session."""
        if end.stopped:
            what = f"stopped after {wall_s:.0f} s" if end.stopped == "deadline" else "hung without a word"
        elif end.signal is not None:
            what = f"the process died of signal {signal.Signals(end.signal).name}"
        else:
            what = f"the process ended early with exit code {end.code}"
        if not self.running:
            self.problem = self.problem or what
            return
        failure: dict[str, Any] = {
            "exception": "ProcessDied",
            "bases": [],
            "message": what,
            "frames": [],
            "causes": [],
        }
        self.tests[self.running] = {
            "id": self.running,
            "outcome": "failed",
            "phase": "call",
            "duration_s": 0.0,
            "cpu_s": 0.0,
            "failure": {**failure, "path": "", "line": 0},
        }
        self.running = ""


def main() -> int:
    """Read the task, run, write the result."""
    task = read_task()
    nonce = str(task.pop("nonce", ""))
    if task.get("runner", "pytest") == "pytest" and not has_pytest():
        task["runner"], task["runner_why"] = "unittest", "pytest is not installed for this interpreter"
    # Before the project is on the import path: its own `random.py` must not reach the runner.
    run = import_module(f"veilig_worker_{task.get('runner', 'pytest')}").run
    enter_project(task)
    descriptor, output = tempfile.mkstemp(prefix="veilig-output-")
    os.close(descriptor)
    report = Report(task.get("tests"))
    started_s = time.monotonic()
    deadline_s = started_s + float(task.get("wall_s", WALL_S))
    restarts = _run_until_done(run, task, report, output, deadline_s)
    write_result(
        task,
        nonce,
        {
            "runner": task.get("runner", "pytest"),
            "runner_why": task.get("runner_why", ""),
            "python": list(sys.version_info[:3]),
            "exit_code": report.exit_code,
            "complete": report.finished,
            "problem": report.problem,
            "restarts": restarts,
            "collected": report.collected,
            "tests": list(report.tests.values()),
            "collect_errors": report.collect_errors,
            "warnings": report.warnings[:200],
            "output_tail": _tail(output),
            "wall_s": round(time.monotonic() - started_s, 3),
        },
    )
    Path(output).unlink()
    return 0


def _run_until_done(run: Any, task: dict[str, Any], report: Report, output: str, deadline_s: float) -> int:
    wall_s = float(task.get("wall_s", WALL_S))
    silence_s = float(task.get("test_wall_s", TEST_WALL_S)) * 1.5 + 5.0
    for restart in range(RESTARTS_MAX + 1):

        def work(tell: Any, now: dict[str, Any] = task) -> None:
            silence(output)
            tell({"kind": "end", "exit": run(now, tell)})

        end = watch(work, report.take, deadline_s=deadline_s, silence_s=silence_s)
        if report.finished:
            return restart
        if report.exit_code != INTERNAL_ERROR:
            report.died(end, wall_s)
        left, report.exit_code = report.left(), None
        if not left or end.stopped == "deadline" or report.problem:
            # Everything ran except the end of the session: what is known is known, and it is said.
            return restart
        task = {**task, "tests": left}
    report.problem = report.problem or f"gave up after {RESTARTS_MAX} tests that killed their process"
    return RESTARTS_MAX


def _tail(path: str) -> str:
    data = Path(path).read_bytes()
    return data[-OUTPUT_TAIL_BYTES:].decode("utf-8", "replace")


if __name__ == "__main__":
    sys.exit(main())
