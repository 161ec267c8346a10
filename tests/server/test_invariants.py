"""Do the promises of the anchor page hold when the store breaks at every event, and through every way out?"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_models import fake_models
from gateways import POLICY, Bench, rules_of, running
from veilig.access.budgets import Amount
from veilig.access.registry import Registry
from veilig.access.rules import No
from veilig.access.seats import Duty
from veilig.access.tiers import LIMITS
from veilig.app import access, cases, seats
from veilig.app.access import Office
from veilig.app.safeguards import Caller, Desk
from veilig.app.spending import Reservation
from veilig.core.actor import Actor, Tier
from veilig.core.clock import SystemClock
from veilig.core.ledger import Ledger
from veilig.core.ledger_event import Event
from veilig.core.ledger_tx import Tx
from veilig.monitor.ladder import LEVELS, Kind, Ladder, Level, Signal, on_signal
from veilig.server.admin.site import Admin

pytestmark = pytest.mark.outside_gate
HARD = Signal(Kind.INDICATOR, 15.0, 95, ("indicator--1",))
RULE = Signal(Kind.RULE, 8.0, 90, ("rule:reverse-shell",))
SCORE = Signal(Kind.MONITOR, 2.0, 99, ("model:m",))
RED = "red-secret.test"
AMBER = "amber-secret.test"


class BrokenError(Exception):
    """The store breaks."""


class Store:
    """Everything that people and a gateway do to the record, on a ledger that may break at its nth event."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.open()

    def open(self) -> None:
        self.ledger = Ledger.open(self.folder / "ledger.db", anchor_dir=self.folder / "anchors")
        self.rules = rules_of(POLICY)
        self.desk = Desk(self.ledger, self.rules, SystemClock())

    def office(self, person: str) -> Office:
        return Office(self.desk, self.rules, Actor(person), str)

    def caller(self) -> Caller:
        [key] = self.desk.registry.keys.values()
        subject, standing = self.desk.registry.subjects["ann"], self.desk.ladder.standing("user:u1")
        tier = subject.tier(self.desk.now_s(), Tier.NEW)
        return Caller(key, subject, tier, LIMITS[Tier.NEW], "user:u1", standing)

    def steps(self) -> Sequence[Callable[[], Awaitable[object] | object]]:
        """Each may be repeated after a crash: what it did before, it finds."""
        known = self.desk.registry
        return (
            lambda: (
                "ann" in known.subjects or access.add_subject(self.office("root"), "ann", "acme", "person")
            ),
            lambda: (
                known.keys
                or access.issue_key(self.office("root"), "ann", 1e6, "k-0123456789-abcdefghijklmnopqrstuv")
            ),
            lambda: access.vouch(self.office("alice"), "ann", Tier.VERIFIED, 1e6, "contract"),
            lambda: access.vouch(self.office("bob"), "ann", Tier.VERIFIED, 1e6, "contract"),
            lambda: known.grants or access.grant(self.office("bob"), "ann", "high", "*", 1e6, 10.0, "audit"),
            lambda: access.set_budget(self.office("bob"), "org:acme", "total", 1000, -1.0),
            lambda: self.desk.reserve(["org:acme"], Amount(100)),
            lambda: self.desk.signal(self.caller(), [RULE, SCORE, RULE], "req_1", stopped=True),
            lambda: self.desk.signal(self.caller(), [HARD], "req_2"),
            lambda: self._appeal(),
            lambda: self._decide(),
            lambda: self.desk.signal(self.caller(), [HARD], "req_3"),
            lambda: cases.set_level(self.office("bob"), "org:acme", Level.WARN, 60, "seen"),
            lambda: access.withdraw(self.office("bob"), next(iter(known.grants)), "done"),
        )

    async def _appeal(self) -> None:
        [case] = self.desk.ladder.cases.values()
        if not case.appeal:
            await cases.appeal(self.office("ann"), case.id, "our own lab")

    async def _decide(self) -> None:
        [case] = self.desk.ladder.cases.values()
        if not case.decided:
            await cases.decide(self.office("bob"), case.id, True, "it is")

    async def go(self, first: int = 0) -> int:
        """The step that broke; -1 for none."""
        for number, step in enumerate(self.steps()[first:], first):
            try:
                found = step()
                if isinstance(found, Awaitable):
                    await found
            except BrokenError:
                return number
        return -1

    def facts(self) -> dict[str, Any]:
        """What came of it, without ids and times."""
        ladder, subject = self.desk.ladder, self.desk.registry.subjects["ann"]
        return {
            "levels": {s.subject: (s.level, round(s.score, 3)) for s in ladder.standings.values()},
            "cases": [(c.subject, c.decided, c.appellant, len(c.moves)) for c in ladder.cases.values()],
            "tier": subject.tier(self.desk.now_s(), Tier.NEW),
            "grants": [(g.model_class, g.withdrawn) for g in self.desk.registry.grants.values()],
            "keys": len(self.desk.registry.keys),
        }


