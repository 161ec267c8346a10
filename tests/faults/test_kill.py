"""kill -9 at every point of a session: it resumes, repeats and loses nothing, and its ledger verifies."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "support" / "kill_everywhere.py"
ACTS = [f"act-{i}" for i in range(5)]

pytestmark = [pytest.mark.faults, pytest.mark.outside_gate]


def run(folder: Path, *options: str) -> list[dict[str, object]]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), *options],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_session_killed_at_any_point_resumes_and_acts_exactly_once(tmp_path: Path) -> None:
    lines = run(tmp_path)
    assert len(lines) > 40, "every append, commit and act is a point"
    for line in lines:
        assert (line["resumed"], line["last"], line["acts"]) == (0, "session.ended", ACTS), line


def test_an_act_nobody_can_look_at_stays_in_doubt_and_is_never_repeated(tmp_path: Path) -> None:
    lines = run(tmp_path, "--blind")
    assert any(line["doubted"] for line in lines)
    for line in lines:
        acts = line["acts"]
        assert isinstance(acts, list)
        assert len(set(acts)) == len(acts), line
        assert (line["resumed"], line["last"]) == (0, "session.ended"), line
        missing = set(ACTS) - set(acts)
        assert len(missing) <= int(str(line["doubted"])), "an act is missing only where it was in doubt"
