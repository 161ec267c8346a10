"""How does a person have advisories fetched? One act through the gate, which the record keeps."""

import os
from pathlib import Path

from veilig.app.wiring import Setting
from veilig.audit.advisories_files import AdvisoryError
from veilig.core.action import FetchAdvisories
from veilig.core.actor import Actor, ActorKind
from veilig.core.clock import SystemClock
from veilig.core.errors import SessionError
from veilig.core.gate import Gate
from veilig.core.policy import Facts
from veilig.core.provider import Approver, Outcome, Status
from veilig.home import find_home
from veilig.law import find_laws
from veilig.providers.fetching import FetchProvider


async def fetch_advisories(action: FetchAdvisories, setting: Setting, approver: Approver | None) -> Path:
    """The fetched file, in the state folder; whoever read it removes it.

    Raises SessionError when the law or a person says no, AdvisoryError when it did not come.
    """
    home, clock = find_home(setting.environment), SystemClock()
    laws = find_laws(home.path, setting.policy, setting.environment)
    redactor = home.redactor(setting.environment)
    with home.open_ledger(laws.operator) as ledger:
        gate = Gate(
            session=f"advisories-{os.urandom(4).hex()}",
            ledger=ledger,
            law=laws.law(clock, lambda _: Facts()),
            providers=[FetchProvider(clock, home.path / "cache" / "advisories", setting.environment)],
            redactor=redactor,
            clock=clock,
            approver=approver,
        )
        outcome = await gate.submit(action, Actor("agent:advisories", ActorKind.AGENT))
        ledger.checkpoint()
    if not outcome.ok:
        raise _trouble(action, outcome)
    return Path(str(outcome.data["path"]))


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
