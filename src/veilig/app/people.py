"""How does the person at this machine vote, and give or take standing permissions?"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace

from veilig.app.wiring import Setting, operator_policy
from veilig.core.actor import Actor
from veilig.core.approval import Approval
from veilig.core.canonical import JSON
from veilig.core.gate import cast_vote, give_grant, revoke_grant
from veilig.core.grant import Grant
from veilig.core.ledger import Ledger
from veilig.core.provider import Vote
from veilig.home import find_home, local_person


@contextmanager
def _desk(setting: Setting) -> Generator[tuple[Ledger, Actor, Callable[[str], str]]]:
    """The ledger, the person at this machine, and what hides secrets in what they type."""
    home = find_home(setting.environment)
    policy = operator_policy(home, setting)
    with home.open_ledger(policy, create=False) as ledger:
        yield ledger, local_person(policy), home.redactor(setting.environment).seal


async def vote(prefix: str, approve: bool, reason: str, setting: Setting) -> Approval:
    """Record the vote of the person at this machine. Raises ApprovalError when it may not count."""
    with _desk(setting) as (ledger, person, seal):
        return await cast_vote(ledger, prefix, Vote(person, approve, "command line", seal(reason)))


def votes_on(approval: str, setting: Setting) -> int:
    """How many people have voted on this approval so far."""
    with _desk(setting) as (ledger, _, _):
        voted = ledger.events(names=("approval.voted",))
        return sum(1 for event in voted if event.body["approval"] == approval)


async def grant(wanted: Grant, seconds: float, setting: Setting) -> Grant:
    """Give a standing permission in the name of the person at this machine. Raises ApprovalError."""
    with _desk(setting) as (ledger, person, seal):
        return await give_grant(ledger, replace(wanted, actor=person.id, reason=seal(wanted.reason)), seconds)


async def revoke(prefix: str, reason: str, setting: Setting) -> Grant:
    """Take a standing permission back. Raises ApprovalError when there is none."""
    with _desk(setting) as (ledger, person, seal):
        return await revoke_grant(ledger, prefix, person, seal(reason))


async def account_told(body: dict[str, JSON], setting: Setting, *, new: bool) -> None:
    """The ledger hears that the person at this machine added or changed an account of the page."""
    home = find_home(setting.environment)
    policy = operator_policy(home, setting)
    told = {**body, "actor": local_person(policy).id}
    name = "person.added" if new else "person.changed"
    with home.open_ledger(policy) as ledger:
        await ledger.submit(lambda tx: tx.append(name, "people", told))


def ledger_now(ledger: Ledger) -> tuple[int, str]:
    """Ledger time in ms and the boot it belongs to: what decides whether an approval still counts."""
    return ledger.transact(lambda tx: (tx.now_ms(), tx.boot), durable=False)
