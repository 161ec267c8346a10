"""Shards of a services file on several workers: healed once, handed over, stopped, bounded over all of them.

Real PostgreSQL, real workers with their brokers, real services.
"""

import json
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet import Fleet
from postgres import NoPostgres
from veilig.agent.audit_plan import AuditOptions
from veilig.app import fleet
from veilig.app.fleet_heal import deal
from veilig.cli.main import main
from veilig.core.errors import UsageError
from veilig.core.ledger import Event, Ledger
from veilig.home import find_home
from workers import Hall

pytestmark = pytest.mark.outside_gate

POLICY = """\
mode: act
autonomous_healing:
  enabled: true
  scope:
    services:
      - {name: "web-*", actions: [restart], max_restarts_per_hour: 3, max_total_restarts_per_hour: 3}
"""
LIMIT_S = 120.0


def until(true: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    end = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end, "it did not become true in time"
        time.sleep(0.3)


class Ward(Hall):
    """A fleet of workers that heal, and the services that they heal."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.services = Fleet(folder / "services")
        (folder / "services").mkdir()
        self._ledger: Ledger | None = None
        self.policy = folder / "veilig.yaml"
        self.policy.write_text(POLICY)

    def worker(self, name: str, heal_slots: int, *words: str) -> "subprocess.Popen[bytes]":
        argv = (
            *(
                sys.executable,
                "-m",
                "veilig.cli.main",
                "worker",
                "--slots",
                "1",
                "--policy",
                str(self.policy),
            ),
            *("--heal-slots", str(heal_slots), "--store", str(self.folder / "store"), *words),
        )
        with (self.folder / f"{name}.log").open("ab") as log:
            made = subprocess.Popen(
                argv, env=self.environment(name), stdout=log, stderr=log, start_new_session=True
            )
        self.workers[name] = made
        return made

    def healers(self) -> dict[str, str]:
        """Session -> the process that drives it."""
        found = fleet.jobs(self.url, "heal-")
        return {one.session: one.worker.rpartition(":")[2] for one in found if one.worker}

    def events(self, *names: str) -> list[Event]:
        if self._ledger is None:
            home = find_home({**self.environment("people"), "VEILIG_LEDGER": f"{self.url}?org=main"})
            self._ledger = home.open_ledger()
        return list(self._ledger.events(names=names))

    def restarts(self) -> list[str]:
        """Every restart that was begun, by its service."""
        begun: list[str] = []
        acts: dict[Any, Any] = {}
        for event in self.events("action.proposed", "action.started"):
            acts.setdefault(event.body["ref"], event.body.get("action"))
            if event.name == "action.started" and acts[event.body["ref"]]["kind"] == "service.restart":
                begun.append(str(acts[event.body["ref"]]["service"]))
        return begun

    def close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
        super().close()
        self.services.close()


type Says = Callable[..., str]


@pytest.fixture
def veilig(ward: "Ward", monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Says:
    """Commands of a person, in this process: a new interpreter for each would cost more than its work."""

    def say(*words: str) -> str:
        for name, value in ward.environment("people").items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        assert main([*words]) == 0
        return capsys.readouterr().out

    return say


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    try:
        made = Ward(tmp_path / "ward")
    except NoPostgres as error:
        pytest.skip(f"NO POSTGRESQL WAS TESTED: {error}")
    try:
        yield made
    finally:
        print(made.logs()[-20000:])  # of a test that failed
        made.close()


def test_shards_are_healed_by_one_worker_each_move_when_it_dies_and_stop_together(
    ward: Ward, veilig: Says
) -> None:
    services = ward.services
    for at in range(1, 5):
        services.add(f"web-{at}", health_timeout_s=30)  # a busy machine answers late
        services.start(f"web-{at}")
    here = platform.node()
    with pytest.raises(UsageError, match="only be reached from the machine"):
        deal(ward.url, services.file)
    deal(ward.url, services.file, host=here)
    with pytest.raises(UsageError, match="is healed already, by 1 shards"):
        deal(ward.url, services.file, host=here, most=2)
    dealt = deal(ward.url, services.file, host=here, most=2, again=True)
    assert [(one.part, one.host, one.names) for one in dealt.shards] == [
        ("1/2", here, ("web-1", "web-2")), ("2/2", here, ("web-3", "web-4")),
    ]  # fmt: skip
    states = sorted(str(one.state) for one in fleet.jobs(ward.url, "heal-"))
    assert states == ["cancelled", "queued", "queued"]
    first, second = dealt.sessions
    one, two = ward.worker("one", 1), ward.worker("two", 1)
    until(lambda: len(ward.healers()) == 2)
    assert set(ward.healers().values()) == {str(one.pid), str(two.pid)}

    # A shard takes no slot of a session.
    project = ward.folder / "project"
    project.mkdir()
    (project / "app.py").write_text("print('hello')\n")
    fleet.enqueue(ward.url, fleet.Work("audit", AuditOptions(str(project)).to_json()))
    until(lambda: fleet.counts(ward.url).get(("audit", fleet.State.DONE)))

    # One stop for every shard, wherever it is healed.
    until(lambda: len(ward.events("session.noted")) >= 2)
    assert "for every shard of main" in veilig("heal", "stop", "--all", "--database", ward.url)
    services.kill("web-1")
    services.kill("web-3")
    until(lambda: len({e.session for e in refused(ward, "healing was stopped by")}) == 2)
    assert ward.restarts() == []
    veilig("heal", "start", "--database", ward.url)
    until(lambda: len(restarted(ward)) == 2)  # and seen to be well: what is in doubt holds the others

    # A dead worker's shard moves, and what falls meanwhile is healed once.
    owner = {str(one.pid): "one", str(two.pid): "two"}[ward.healers()[first]]
    ward.kill(owner)
    services.kill("web-2")
    ward.worker("three", 2)
    until(lambda: services.answers("web-2"), 300)
    assert {name: len(services.starts(name)) for name in services.ports} == {
        "web-1": 2, "web-2": 2, "web-3": 2, "web-4": 1,
    }  # fmt: skip

    # Three restarts an hour for all that the rule covers, whoever heals them.
    services.kill("web-4")
    until(lambda: refused(ward, "is spent: 3 in"))
    assert sorted(ward.restarts()) == ["web-1", "web-2", "web-3"]
    assert not services.answers("web-4")

    # SIGTERM hands over between two acts, and services outlive their healers.
    left = ward.workers["two" if owner == "one" else "one"]
    left.send_signal(signal.SIGTERM)
    assert left.wait(60) == 0
    until(lambda: ward.healers().get(second) == str(ward.workers["three"].pid))
    assert all(services.answers(name) for name in ("web-1", "web-2", "web-3"))
    address = f"{ward.url}?org=main"
    told = veilig("heal", "status", "--json", "--ledger", address, "--policy", str(ward.policy))
    status = json.loads(told)
    assert {row["service"]: row["state"] for row in status["services"]}.keys() == services.ports.keys()


def test_an_act_whose_worker_died_amid_it_is_not_done_again(ward: Ward, veilig: Says) -> None:
    services = ward.services
    services.add("web-1", health_timeout_s=30)
    folder = services.base / "web-1"
    text = (folder / "app.py").read_text()
    (folder / "app.py").write_text(f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{text}")
    services.start("web-1")
    told = json.loads(veilig("queue", "heal", str(services.file), "--on", platform.node(), "--json"))
    (session,) = (one["session"] for one in told["shards"])
    ward.worker("one", 1)
    until(lambda: ward.events("session.noted"))
    (folder / "ill").touch()  # it answers that it is not well, and does not heed a polite stop
    until(lambda: ward.restarts() == ["web-1"])
    ward.kill("one")
    (folder / "ill").unlink()
    ward.worker("two", 1)
    until(lambda: any(e.body["ref"] for e in ward.events("action.doubted")))
    until(lambda: services.answers("web-1") and len(services.starts("web-1")) == 2)
    until(lambda: ward.healers().get(session) == str(ward.workers["two"].pid))
    assert ward.restarts() == ["web-1"]
    assert [e.body["found"] for e in ward.events("action.doubted")] in (["done"], ["unknown"])


def restarted(ward: Ward) -> list[Event]:
    acts: dict[Any, Any] = {e.body["ref"]: e.body["action"] for e in ward.events("action.proposed")}
    done = [e for e in ward.events("action.verified") if e.body.get("status") == "done"]
    return [e for e in done if acts[e.body["ref"]]["kind"] == "service.restart"]


def refused(ward: Ward, why: str) -> list[Event]:
    return [e for e in ward.events("action.refused") if why in str(e.body["why"])]
