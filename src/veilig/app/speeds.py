"""How fast may each key go, over all gateways of a database? Its own count, or one that they share.

Alone, a process counts in memory. With a database every request enters, and leaves, in one locked row per
key: what waits at the same moment goes in one transaction, so that a busy gateway asks the database less per
request than an idle one. What a gateway had under way when it died counts for 30 s more.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, cast

from veilig.access.rates import Rate
from veilig.app.looking import in_time
from veilig.core.errors import LedgerError
from veilig.core.policy_safeguards import TierLimits

log = logging.getLogger(__name__)
HELD_S: Final = 30.0  # what a process has under way counts for so long after it last said so
RENEW_S: Final = 10.0
AGAIN_S: Final = 0.5  # between two tries to write down what ended, while the database is away

_UNTOLD: Final = -1

type State = dict[str, Any]


class States(Protocol):
    """Where gateways keep what they share; `stores/postgres_tables.py`."""

    def change(self, keys: Sequence[str], fn: Callable[[dict[str, State], float], dict[str, State]]) -> None:
        """Replace states under a lock. fn: gets them and the time. Raises LedgerError; blocks."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


class Speeds(Protocol):
    """Counts requests and tokens per minute and requests under way, per key."""

    async def enter(self, key: str, limits: TierLimits, tokens: int) -> tuple[str, float]:
        """("", 0) and one more under way; or which limit says no, and for how many seconds.

        Call `leave` for each one that entered. Raises LedgerError.
        """
        ...

    def leave(self, key: str, more_tokens: int) -> None:
        """A request ended, and used so many tokens more than `enter` was told."""
        ...

    async def lead(self, name: str) -> bool:
        """Whether this process is the one that does what one of them does, for the next half minute."""
        ...

    def renew(self) -> None:
        """Say, soon, that what is under way still is."""
        ...

    async def close(self) -> None:
        """Nothing of this process is under way any more."""
        ...


class OwnSpeeds:
    """Of this process alone."""

    def __init__(self) -> None:
        self._rates: dict[str, Rate] = {}

    async def enter(self, key: str, limits: TierLimits, tokens: int) -> tuple[str, float]:
        """In memory."""
        now_s = time.monotonic()
        rate = self._rates.get(key)
        if rate is None:
            rate = self._rates[key] = Rate(now_s, limits)
        return rate.enter(now_s, limits, tokens)

    def leave(self, key: str, more_tokens: int) -> None:
        """In memory."""
        self._rates[key].leave(more_tokens)

    async def lead(self, name: str) -> bool:
        """There is nobody else."""
        del name
        return True

    def renew(self) -> None:
        """Nobody else asks."""

    async def close(self) -> None:
        """Nothing to say."""


@dataclass(slots=True)
class _Entering:
    key: str
    limits: TierLimits
    tokens: int
    done: asyncio.Future[tuple[str, float]]


@dataclass(slots=True)
class _Mine:
    """What this process knows of one key. used: tokens that are not yet charged; told: what the row says."""

    under_way: int = 0
    used: int = 0
    told: int = 0


@dataclass(slots=True)
class _Batch:
    """One transaction: who enters, what is charged, and what this process has under way before it."""

    entering: list[_Entering]
    used: dict[str, int]
    under_way: dict[str, int]
    answers: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    after: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def keys(self) -> list[str]:
        return sorted({*self.used, *self.under_way, *(one.key for one in self.entering)})


