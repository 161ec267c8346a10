"""What must every store of the ledger do? Test functions for a module that brings the fixtures.

`ledger` (empty), `clock` (the one it runs by), `reopen` (opens the same again), `check` (verifies all of it).
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from veilig.core.errors import LedgerError, LedgerTampered
from veilig.core.ledger import Draft, Ledger, Tx
from veilig.core.ledger_proof import verify_consistency, verify_export, verify_inclusion
from veilig.core.ledger_verify import Verified
from veilig.core.limits import EVENT_BODY_BYTES_MAX

type Reopen = Callable[[], Ledger]
type Check = Callable[[], Verified]


@dataclass
class SetClock:
    """A clock that a test sets."""

    up_s: float = 100.0
    boot: str = "boot-a"
    wall: float = 1_700_000_000.0

    def boottime_s(self) -> float:
        return self.up_s

    def boot_id(self) -> str:
        return self.boot

    def wall_s(self) -> float:
        return self.wall


def note(n: int, session: str = "s1", **more: Any) -> Draft:
    return Draft("action.proposed", session, {"n": n, **more})


def test_an_appended_event_reads_back_equal(ledger: Ledger, clock: SetClock):
    body: Any = {"text": "naïve ☂ \u0000", "n": 1, "f": 0.1, "list": [None, True, {"k": []}]}
    event = ledger.append([Draft("action.proposed", "s1", body)])[0]
    assert (event.seq, event.t_ms, event.boot, event.up_ms, event.wall_ms) == (
        1,
        0,
        "boot-a",
        100_000,
        1_700_000_000_000,
    )
    assert list(ledger.events()) == [event]
    assert ledger.last("s1") == event
    assert ledger.last("s2") is None


def test_events_are_selected_by_session_name_place_and_number(ledger: Ledger):
    ledger.append([note(1), note(2, "s2"), Draft("action.decided", "s1", {"n": 3}), note(4)])
    numbers = lambda **how: [e.body["n"] for e in ledger.events(**how)]  # noqa: E731
    assert numbers() == [1, 2, 3, 4]
    assert numbers(session="s1") == [1, 3, 4]
    assert numbers(session="s1", names=["action.decided"]) == [3]
    assert numbers(after=2, limit=1) == [3]
    assert numbers(names=[]) == []
    assert [(s.session, s.events, s.first_seq, s.last_seq) for s in ledger.sessions()] == [
        ("s1", 3, 1, 4),
        ("s2", 1, 2, 2),
    ]
    assert ledger.size() == 4


def test_an_exception_in_a_transaction_leaves_nothing(ledger: Ledger, check: Check):
    def fails(tx: Tx) -> None:
        tx.append("action.proposed", "s1", {"claims": ["once"], "budget_keys": ["k"]})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ledger.transact(fails)
    assert ledger.size() == 0
    assert (
        ledger.transact(lambda tx: (tx.count("k", 0), tx.claim("once")) if False else tx.count("k", 0)) == 0
    )
    ledger.append([note(1, claims=["once"])])
    assert check().events == 1


def test_a_claim_is_given_once_ever_and_only_with_an_event(ledger: Ledger):
    def take(tx: Tx) -> bool:
        got = tx.claim("approval-1")
        assert not tx.claim("approval-1")
        if got:
            tx.append("action.started", "s1", {"claims": ["approval-1"]})
        return got

    assert [ledger.transact(take), ledger.transact(take)] == [True, False]
    with pytest.raises(LedgerError, match="claimed already"):
        ledger.append([note(1, claims=["approval-1"])])
    with pytest.raises(LedgerError, match="not recorded"):
        ledger.transact(lambda tx: tx.claim("approval-2"))
    assert ledger.size() == 1


def test_budget_keys_are_counted_in_a_window_that_includes_its_edge(ledger: Ledger, clock: SetClock):
    for _ in range(3):
        ledger.append([note(1, budget_keys=["restart:worker-1", "all"])])
        clock.up_s += 10
    count = lambda key, since: ledger.transact(lambda tx: tx.count(key, since))  # noqa: E731
    assert ledger.transact(lambda tx: tx.now_ms()) == 30_000
    assert [count("all", s) for s in (0, 10_000, 10_001, 20_000, 20_001)] == [3, 2, 1, 1, 0]
    assert count("other", 0) == 0


@pytest.mark.parametrize("keys", ["k", [1], [""], ["a", "a"], [None], {"a": 1}, 5], ids=repr)
@pytest.mark.parametrize("field", ["budget_keys", "claims"])
def test_keys_that_could_not_be_counted_are_refused(ledger: Ledger, field: str, keys: Any):
    with pytest.raises(LedgerError, match=field):
        ledger.append([note(1, **{field: keys})])
    assert ledger.size() == 0


@pytest.mark.parametrize(
    ("name", "session", "what"),
    [
        ("action.invented", "s1", "unknown event"),
        ("no verb", "s1", "unknown event"),
        ("action.proposed", "", "session id"),
        ("action.proposed", "a b", "session id"),
        ("action.proposed", "a\n", "session id"),
        ("action.proposed", "x" * 201, "session id"),
    ],
)
def test_an_event_that_cannot_be_recorded_is_refused(ledger: Ledger, name: str, session: str, what: str):
    with pytest.raises(LedgerError, match=what):
        ledger.append([Draft(name, session, {})])
    ledger.append([Draft("action.proposed", "x" * 200, {})])


def test_the_largest_body_is_kept_and_one_byte_more_is_refused(ledger: Ledger):
    room = EVENT_BODY_BYTES_MAX - len('{"t":""}')
    ledger.append([Draft("action.proposed", "s1", {"t": "x" * room})])
    with pytest.raises(LedgerError, match="larger than"):
        ledger.append([Draft("action.proposed", "s1", {"t": "x" * (room + 1)})])
    with pytest.raises(LedgerError, match="larger than"):
        ledger.append([Draft("action.proposed", "s1", {"t": "x" * (room - 1) + "é"})])
    assert ledger.size() == 1


def test_a_transaction_cannot_be_used_afterwards_or_nested(ledger: Ledger):
    kept: list[Tx] = []
    ledger.transact(kept.append)
    with pytest.raises(LedgerError, match="over"):
        kept[0].append("action.proposed", "s1", {})
    with pytest.raises(LedgerError, match="inside a transaction"):
        ledger.transact(lambda tx: ledger.append([note(1)]))
    assert ledger.size() == 0


def test_a_transaction_sees_its_own_events(ledger: Ledger):
    ledger.append([note(1)])

    def two(tx: Tx) -> list[int]:
        tx.append("action.decided", "s1", {})
        return [e.seq for e in tx.events("s1")]

    assert ledger.transact(two) == [1, 2]


# --- time -------------------------------------------------------------------------------------------


def test_only_uptime_moves_ledger_time_and_a_reboot_counts_the_new_uptime_alone(
    ledger: Ledger, clock: SetClock, check: Check
):
    def at(up_s: float, boot: str, wall: float = 0) -> int:
        clock.up_s, clock.boot, clock.wall = up_s, boot, wall
        return ledger.append([note(1)])[0].t_ms

    assert at(100, "a") == 0
    assert at(107.5, "a", wall=9e9) == 7_500  # the wall clock jumps: nothing
    assert at(90, "a") == 7_500  # uptime that went back
    assert at(110, "a") == 10_000  # counts from the highest seen
    assert at(3, "b") == 13_000  # rebooted: 3 s have passed for sure
    assert at(115, "a") == 15_000  # a boot seen before goes on from where it was
    assert at(5, "b") == 15_000
    assert check().t_ms == 15_000


# --- many callers -----------------------------------------------------------------------------------


async def test_waiting_requests_share_a_commit_and_a_failing_one_hurts_nobody(ledger: Ledger):
    def append(n: int) -> Any:
        def request(tx: Tx) -> int:
            event = tx.append("action.proposed", "s1", {"n": n})
            if n % 5 == 0:
                raise ZeroDivisionError(n)
            return event.seq

        return request

    results = await asyncio.gather(*(ledger.submit(append(n)) for n in range(50)), return_exceptions=True)
    failed = [n for n, r in enumerate(results) if isinstance(r, ZeroDivisionError)]
    assert failed == list(range(0, 50, 5))
    assert [e.body["n"] for e in ledger.events()] == [n for n in range(50) if n % 5]
    assert sorted(r for r in results if isinstance(r, int)) == list(range(1, 41))


def test_several_event_loops_and_threads_write_one_chain(ledger: Ledger, check: Check):
    async def work(name: str) -> None:
        for n in range(10):
            await ledger.submit(lambda tx, n=n: tx.append("action.proposed", name, {"n": n}))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: asyncio.run(work(name)), ["a", "b", "c", "d"]))
    assert {s.session: s.events for s in ledger.sessions()} == dict.fromkeys("abcd", 10)
    assert check().events == 40


async def test_closing_ends_the_running_commit_refuses_the_rest_and_leaves_no_thread(ledger: Ledger):
    before = set(threading.enumerate())
    running, may_end = threading.Event(), threading.Event()

    def slow(tx: Tx) -> int:
        running.set()
        may_end.wait(10)
        return tx.append("action.proposed", "s1", {}).seq

    first = asyncio.create_task(ledger.submit(slow))
    await asyncio.to_thread(running.wait, 10)
    rest = [
        asyncio.create_task(ledger.submit(lambda tx: tx.append("action.decided", "s1", {}))) for _ in range(3)
    ]
    await asyncio.sleep(0)
    closing = asyncio.create_task(asyncio.to_thread(ledger.close))
    refused = await asyncio.gather(*rest, return_exceptions=True)
    may_end.set()
    await closing
    assert await first == 1
    assert [type(r) for r in refused] == [LedgerError] * 3
    assert not {t for t in threading.enumerate() if t.name == "veilig-ledger"} - before
    for use in (
        lambda: ledger.append([note(1)]),
        ledger.size,
        lambda: list(ledger.events()),
        ledger.checkpoint,
    ):
        with pytest.raises(LedgerError, match="closed"):
            use()
    with pytest.raises(LedgerError, match="closed"):
        await ledger.submit(lambda tx: None)
    ledger.close()


async def test_a_request_cancelled_before_its_turn_leaves_nothing(ledger: Ledger):
    running, may_end = threading.Event(), threading.Event()

    def slow(tx: Tx) -> None:
        running.set()
        may_end.wait(10)

    first = asyncio.create_task(ledger.submit(slow))
    await asyncio.to_thread(running.wait, 10)
    second = asyncio.create_task(ledger.submit(lambda tx: tx.append("action.proposed", "s1", {})))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    may_end.set()
    await first
    await ledger.submit(lambda tx: None)
    assert ledger.size() == 0


async def test_followers_see_events_of_another_opening_of_the_ledger(ledger: Ledger, reopen: Reopen):
    ledger.append([note(1), note(2, "s2")])
    seen: list[Any] = []

    async def watch() -> None:
        async for event in ledger.follow(session="s1", poll_s=0.01):
            seen.append(event.body["n"])
            if event.body["n"] == 4:
                return

    task = asyncio.create_task(watch())
    with reopen() as other:
        await other.submit(lambda tx: tx.append("action.proposed", "s1", {"n": 3}))
        other.append([note(4)])
        await asyncio.wait_for(task, 60)
    assert seen == [1, 3, 4]


async def test_following_ends_when_the_ledger_is_closed(ledger: Ledger):
    task = asyncio.create_task(anext(ledger.follow(poll_s=0.01), None))
    await asyncio.sleep(0)
    ledger.close()
    assert await asyncio.wait_for(task, 60) is None


# --- proofs -----------------------------------------------------------------------------------------


def test_proofs_and_exports_hold_and_a_changed_line_is_named(ledger: Ledger):
    ledger.append([note(n, "s1" if n % 3 else "s2") for n in range(1, 12)])
    for event in ledger.events():
        proof = ledger.prove(event.seq)
        assert verify_inclusion(event.leaf, event.seq, proof.size, proof.path, proof.root)
        assert not verify_inclusion(event.hash, event.seq, proof.size, proof.path, proof.root)
    grown = ledger.prove_consistency(5, 11)
    assert verify_consistency(5, 11, grown.root1, grown.root2, grown.path)
    for wrong in (lambda: ledger.prove(0), lambda: ledger.prove(12), lambda: ledger.prove_consistency(0, 3)):
        with pytest.raises(LedgerError, match="there is no"):
            wrong()
    lines = list(ledger.export("s2"))
    assert verify_export(lines).events == tuple(ledger.events("s2"))
    for bad, seq in [
        ([lines[0], lines[1], lines[2].replace('"n":6', '"n":7'), lines[3]], 6),
        ([lines[0], lines[2], lines[1], lines[3]], 3),
        (lines[:-1], 7),
        ([*lines, lines[-1]], 9),
        ([lines[0], lines[1], "{}", lines[3]], 4),
        ([lines[0], lines[1], "no json", lines[3]], 4),
        (["{}"], 0),
        ([], 0),
    ]:
        with pytest.raises(LedgerTampered) as caught:
            verify_export(bad)
        assert caught.value.seq == seq
