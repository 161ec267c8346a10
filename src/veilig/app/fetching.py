"""How does a person have advisories or intelligence fetched? One act through the gate, on record."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from veilig.app.wiring import Setting
from veilig.audit.advisories_files import AdvisoryError
from veilig.core.action import FetchAdvisories, FetchFeed, FetchRepository
from veilig.core.action_json import JSON
from veilig.core.actor import Actor, ActorKind
from veilig.core.clock import Clock, SystemClock
from veilig.core.errors import ProviderError, SessionError
from veilig.core.gate import Gate
from veilig.core.policy import Facts
from veilig.core.provider import Approver, Outcome, Provider, Status
from veilig.home import Home, find_home
from veilig.law import find_laws
from veilig.providers.fetching import FetchProvider
from veilig.providers.taxii import TaxiiProvider


async def fetch_advisories(action: FetchAdvisories, setting: Setting, approver: Approver | None) -> Path:
    """The fetched file, in the state folder; whoever read it removes it.

    Raises SessionError when the law or a person says no, AdvisoryError when it did not come.
    """

    def hand(home: Home, clock: Clock) -> Provider:
        return FetchProvider(clock, home.path / "cache" / "advisories", setting.environment)

    outcome = await through_gate(action, hand, "agent:advisories", setting, approver)
    if not outcome.ok:
        raise _trouble(action, outcome)
    return Path(str(outcome.data["path"]))


async def fetch_feed(action: FetchFeed, setting: Setting, approver: Approver | None) -> Mapping[str, JSON]:
    """What came: objects, pages and the date up to which the feed is known; or collections.

    Raises SessionError when the law or a person says no, ProviderError when it did not come.
    """

    def hand(home: Home, clock: Clock) -> Provider:
        return TaxiiProvider(clock, home.feeds, setting.environment)

    outcome = await through_gate(action, hand, "agent:feeds", setting, approver)
    if outcome.ok:
        return outcome.data
    if outcome.status in (Status.REFUSED, Status.HELD):
        raise SessionError(
            f"{action.url} was not asked", why=outcome.detail, fix="see `monitor.feeds` in the policy"
        )
    raise ProviderError(
        f"nothing new came from {action.url}",
        why=outcome.detail,
        fix="the feed is as it was: what is known of it stays in force until it expires",
    )


async def through_gate(
    action: FetchAdvisories | FetchFeed | FetchRepository,
    hand: Callable[[Home, Clock], Provider],
    agent: str,
    setting: Setting,
    approver: Approver | None,
) -> Outcome:
    """What became of one act of a session of its own. Raises VeiligError."""
    home, clock = find_home(setting.environment), SystemClock()
    laws = find_laws(home.path, setting.policy, setting.environment)
    with home.open_ledger(laws.operator) as ledger:
        gate = Gate(
            session=f"{agent.partition(':')[2]}-{os.urandom(4).hex()}",
            ledger=ledger,
            law=laws.law(clock, lambda _: Facts()),
            providers=[hand(home, clock)],
            redactor=home.redactor(setting.environment),
            clock=clock,
            approver=approver,
        )
        outcome = await gate.submit(action, Actor(agent, ActorKind.AGENT))
        ledger.checkpoint()
    return outcome


def _trouble(action: FetchAdvisories, outcome: Outcome) -> SessionError | AdvisoryError:
    if outcome.status in (Status.REFUSED, Status.HELD):
        return SessionError(
            f"{action.url} was not fetched",
            why=outcome.detail,
            fix="see `audit.download` in the policy, or fetch it by hand and give the file",
        )
    return AdvisoryError(
        f"no advisories came from {action.url}",
        why=outcome.detail,
        fix="the database is as it was; try again, or fetch the file by hand and give it",
    )
