"""What may this process still spend of the accounts' budgets? Leases from the ledger, kept in purses.

Any number of processes share a budget so: what one took counts as spent for all, at once. A process that is
killed between reserving and settling has lost its lease to the account, and has forgotten no spending.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from veilig.access.budgets import EVENTS, Amount, Limit, Purse, Totals, lease_of, period_id
from veilig.access.rules import No
from veilig.app.looking import in_time
from veilig.core.canonical import JSON
from veilig.core.clock import Clock
from veilig.core.ledger import Ledger
from veilig.core.ledger_event import Draft
from veilig.core.ledger_tx import Tx

BUDGETS = "budgets"  # the ledger's session id of leases
IDLE_S = 60.0  # a lease that nobody used for so long goes back: another process may need it
KEPT_S = 86_400.0  # no request lasts as long: nothing settles into a purse that was idle since


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


class Spending:
    """The purses of one process. limit_of: an account's budget, as far as the ledger was read."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        limit_of: Callable[[str], Limit | None],
        now_s: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._limit_of = limit_of
        self._now_s = now_s
        self._totals = Totals()
        self._purses: dict[tuple[str, str, Limit], Purse] = {}
        self._leasing: dict[str, asyncio.Lock] = {}

    async def reserve(self, accounts: Sequence[str], wanted: Amount) -> Reservation | No:
        """Set `wanted` aside in every account that has a budget; all or nothing. Raises LedgerError."""
        while True:
            purses = [p for a in accounts if (p := self._purse(a)) is not None]
            short = next((p for p in purses if p.lacks(wanted)), None)
            if short is None:
                for purse in purses:
                    purse.reserve(wanted)
                    purse.used_s = self._clock.boottime_s()
                return Reservation(purses, wanted)
            lease = self._lease(short, wanted)  # a far ledger may be away: then nobody waits for long
            if not await (in_time(asyncio.create_task(lease)) if self._ledger.far else lease):
                return No(
                    429,
                    "insufficient_quota",
                    f"the budget of {short.account} is used up",
                    f"it has {_shown(short.limit.most)} per {short.limit.period}, and this request may need "
                    f"{_shown(wanted)}",
                    "lower max_output_tokens, wait for the next period, or ask for `veilig access budget`",
                )

    def _purse(self, account: str) -> Purse | None:
        limit = self._limit_of(account)
        if limit is None:
            return None
        period = period_id(limit.period, self._now_s())
        purse = self._purses.get((account, period, limit))
        if purse is None:  # an earlier one stays: what is under way settles into it
            purse = self._purses[account, period, limit] = Purse(account, limit, period)
        return purse

    async def _lease(self, purse: Purse, wanted: Amount) -> bool:
        """Bring into the purse what it lacks; False when the budget does not hold it."""
        async with self._leasing.setdefault(purse.account, asyncio.Lock()):
            needed = purse.lacks(wanted)
            if needed is None:
                return True

            def take(tx: Tx) -> Amount | None:
                self._totals.apply(tx.events(BUDGETS, EVENTS, self._totals.seen))
                spent = self._totals.spent(purse.account, purse.period)
                lease = lease_of(purse.limit.most, spent, needed)
                if lease is not None:
                    tx.append("budget.leased", BUDGETS, _body(purse, lease))
                return lease

            lease = await self._ledger.submit(take)
            if lease is not None:
                purse.rest = purse.rest + lease
            return lease is not None

    def purses(self, account: str) -> list[Purse]:
        """Those of one account: one for each period and limit."""
        return [purse for (owner, _, _), purse in self._purses.items() if owner == account]

    def spent(self, account: str) -> tuple[Amount, str]:
        """What counts as spent of an account's budget, open leases included, and in which period."""
        limit = self._limit_of(account)
        period = period_id(limit.period, self._now_s()) if limit else "total"
        self._totals.apply(self._ledger.events(BUDGETS, names=EVENTS, after=self._totals.seen))
        return self._totals.spent(account, period), period

    def debts(self) -> list[Draft]:
        """What purses owe, as leases that they have from now on: other processes must count them."""
        found: list[Draft] = []
        for purse in self._purses.values():
            if (owed := purse.owed()) != Amount():
                purse.rest = purse.rest + owed
                found.append(Draft("budget.leased", BUDGETS, _body(purse, owed)))
        return found

    async def give_back(self, idle_s: float = IDLE_S) -> None:
        """Return what leases hold that nobody used for so long. Raises LedgerError."""
        now_s = self._clock.boottime_s()
        drafts: list[Draft] = []
        for name, purse in list(self._purses.items()):
            if now_s - purse.used_s < idle_s:
                continue
            if (back := purse.unspent()) != Amount():
                purse.rest = purse.rest - back  # before it is written: at worst it is lost to the account
                drafts.append(Draft("budget.returned", BUDGETS, _body(purse, back)))
            elif now_s - purse.used_s > KEPT_S:
                del self._purses[name]
        if drafts:
            await self._ledger.submit(lambda tx: [tx.append(d.name, d.session, d.body) for d in drafts])


def _body(purse: Purse, amount: Amount) -> dict[str, JSON]:
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
