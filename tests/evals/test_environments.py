"""Can a trial's world be a container, and is that never taken in silence for another wall?"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from veilig.providers.sandbox import preflight

pytestmark = pytest.mark.outside_gate


def ran(place: Path, *more: str) -> dict[str, Any]:
    """The one trial of a small task whose tests look at a service that the agent left running."""
    argv = [sys.executable, "-m", "veilig.cli.main", "eval", "run", "terminal-mini", "--agent", "oracle"]
    argv += ["--task", "serve-key-value", "--out", str(place / "run"), "--json", *more]
    environment = {**os.environ, "VEILIG_HOME": str(place / "home")}
    done = subprocess.run(argv, cwd=place, env=environment, capture_output=True, text=True, check=False)
    (kept,) = (place / "run" / "trials").glob("*/result.json")
    return {"code": done.returncode, **json.loads(kept.read_text())}


async def test_the_world_of_a_trial_is_a_container_that_holds_the_same(tmp_path: Path) -> None:
    found = (await preflight(hide=frozenset({"bubblewrap", "landlock", "docker"})))[-1]
    if found.wall is None:
        pytest.skip(f"podman carries no box here: {found.why_not}")
    told = ran(tmp_path, "--environment", "podman")
    assert (told["code"], told["ending"], told["wall"]) == (0, "resolved", "container"), told


def test_an_environment_that_is_not_there_is_an_error_and_no_other_takes_its_place(tmp_path: Path) -> None:
    told = ran(tmp_path, "--environment", "bubblewrap", "--hide-wall", "bubblewrap")
    assert (told["code"], told["ending"], told["wall"]) == (3, "error", ""), told
    assert "left out by the caller" in told["detail"]
