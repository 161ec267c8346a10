"""Does Harbor run our agents and our wall, and does what comes out hold? Its command, a scripted model."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from replay_server import Answer, Call, Request, replay
from veilig.evals.suite import find_suite

pytest.importorskip("harbor", reason="the extra harbor is not installed")
pytestmark = [pytest.mark.outside_gate, pytest.mark.slow]

OURS = "veilig.evals.adapters.harbor"
ENVIRONMENT = {"import_path": f"{OURS}:BwrapEnvironment"}


def task(name: str) -> Path:
    return find_suite("terminal-mini").folder / name


def harbor(tmp_path: Path, config: dict[str, Any], **more: str) -> dict[str, dict[str, Any]]:
    """agent's name -> what Harbor says of its one trial, with the folder it lies in."""
    place = tmp_path / "job.json"
    config = {"job_name": "job", "jobs_dir": str(tmp_path), "quiet": True, **config}
    place.write_text(json.dumps(config))
    env = {**os.environ, "HARBOR_TELEMETRY": "0", "LITELLM_LOCAL_MODEL_COST_MAP": "True", **more}
    argv = [str(Path(sys.executable).parent / "harbor"), "run", "--yes", "-c", str(place)]
    done = subprocess.run(
        argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found: dict[str, dict[str, Any]] = {}
    for result in tmp_path.glob("job/*/result.json"):
        told = json.loads(result.read_text())
        assert told["exception_info"] is None, told["exception_info"]
        found[told["config"]["agent"]["name"] or told["agent_info"]["name"]] = {**told, "at": result.parent}
    return found


def reward(told: dict[str, Any]) -> float:
    return told["verifier_result"]["rewards"]["reward"]


def trajectory(told: dict[str, Any]) -> dict[str, Any]:
    """The trial's trajectory, which Harbor's own models accept."""
    from harbor.models.trajectories import Trajectory

    given = json.loads((told["at"] / "agent/trajectory.json").read_text())
    Trajectory.model_validate(given)
    return given


def test_a_server_task_in_our_wall_for_the_oracle_nobody_and_a_model_through_our_gate(tmp_path: Path):
    place = task("serve-key-value")
    solution = (place / "solution/solve.sh").read_text()

    def model(request: Request) -> Answer:
        return (
            Answer(text="it serves")
            if request.results
            else Answer(calls=(Call("shell", {"command": solution}),))
        )

    with replay(model) as server:
        agents = [
            {"name": "oracle"}, {"name": "nop"},
            {"import_path": f"{OURS}:VeiligAgent", "model_name": "openai/scripted",
             "kwargs": {"model_url": server.url}},
        ]  # fmt: skip
        config = {"agents": agents, "tasks": [{"path": str(place)}], "environment": ENVIRONMENT}
        found = harbor(tmp_path, {**config, "n_concurrent_trials": 2}, OPENAI_API_KEY="none")
    assert {name: reward(told) for name, told in found.items()} == {"oracle": 1.0, "nop": 0.0, "veilig": 1.0}
    told = found["veilig"]
    said = trajectory(told)
    used = told["agent_result"]
    assert [step["llm_call_count"] for step in said["steps"] if step["source"] == "agent"] == [1, 1]
    final = said["final_metrics"]
    assert used["n_input_tokens"] == final["total_prompt_tokens"] > 0
    assert used["n_output_tokens"] == final["total_completion_tokens"] > 0
    assert (told["at"] / "agent/veilig/ledger.db").exists()


def test_the_planner_without_a_model_works_from_outside_and_installed_inside(tmp_path: Path):
    agents = [{"import_path": f"{OURS}:{name}"} for name in ("VeiligAgent", "VeiligInstalledAgent")]
    tasks = [{"path": str(task("fix-window-average"))}]
    config = {"agents": agents, "tasks": tasks, "environment": ENVIRONMENT, "artifacts": ["/app"]}
    found = harbor(tmp_path, {**config, "n_concurrent_trials": 1})
    assert set(found) == {"veilig", "veilig-installed"}
    # The one inside has a second wall in the first: Landlock alone, behind which it reads, tests and mends.
    assert {name: reward(told) for name, told in found.items()} == {"veilig": 1.0, "veilig-installed": 1.0}
    for told in found.values():
        steps = trajectory(told)["steps"]
        assert {step.get("llm_call_count") for step in steps if step["source"] == "agent"} == {0}
        assert "tests.run" in {step["message"] for step in steps}
        assert told["agent_result"]["n_output_tokens"] == 0


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"network_mode": "public"}, "lets nothing out"),
        ({"network_mode": "allowlist", "allowed_hosts": ["a.example"]}, "not supported"),
        ({"cpus": 1}, "limits cpus"),
        ({"storage_mb": 10}, "limits storage"),
        ({"gpus": 1}, "GPU"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_an_environment_of_ours_refuses_what_its_wall_does_not_hold(
    tmp_path: Path, more: dict[str, Any], says: str
):
    from harbor.models.task.config import EnvironmentConfig
    from harbor.models.trial.paths import TrialPaths

    from veilig.evals.adapters.harbor import BwrapEnvironment

    config = EnvironmentConfig.model_validate({"network_mode": "no-network", **more})
    with pytest.raises(Exception, match=says):
        BwrapEnvironment(
            environment_dir=task("hello-report") / "environment",
            environment_name="hello-report",
            session_id="x",
            trial_paths=TrialPaths(tmp_path),
            task_env_config=config,
            network_policy=config.resolve_baseline(),
        )
