"""Sessions of a fleet while its network is cut, its server fails over, or its disk is full."""

import asyncio
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from namespaces import Link, NoNamespaces
from postgres import NoPostgres
from server_ledger import Replica
from veilig.app.fleet_worker import Plan, Worker
from veilig.app.wiring import Setting
from veilig.core.errors import LedgerError, UsageError
from veilig.core.ledger import Draft
from workers import ACTS, Hall, all_is_well, lost

pytestmark = [pytest.mark.outside_gate, pytest.mark.faults]

type Halls = Callable[..., Hall]


@pytest.fixture
def halls(tmp_path: Path) -> Iterator[Halls]:
    made: list[Hall] = []

    def make(more: str = "", **how: object) -> Hall:
        try:
            made.append(Hall(tmp_path / "hall", more, **how))
        except NoPostgres as error:
            pytest.skip(f"NO POSTGRESQL WAS TESTED: {error}")
        return made[0]

    try:
        yield make
    finally:
        for hall in made:
            print(hall.logs()[-20000:])  # of a test that failed
            hall.close()


@pytest.fixture
def link() -> Iterator[Link]:
    try:
        made = Link()
    except NoNamespaces as error:
        pytest.skip(f"NO CUT OF A NETWORK WAS TESTED: {error}")
    yield made
    made.close()


def test_a_worker_whose_network_is_cut_stops_by_itself_and_another_goes_on(halls: Halls, link: Link) -> None:
    more = f"listen_addresses = '{link.host(0)}'\n"
    hall = halls(more, within=link.within(0), trusted=link.network)
    far = f"postgresql://worker@{link.host(0)}:{hall.cluster.port}/fleet?sslmode=disable"
    near = hall.start("near")
    hall.until(lambda: any(e["event"] == "worker.began" for e in hall.log("near")))
    near.send_signal(signal.SIGSTOP)
    hall.start("far", url=far, within=link.within(1))
    sessions = hall.put(2, 3, 4.0)
    hall.until(lambda: len(seen(hall, "far", "session.taken")) == 2 and hall.acted() >= 2)
    near.send_signal(signal.SIGCONT)
    link.cut()
    cut_at = time.time()
    hall.until(lambda: len(seen(hall, "far", "lease.lost")) == 2)  # nobody can tell it: by its own clock
    hall.until(hall.over)
    for what, name in (("lease.lost", "far"), ("session.taken", "near")):
        print(what, [round(at - cut_at, 2) for at in seen(hall, name, what).values()], "s after the cut")
    assert hall.workers["far"].poll() is None
    hall.kill("near")
    link.mend()
    hall.until(lambda: lost(hall, "far"))
    again = hall.put(1, 3, 0.0)
    hall.until(hall.over)
    all_is_well(hall, [*sessions, *again], 3)


def test_a_fail_over_loses_and_repeats_nothing_and_one_that_could_is_refused(
    halls: Halls, tmp_path: Path
) -> None:
    hall = halls("wal_level = replica\nmax_wal_senders = 4\n")
    replica = Replica(hall.server)
    hall.others.append(replica.cluster)
    try:
        hall.server.sql("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
        until_shown(hall, "")
        setting = Setting(environment=hall.environment("lossy"))
        with pytest.raises(UsageError, match="could forget what was begun"):
            asyncio.run(Worker(Plan(hall.url, setting, store=str(hall.folder / "store"), drain=True)).run())
        hall.server.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'", "SELECT pg_reload_conf()")
        until_shown(hall, "standby")
        sessions = hall.put(6, ACTS, 0.25)
        for name in ("one", "two"):
            hall.start(name)
        hall.until(lambda: hall.acted() >= 8)
        hall.cluster.crash()
        replica.promote()
        hall.until(hall.over)
        all_is_well(hall, sessions)
    finally:
        replica.close()


def until_shown(hall: Hall, wanted: str) -> None:
    hall.until(lambda: hall.server.sql_one("SHOW synchronous_standby_names") == (wanted,))


def test_a_full_disk_of_the_server_holds_sessions_up_and_fails_none(halls: Halls, tmp_path: Path) -> None:
    hall = halls()
    place = hall.cluster.folder / "small"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=40m,mode=0777", "tmpfs", str(place)]
    # Its own folder on it: PostgreSQL wants to own that.
    mounted = subprocess.run(words, check=False, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"NO FULL DISK WAS TESTED: no small file system can be made here: {mounted.stderr}")
    try:
        (place / "data").mkdir()
        shutil.chown(place / "data", hall.cluster.folder.stat().st_uid)
        hall.cluster.sql(
            f"CREATE TABLESPACE small LOCATION '{place}/data'",
            "ALTER DATABASE fleet SET TABLESPACE small",
            database="postgres",
        )
        sessions = hall.put(4, 2, 0.0, stop="fenced")
        hall.start("one", slots=4)
        hall.until(lambda: hall.waiting() == 4)
        hall.server.sql("CREATE UNLOGGED TABLE filler (x text) WITH (autovacuum_enabled = off)")
        fill = "INSERT INTO filler SELECT repeat(md5(i::text), 200) FROM generate_series(1, 100000) i"
        with pytest.raises(subprocess.CalledProcessError):
            hall.server.sql("ALTER TABLE filler ALTER x SET STORAGE external", fill)
        with hall.server.open("main", tmp_path / "anchors") as ledger:
            with pytest.raises(LedgerError, match="has no room") as refused:
                for _ in range(1000):  # whatever room is left in the pages
                    ledger.append([Draft("action.proposed", "filler", {"x": "." * 900})] * 50)
            assert refused.value.retry_after_s
            (hall.folder / "world" / "go").touch()
            hall.until(
                lambda: any("no room" in e.get("note", "") + e.get("why", "") for e in hall.log("one"))
            )
            assert hall.counts()["failed"] == 0
        hall.server.sql("DROP TABLE filler")
        hall.until(hall.over)
        all_is_well(hall, sessions, 2)
    finally:
        hall.close()
        subprocess.run(["umount", str(place)], check=True)


def seen(hall: Hall, name: str, event: str) -> dict[str, float]:
    """When a worker said this of each session."""
    return {e["session"]: e["at"] for e in hall.log(name) if e["event"] == event}
