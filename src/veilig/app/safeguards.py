"""Who calls, what may they do, what was seen? Access, budgets and ladder on the ledger, for the gateway.

Everything is a fold of the ledger. A request looks whether the ledger has grown (also by another process)
before it is admitted, so a withdrawn grant or a decision about a subject holds from the next request on. What
a request itself leaves behind is written in batches: a crash may forget a tenth of a second of it, never a
budget.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from veilig.access import registry as access
from veilig.access.budgets import Amount
from veilig.access.keys import key_hash
from veilig.access.registry import Key, Registry, Subject, clean_days
from veilig.access.rules import No
from veilig.access.tiers import limits
from veilig.app.looking import SharedLook
from veilig.app.notices import Alerts
from veilig.app.spending import Reservation, Spending
from veilig.core.actor import Tier
from veilig.core.canonical import JSON
from veilig.core.clock import Clock
from veilig.core.errors import LedgerError
from veilig.core.ledger import Ledger
from veilig.core.ledger_event import Draft, Event
from veilig.core.ledger_tx import Tx
from veilig.core.policy_safeguards import Safeguards as Rules
from veilig.core.policy_safeguards import TierLimits
from veilig.monitor import ladder
from veilig.monitor.ladder import RANK, Ladder, Signal, Standing, on_signal, on_time, open_case

EVENTS = access.EVENTS | ladder.EVENTS
TICK_NS = 50_000_000  # file times are finer than this on every kernel
FLUSH_S = 0.1
ROWS_MAX = 200  # of one `gateway.served`: a body stays far below the ledger's bound

# A subject nobody suspends by machine: only people touch an organisation (smallest blast radius).
ORG = "org:"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: key, subject, tier, and the standing that holds for it."""

    key: Key
    subject: Subject
    tier: Tier
    limits: TierLimits
    user: str  # whom a signal is about: an end user of the key, or the key
    standing: Standing


