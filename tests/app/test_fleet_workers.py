"""Sessions on several workers, while workers die, sleep, leave and lose the database, and it restarts."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel import ANN
from postgres import NoPostgres
from veilig.core.gate import cast_vote
from veilig.core.provider import Vote
from veilig.home import find_home
from workers import ACTS, Hall, Proxy, all_is_well, lost

pytestmark = pytest.mark.outside_gate


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


def test_no_act_is_lost_or_done_twice_whatever_becomes_of_workers_and_database(hall: Hall) -> None:
    proxy = Proxy(hall.cluster)
    try:
        sessions = hall.put(20, ACTS, 0.25)
        hall.start("killed")
        hall.start("cut", url=hall.at(proxy.folder))
        slept = hall.start("slept")
        hall.until(lambda: hall.acted() >= 12)
        hall.kill("killed")
        slept.send_signal(signal.SIGSTOP)
        proxy.open.clear()
        hall.start("good")
        hall.until(lambda: any(e["event"] == "session.taken" for e in hall.log("good")))
        hall.cluster.restart_now()
        left = hall.start("left")
        hall.until(lambda: any(e["event"] == "session.taken" for e in hall.log("left")))
        left.send_signal(signal.SIGTERM)
        # What those had who sleep or are cut off goes on elsewhere; they are fenced off when they come back.
        hall.until(hall.over)
        assert left.wait(60) == 0
        slept.send_signal(signal.SIGCONT)
        proxy.open.set()
        # Who was stopped inside an act was ended by the kernel with its lease.
        hall.until(lambda: slept.poll() == -signal.SIGKILL or lost(hall, "slept"))
        hall.until(lambda: lost(hall, "cut"))
        again = hall.put(2, ACTS, 0.0)
        hall.until(hall.over)
    finally:
        proxy.close()
    all_is_well(hall, [*sessions, *again])


def test_a_session_that_asks_people_takes_no_slot_and_goes_on_once_they_voted(hall: Hall) -> None:
    hall.start("one", slots=1)
    asks = hall.put(1, ACTS, 0.0, ask=True)
    hall.until(lambda: hall.counts()["held"] == 1)
    other = hall.put(1, ACTS, 0.0)
    hall.until(lambda: hall.counts()["done"] == 1)
    home = find_home({**hall.environment("one"), "VEILIG_LEDGER": f"{hall.url}?org=main"})
    with home.open_ledger() as ledger:
        for _ in range(2):  # svc-1 is restarted twice
            hall.until(lambda: hall.counts()["held"] == 1)
            [*_, asked] = [str(e.body["approval"]) for e in ledger.events(names=("approval.asked",))]
            asyncio.run(cast_vote(ledger, asked, Vote(ANN, approve=True, via="test")))
            spent = len(hall.journal(asks[0]))
            hall.until(lambda n=spent: len(hall.journal(asks[0])) > n)
    hall.until(lambda: hall.counts()["done"] == 2)
    all_is_well(hall, [*asks, *other])


@pytest.mark.long
def test_ten_minutes_of_kill_9_over_500_sessions_lose_and_repeat_nothing(hall: Hall) -> None:
    import random
    import time

    dice = random.Random(7)
    sessions = hall.put(500, ACTS, 1.0)
    names = [f"w{n}" for n in range(4)]
    for name in names:
        hall.start(name)
    end, kills = time.monotonic() + 600, 0
    while time.monotonic() < end and not hall.over():
        time.sleep(dice.uniform(1, 8))
        name = dice.choice(names)
        hall.kill(name)
        kills += 1
        hall.start(name)
    print(f"{kills} kills")
    hall.until(hall.over, 600)
    all_is_well(hall, sessions)
