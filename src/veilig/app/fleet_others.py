"""What must a healer of one shard know of the others, and of who healed it before? It stands in the ledger.

Read anew at each look: whoever decides about an act does so in a transaction of the same ledger, so that
neither a stop nor an act that another shard has begun is missed.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from veilig.core.clock import Clock
from veilig.core.delta import apply
from veilig.core.event import CLOSING
from veilig.core.ledger import Event, Ledger
from veilig.heal.shards import Shard
from veilig.providers.heal import acts
from veilig.providers.heal.facts import STORM_S, STORM_SERVICES

LOOK_BACK: Final = 20_000  # events: what nobody touched for so long is no act under way
OVER_S: Final = 75.0  # an act that nobody saw end is over by then: no broker lets one take longer
LOST_S: Final = 600.0  # an act whose worker and shard are gone for good
NAMES: Final = ("session.noted", "action.proposed", "action.started", "heal.switched", *sorted(CLOSING))


@dataclass(slots=True)
class _Act:
    """An act that has begun. until_s: of the boot clock, when it counts no more."""

    name: str
    until_s: float


@dataclass(frozen=True, slots=True)
class Around:
    """in_flight: targets of acts that are, or may be, under way elsewhere. unhealthy: with an incident there.

    holds: what stops every act of every shard.
    """

    in_flight: frozenset[str] = frozenset()
    unhealthy: frozenset[str] = frozenset()
    holds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Before:
    """What was seen before this healer: who else started what (seconds since 1970), and what ran last."""

    starts: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    incarnations: Mapping[str, str] = field(default_factory=dict[str, str])


class Others:
    """The shards of one file beside `session`, from the ledger; for any thread."""

    def __init__(self, ledger: Ledger, session: str, shard: Shard, clock: Clock) -> None:
        self._ledger, self._session, self._clock = ledger, session, clock
        self._peers, self._total = frozenset(shard.peers), shard.total
        self._guard = threading.Lock()
        self._began = ledger.size()
        self._read_to = max(0, self._began - LOOK_BACK)
        self._proposed: dict[str, str] = {}
        self._acts: dict[str, _Act] = {}
        self._trouble: dict[str, dict[str, float]] = {}  # session -> service -> since (0: before us)
        self._stop = ""
        for event in ledger.events(names=("heal.switched",)):
            self._take(event)

    def look(self) -> Around:
        """As the ledger has it now. Raises LedgerError."""
        with self._guard:
            for event in self._ledger.events(after=self._read_to, names=NAMES):
                self._take(event)
                self._read_to = event.seq
            now_s = self._clock.boottime_s()
            self._acts = {ref: one for ref, one in self._acts.items() if one.until_s > now_s}
            others = (names for peer, names in self._trouble.items() if peer != self._session)
            return Around(
                frozenset(one.name for one in self._acts.values()),
                frozenset(name for names in others for name in names),
                (*([self._stop] if self._stop else []), *self._storm(now_s)),
            )

    def holds(self) -> tuple[str, ...]:
        """What stops every act now."""
        return self.look().holds

    def _storm(self, now_s: float) -> tuple[str, ...]:
        """More than half of the whole file turned bad at once: a single shard is too small to see that."""
        since = [at for names in self._trouble.values() for at in names.values()]
        turned = sum(now_s - at < STORM_S for at in since if at)
        if self._total < STORM_SERVICES or 2 * turned <= self._total:
            return ()
        return (f"{turned} of {self._total} services of all shards turned bad at once",)

    def _take(self, event: Event) -> None:
        body = event.body
        if event.name == "heal.switched":
            stopped = body["state"] == "stopped"
            why = f": {body['reason']}" if body["reason"] else ""
            self._stop = f"healing was stopped by {body['actor']}{why}" if stopped else ""
            return
        if event.session != self._session and event.session not in self._peers:
            return
        ref, now_s = str(body.get("ref", "")), self._clock.boottime_s()
        if event.name == "session.noted":
            at_s = now_s if event.seq > self._began else 0.0
            _fold(self._trouble.setdefault(event.session, {}), cast(dict[str, Any], body["delta"]), at_s)
        elif event.name == "action.proposed":
            if name := _target(cast(dict[str, Any], body["action"])):
                self._proposed[ref] = name
        elif event.name == "action.started":
            mine = event.session == self._session and event.seq > self._began  # the broker here knows it
            if ref in self._proposed and not mine:
                self._acts[ref] = _Act(self._proposed[ref], now_s + LOST_S)
        else:
            self._proposed.pop(ref, None)
            if ref in self._acts:
                seen = event.name in ("action.verified", "action.failed") and body["status"] != "in_doubt"
                self._acts[ref].until_s = now_s + (0.0 if seen else OVER_S)


def _target(action: dict[str, Any]) -> str:
    """What an act of healing is about; "" for anything else."""
    if action.get("kind") not in acts.KINDS:
        return ""
    return str(action.get("service") or action.get("database") or action.get("group") or "")


def _fold(known: dict[str, float], delta: dict[str, Any], at_s: float) -> None:
    """Which services have an incident, from a change of a planner's state (core/delta.py)."""
    whole = delta.get("set", {}).get("incidents")
    inner: dict[str, Any] = delta.get("inside", {}).get("incidents", {})
    if whole is not None:
        for name in [name for name in known if name not in whole]:
            del known[name]
    for name in (*(whole or ()), *inner.get("set", ()), *inner.get("inside", ())):
        known.setdefault(str(name), at_s)
    for name in inner.get("gone", ()):
        known.pop(str(name), None)


def seen_before(ledger: Ledger, session: str) -> Before:
    """What the last healer of this session knew when it noted something last. Raises LedgerError."""
    state: dict[str, Any] = {}
    wall_s = 0.0
    for event in ledger.events(session=session, names=("session.noted",)):
        state, wall_s = apply(state, cast(Any, event.body["delta"])), event.wall_ms / 1000
    starts: dict[str, tuple[float, ...]] = {}
    incarnations: dict[str, str] = {}
    shift_s = wall_s - float(state.get("now_s", 0.0))
    services = cast(dict[str, dict[str, Any]], state.get("services", {}))
    for name, kept in services.items():
        sample = kept["sample"]
        own = set(sample.get("own_starts", ()))
        starts[name] = tuple(float(at) + shift_s for at in sample.get("starts", ()) if at not in own)
        incarnations[name] = str(sample.get("incarnation", ""))
    return Before(starts, incarnations)
