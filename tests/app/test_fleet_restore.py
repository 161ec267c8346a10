"""A fleet whose database is restored from a backup that was made while it worked."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from postgres import NoPostgres
from veilig.app import fleet
from veilig.core.errors import LedgerTampered, UsageError
from veilig.core.ledger_verify import adopt_store, verify_store
from veilig.stores.opening import looks, places_at
from workers import Hall

pytestmark = pytest.mark.outside_gate

ACTS = 6


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


def tool(hall: Hall, name: str, *words: str) -> None:
    """One of PostgreSQL's programs, as the owner."""
    host = ("-h", str(hall.cluster.folder), "-p", str(hall.cluster.port), "-U", "boss")
    subprocess.run([str(hall.cluster.bin / name), *host, *words], check=True)


def ended(hall: Hall, name: str) -> int:
    """Stop a worker as an upgrade does; its exit status."""
    worker = hall.workers.pop(name)
    worker.send_signal(signal.SIGTERM)
    return worker.wait(120)


def aside(hall: Hall) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "veilig.cli.main", "queue", "set-aside", "--json"]
    return subprocess.run(words, env=hall.environment("new"), check=False, capture_output=True, text=True)


def test_nothing_goes_on_by_itself_after_a_restore_and_what_is_missing_is_said(
    hall: Hall, tmp_path: Path
) -> None:
    sessions = hall.put(5, ACTS, 0.1)
    hall.start("old", slots=2)
    hall.until(lambda: hall.counts()["done"] >= 1 and hall.counts()["working"] >= 1)
    dump = tmp_path / "fleet.dump"
    tool(hall, "pg_dump", "-Fc", "-f", str(dump), "fleet")  # beside sessions at work
    late = hall.put(1, ACTS, 0.1)
    hall.until(hall.over)
    with pytest.raises(UsageError, match="1 workers are at work"):
        fleet.set_aside(hall.url)
    assert ended(hall, "old") == 0
    acted, events = hall.acted(), hall.verified()
    assert acted == ACTS * 6

    tool(hall, "dropdb", "fleet")
    tool(hall, "createdb", "fleet")
    tool(hall, "pg_restore", "--exit-on-error", "-d", "fleet", str(dump))

    # Who saw what is missing says how much it is, and writes nothing more.
    address, anchors = hall.server.address("main"), hall.folder / "homes" / "old" / "anchors"
    with pytest.raises(LedgerTampered, match=rf"its anchor vouches for {events}"):
        verify_store(looks(address), places_at(address, anchors))
    restored = {one.session: str(one.state) for one in fleet.jobs(hall.url)}
    assert set(restored) == set(sessions), "what was put after the backup is not in it"
    assert not set(late) & set(restored)
    open_ones = [name for name, state in restored.items() if state != "done"]
    assert open_ones and len(open_ones) < len(sessions)

    # What was open then may have been done since: nothing of it goes on before a person looked.
    said = aside(hall)
    while (
        said.returncode == 2 and "workers are at work" in said.stderr
    ):  # the backup heard of one seconds ago
        time.sleep(1)
        said = aside(hall)
    assert json.loads(said.stdout) == {"sessions": len(open_ones)}
    assert fleet.set_aside(hall.url) == 0, "a second time changes nothing"
    shutil.move(places_at(address, anchors).anchor, tmp_path)  # as the page on restoring says
    assert adopt_store(looks(address), places_at(address, anchors)).size < events
    hall.start("new")
    more = hall.put(1, ACTS, 0.01)
    hall.until(hall.over)
    assert ended(hall, "new") == 0
    states = {one.session: str(one.state) for one in fleet.jobs(hall.url)}
    assert {s: states[s] for s in open_ones} == dict.fromkeys(open_ones, "cancelled")
    assert states[more[0]] == "done"
    assert hall.acted() == acted + ACTS, "nothing of before was done again"
    assert hall.verified() > 0

    # A person who looked lets one go on, from where the backup knew it.
    assert fleet.retry(hall.url, open_ones[0])
    hall.start("new")
    hall.until(hall.over)
    assert {one.session: str(one.state) for one in fleet.jobs(hall.url)}[open_ones[0]] == "done"
    assert set(hall.journal(open_ones[0])) == {f"act-{n}" for n in range(ACTS)}
