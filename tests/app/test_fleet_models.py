"""Whose model server is asked, and with whose key? The worker's, whatever the job says. Real workers."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from postgres import NoPostgres
from replay_server import call, replay
from running import done
from veilig.app import fleet
from veilig.app.driver import job_of
from veilig.app.fleet_options import need_ordinary
from veilig.core.errors import UsageError
from veilig.home import find_home
from workers import Hall

pytestmark = pytest.mark.outside_gate

KEY = "of-this-worker"


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    try:
        made = Hall(tmp_path / "hall")
    except NoPostgres as error:
        pytest.skip(f"NO POSTGRESQL WAS TESTED: {error}")
    try:
        yield made
    finally:
        print(made.logs()[-20000:])  # of a test that failed
        made.close()


def test_a_model_is_asked_where_the_worker_says_with_the_workers_key(hall: Hall, tmp_path: Path) -> None:
    project, policy = tmp_path / "notes", tmp_path / "veilig.yaml"
    project.mkdir()
    (project / "notes.md").write_text("nothing\n")
    policy.write_text("models: {allowed: [scripted]}\n")
    options = job_of("run", project, task="write a title", model="scripted")["options"]
    script = [call("edit", path="notes.md", old="nothing", new="# Notes"), done("it has a title")]
    with replay(script) as ours, replay(script) as theirs:
        plain, elsewhere = fleet.enqueue_all(
            hall.url,
            [fleet.Work("run", options), fleet.Work("run", {**options, "model_url": theirs.url})],
        )
        argv = ("worker", "--drain", "--policy", str(policy), "--store", str(hall.folder / "store"))
        environment = hall.environment("one") | {"OPENAI_API_KEY": KEY, "VEILIG_MODEL_URL": ours.url}
        found = subprocess.run(
            [sys.executable, "-m", "veilig.cli.main", *argv], env=environment, check=False,
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert found.returncode == 0, found.stderr
        asked = ours.requests
        assert theirs.requests == []
    came = {one.session: (str(one.state), one.note) for one in fleet.jobs(hall.url)}
    assert came[plain][0] == "done", came
    home = find_home({**hall.environment("one"), "VEILIG_LEDGER": f"{hall.url}?org=main"})
    with home.open_ledger() as ledger:
        (ended,) = ledger.events(session=plain, names=("session.ended",))
    assert "+# Notes" in str(ended.body["result"])
    assert asked
    assert {request.headers.get("authorization", "") for request in asked} == {f"Bearer {KEY}"}
    assert came[elsewhere][0] == "failed"
    assert "the job says model_url" in came[elsewhere][1]


@pytest.mark.parametrize(
    ("kind", "options", "wrong"),
    [
        ("audit", {"model_url": ""}, "model_url"),
        ("fix", {"policy": "/mine.yaml"}, "policy"),
        ("run", {"hooks": [{"on": "start"}]}, "hooks"),
        ("run", {"origin": {"parent": "run-1"}}, "origin"),
        ("run", {"hooks": [], "origin": None, "model": "x"}, ""),
        ("audit", {"hooks": ["no word of an audit"]}, ""),
    ],
)
def test_what_is_the_workers_to_say_is_refused_in_a_job(
    kind: str, options: dict[str, object], wrong: str
) -> None:
    if not wrong:
        need_ordinary(kind, options)
        return
    with pytest.raises(UsageError, match=wrong):
        need_ordinary(kind, options)
