"""Do several gateways count a key's speed as one does?"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postgres import NoPostgres
from server_ledger import Server
from veilig.access.rates import Rate
from veilig.app.speeds import HELD_S, OwnSpeeds, SharedSpeeds, Speeds, State
from veilig.core.errors import LedgerError
from veilig.core.policy_safeguards import TierLimits
from veilig.stores.postgres_tables import ServerStates

pytestmark = pytest.mark.outside_gate
MOST = TierLimits(10, 1000, 3)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    try:
        found = Server()
    except NoPostgres as error:
        pytest.skip(f"no PostgreSQL here: {error}")
    try:
        yield found
    finally:
        found.close()


class KeptStates:
    """States in memory, with a clock that is set; `away`: nobody reaches them."""

    def __init__(self) -> None:
        self.known: dict[str, State] = {}
        self.now_s = 0.0
        self.away = False

    def change(self, keys: Sequence[str], fn: Callable[[dict[str, State], float], dict[str, State]]) -> None:
        if self.away:
            raise LedgerError("away")
        self.known |= fn({key: self.known.get(key, {}) for key in keys}, self.now_s)

    def close(self) -> None:
        pass


async def settled(speeds: Speeds) -> None:
    """What was left has been written."""
    if isinstance(speeds, SharedSpeeds):
        while speeds._work is not None and not speeds._work.done():
            await asyncio.wait([speeds._work])


@pytest.fixture(params=["own", "shared"])
def speeds(request: pytest.FixtureRequest) -> Iterator[Speeds]:
    if request.param == "own":
        yield OwnSpeeds()
        return
    server: Server = request.getfixturevalue("server")
    states = ServerStates(server.address(server.org(), "server"))
    yield SharedSpeeds(states)
    states.close()


async def test_a_key_has_its_slots_requests_and_tokens(speeds: Speeds) -> None:
    said = await asyncio.gather(*(speeds.enter("k", MOST, 1) for _ in range(4)))
    assert sorted(why for why, _ in said) == ["", "", "", "3 requests of this key are under way"]
    assert (await speeds.enter("other", MOST, 1))[0] == ""
    for _ in range(3):
        speeds.leave("k", 0)
    await settled(speeds)
    for _ in range(7):
        assert (await speeds.enter("k", MOST, 1))[0] == ""
        speeds.leave("k", 0)
    why, wait_s = await speeds.enter("k", MOST, 1)
    assert why == "10 requests per minute"
    assert 0 < wait_s <= 6
    many = TierLimits(1000, 1000, 1000)
    assert (await speeds.enter("t", many, 400))[0] == ""
    speeds.leave("t", 550)
    await settled(speeds)
    assert (await speeds.enter("t", many, 400))[0] == "1000 tokens per minute"


async def test_two_gateways_count_as_one_and_a_dead_one_is_forgotten(server: Server) -> None:
    address = server.address(server.org(), "server")
    stores = [ServerStates(address) for _ in range(2)]
    one, two = (SharedSpeeds(states) for states in stores)
    said = await asyncio.gather(*(s.enter("k", MOST, 1) for s in (one, two, one, two, one, two)))
    assert sum(not why for why, _ in said) == 3
    assert await one.lead("webhooks")
    assert not await two.lead("webhooks")

    def later(known: dict[str, State], _: float) -> dict[str, State]:
        """As if `one` had died half a minute ago."""
        for state in known.values():
            for held in state.get("held", {}).values():
                held[1] -= HELD_S
            if "until" in state:
                state["until"] -= 2 * HELD_S
        return known

    stores[0].change(["k", "lead:webhooks"], later)
    two.renew()
    await settled(two)
    mine = sum(not why for why, _ in said[1::2])
    entered = [await two.enter("k", MOST, 1) for _ in range(4)]
    assert sum(not why for why, _ in entered) == 3 - mine
    assert await two.lead("webhooks")
    for states in stores:
        states.close()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1), st.sampled_from(["enter", "leave"]), st.integers(0, 400), st.floats(0, 9)
        ),
        max_size=40,
    )
)
def test_shared_is_what_one_would_say(steps: list[tuple[int, str, int, float]]) -> None:
    async def play() -> None:
        states, rate = KeptStates(), Rate(0.0, MOST)
        each: Any = [SharedSpeeds(states), SharedSpeeds(states)]
        under_way = [0, 0]
        for who, what, tokens, wait_s in steps:
            states.now_s += wait_s
            if what == "enter":
                answer = await each[who].enter("k", MOST, tokens)
                assert answer == pytest.approx(rate.enter(states.now_s, MOST, tokens)) or answer[0] == ""
                assert answer[0] == "" or answer[1] > 0
                under_way[who] += not answer[0]
                assert sum(under_way) == rate.under_way
            elif under_way[who]:
                each[who].leave("k", tokens)
                await settled(each[who])
                rate.leave(tokens)
                under_way[who] -= 1
            for speeds in each:  # as a gateway does every ten seconds
                speeds.renew()
                await settled(speeds)

    asyncio.run(play())


async def test_nobody_enters_while_the_states_are_away_and_what_ended_is_told_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("veilig.app.speeds.AGAIN_S", 0.01)
    states = KeptStates()
    speeds, other = SharedSpeeds(states), SharedSpeeds(states)
    assert [(await speeds.enter("k", MOST, 1))[0] for _ in range(3)] == ["", "", ""]
    states.away = True
    with pytest.raises(LedgerError):
        await speeds.enter("k", MOST, 1)
    for _ in range(3):
        speeds.leave("k", 0)
    with pytest.raises(LedgerError):
        await other.enter("k", MOST, 1)
    states.away = False
    await settled(speeds)
    assert (await other.enter("k", MOST, 1))[0] == ""
    await speeds.close()
    await other.close()


async def test_who_stops_waiting_while_entering_holds_no_slot() -> None:
    states = KeptStates()
    speeds = SharedSpeeds(states)
    gone = asyncio.create_task(speeds.enter("k", MOST, 1))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    async with asyncio.timeout(60):
        while "k" not in states.known or states.known["k"]["held"]:
            await asyncio.sleep(0.01)
