"""Which of many candidate edits make the failing tests pass without breaking another one?

Task: root, nonce, runner, args, pythonpath, targets (failing test ids), keep (ids that must stay green,
nearest first), units (path, name, first_line, indent, classes, start, end), candidates
([unit index or -1, path, [[start, end, replacement], ...], cost], cheapest first), limits
(deadline_s, memory_bytes, batch, cost_band, plausible_max, cpu_min_s, cpu_max_s), cpu_s (id -> seconds of
a target). Prints marked JSON lines: baseline, progress, plausible, done.
Every plausible candidate must still be proven in a fresh process with the edit in the file.
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
import time
from importlib import import_module
from typing import Any

from veilig_worker_child import Child
from veilig_worker_project import enter_project, has_pytest, read_task, say, silence
from veilig_worker_swap import apply_edits

SLOW_SHARE = 0.3  # of the time, for edits that need their module imported again
SLOW_EACH_S = 20.0
SLOW_WALL_S = 12.0  # for all of them in one round, or half of what the others took
SLOW_LEAST_S, SLOW_FACTOR = 3.0, 10.0  # a start of the session, and what the tests took as they are
SLOW_STARTS = 4.0  # on a busy machine: as many starts of a session as were measured


class Relay:
    """Hands the records of the searching process on, and remembers how the search went."""

    def __init__(self, nonce: str) -> None:
        self.nonce = nonce
        self.best_cost: float | None = None
        self.slow: list[int] = []
        self.done: dict[str, Any] = {}
        self.tests_s = SLOW_EACH_S
        self.begun_s = time.monotonic()

    def take(self, record: dict[str, Any]) -> None:
        if record.get("event") == "slow":
            self.slow = [int(one) for one in record["candidates"]]
            return
        if record.get("event") == "baseline":
            # A candidate that makes the tests hang must not hold up the next one.
            start_s = max(SLOW_LEAST_S, SLOW_STARTS * (time.monotonic() - self.begun_s))
            self.tests_s = min(SLOW_EACH_S, start_s + SLOW_FACTOR * float(record["quick_s"]))
        if record.get("event") == "done":
            self.done = record
            return
        if record.get("event") == "plausible" and self.best_cost is None:
            self.best_cost = float(record["cost"])
        say(self.nonce, record)


def main() -> int:
    """Read the task, search, say what was found."""
    task = read_task()
    nonce = str(task.pop("nonce", ""))
    runner = str(task.get("runner", "pytest"))
    if runner == "pytest" and not has_pytest():
        say(nonce, {"event": "done", "reason": "pytest is not installed for this interpreter", "tried": 0})
        return 0
    session = import_module("veilig_worker_session")
    tests = import_module(f"veilig_worker_{runner}")
    if runner == "pytest":
        import_module("veilig_worker_takeover")  # here: later the worker's folder is off the import path
    enter_project(task)
    started_s = time.monotonic()
    deadline_s = started_s + float(task["limits"]["deadline_s"])
    slow_known = any(int(one[0]) < 0 for one in task["candidates"])
    fast_end_s = deadline_s - (SLOW_SHARE * (deadline_s - started_s) if slow_known else 0.0)
    relay = Relay(nonce)
    end = _follow(Child(lambda tell: _fast(session, task, fast_end_s, tell)), relay, fast_end_s + 5.0)
    done = relay.done or {"event": "done", "reason": f"the test session ended early ({end})", "tried": 0}
    if relay.slow:
        fast_s = time.monotonic() - started_s
        until_s = min(deadline_s, time.monotonic() + max(SLOW_WALL_S, fast_s / 2))
        tried = _slow(tests, task, relay, until_s)
        done["slow_tried"], done["slow_left"] = tried, len(relay.slow) - tried
        if relay.best_cost is not None:
            done["reason"] = "found"
    say(nonce, {**done, "wall_s": round(time.monotonic() - started_s, 3)})
    return 0


def _follow(child: Child, relay: Relay, deadline_s: float) -> str:
    stopped = ""
    while child.open:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            stopped = "deadline"
            break
        for record in child.poll(min(left_s, 1.0)):
            relay.take(record)
    end = child.finish(stopped)
    return stopped or (f"signal {end.signal}" if end.signal is not None else f"exit code {end.code}")


def _fast(session: Any, task: dict[str, Any], deadline_s: float, tell: Any) -> None:
    silence(os.environ.get("VEILIG_WORKER_LOG"))
    session.run(task, deadline_s, tell)


def _slow(tests: Any, task: dict[str, Any], relay: Relay, deadline_s: float) -> int:
    """Try the edits outside functions, each in a process that has not imported the project yet."""
    tried = 0
    for number in relay.slow:
        _, path, edits, cost = task["candidates"][number]
        if relay.best_cost is not None and float(cost) >= relay.best_cost:
            break  # each costs a whole session: only what is likelier than the patch at hand is worth that
        if time.monotonic() >= deadline_s:
            break
        tried += 1
        if not _green(tests, task, path, edits, list(task["targets"]), deadline_s, relay.tests_s):
            continue
        if _green(tests, task, path, edits, list(task["keep"]), deadline_s, SLOW_EACH_S):
            relay.take(
                {"event": "plausible", "candidate": number, "cost": cost, "path": "slow", "tried": tried}
            )
    return tried


def _green(
    tests: Any,
    task: dict[str, Any],
    path: str,
    edits: Any,
    ids: list[str],
    deadline_s: float,
    each_s: float,
) -> bool:
    """True when every one of the tests passes with the edited module."""
    if not ids:
        return True
    passed: set[str] = set()
    first_stop = ["--maxfail=1"] if task.get("runner", "pytest") == "pytest" else []

    def work(tell: Any) -> None:
        silence(None)
        _override(str(task["root"]), path, edits)
        quick = {"tests": ids, "trace": False, "test_wall_s": each_s / 2}
        tests.run({**task, **quick, "args": [*task.get("args", []), *first_stop]}, tell)

    def take(record: dict[str, Any]) -> None:
        if record.get("kind") == "test" and record.get("outcome") == "passed":
            passed.add(str(record["id"]))

    child = Child(work)
    limit_s = min(deadline_s, time.monotonic() + each_s)
    while child.open and time.monotonic() < limit_s:
        for record in child.poll(0.5):
            take(record)
    child.finish("deadline" if child.open else "")
    return passed.issuperset(ids)


def _override(root: str, path: str, edits: Any) -> None:
    """From now on this process imports the edited text in place of the file's."""
    target = os.path.realpath(os.path.join(root, path))  # noqa: PTH118
    with open(target, encoding="utf-8", newline="") as stream:  # noqa: PTH123
        text = apply_edits(stream.read(), edits)
    original = importlib.machinery.SourceFileLoader.get_code

    def get_code(self: Any, fullname: str) -> Any:
        if os.path.realpath(self.get_filename(fullname)) == target:
            return self.source_to_code(text.encode("utf-8"), self.get_filename(fullname))
        return original(self, fullname)

    importlib.machinery.SourceFileLoader.get_code = get_code


if __name__ == "__main__":
    sys.exit(main())
