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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from veilig.access import registry as access
from veilig.access.budgets import EVENTS as BUDGET_EVENTS
from veilig.access.budgets import Amount, Purse, Totals, lease_of, period_id
from veilig.access.keys import key_hash
from veilig.access.registry import Key, Registry, Subject, clean_days
from veilig.access.rules import No
from veilig.access.tiers import limits
from veilig.app.notices import Alerts
from veilig.core.actor import Tier
from veilig.core.canonical import JSON
from veilig.core.clock import Clock
from veilig.core.errors import LedgerError
from veilig.core.ledger import Ledger
from veilig.core.ledger_event import Draft
from veilig.core.ledger_tx import Tx
from veilig.core.policy_safeguards import Safeguards as Rules
from veilig.core.policy_safeguards import TierLimits
from veilig.monitor import ladder
from veilig.monitor.ladder import RANK, Ladder, Signal, Standing, on_signal, on_time, open_case

BUDGETS = "budgets"  # the ledger's session id of leases
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
class Reservation:
    """What is set aside for one request in each purse; settle it exactly once."""

    purses: list[Purse]
    amount: Amount
    open: bool = True

    def settle(self, used: Amount) -> None:
        """Give back what was not used."""
        if self.open:
            self.open = False
            for purse in self.purses:
                purse.settle(self.amount, used)


@dataclass(slots=True)
class Desk:
    """The registry, the ladder and the budgets, as far as the ledger goes."""

    ledger: Ledger
    rules: Rules
    clock: Clock
    registry: Registry = field(default_factory=Registry)
    ladder: Ladder = field(default_factory=Ladder)
    alerts: Alerts = field(default_factory=Alerts)
    _totals: Totals = field(default_factory=Totals)
    _purses: dict[str, Purse] = field(default_factory=dict[str, Purse])
    _leasing: dict[str, asyncio.Lock] = field(default_factory=dict[str, asyncio.Lock])
    _rows: list[JSON] = field(default_factory=list[JSON])
    _drafts: list[Draft] = field(default_factory=list[Draft])
    _seen: int = 0
    _stamp: tuple[int, int] = (0, 0)
    _grown: dict[tuple[Tier, int], TierLimits] = field(default_factory=dict[tuple[Tier, int], TierLimits])
    _latest_s: float = 0.0
    _base_ms: tuple[int, float] = (0, 0.0)
    _stated: dict[Tier, TierLimits] = field(default_factory=dict[Tier, TierLimits])

    def __post_init__(self) -> None:
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
        if size == self._seen:
            return
        for event in self.ledger.events(after=self._seen, names=EVENTS):
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

    def identify(self, key: bytes, safety_identifier: str) -> Caller | No:
        """Who holds this key, now. safety_identifier: the end user as the key's owner names them, or ""."""
        self.catch_up()
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
        """Set `wanted` aside in every account that has a budget; all or nothing."""
        while True:
            purses = [p for a in accounts if (p := self._purse(a)) is not None]
            short = next((p for p in purses if p.lacks(wanted)), None)
            if short is None:
                for purse in purses:
                    purse.reserve(wanted)
                return Reservation(purses, wanted)
            if not await self._lease(short, wanted):
                return No(
                    429,
                    "insufficient_quota",
                    f"the budget of {short.account} is used up",
                    f"it has {_shown(short.limit.most)} per {short.limit.period}, and this request may need "
                    f"{_shown(wanted)}",
                    "lower max_output_tokens, wait for the next period, or ask for `veilig access budget`",
                )

    def _purse(self, account: str) -> Purse | None:
        limit = self.registry.budgets.get(account)
        if limit is None:
            return None
        period = period_id(limit.period, self.now_s())
        purse = self._purses.get(account)
        if purse is None or purse.period != period or purse.limit != limit:
            purse = self._purses[account] = Purse(account, limit, period)
        return purse

    async def _lease(self, purse: Purse, wanted: Amount) -> bool:
        """Bring into the purse what it lacks; False when the budget does not hold it."""
        async with self._leasing.setdefault(purse.account, asyncio.Lock()):
            needed = purse.lacks(wanted)
            if needed is None:
                return True

            def take(tx: Tx) -> Amount | None:
                self._totals.apply(tx.events(BUDGETS, BUDGET_EVENTS, self._totals.seen))
                spent = self._totals.spent(purse.account, purse.period)
                lease = lease_of(purse.limit.most, spent, needed)
                if lease is not None:
                    tx.append("budget.leased", BUDGETS, _lease_body(purse, lease))
                return lease

            lease = await self.ledger.submit(take)
            if lease is not None:
                purse.rest = purse.rest + lease
            return lease is not None

    def spent(self, account: str) -> tuple[Amount, str]:
        """What counts as spent of an account's budget, open leases included, and in which period."""
        limit = self.registry.budgets.get(account)
        period = period_id(limit.period, self.now_s()) if limit else "total"
        self._totals.apply(self.ledger.events(BUDGETS, names=BUDGET_EVENTS, after=self._totals.seen))
        return self._totals.spent(account, period), period

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
        self.catch_up()
        return self._standing(caller.user, f"key:{caller.key.id}", ORG + caller.subject.org)

    async def tick(self) -> None:
        """Let subjects come down that were quiet for long enough."""
        self.catch_up()
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
        self.catch_up()

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
        self.catch_up()
        return result

    def record(self, row: str) -> None:
        """Note one request, as JSON text; `flush` writes it."""
        self._rows.append(row)

    def note(self, name: str, body: dict[str, JSON]) -> None:
        """Note one fact; `flush` writes it."""
        self._drafts.append(Draft(name, ladder.SESSION, body))

    async def flush(self) -> None:
        """Write what was noted. Raises LedgerError; what was noted is then kept for the next try."""
        rows, drafts = self._rows, self._drafts
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
        """Write what was noted and return what leases did not need; debts are written as well."""
        await self.flush()
        for purse in self._purses.values():
            back, debt = purse.unspent(), Amount() - purse.rest
            owed = Amount(max(0, debt.tokens), max(0, debt.micro_usd))
            drafts = [
                Draft(name, BUDGETS, _lease_body(purse, amount))
                for name, amount in (("budget.returned", back), ("budget.leased", owed))
                if amount != Amount() and (name == "budget.returned" or _bounded(purse, amount))
            ]
            if drafts:
                await self.ledger.submit(
                    lambda tx, drafts=drafts: [tx.append(d.name, d.session, d.body) for d in drafts]
                )
        self._purses.clear()


def new_case() -> str:
    """An id that nobody guesses: who has it may read the case's notice."""
    return f"case-{secrets.token_hex(8)}"


def _end_user(org: str, safety_identifier: str) -> str:
    digest = hashlib.sha256(f"{org}\0{safety_identifier}".encode()).hexdigest()
    return f"user:{digest[:32]}"


def _bounded(purse: Purse, amount: Amount) -> bool:
    most = purse.limit.most
    return (most.tokens >= 0 and amount.tokens > 0) or (most.micro_usd >= 0 and amount.micro_usd > 0)


def _lease_body(purse: Purse, amount: Amount) -> dict[str, JSON]:
    return {
        "account": purse.account,
        "period": purse.period,
        "tokens": amount.tokens,
        "micro_usd": amount.micro_usd,
        "lease": secrets.token_hex(4),
    }


def _shown(amount: Amount) -> str:
    parts = [f"{amount.tokens} tokens"] if amount.tokens > 0 else []
    if amount.micro_usd > 0:
        parts.append(f"{amount.micro_usd / 1e6:.4f} USD")
    return " and ".join(parts) or "nothing"
