"""A database in trouble, as an operator meets it: the cause, a question with its preview, a yes, and peace.

A real PostgreSQL, a real service that needs it, a real healer with its broker.
"""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fleet import Fleet, until
from postgres import Cluster, NoPostgres, shop
from terminal import Terminal

pytestmark = pytest.mark.outside_gate

POLICY = """\
mode: act
autonomous_healing:
  enabled: true
  scope:
    services:
      - {name: "worker-*", actions: [restart], max_restarts_per_hour: 3}
"""
LOCK = "UPDATE orders SET paid = true WHERE id = 1"


@dataclass
class Town:
    """A database, a worker that needs it, and a healer."""

    veilig: Terminal
    fleet: Fleet
    cluster: Cluster
    healers: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    @property
    def log(self) -> Path:
        return self.veilig.folder / "healer.log"

    def heal(self) -> None:
        words = ("heal", "--watch", "--services", str(self.fleet.file), "--policy", "veilig.yaml")
        with self.log.open("ab") as log:
            self.healers.append(
                subprocess.Popen(
                    self.veilig.argv(*words),
                    cwd=self.veilig.folder,
                    env=self.veilig.environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
        until(lambda: "services 2 of" in self.text(), 60)

    def text(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def asked(self, verb: str) -> dict[str, Any]:
        """The open question about this change of the database."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            known = self.veilig("approvals", "list", "--json").json
            found[:] = [one for one in known if f"verb: {verb}" in one["preview"]]
            return bool(found)

        until(lambda: "asked" in self.text() and there(), 120)
        return found[-1]

    def approve(self, question: dict[str, Any]) -> None:
        said = self.veilig("approvals", "approve", question["approval"], "--policy", "veilig.yaml")
        assert said.code == 0, said.err

    def end(self) -> None:
        print(self.text())  # of a test that failed
        for healer in self.healers:
            if healer.poll() is None:
                os.killpg(healer.pid, signal.SIGKILL)
                healer.wait()
        self.fleet.close()
        self.cluster.close()


@pytest.fixture
def town(veilig: Terminal) -> Iterator[Town]:
    try:
        cluster = Cluster()
    except NoPostgres as error:
        pytest.skip(f"NO POSTGRESQL WAS TESTED: {error}")
    (veilig.folder / "veilig.yaml").write_text(POLICY)
    (veilig.folder / "fleet").mkdir()
    found = Town(veilig, Fleet(veilig.folder / "fleet"), cluster)
    try:
        shop(cluster)
        yield found
    finally:
        found.end()


def test_a_forgotten_transaction_and_a_crashed_server_are_healed_by_a_yes_and_the_worker_left_alone(
    town: Town,
) -> None:
    import psycopg

    cluster, fleet = town.cluster, town.fleet
    fleet.add("worker-1", deps=["db"])
    fleet.entries["db"] = {
        "provider": "postgres",
        "unit": cluster.conninfo("looker"),
        "writer": cluster.conninfo("actor"),
        "cmd": cluster.restart,
        "data": str(cluster.data),
        "dir": "/",
    }
    fleet.file.write_text(json.dumps({"services": fleet.entries}))
    fleet.start("worker-1")
    town.heal()
    holder = psycopg.connect(cluster.conninfo("app"), application_name="checkout")
    holder.execute(LOCK)
    waiter = psycopg.connect(cluster.conninfo("app"), autocommit=True)
    waiting = threading.Thread(target=lambda: waiter.execute(LOCK))
    waiting.start()
    question = town.asked("terminate_backend")
    for part in ("database.change db", "checkout as app", LOCK, "1 sessions wait for it", "is taken back"):
        assert part in question["preview"]
    assert waiting.is_alive()  # until people say yes
    town.approve(question)
    waiting.join(60)
    assert not waiting.is_alive()
    with pytest.raises(psycopg.OperationalError):
        holder.execute("SELECT 1")
    waiter.close()
    until(lambda: _closed(town, "blocked"), 60)

    cluster.crash()
    (fleet.base / "worker-1" / "ill").touch()  # it says that it lacks something
    question = town.asked("restart")
    until(lambda: "dependency_down" in _causes(town, "worker-1"), 60)
    (fleet.base / "worker-1" / "ill").unlink()
    town.approve(question)
    until(lambda: _closed(town, "crash"), 90)
    until(lambda: not [one for one in town.veilig("incidents", "list", "--json").json if one["open"]], 60)
    assert len(fleet.starts("worker-1")) == 1  # nobody touched what only lacked its database
    assert town.veilig("ledger", "verify").code == 0


def _causes(town: Town, service: str) -> list[str]:
    known = town.veilig("incidents", "list", "--json").json
    return [one["cause"] for one in known if one["service"] == service]


def _closed(town: Town, cause: str) -> bool:
    known = town.veilig("incidents", "list", "--json").json
    return any(one["service"] == "db" and one["cause"] == cause and not one["open"] for one in known)
