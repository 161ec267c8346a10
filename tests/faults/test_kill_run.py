"""kill -9 anywhere in a model's session, its background job and its child: nothing is repeated or lost.

`VEILIG_KILL_EVERY=1` tries every one of the points (360); the default is a sample.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from replay_server import Answer, Request, call, replay
from running import done

SCRIPT = Path(__file__).parent.parent / "support" / "kill_run.py"
EVERY = int(os.environ.get("VEILIG_KILL_EVERY", "53"))
PART = "You do one part of a larger task"
LINES = [f"echo {n} >> lines.txt" for n in range(6)]
CHILD = [f"echo c{n} >> lines.txt" for n in range(2)]
TURNS = (
    call("shell", command=LINES[0]),
    call("plan", steps=[{"step": "append"}], notes="lines.txt holds the lines"),
    call("edit", path="cart.py", old="x = 1", new="x = 2"),
    call("shell", command="while read line; do echo got $line; done", background="echo"),
    call("shell", command=LINES[1]),
    call("delegate", task="append two lines"),
    call("shell", command=LINES[2]),
    call("job", name="echo", input="hello\n"),
    call("edit", path="new.py", old="", new="y = 1\n"),
    call("shell", command=LINES[3]),
    call("shell", command=LINES[4]),
    call("shell", command=LINES[5]),
    done("all lines are there"),
)

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.outside_gate]


def model(request: Request) -> Answer:
    """What comes next is told by the conversation alone, so that any process may go on with it."""
    count = len(request.results)
    if PART in json.dumps(request.body):
        return call("shell", command=CHILD[count]) if count < len(CHILD) else done("two lines")
    return TURNS[min(count, len(TURNS) - 1)]


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("kills")
    with replay(model) as server:
        ran = subprocess.run(
            [sys.executable, str(SCRIPT), str(folder), server.url, str(EVERY)],
            capture_output=True,
            text=True,
            timeout=3600,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return [json.loads(line) for line in ran.stdout.splitlines()]


def made(line: dict[str, Any]) -> list[str]:
    """The lines that the session's diff adds to lines.txt."""
    part = line["diff"].partition("+++ b/lines.txt\n")[2].partition("diff --git")[0]
    return [row[1:] for row in part.splitlines() if row.startswith("+")]


def test_a_killed_session_ends_as_if_nothing_had_happened(points: list[dict[str, Any]]) -> None:
    whole, *killed = points
    assert whole["points"] > 250, "every append and transaction of parent and child is a point"
    assert len(killed) > 5
    assert made(whole) == ["0", "1", "c0", "c1", "2", "3", "4", "5"]
    for line in killed:
        assert line["killed"], line
        if line["begun"]:
            assert line["resumed"] == 0, line
            assert set(line["states"].values()) == {"done"}, line


def test_no_finished_command_is_repeated_and_one_in_doubt_is_named(points: list[dict[str, Any]]) -> None:
    for line in points[1:]:
        if not line["begun"]:
            continue
        lines = made(line)
        assert len(set(lines)) == len(lines), f"a line was written twice: {line}"
        finished = [c for c in line["commands"] if c in (*LINES, *CHILD)]
        assert len(set(finished)) == len(finished), f"a finished command ran again: {line}"
        known = {*finished, *line["doubted"]}
        assert known >= {*LINES, *CHILD}, f"a command is neither finished nor in doubt: {line}"
        assert len(line["doubted"]) <= 1, line


def test_one_child_is_gone_on_with_and_none_is_begun_again(points: list[dict[str, Any]]) -> None:
    for line in points:
        if line.get("begun", True) and line["resumed"] == 0:
            root, *children = line["sessions"]
            assert children == [f"{root}.1"], line
