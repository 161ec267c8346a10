"""Healing as an operator meets it: watch, an incident, a question and its answer, stop and start, the report.

Real services, a real healer process with its broker. What each diagnosis is made of: tests/heal.
"""

import json
import os
import signal
from collections.abc import Iterator

import pytest

from fleet import Fleet, until
from terminal import Terminal
from town import Town

pytestmark = pytest.mark.outside_gate

POLICY = """\
mode: act
autonomous_healing:
  enabled: true
  scope:
    services:
      - {name: "worker-*", actions: [restart], max_restarts_per_hour: 3}
"""


@pytest.fixture
def town(veilig: Terminal) -> Iterator[Town]:
    (veilig.folder / "veilig.yaml").write_text(POLICY)
    found = Town(veilig, Fleet(veilig.folder / "fleet"))
    (veilig.folder / "fleet").mkdir()
    yield found
    found.end()


def test_a_crash_is_healed_once_told_and_the_bystander_left_alone(town: Town) -> None:
    for name in ("worker-1", "web"):
        town.fleet.add(name)
        town.fleet.start(name)
    healer = town.heal("--watch")
    town.fleet.kill("worker-1")
    until(lambda: town.fleet.answers("worker-1"), 30)
    until(lambda: "well  after" in town.text(), 60)
    assert len(town.fleet.starts("worker-1")) == 2
    assert len(town.fleet.starts("web")) == 1
    until(lambda: not town.veilig("incidents", "list", "--json").json[0]["open"], 60)
    healer.send_signal(signal.SIGTERM)
    assert healer.wait(30) == 0
    assert town.fleet.answers("worker-1")  # it outlives its healer
    (told,) = town.veilig("incidents", "list", "--json").json
    assert (told["service"], told["cause"], told["open"]) == ("worker-1", "crash", False)
    shown = town.veilig("incidents", "show", "-", "--html", "page.html", "--svg", "line.svg")
    assert shown.code == 0
    assert "service.restart" in (town.veilig.folder / "line.svg").read_text()
    status = town.veilig("heal", "status", "--json", "--policy", town.policy).json
    rows = {row["service"]: row for row in status["services"]}
    assert rows["worker-1"]["budget"] == "2 of 3 left"
    assert rows["web"]["budget"] == "out of scope"
    assert town.veilig("ledger", "verify").code == 0


def test_a_bad_deploy_waits_for_people_and_their_yes_brings_the_good_one_back(town: Town) -> None:
    town.fleet.add("worker-1")
    town.fleet.start("worker-1")
    town.heal("--watch")
    good = town.veilig.home.rglob("good.json")
    until(lambda: any(town.veilig.home.rglob("good.json")) or any(good), 60)
    program = town.fleet.base / "worker-1" / "app.py"
    was = program.read_text()
    program.write_text("import no_such_module\n" + was)
    town.fleet.kill("worker-1")
    until(lambda: "asked" in town.text(), 60)
    (asked,) = town.veilig("approvals", "list", "--json").json
    assert asked["preview"].startswith("service.rollback worker-1")
    shown = town.veilig("approvals", "show", asked["approval"], "--policy", town.policy).out
    assert "back to the good state of 20" in shown
    assert "-import no_such_module" in shown
    town.veilig("approvals", "approve", asked["approval"], "--policy", town.policy)
    until(lambda: town.fleet.answers("worker-1"), 60)
    assert program.read_text() == was
    assert len(town.fleet.starts("worker-1")) <= 3


def test_stop_all_stops_acts_at_once_and_start_lets_them_go_on(town: Town) -> None:
    town.fleet.add("worker-1")
    town.fleet.start("worker-1")
    town.heal("--watch")
    assert "no act starts" in town.veilig("heal", "stop", "--all", "--reason", "drill").out
    town.fleet.kill("worker-1")
    until(lambda: "healing was stopped by" in town.text(), 60)
    assert len(town.fleet.starts("worker-1")) == 1
    assert town.veilig("heal", "start").code == 0
    until(lambda: town.fleet.answers("worker-1"), 90)
    assert "heal.switched" in town.veilig("ledger", "show", "--json").out


def test_a_killed_healer_goes_on_where_it_was_and_its_budget_holds(town: Town) -> None:
    town.fleet.add("worker-1")
    town.fleet.start("worker-1")
    healer = town.heal("--watch")
    town.fleet.kill("worker-1")
    until(lambda: len(town.fleet.starts("worker-1")) == 2 and town.fleet.answers("worker-1"), 60)
    os.killpg(healer.pid, signal.SIGKILL)
    healer.wait()
    town.heal("--watch")
    until(lambda: "well  after" in town.text(), 60)
    sessions = {line.split()[1] for line in town.text().splitlines() if line.startswith("session")}
    assert len(sessions) == 1
    row = town.veilig("heal", "status", "--json", "--policy", town.policy).json["services"][0]
    assert row["budget"] == "2 of 3 left"


def test_a_changed_services_file_counts_without_a_restart_of_the_healer(town: Town) -> None:
    town.fleet.add("worker-1")
    town.fleet.start("worker-1")
    town.heal("--watch")
    town.fleet.add("worker-2")
    until(lambda: "services 2 of" in town.text(), 60)
    until(lambda: town.fleet.answers("worker-2"), 60)  # it was down: started, inside the same rule


def test_once_reports_and_ends_with_1_while_something_is_wrong(town: Town) -> None:
    town.fleet.add("worker-1")
    town.fleet.add("worker-2", cmd=["false"])
    town.fleet.start("worker-1")
    (town.veilig.folder / "veilig.yaml").write_text(POLICY.replace("mode: act", "mode: propose"))
    said = town.veilig(
        "heal", "--once", "--json", "--services", str(town.fleet.file), "--policy", town.policy
    )
    assert said.code == 1
    result = json.loads(said.out.splitlines()[-1])
    assert {row["service"]: row["state"] for row in result["services"]}["worker-1"] == "healthy"
    assert [one["service"] for one in result["incidents"]] == ["worker-2"]
    assert town.fleet.starts("worker-2") == []
    (asked,) = town.veilig("approvals", "list", "--json").json
    assert asked["preview"].startswith("service.restart worker-2")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("heal",), "there is no services file here"),
        (("heal", "--services", "none.json"), "cannot read the services file"),
        (("heal", "stop"), "say what to stop"),
        (("incidents", "show", "x-1"), "there is no"),
    ],
)
def test_wrong_use_is_told(town: Town, words: tuple[str, ...], said: str) -> None:
    answer = town.veilig(*words)
    assert answer.code in (2, 4)
    assert said in answer.err
