"""Can healing be started, watched, decided and stopped from the page, and by nobody who may not?"""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet import Fleet
from people_page import Browser, Running, add_person, browser, running
from veilig.providers.drivers import find_driver

pytestmark = pytest.mark.outside_gate

POLICY = """\
mode: act
autonomous_healing:
  enabled: true
  scope:
    services:
      - {name: "worker-*", actions: [restart], max_restarts_per_hour: 3}
approval_gateways:
  database_actions: always
"""


@pytest.fixture
def town(tmp_path: Path) -> Iterator[tuple[Running, Fleet]]:
    fleet = Fleet(tmp_path / "fleet")
    for name in ("worker-1", "worker-db"):
        fleet.add(name, database=name == "worker-db")
        fleet.start(name)
    home, policy = tmp_path / "home", tmp_path / "veilig.yaml"
    home.mkdir()
    policy.write_text(POLICY)
    for name, role in (("own", "owner"), ("ann", "driver"), ("vic", "viewer")):
        add_person(home, name, role)
    try:
        with running(home, [fleet.base], "--policy", str(policy), "--services", str(fleet.file)) as told:
            yield told, fleet
    finally:
        for folder in (home / "sessions").glob("heal-*"):
            if pid := find_driver(folder.name):  # it outlives its server
                os.killpg(pid, signal.SIGKILL)
        fleet.close()


async def true(check: Any, within_s: float = 120.0) -> Any:
    """What `check` gives once it gives something."""
    end = time.monotonic() + within_s
    while not (found := await check()):
        assert time.monotonic() < end, "it did not become true in time"
        await asyncio.sleep(0.1)
    return found


async def listed(who: Browser, session: str) -> dict[str, Any]:
    rows = (await who.get("/sessions"))[1]["sessions"]
    return next((row for row in rows if row["id"] == session), {})


async def begun(who: Browser, services: Path, **more: Any) -> tuple[int, Any]:
    return await who.post("/sessions", {"kind": "heal", "source": {"path": str(services)}, **more})


async def test_a_healing_session_is_started_decided_stopped_and_gone_on_with_from_the_page(
    town: tuple[Running, Fleet],
) -> None:
    server, fleet = town
    async with browser(server.url, "ann") as ann, browser(server.url, "own") as own:
        assert (await ann.get("/services"))[1]["services"] == [
            {"path": str(fleet.file), "name": "services.json"}
        ]
        status, made = await begun(ann, fleet.file)
        assert status == 201, made
        first = made["id"]

        async def runs() -> bool:
            row = await listed(ann, first)
            return (row.get("kind"), row.get("state")) == ("heal", "running")

        await true(runs)
        status, again = await begun(ann, fleet.file)
        assert (status, first in again["error"]["why"]) == (409, True), again
        # What the policy grants is done; what it asks people about waits for the owner.
        fleet.kill("worker-1")
        await true(_answers(fleet, "worker-1"))
        fleet.kill("worker-db")
        (asked,) = await true(lambda: _asked(own))
        assert (asked["session"], asked["preview"].startswith("service.restart worker-db")) == (
            first,
            True,
        ), asked
        status, voted = await own.post(f"/approvals/{asked['id']}", {"verdict": "approve"})
        assert status == 200, voted
        await true(_answers(fleet, "worker-db"))
        # It was stopped: the same watch goes on, with everything that it knows.
        await _stopped(ann, first)
        status, same = await begun(ann, fleet.file)
        assert (status, same["id"]) == (201, first), same
        await true(runs)
        fleet.add("worker-2")  # the file changes: it counts without a restart
        await true(_answers(fleet, "worker-2"))
        await _stopped(ann, first)
        status, look = await begun(ann, fleet.file, once=True)
        assert (status, look["id"] != first) == (201, True), look

        async def looked() -> str:
            row = await listed(ann, look["id"])
            return row["summary"] if row["state"] in ("done", "failed") else ""

        assert await true(looked) == "all services are well"
    told = json.dumps([len(fleet.starts(name)) for name in ("worker-1", "worker-db")])
    assert told == "[2, 2]", "each was started again once"


async def _stopped(who: Browser, session: str) -> None:
    status, told = await who.post(f"/sessions/{session}/stop")
    assert (status, told.get("asked")) == (200, True), told

    async def ended() -> bool:
        return (await listed(who, session))["state"] == "stopped"

    await true(ended)


async def _asked(who: Browser) -> list[dict[str, Any]]:
    return (await who.get("/approvals"))[1]["approvals"]


def _answers(fleet: Fleet, name: str) -> Any:
    async def answers() -> bool:
        return await asyncio.to_thread(fleet.answers, name)

    return answers


async def test_nobody_heals_what_the_operator_did_not_name(town: tuple[Running, Fleet]) -> None:
    server, fleet = town
    mine = fleet.base / "worker-1" / "services.json"
    mine.write_text(json.dumps({"x": {"cmd": ["touch", str(fleet.base / "ran")]}}))
    fleet.file.write_text("{}")
    async with browser(server.url, "ann") as ann, browser(server.url, "vic") as vic:
        for path, wanted in ((mine, 400), (fleet.base, 400), (fleet.file, 400)):
            status, told = await begun(ann, path)
            assert status == wanted, (path, told)
        status, told = await ann.post("/sessions", {"kind": "heal", "source": {"upload": "0" * 16}})
        assert status == 400, told
        assert (await begun(ann, fleet.file, once="yes"))[0] == 400
        assert (await begun(vic, fleet.file))[0] == 403
        assert (await vic.get("/services"))[0] == 403
        assert (await ann.get("/sessions"))[1]["sessions"] == []
    assert not (fleet.base / "ran").exists()