class SharedSpeeds:
    """Of all processes that use the same `states`."""

    def __init__(self, states: States) -> None:
        self._states = states
        self._name = secrets.token_hex(8)
        self._mine: dict[str, _Mine] = {}
        self._entering: list[_Entering] = []
        self._work: asyncio.Task[None] | None = None

    async def enter(self, key: str, limits: TierLimits, tokens: int) -> tuple[str, float]:
        """In the next transaction."""
        one = _Entering(key, limits, tokens, asyncio.get_running_loop().create_future())
        self._entering.append(one)
        self._start()
        answer = asyncio.ensure_future(one.done)
        try:
            return await in_time(cast("asyncio.Task[tuple[str, float]]", answer))
        except BaseException:  # nobody waits any more: if it entered, it leaves
            answer.add_done_callback(lambda done: self._give_up(key, done))
            raise

    def leave(self, key: str, more_tokens: int) -> None:
        """At once here, and in the next transaction for all."""
        mine = self._mine[key]
        mine.under_way -= 1
        mine.used += more_tokens
        self._start()

    async def lead(self, name: str) -> bool:
        """Whoever says so first, until it has not for half a minute."""
        key, found = f"lead:{name}", list[bool]()

        def claim(known: dict[str, State], now_s: float) -> dict[str, State]:
            state = known[key]
            mine = state.get("by") in (None, self._name) or state["until"] < now_s
            found.append(mine)
            return {key: {"by": self._name, "until": now_s + HELD_S}} if mine else {}

        await asyncio.to_thread(self._states.change, [key], claim)
        return found[-1]

    def renew(self) -> None:
        """For every key with something under way."""
        for mine in self._mine.values():
            mine.told = _UNTOLD if mine.under_way else mine.told
        self._start()
        for key in [k for k, mine in self._mine.items() if mine == _Mine()]:
            del self._mine[key]

    async def close(self) -> None:
        """Say what ended, and let go of the database."""
        if self._work is not None:
            await asyncio.wait([self._work], timeout=RENEW_S)
            self._work.cancel()
        await asyncio.to_thread(self._states.close)

    def _give_up(self, key: str, done: "asyncio.Future[tuple[str, float]]") -> None:
        if not done.cancelled() and done.exception() is None and not done.result()[0]:
            self.leave(key, 0)

    def _start(self) -> None:
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._until_told())

    async def _until_told(self) -> None:
        """One transaction after another while there is something to say."""
        while batch := self._next():
            try:
                await asyncio.to_thread(self._run, batch)
            except LedgerError as error:
                for one in batch.entering:
                    if not one.done.done():
                        one.done.set_exception(error)
                for key, used in batch.used.items():
                    self._mine[key].used += used  # it may have been charged: then it is twice, never not
                for key in batch.under_way:
                    self._mine[key].told = _UNTOLD
                log.warning("speeds are not shared, so nobody enters: %s", error.why)
                await asyncio.sleep(AGAIN_S)
                continue
            for key, count in batch.after.items():
                self._mine[key].told = count
            for one, answer in zip(batch.entering, batch.answers, strict=True):
                if not answer[0]:
                    self._mine[one.key].under_way += 1
                if not one.done.cancelled():
                    one.done.set_result(answer)
                elif not answer[0]:
                    self.leave(one.key, 0)

    def _next(self) -> _Batch | None:
        entering, self._entering = self._entering, []
        used: dict[str, int] = {}
        under_way: dict[str, int] = {}
        for one in entering:
            mine = self._mine.setdefault(one.key, _Mine())
            under_way[one.key] = mine.under_way
        for key, mine in self._mine.items():
            if mine.used or mine.under_way != mine.told:
                used[key], mine.used = mine.used, 0
                under_way[key] = mine.under_way
        return _Batch(entering, used, under_way) if under_way else None

    def _run(self, batch: _Batch) -> None:
        """In a thread. What the batch says of this process takes the place of what the row said."""

        def turn(known: dict[str, State], now_s: float) -> dict[str, State]:
            batch.answers, batch.after = [], dict(batch.under_way)
            rates: dict[str, Rate | None] = {}
            others = {key: _others(known[key], self._name, now_s) for key in batch.keys}
            for key, used in batch.used.items():
                rates[key] = _charged(known[key], used, now_s)
            for one in batch.entering:
                rate = rates.get(one.key) or Rate.of_state(known[one.key].get("rate", {}), now_s, one.limits)
                rates[one.key] = rate
                rate.under_way = batch.after[one.key] + sum(n for n, _ in others[one.key].values())
                answer = rate.enter(now_s, one.limits, one.tokens)
                batch.answers.append(answer)
                batch.after[one.key] += not answer[0]
            return {
                key: self._written(known[key], rates.get(key), others[key], batch.after[key], now_s)
                for key in batch.keys
            }

        self._states.change(batch.keys, turn)

    def _written(
        self, known: State, rate: Rate | None, others: dict[str, tuple[int, float]], mine: int, now_s: float
    ) -> State:
        held: dict[str, tuple[int, float]] = dict(others)
        if mine:
            held[self._name] = (mine, now_s + HELD_S)
        return {"rate": rate.state() if rate is not None else known.get("rate", {}), "held": held}


def _others(state: State, me: str, now_s: float) -> dict[str, tuple[int, float]]:
    """What other processes have under way, and until when they said so."""
    held = cast(dict[str, tuple[int, float]], state.get("held", {}))
    return {name: (int(n), until) for name, (n, until) in held.items() if name != me and until > now_s}


def _charged(state: State, used: int, now_s: float) -> Rate | None:
    """The key's rate less `used`; None where nobody has entered yet."""
    known = state.get("rate")
    if not known:
        return None
    size = TierLimits(round(known["requests_size"]), round(known["tokens_size"]), 0)
    rate = Rate.of_state(known, now_s, size)
    rate.used(used)
    return rate
