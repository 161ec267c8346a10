"""How is a ledger moved, and how are old bodies erased, so that the ledger says who did it?"""

from pathlib import Path

from veilig.core.errors import LedgerError
from veilig.core.ledger import Draft
from veilig.core.ledger_erase import Chosen, Erased, choose, erase, older_than
from veilig.core.ledger_store import LEDGER_SESSION
from veilig.core.policy import Policy
from veilig.home import Home, local_person
from veilig.stores.address import Address
from veilig.stores.moving import Moved, move
from veilig.stores.opening import open_ledger


def erase_bodies(
    home: Home, policy: Policy, *, session: str, before_wall_ms: int, reason: str
) -> tuple[list[Erased], list[Chosen]]:
    """What was erased, session by session, and what was left alone with the reason.

    session: its whole id; empty for every session whose last event is older than `before_wall_ms`. Raises
    LedgerError; what was erased before stays erased and said.
    """
    if not reason.strip():
        raise LedgerError("a body is not erased without a reason", fix="say it with --reason")
    actor = local_person(policy).id
    done: list[Erased] = []
    left: list[Chosen] = []
    with home.open_ledger(policy, create=False) as ledger:
        for name in [session] if session else older_than(ledger, before_wall_ms):
            chosen = choose(ledger, name)
            if chosen.why or not chosen.seqs:
                left.append(chosen)
            else:
                done.append(erase(ledger, chosen, actor=actor, reason=reason))
    return done, left


def move_ledger(source: Path | Address, target: Path | Address, anchor_dir: Path, policy: Policy) -> Moved:
    """Move the whole ledger; at its new place it says who did it. Raises LedgerError."""
    moved = move(source, target, anchor_dir)
    with open_ledger(target, anchor_dir=anchor_dir, create=False) as ledger:
        body = {"place": str(target), "before": str(source), "actor": local_person(policy).id}
        ledger.append([Draft("ledger.moved", LEDGER_SESSION, {**body})])
    return moved