def check_replay(events: list[Event], desk: Desk) -> None:
    """The log alone gives the state: all at once, and event by event."""
    once, registry = Ladder(), Registry()
    once.apply(events)
    registry.apply(events)
    assert once.standings == desk.ladder.standings
    assert once.cases == desk.ladder.cases
    assert (registry.subjects, registry.keys) == (desk.registry.subjects, desk.registry.keys)
    assert (registry.grants, registry.budgets) == (desk.registry.grants, desk.registry.budgets)
    bit_by_bit = Ladder()
    for event in events:
        bit_by_bit.apply([event])
        if event.name in ("case.opened", "case.decided"):
            continue  # the move that goes with it is in the same transaction
        for standing in bit_by_bit.standings.values():
            if LEVELS.index(standing.level) >= LEVELS.index(Level.THROTTLE):
                assert standing.case in bit_by_bit.cases, "no level from throttle up without a case"


async def test_a_store_that_breaks_at_any_event_loses_nothing_and_leaves_nothing_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I1, I2: at each event of a whole history the store breaks; what is there then is what the log says."""
    count, breaks_at = 0, -1
    append = Tx.append

    def breaking(tx: Tx, *args: Any, **more: Any) -> Event:
        nonlocal count
        count += 1
        if count == breaks_at:
            raise BrokenError
        return append(tx, *args, **more)

    monkeypatch.setattr(Tx, "append", breaking)
    whole = Store(tmp_path / "whole")
    assert await whole.go() == -1
    wanted, events, total = whole.facts(), whole.ledger.size(), count
    check_replay(list(whole.ledger.events()), whole.desk)
    whole.ledger.close()
    assert total >= 20
    for breaks_at in range(1, total + 1):
        count = 0
        store = Store(tmp_path / str(breaks_at))
        broke = await store.go()
        assert broke >= 0
        store.ledger.close()
        store.open()
        check_replay(list(store.ledger.events()), store.desk)
        count = -(10**6)
        assert await store.go(broke) == -1
        assert store.facts() == wanted, f"broken at event {breaks_at}, in step {broke}"
        assert abs(store.ledger.size() - events) <= 2, "at most a lease and a voucher stand twice"
        store.ledger.close()


async def test_two_processes_and_many_requests_never_overspend_one_budget(tmp_path: Path) -> None:
    """I13: 80 reservations of 40 tokens at once, from two desks on one ledger, against 1000 tokens."""
    store, other = Store(tmp_path), Store(tmp_path)
    access.add_subject(store.office("root"), "ann", "acme", "person")
    access.set_budget(store.office("root"), "org:acme", "total", 1000, -1.0)
    other.desk.catch_up()
    asked = [desk.reserve(["org:acme"], Amount(40)) for _ in range(40) for desk in (store.desk, other.desk)]
    found = await asyncio.gather(*asked)
    held = [one for one in found if isinstance(one, Reservation)]
    assert len(found) - len(held) == sum(isinstance(one, No) for one in found)
    assert 20 <= len(held) <= 25, "a part may lie on lease at the other desk, never beyond the budget"
    for one in held:
        one.settle(Amount(30))
    await store.desk.close()
    await other.desk.close()
    assert store.desk.spent("org:acme")[0].tokens == 30 * len(held)
    for one in (store, other):
        one.ledger.close()


# --- who is touched by a signal -----------------------------------------------------------------------------

SUBJECTS = ("user:a", "user:b", "key:k", "subject:ann", "org:acme", "agent:ann/m")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(SUBJECTS[:2]),
            st.sampled_from([HARD, RULE, SCORE]),
            st.sampled_from(list(Tier)),
            st.integers(0, 10**9),
        ),
        max_size=40,
    )
)
def test_a_signal_touches_one_subject_and_a_classifier_alone_never_suspends(
    walk: list[tuple[str, Signal, Tier, int]],
) -> None:
    """I5, I6, I8, I12: one end user at a time; no suspension by scores; none that lapses; no clock helps."""
    ladder, number, kinds = Ladder(), 0, dict[str, set[Kind]]()
    for subject, signal, tier, t_ms in walk:
        before = dict(ladder.standings)
        kinds.setdefault(subject, set()).add(signal.kind)
        drafts = on_signal(
            ladder.standing(subject), signal, tier, t_ms, new_case=f"case-{number}", request="r"
        )
        for draft in drafts:
            number += 1
            ladder.apply(
                [Event(number, draft.session, draft.name, 1, t_ms, "b", 0, t_ms, draft.body, "", "")]
            )
        for other, standing in before.items():
            if other != subject:
                assert ladder.standing(other) == standing
            elif standing.level is Level.SUSPEND:
                assert ladder.standing(other).level is Level.SUSPEND
            assert ladder.standing(other).score >= 0.0
    for subject, seen in kinds.items():
        if seen == {Kind.MONITOR}:
            assert ladder.standing(subject).level is not Level.SUSPEND


# --- what is decided elsewhere holds from the next request on -----------------------------------------------


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (lambda at: access.revoke_key(at, "k-key-of-ann", "lost"), "invalid_api_key"),
        (lambda at: access.withdraw(at, next(iter(at.registry.grants)), "over"), "no_grant"),
        (lambda at: cases.set_level(at, "org:acme", Level.SUSPEND, 60, "seen"), "account_suspended"),
        (lambda at: cases.set_level(at, "subject:ann", Level.SUSPEND, 60, "seen"), "account_suspended"),
        (lambda at: cases.set_level(at, "key:k-key-of-ann", Level.SUSPEND, 60, "seen"), "account_suspended"),
    ],
    ids=["key", "grant", "organisation", "person", "their key"],
)
async def test_what_another_process_decides_holds_from_the_next_request_on(
    tmp_path: Path, act: Callable[[Office], Any], code: str
) -> None:
    """I15: withdrawn within one request, and nobody who is verified is told to apply again."""
    async with fake_models() as fake, running(tmp_path, fake.url) as bench:
        bench.vet("verified")
        with Ledger.open(tmp_path / "ledger.db", anchor_dir=tmp_path / "anchors") as other:
            at = Office(Desk(other, bench.desk.rules, SystemClock()), bench.desk.rules, Actor("bob"), str)
            access.grant(at, "ann", "high", "*", 3600, None, "audit")
            assert (await bench.say(model="cyber")).status == 200
            found = act(at)
            if isinstance(found, Awaitable):
                await found
            reply = await bench.say(model="cyber")
            assert reply.error["code"] == code
            assert "verif" not in reply.error["message"] or "stays as it is" in reply.error["message"]
        assert len(fake.requests) == 1


# --- what a feed hides stays hidden -------------------------------------------------------------------------


def bundle() -> bytes:
    marks = {
        RED: "marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed",
        AMBER: "marking-definition--f88d31f6-486f-44da-b317-01333bde0b82",
    }
    objects = [
        {
            "type": "indicator", "id": f"indicator--{n}1111111-1111-4111-8111-111111111111", "confidence": 95,
            "modified": "2026-11-01T00:00:00Z", "valid_from": "2026-11-01T00:00:00Z",
            "valid_until": "2036-01-01T00:00:00Z", "pattern_type": "stix", "object_marking_refs": [mark],
            "pattern": f"[domain-name:value = '{name}']",
        }
        for n, (name, mark) in enumerate(marks.items(), 1)
    ]  # fmt: skip
    return json.dumps({"type": "bundle", "objects": objects}).encode()


@pytest.mark.parametrize("hidden", [RED, AMBER])
async def test_a_hidden_indicator_leaves_by_no_way_out(
    tmp_path: Path, hidden: str, caplog: pytest.LogCaptureFixture
) -> None:
    """I9: not by answers, headers, cases, alerts, the admin page or API, metrics, the record, or logs."""
    (tmp_path / "feed.json").write_bytes(bundle())
    feeds = f'monitor:\n  enabled: true\n  feeds: [{{name: isac, path: "{tmp_path}/feed.json"}}]'
    policy = POLICY.replace("monitor: {enabled: true}", feeds)
    async with (
        fake_models(command=f"curl http://{hidden}/x") as fake,
        running(tmp_path, fake.url, policy=policy) as bench,
    ):
        ways: list[bytes] = []
        for path in ("/v1/responses", "/v1/chat/completions"):
            for stream in (True, False):
                body = {"model": "big", "stream": stream, "input": "go", "messages": []}
                reply = await bench.ask(path, body)
                ways += [reply.body, str(reply.headers).encode()]
                assert b"indicator--" in reply.body or reply.status == 403, reply.body
        await bench.desk.flush()
        [case] = bench.desk.ladder.cases
        alert = next(iter(bench.desk.alerts.known))
        for path in (f"/v1/safety/cases/{case}", f"/v1/safety/alerts/{alert}", "/metrics", "/readyz"):
            ways.append((await bench.ask(path, method="GET")).body)
        ways += await admin_ways(bench, case)
        ways += [orjson.dumps(dict(e.body)) for e in bench.desk.ledger.events()]
    ways.append(caplog.text.encode())
    assert len(ways) > 20
    for way in ways:
        assert hidden.encode() not in way


@pytest.mark.parametrize(
    ("change", "allow", "stops"),
    [
        ({}, "", True),
        ({"valid_until": "2026-01-02T00:00:00Z", "valid_from": "2026-01-01T00:00:00Z"}, "", False),
        ({"valid_from": "2035-01-01T00:00:00Z"}, "", False),
        ({"revoked": True}, "", False),
        ({}, "*.secret.test", False),
        ({"confidence": 84}, "", False),
    ],
    ids=["live", "expired", "not yet valid", "revoked", "allow-listed", "not sure enough"],
)
async def test_only_a_live_indicator_stops_a_call(
    tmp_path: Path, change: dict[str, object], allow: str, stops: bool
) -> None:
    """I4: what is expired, revoked or allow-listed never escalates; and what escalates names its evidence."""
    name = "c2.secret.test"
    value = json.loads(bundle())
    value["objects"] = [value["objects"][0] | {"pattern": f"[domain-name:value = '{name}']"} | change]
    (tmp_path / "feed.json").write_text(json.dumps(value))
    feeds = f"""monitor:
  enabled: true
  allow: ["{allow or "x.test"}"]
  feeds: [{{name: isac, path: "{tmp_path}/feed.json"}}]"""
    policy = POLICY.replace("monitor: {enabled: true}", feeds)
    async with (
        fake_models(command=f"git fetch https://{name}/x") as fake,
        running(tmp_path, fake.url, policy=policy) as bench,
    ):
        reply = await bench.say("go")
        assert (reply.status == 400) == stops, reply.body
        moves = bench.events("ladder.moved")
        soft = "confidence" in change  # not sure enough to stop anything: one rung, as any soft signal
        assert bool(moves) == (stops or soft)
        assert not soft or [m["after"] for m in moves] == ["warn"]
        assert all(str(m["evidence"][0]).startswith("indicator--") for m in moves)
        assert bool(bench.events("signal.raised")) == (stops or soft)


async def admin_ways(bench: Bench, case: str) -> list[bytes]:
    """Every page and answer that shows the case."""
    office = Office(bench.desk, bench.desk.rules, Actor("root"), str)
    _, key = seats.give(office, "bob", Duty.ADMIN, 600)
    app = Admin(bench.desk, bench.desk.rules, str, "127.0.0.1:8090").app()
    base = "http://127.0.0.1:8090"
    found: list[bytes] = []
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=base) as client:
        assert (await client.post("/sign-in", data={"key": key})).status_code == 303
        for path in ("/", "/cases", f"/cases/{case}", "/subjects/ann", "/safeguards"):
            reply = await client.get(path)
            assert "<nav" in reply.text
            found.append(reply.content)
        for path in ("cases", f"cases/{case}", "subjects", "safeguards"):
            reply = await client.get(f"/api/{path}", headers={"authorization": f"Bearer {key}"})
            assert reply.status_code == 200
            found.append(reply.content)
    return found
