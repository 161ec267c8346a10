"""What may an account still spend? Leases that are durable before they are used, and purses in memory.

A process takes a part of a budget from the ledger (a lease: it counts as spent at once), serves many requests
from it, and returns the rest. So no request waits for the disk, several processes share one budget, and a
crash forgets at most one lease, never a spending: it errs on the side of the budget.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from veilig.core.ledger_event import Event

EVENTS = frozenset({"budget.leased", "budget.returned"})
LEASE_SHARE = 0.01  # of the budget at a time: what a crash may cost the account
PERIODS = ("day", "month", "total")


@dataclass(frozen=True, slots=True)
class Amount:
    """Tokens and millionths of a US dollar; as a limit, -1 means unlimited."""

    tokens: int = 0
    micro_usd: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.tokens + other.tokens, self.micro_usd + other.micro_usd)

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(self.tokens - other.tokens, self.micro_usd - other.micro_usd)

    def covers(self, other: "Amount") -> bool:
        """Is there at least as much of both?"""
        return self.tokens >= other.tokens and self.micro_usd >= other.micro_usd


@dataclass(frozen=True, slots=True)
class Limit:
    """What an account may spend in each period. -1: as much as it likes."""

    period: str
    most: Amount


def period_id(period: str, now_s: float) -> str:
    """Which day or month (UTC) a moment belongs to; one for ever for `total`."""
    if period == "total":
        return "total"
    return _period_of_hour(period, int(now_s // 3600) * 3600)


@lru_cache(maxsize=64)
def _period_of_hour(period: str, now_s: int) -> str:
    return datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%d" if period == "day" else "%Y-%m")


class Totals:
    """Leases less returns per account and period: a fold of the ledger's budget events."""

    __slots__ = ("_spent", "seen")

    def __init__(self) -> None:
        self._spent: dict[tuple[str, str], Amount] = {}
        self.seen = 0

    def apply(self, events: Iterable[Event]) -> None:
        """Count events after `seen`, each once."""
        for event in events:
            if event.seq <= self.seen:
                continue
            self.seen = event.seq
            body = event.body
            key = (str(body["account"]), str(body["period"]))
            amount = Amount(_whole(body["tokens"]), _whole(body["micro_usd"]))
            spent = self._spent.get(key, Amount())
            self._spent[key] = spent + amount if event.name == "budget.leased" else spent - amount

    def spent(self, account: str, period: str) -> Amount:
        """What counts as spent, open leases included."""
        return self._spent.get((account, period), Amount())


def lease_of(limit: Amount, spent: Amount, needed: Amount) -> Amount | None:
    """How much to take now so that `needed` fits; None when the budget does not hold it. Pure."""
    tokens = _lease(limit.tokens, spent.tokens, needed.tokens)
    micro_usd = _lease(limit.micro_usd, spent.micro_usd, needed.micro_usd)
    return None if tokens is None or micro_usd is None else Amount(tokens, micro_usd)


def _lease(limit: int, spent: int, needed: int) -> int | None:
    if limit < 0 or needed <= 0:
        return 0
    left = limit - spent
    return None if left < needed else min(left, max(needed, int(limit * LEASE_SHARE)))


@dataclass(slots=True)
class Purse:
    """What this process holds of one account in one period. A debt is a negative rest."""

    account: str
    limit: Limit
    period: str
    rest: Amount = field(default_factory=Amount)
    used_s: float = 0.0  # when it was last reserved from

    def lacks(self, wanted: Amount) -> Amount | None:
        """What a lease must bring before `wanted` can be reserved; None when it is here."""
        most = self.limit.most
        tokens = 0 if most.tokens < 0 else max(0, wanted.tokens - self.rest.tokens)
        micro_usd = 0 if most.micro_usd < 0 else max(0, wanted.micro_usd - self.rest.micro_usd)
        return Amount(tokens, micro_usd) if tokens or micro_usd else None

    def reserve(self, wanted: Amount) -> None:
        """Set `wanted` aside; `lacks` must have said that it is here."""
        self.rest = self.rest - wanted

    def settle(self, reserved: Amount, used: Amount) -> None:
        """Give back what was reserved and not used; more than reserved becomes a debt."""
        self.rest = self.rest + reserved - used

    def owed(self) -> Amount:
        """What was used beyond every lease, where it is bounded: to be recorded, as it was spent."""
        most = self.limit.most
        return Amount(
            max(0, -self.rest.tokens) if most.tokens >= 0 else 0,
            max(0, -self.rest.micro_usd) if most.micro_usd >= 0 else 0,
        )

    def unspent(self) -> Amount:
        """What a clean end returns to the budget: never more than what is bounded, never a debt."""
        most = self.limit.most
        return Amount(
            max(0, self.rest.tokens) if most.tokens >= 0 else 0,
            max(0, self.rest.micro_usd) if most.micro_usd >= 0 else 0,
        )


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
