"""A worker that is stopped anywhere between its look at the lease and the end of an act, and goes on."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from postgres import NoPostgres
from veilig.app.fleet_worker import Plan, Worker
from veilig.app.wiring import Setting
from veilig.core.errors import UsageError
from veilig.providers.fleet.deadline import Deadline
from workers import Hall, all_is_well, lost

pytestmark = pytest.mark.outside_gate

ACTS = 2
# Where nothing may be done any more by whoever goes on, since it looks at the lease or is fenced.
OUTSIDE = ("taken", "fenced", "begun", "verified", "kept")
# Where nobody looks any more: after the last look at the lease, at the deadline, after the act itself.
INSIDE = ("checked", "acting", "acted")


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


@pytest.mark.skipif(not Deadline.there, reason="only Linux ends a stopped process with its lease")
def test_a_worker_stopped_at_any_point_of_an_act_repeats_nothing_when_it_goes_on(hall: Hall) -> None:
    sessions = [one for place in INSIDE for one in hall.put(1, ACTS, 0.0, stop=place, priority=5)]
    inside = hall.start("inside", slots=len(INSIDE))
    hall.until(lambda: hall.waiting() == len(INSIDE))
    sessions += [one for place in OUTSIDE for one in hall.put(1, ACTS, 0.0, stop=place)]
    # Last of all: it waits in the transaction that records an intent, and so holds up everybody's.
    sessions += hall.put(1, ACTS, 0.0, stop="recording", after=len(INSIDE + OUTSIDE))
    outside = hall.start("outside", slots=len(OUTSIDE) + 1)
    hall.until(lambda: hall.waiting() == len(sessions))
    for worker in (inside, outside):
        worker.send_signal(signal.SIGSTOP)
    (hall.folder / "world" / "go").touch()
    hall.start("good", slots=3)
    assert inside.wait(120) == -signal.SIGKILL  # by the kernel, where it stood
    hall.until(hall.over)
    outside.send_signal(signal.SIGCONT)
    hall.until(lambda: lost(hall, "outside"))
    again = hall.put(1, ACTS, 0.0)
    hall.until(hall.over)
    assert outside.poll() is None
    all_is_well(hall, [*sessions, *again], ACTS)


async def test_workers_that_would_record_in_different_ledgers_are_no_fleet(
    hall: Hall, tmp_path: Path
) -> None:
    """With two ledgers each session would begin anew in the second: every act twice."""

    async def join(name: str, **environment: str) -> None:
        setting = Setting(environment={**hall.environment(name), **environment})
        await Worker(Plan(hall.url, setting, store=str(tmp_path / "store"), drain=True)).run()

    await join("one")
    for ledger in (str(tmp_path / "ledger.db"), str(hall.server.address("main"))):
        with pytest.raises(UsageError, match="another ledger than its fleet"):
            await join("two", VEILIG_LEDGER=ledger)
    await join("three")
