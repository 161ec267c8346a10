"""Is a trial fair, and is its verdict the tests' own? Real boxes, real tasks, agents that try to cheat."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from replay_server import Answer, Call, Request, replay
from veilig.app import Setting
from veilig.core.errors import UsageError
from veilig.evals.agents import BUILT_IN, Ground, Modelled, Report, find_agent
from veilig.evals.results import Ending, read_trials, trial_folder
from veilig.evals.run import run_suite
from veilig.evals.runner import Terms, run_trial
from veilig.evals.suite import Suite, read_suite
from veilig.evals.task import Task, TaskError, read_task

TASK = """schema_version = "1.4"
[metadata]
category = "data"
programs = ["python3"]
[agent]
timeout_sec = 60
[verifier]
timeout_sec = 60
environment_mode = "{mode}"
[environment]
network_mode = "{network}"
{more}
"""
TEST = """if python3 -I /tests/check.py; then echo 1 > /logs/verifier/reward.txt
else echo 0 > /logs/verifier/reward.txt; exit 1; fi
"""


def make(
    folder: Path, *, mode: str = "separate", network: str = "no-network", more: str = "", check: str = "",
    solve: str = "tr a-z A-Z < /app/in.txt > /app/out.txt", dockerfile: str = "",
) -> Path:  # fmt: skip
    """A task: write what in.txt holds in capitals to out.txt."""
    for name in ("environment", "tests", "solution"):
        (folder / name).mkdir(parents=True)
    (folder / "task.toml").write_text(TASK.format(mode=mode, network=network, more=more))
    (folder / "instruction.md").write_text("Write the text of in.txt in capitals to out.txt.\n")
    (folder / "environment/Dockerfile").write_text(
        dockerfile or "FROM debian:bookworm-slim\nWORKDIR /app\nCOPY in.txt ./\nRUN echo made > made.txt\n"
    )
    (folder / "environment/in.txt").write_text("safe\n")
    (folder / "tests/test.sh").write_text(TEST)
    (folder / "tests/check.py").write_text(
        check or 'assert open("/app/out.txt").read() == "SAFE\\n" and open("/app/made.txt").read()\n'
    )
    (folder / "solution/solve.sh").write_text(solve + "\n")
    return folder


SERVER = """
import time, urllib.request
for _ in range(200):
    try:
        assert urllib.request.urlopen("http://127.0.0.1:8099/in.txt", timeout=5).read() == b"safe\\n"
        break
    except OSError:
        time.sleep(0.1)
else:
    raise SystemExit("nobody serves")