@dataclass(slots=True)
class Desk:
    """The registry, the ladder and the budgets, as far as the ledger goes."""

    ledger: Ledger
    rules: Rules
    clock: Clock
    registry: Registry = field(default_factory=Registry)
    ladder: Ladder = field(default_factory=Ladder)
    alerts: Alerts = field(default_factory=Alerts)
    spending: Spending = field(init=False)
    _rows: list[JSON] = field(default_factory=list[JSON])
    _drafts: list[Draft] = field(default_factory=list[Draft])
    _seen: int = 0
    _stamp: tuple[int, int] = (0, 0)
    _grown: dict[tuple[Tier, int], TierLimits] = field(default_factory=dict[tuple[Tier, int], TierLimits])
    _latest_s: float = 0.0
    _base_ms: tuple[int, float] = (0, 0.0)
    _stated: dict[Tier, TierLimits] = field(default_factory=dict[Tier, TierLimits])

    _looks: SharedLook = field(init=False)

    def __post_init__(self) -> None:
        self._looks = SharedLook(self._look)
        self.spending = Spending(self.ledger, self.clock, self.registry.budgets.get, self.now_s)
        self._stated = dict(self.rules.access.limits)
        self.catch_up()
        t_ms = self.ledger.transact(lambda tx: tx.now_ms(), durable=False)
        self._base_ms = (t_ms, self.clock.boottime_s())

    # --- time -----------------------------------------------------------------------------------------

    def now_s(self) -> float:
        """Wall-clock seconds that never go back: an expiry, once passed, stays passed."""
        self._latest_s = max(self._latest_s, self.clock.wall_s())
        return self._latest_s

    def t_ms(self) -> int:
        """Ledger time now: it counts uptime only, so setting the clock ends no dwell time."""
        t_ms, up_s = self._base_ms
        return t_ms + max(0, round((self.clock.boottime_s() - up_s) * 1000))

    def catch_up(self) -> None:
        """Take in what was appended since the last look, by any process."""
        if self._untouched():
            return
        size = self.ledger.size()
        if size != self._seen:
            self._take(size, self.ledger.events(after=self._seen, names=EVENTS))

    async def fresh(self) -> None:
        """As `catch_up`, for an event loop: a far ledger is read in a thread, once for all who ask now.

        Raises LedgerError, after five seconds at most: without the record nobody knows who may do what.
        """
        if self.ledger.far:
            await self._looks.fresh()
        else:
            self.catch_up()

    async def _look(self) -> None:
        self._take(*await asyncio.to_thread(self._grown_by, self._seen))

    def _grown_by(self, seen: int) -> tuple[int, list[Event]]:
        size = self.ledger.size()
        return size, list(self.ledger.events(after=seen, names=EVENTS)) if size != seen else []

    def _take(self, size: int, events: Iterable[Event]) -> None:
        for event in events:
            if event.seq > self._seen:
                self._seen = event.seq
                self.registry.apply([event])
                self.ladder.apply([event])
                self.alerts.apply(event)
                self._latest_s = max(self._latest_s, event.wall_ms / 1000)
        self._seen = max(self._seen, size)

    def _untouched(self) -> bool:
        """Nobody wrote the ledger's write-ahead log since the last look: a stat costs a tenth of a query.

        A file's time is only as fine as the kernel's tick, so one written just now counts as touched.
        """
        stamp = self.ledger.stamp()
        if stamp is None:
            return False  # no log at the moment, or none that this machine sees: ask
        same = stamp == self._stamp and time.time_ns() - stamp[0] > TICK_NS
        self._stamp = stamp
        return same

    # --- who ------------------------------------------------------------------------------------------

    async def identify(self, key: bytes, safety_identifier: str) -> Caller | No:
        """Who holds this key, now. safety_identifier: the end user as the key's owner names them, or "".

        Raises LedgerError.
        """
        await self.fresh()
        now_s = self.now_s()
        found = self.registry.by_hash.get(key_hash(key)) if key else None
        if found is None:
            what = "no API key was sent" if not key else "this API key is not known here"
            fix = "send `Authorization: Bearer KEY`; `veilig access key new SUBJECT` makes one"
            return No(401, "invalid_api_key", what, "each request says who asks", fix)
        if not found.live(now_s):
            why = "it was revoked" if found.revoked else "it has expired"
            fix = "ask your administrator for another; your tier and grants stay as they are"
            return No(401, "invalid_api_key", f"the key {found.id} no longer holds", why, fix)
        subject = self.registry.subjects[found.subject]
        tier = subject.tier(now_s, self.rules.access.default_tier)
        user = _end_user(subject.org, safety_identifier) if safety_identifier else f"key:{found.id}"
        standing = self._standing(user, f"key:{found.id}", f"subject:{subject.id}", ORG + subject.org)
        days = clean_days(found, standing.signal_wall_s, now_s)
        bounds = self._grown.get((tier, days))
        if bounds is None:
            bounds = self._grown[tier, days] = limits(tier, days, self._stated)
        return Caller(found, subject, tier, bounds, user, standing)

    def _standing(self, *subjects: str) -> Standing:
        """The strictest of what holds: of the end user, the key, its owner, the organisation."""
        if not self.ladder.standings:
            return Standing(subjects[0])
        known = [s for s in map(self.ladder.standings.get, subjects) if s is not None]
        return max(known, key=lambda s: RANK[s.level], default=Standing(subjects[0]))

    # --- budgets --------------------------------------------------------------------------------------

    async def reserve(self, accounts: Sequence[str], wanted: Amount) -> Reservation | No:
        """Set `wanted` aside in every account that has a budget; all or nothing. Raises LedgerError."""
        return await self.spending.reserve(accounts, wanted)

    def spent(self, account: str) -> tuple[Amount, str]:
        """What counts as spent of an account's budget, open leases included, and in which period."""
        return self.spending.spent(account)

    # --- what was seen --------------------------------------------------------------------------------

    async def signal(
        self,
        caller: Caller,
        signals: Sequence[Signal],
        request: str,
        *,
        stopped: bool = False,
        text: str = "",
    ) -> Standing:
        """Record signals about who sent a request; where they stand now. Raises LedgerError.

        stopped: something was refused for them, so there is a case to appeal in afterwards.
        """
        known = self.ladder.copy()

        def climb(tx: Tx) -> None:
            known.apply(tx.events(ladder.SESSION, ladder.EVENTS, known.seen))
            for signal in signals:
                now, case = known.standing(caller.user), new_case()
                drafts = on_signal(
                    now, signal, caller.tier, tx.now_ms(), new_case=case, request=request, text=text
                )
                known.apply([tx.append(d.name, d.session, d.body) for d in drafts])
            if stopped:
                for draft in open_case(known.standing(caller.user), new_case()):
                    tx.append(draft.name, draft.session, draft.body)

        await self.ledger.submit(climb)
        await self.fresh()
        return self._standing(caller.user, f"key:{caller.key.id}", ORG + caller.subject.org)

    async def tick(self) -> None:
        """Let subjects come down that were quiet for long enough."""
        await self.fresh()
        due = [s.subject for s in self.ladder.standings.values() if on_time(s, self.t_ms())]
        if not due:
            return
        known = self.ladder.copy()

        def come_down(tx: Tx) -> None:
            known.apply(tx.events(ladder.SESSION, ladder.EVENTS, known.seen))
            for subject in due:
                for draft in on_time(known.standing(subject), tx.now_ms()):
                    tx.append(draft.name, draft.session, draft.body)

        await self.ledger.submit(come_down)
        await self.fresh()

    async def change[T](self, fn: Callable[[Ladder, int], tuple[list[Draft], T]]) -> T:
        """Decide on the newest ladder and append what follows, in one transaction. fn: (ladder, t_ms)."""
        known = self.ladder.copy()

        def act(tx: Tx) -> T:
            known.apply(tx.events(ladder.SESSION, ladder.EVENTS, known.seen))
            drafts, result = fn(known, tx.now_ms())
            for draft in drafts:
                tx.append(draft.name, draft.session, draft.body)
            return result

        result = await self.ledger.submit(act)
        await self.fresh()
        return result

    def record(self, row: str) -> None:
        """Note one request, as JSON text; `flush` writes it."""
        self._rows.append(row)

    def note(self, name: str, body: dict[str, JSON]) -> None:
        """Note one fact; `flush` writes it."""
        self._drafts.append(Draft(name, ladder.SESSION, body))

    async def flush(self) -> None:
        """Write what was noted, and debts: other processes must count them.

        Raises LedgerError; what was noted is then kept for the next try.
        """
        rows, drafts = self._rows, self._drafts + self.spending.debts()
        self._rows, self._drafts = [], []
        for at in range(0, len(rows), ROWS_MAX):
            body: dict[str, JSON] = {"requests": rows[at : at + ROWS_MAX]}
            drafts.append(Draft("gateway.served", ladder.SESSION, body))
        if not drafts:
            return
        try:
            await self.ledger.submit(
                lambda tx: [tx.append(d.name, d.session, d.body) for d in drafts], durable=False
            )
        except LedgerError:
            self._drafts = drafts + self._drafts
            raise

    async def close(self) -> None:
        """Write what was noted and return what leases did not need."""
        await self.flush()
        await self.spending.give_back(0.0)


def new_case() -> str:
    """An id that nobody guesses: who has it may read the case's notice."""
    return f"case-{secrets.token_hex(8)}"


def _end_user(org: str, safety_identifier: str) -> str:
    digest = hashlib.sha256(f"{org}\0{safety_identifier}".encode()).hexdigest()
    return f"user:{digest[:32]}"
