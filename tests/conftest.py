"""Does any test open a process or a socket outside the Gate? An interpreter audit hook says so.

It is a smoke alarm, not a wall: code that goes through ctypes is not seen. Tests of the walls, of our own
command line and of crash behaviour must start processes themselves: they are listed here by folder or file,
or carry `@pytest.mark.outside_gate` (a module says `pytestmark = pytest.mark.outside_gate`).
"""

import sys
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent
# Each entry with its reason; a path ends with "/" for a folder, else it is the start of file names.
OUTSIDE_GATE = {
    "conformance/": "passes every wall through the same escapes",
    "providers/": "tests the hands themselves",
    "faults/": "kills real processes",
    "cli/": "starts our own command line",
    "docs/": "runs the documented commands",
    "evals/": "stands up the worlds of trials, which agents act in through their own gate",
    "house/": "runs the bootstrap and the import linter",
    "core/test_ledger": "kills a writer between two events",
    "core/test_session_crash": "kills a session after each event",
    "repair/test_edit": "compares its diffs with those of git and patch",
    "repair/test_worker": "runs the in-sandbox workers by name",
    "audit/test_worker": "runs the in-sandbox worker by name",
}
WATCHED = frozenset(
    {
        "subprocess.Popen",
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "os.spawn",
        "os.fork",
        "os.forkpty",
        "pty.spawn",
        "socket.connect",
        "socket.bind",
    }
)


class OutsideTheGateError(RuntimeError):
    """A process or socket was opened by code that no Gate let through."""


class Watch:
    """What the hook needs to know about the running test; one per worker process."""

    def __init__(self) -> None:
        self.test: str | None = None
        self.seen: list[str] = []


watch = Watch()


def acting() -> bool:
    """Whether the gate performs an action in this context; False while there is no gate module."""
    module = sys.modules.get("veilig.core.gate")
    variable: ContextVar[bool] | None = getattr(module, "ACTING", None)
    return variable is not None and variable.get()


def on_event(event: str, args: tuple[Any, ...]) -> None:
    """The audit hook: first a set look-up, since it sees every import and open."""
    if event not in WATCHED or watch.test is None or acting():
        return
    what = f"{event} {args[:2]!r}"[:300]
    watch.seen.append(what)
    raise OutsideTheGateError(f"{watch.test}: {what} outside the Gate; see tests/conftest.py")


sys.addaudithook(on_event)


def may_be_outside(item: pytest.Item) -> bool:
    """Whether this test is listed above or carries the marker."""
    if item.get_closest_marker("outside_gate"):
        return True
    try:
        place = item.path.relative_to(TESTS).as_posix()
    except ValueError:
        return False
    return any(place.startswith(start) for start in OUTSIDE_GATE)


@pytest.fixture(autouse=True)
def _inside_the_gate(request: pytest.FixtureRequest) -> Iterator[None]:
    if may_be_outside(request.node):
        yield
        return
    watch.test, watch.seen = request.node.nodeid, []
    try:
        yield
    finally:
        watch.test = None
    if watch.seen:  # code that swallowed the exception does not get away with it
        pytest.fail("outside the Gate: " + "; ".join(watch.seen), pytrace=False)