"""
SERVE = "cd /app; setsid python3 -m http.server 8099 --bind 127.0.0.1 >/dev/null 2>&1 &"


async def tried(task: Task, agent: str, out: Path, **terms: object):
    return await run_trial(task, find_agent(agent, Setting()), 1, replace(Terms(out), **terms))


@pytest.mark.parametrize(
    ("agent", "ending"),
    [("oracle", Ending.RESOLVED), ("none", Ending.UNRESOLVED), ("cheat", Ending.UNRESOLVED),
     ("embedded", Ending.SKIPPED)],
)  # fmt: skip
@pytest.mark.parametrize("mode", ["separate", "shared"])
async def test_only_who_solves_the_task_is_credited(tmp_path: Path, agent: str, ending: Ending, mode: str):
    task = read_task(make(tmp_path / "task", mode=mode))
    trial = await tried(task, agent, tmp_path / "out")
    assert (trial.ending, trial.reward) == (ending, 1.0 if ending is Ending.RESOLVED else 0.0), trial


@pytest.mark.parametrize(("mode", "ending"), [("shared", Ending.RESOLVED), ("separate", Ending.UNRESOLVED)])
async def test_a_service_is_seen_by_tests_that_share_the_agents_world(
    tmp_path: Path, mode: str, ending: Ending
):
    task = read_task(make(tmp_path / "task", mode=mode, check=SERVER.replace("200", "20"), solve=SERVE))
    assert (await tried(task, "oracle", tmp_path / "out")).ending is ending


async def test_a_reward_of_one_does_not_count_when_the_tests_fail(tmp_path: Path):
    folder = make(tmp_path / "task")
    (folder / "tests/test.sh").write_text("echo 1 > /logs/verifier/reward.txt; exit 3\n")
    trial = await tried(read_task(folder), "none", tmp_path / "out")
    assert (trial.ending, trial.reward) == (Ending.UNRESOLVED, 0.0)
    assert "does not count" in trial.detail


@pytest.mark.parametrize("verdict", ["ln -s /etc/hostname", "mkdir", "echo 7 >", "echo yes >", ": #"])
async def test_a_verdict_that_is_none_is_said(tmp_path: Path, verdict: str):
    folder = make(tmp_path / "task")
    (folder / "tests/test.sh").write_text(f"{verdict} /logs/verifier/reward.txt\n")
    trial = await tried(read_task(folder), "none", tmp_path / "out")
    assert trial.ending is Ending.UNRESOLVED
    assert "verdict" in trial.detail


@pytest.mark.parametrize(
    ("network", "more", "says"),
    [
        ("public", "", "network mode public"),
        ("allowlist", "", "network mode"),
        ("no-network", "cpus = 1", "cpus"),
    ],
)
async def test_what_is_not_enforced_is_refused(tmp_path: Path, network: str, more: str, says: str):
    task = read_task(make(tmp_path / "task", network=network, more=more))
    trial = await tried(task, "oracle", tmp_path / "out")
    assert trial.ending is Ending.REFUSED
    assert says in trial.detail
    if more:
        allowed = await tried(task, "oracle", tmp_path / "more", allow=frozenset({"cpus"}))
        assert allowed.ending is Ending.RESOLVED


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("RUN apt-get install -y git", "installation"), ("USER bob", "USER"), ("ADD x /app/", "ADD"),
        ("COPY ../x /app/", "inside environment"), ("WORKDIR /etc/x", "cannot be a folder"),
        ("FROM veilig AS two", "second FROM"), ("RUN --mount=type=cache true", "options of RUN"),
    ],
    ids=lambda value: value.split()[0],
)  # fmt: skip
async def test_what_needs_an_image_is_refused_by_line(tmp_path: Path, line: str, says: str):
    folder = make(tmp_path / "task", dockerfile=f"FROM debian:12\nWORKDIR /app\n{line}\n")
    text = (folder / "task.toml").read_text().replace('programs = ["python3"]', "")
    (folder / "task.toml").write_text(text)
    trial = await tried(read_task(folder), "oracle", tmp_path / "out")
    assert trial.ending in (Ending.REFUSED, Ending.ERROR)
    assert says in trial.detail


async def test_a_step_that_fails_is_no_fault_of_the_agent(tmp_path: Path):
    folder = make(tmp_path / "task", dockerfile="FROM debian:12\nWORKDIR /app\nRUN exit 5\n")
    trial = await tried(read_task(folder), "oracle", tmp_path / "out")
    assert (trial.ending, trial.scored) == (Ending.ERROR, False)
    assert "line 3" in trial.detail


async def test_an_installation_is_stood_for_by_named_programs_and_said(tmp_path: Path):
    steps = "RUN apt-get update && apt-get install -y python3 && rm -rf /var/lib/apt/lists/*"
    folder = make(tmp_path / "task", dockerfile=f"FROM debian:12\n{steps}\nWORKDIR /app\nCOPY in.txt ./\n"
                  "RUN echo made > made.txt\n")  # fmt: skip
    trial = await tried(read_task(folder), "oracle", tmp_path / "out")
    assert trial.ending is Ending.RESOLVED
    assert len(trial.skipped_steps) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('network_mod = "public"', "did you mean 'network_mode'"), ("gpus = 1", "GPU"),
        ('network_mode = "none"', "known: no-network"), ("memory_mb = -1", "whole number"),
        ('memory = "lots"', "512M"),
    ],
)  # fmt: skip
def test_a_key_that_is_wrong_is_named(tmp_path: Path, text: str, says: str):
    folder = make(tmp_path / "task")
    place = folder / "task.toml"
    place.write_text(place.read_text().replace('network_mode = "no-network"', text))
    with pytest.raises(TaskError, match=says):
        read_task(folder)


async def test_a_run_goes_on_where_it_stopped_and_refuses_another(tmp_path: Path):
    make(tmp_path / "suite/one")
    make(tmp_path / "suite/two")
    suite, terms = read_suite(tmp_path / "suite"), Terms(tmp_path / "out")
    await run_suite(suite, "oracle", terms, setting=Setting())
    first = read_trials(terms.out)
    shutil.rmtree(terms.out / "trials/two__1")
    again = await run_suite(suite, "oracle", terms, setting=Setting(), jobs=2)
    assert again[0] == first[0]  # kept as it was, its seconds too
    assert [trial.ending for trial in again] == [Ending.RESOLVED] * 2
    with pytest.raises(UsageError, match="another run"):
        await run_suite(suite, "none", terms, setting=Setting())
    with pytest.raises(UsageError, match="no agent is called"):
        await run_suite(suite, "orakel", Terms(tmp_path / "o"), setting=Setting())
    assert "oracle" in BUILT_IN


class Upper:
    """An agent as a user would write one."""

    async def run(self, instruction: str, environment: Ground) -> Report:
        assert "capitals" in instruction
        seen = await environment.exec("cat in.txt; ls /tests /solution; ls /logs/verifier 2>&1; id -u")
        done = await environment.exec("tr a-z A-Z < in.txt > out.txt")
        return Report(seen.stdout, done.return_code == 0, tokens_out=7)


async def test_a_class_of_yours_works_and_sees_no_test_no_solution_and_no_verdict(tmp_path: Path):
    make(tmp_path / "suite/task")
    suite = read_suite(tmp_path / "suite")
    trials = await run_suite(suite, f"{__name__}:Upper", Terms(tmp_path / "out"), setting=Setting())
    assert (trials[0].ending, trials[0].tokens_out) == (Ending.RESOLVED, 7)
    assert trials[0].detail.startswith("safe\n/solution:\n\n/tests:\n")
    assert "No such file" in trials[0].detail
    assert trials[0].detail.split()[-1] != "0"


class Forever:
    """An agent that never ends."""

    async def run(self, instruction: str, environment: Ground) -> Report:
        await environment.exec("tr a-z A-Z < in.txt > out.txt; sleep 3600")
        return Report()


async def test_an_agent_out_of_time_is_judged_by_what_it_left(tmp_path: Path):
    folder = make(tmp_path / "task")
    place = folder / "task.toml"
    place.write_text(place.read_text().replace("[agent]\ntimeout_sec = 60", "[agent]\ntimeout_sec = 2"))
    suite = Suite("x", "1", "", "", tmp_path, (read_task(folder),))
    trials = await run_suite(suite, f"{__name__}:Forever", Terms(tmp_path / "out"), setting=Setting())
    assert (trials[0].ending, trials[0].timed_out) == (Ending.RESOLVED, True)


def scripted(request: Request) -> Answer:
    """A model that starts the server of a task, and says so."""
    if not request.results:
        return Answer(calls=(Call("shell", {"command": SERVE.replace("cd /app; ", "")}),))
    return Answer(text="it serves")


async def test_what_a_model_starts_is_there_when_the_tests_come(tmp_path: Path):
    make(tmp_path / "suite/serve", mode="shared", check=SERVER, solve=SERVE)
    with replay(scripted) as server:
        setting = Setting(model_url=server.url, environment={"PATH": "/usr/bin:/bin"})
        out = Terms(tmp_path / "out")
        trials = await run_suite(
            read_suite(tmp_path / "suite"), "embedded", out, setting=setting, model="scripted"
        )
    assert trials[0].ending is Ending.RESOLVED, trials[0]
    assert trials[0].tokens_in > 0
    told = json.loads((trial_folder(out.out, "serve", 1) / "agent/trajectory.json").read_text())
    assert told["steps"][-1]["message"] == "it serves"


class Late(Modelled):
    """A model that has done its work, and whose time is up before it could say so."""

    async def run(self, ground: Ground) -> Report:
        await Modelled.run(self, ground)
        raise TimeoutError


async def test_what_a_model_used_counts_although_its_time_was_up(tmp_path: Path):
    task = read_task(make(tmp_path / "suite/serve", mode="shared", check=SERVER, solve=SERVE))
    elsewhere = tmp_path / "elsewhere.db"  # a trial's record is its own, wherever others keep theirs
    with replay(scripted) as server:
        environment = {"PATH": "/usr/bin:/bin", "VEILIG_LEDGER": str(elsewhere)}
        agent = Late(Setting(model_url=server.url, environment=environment), "scripted")
        trial = await run_trial(task, agent, 1, Terms(tmp_path / "out"))
    assert (trial.ending, trial.timed_out) == (Ending.RESOLVED, True)
    assert trial.tokens_in > 0
    assert trial.tokens_out > 0
    assert "stopped after" in trial.detail
    assert (trial_folder(tmp_path / "out", "serve", 1) / "agent/trajectory.json").exists()
    assert not elsewhere.exists()
