"""Does another process learn of debts, and get what nobody uses?"""

from pathlib import Path

from veilig.access.budgets import Amount, Limit
from veilig.access.rules import No
from veilig.app.spending import Reservation, Spending
from veilig.core.clock import SystemClock
from veilig.core.ledger import Ledger


def spending(ledger: Ledger, tokens: int) -> Spending:
    limit = Limit("total", Amount(tokens, -1))
    return Spending(ledger, SystemClock(), lambda _: limit, lambda: 0.0)


async def held(one: Spending, tokens: int) -> Reservation:
    found = await one.reserve(["org:acme"], Amount(tokens))
    assert isinstance(found, Reservation)
    return found


async def test_a_debt_counts_for_all_and_an_idle_lease_goes_back(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.db", anchor_dir=tmp_path / "anchors") as ledger:
        one, two = spending(ledger, 1000), spending(ledger, 1000)
        first = await held(one, 600)
        assert isinstance(await two.reserve(["org:acme"], Amount(500)), No)
        first.settle(Amount(700))  # the upstream wrote more than it was asked for
        ledger.append(one.debts())
        assert two.spent("org:acme")[0].tokens == 700
        assert one.debts() == []
        assert isinstance(await two.reserve(["org:acme"], Amount(301)), No)
        (await held(two, 300)).settle(Amount(100))
        assert isinstance(await one.reserve(["org:acme"], Amount(1)), No), "it is leased to the other"
        await two.give_back()  # used just now: it stays
        assert two.spent("org:acme")[0].tokens == 1000
        await two.give_back(0.0)
        assert two.spent("org:acme")[0].tokens == 800
        await held(one, 200)


async def test_what_is_given_back_is_not_what_is_under_way(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.db", anchor_dir=tmp_path / "anchors") as ledger:
        one, two = spending(ledger, 1000), spending(ledger, 1000)
        late = await held(one, 400)
        await one.give_back(0.0)
        assert isinstance(await two.reserve(["org:acme"], Amount(601)), No)
        late.settle(Amount(400))
        await one.give_back(0.0)
        assert one.spent("org:acme")[0].tokens == 400
