"""Which bodies may be erased, so that every proof and every rule of the gate still holds afterwards?

Erased is what people and models said and what acts printed. What the law still needs stays: decisions,
approvals, grants, budgets and claims, people, tiers, checkpoints, and who erased what. A session that could
go on keeps everything.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from veilig.core.errors import LedgerError
from veilig.core.event import EVENT_VERSION
from veilig.core.ledger import Event, Ledger, Tx
from veilig.core.ledger_store import LEDGER_SESSION

# Named one by one: a new event keeps its body until somebody decides that nothing needs it.
ERASABLE = frozenset(
    {
        "session.started", "session.resumed", "session.rewound", "session.told", "session.noted",
        "session.ended", "session.interrupted", "action.proposed", "action.decided", "guard.tightened",
        "action.output", "action.verified", "action.failed", "action.refused", "action.held",
        "action.doubted", "comment.added", "wall.stood",
    }
)  # fmt: skip
ENDED = ("done", "failed")  # any other end can be resumed


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased of one session. kept: bodies that the law needs, or that an older veilig recorded."""

    session: str
    bodies: int
    kept: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """What may be erased of one session; `why` not, when nothing may."""

    session: str
    seqs: tuple[int, ...]
    kept: int
    last_seq: int
    why: str = ""


def choose(ledger: Ledger, session: str) -> Chosen:
    """Which bodies of a session may go; pure but for reading. Raises LedgerError when there is none such."""
    events = list(ledger.events(session, erased=True))
    if not events:
        raise LedgerError(f"there is no session {session!r}", fix="see `veilig sessions`")
    left = [event for event in events if not event.erased]
    last = events[-1].seq
    if left and (why := _open(left)):
        return Chosen(session, (), len(left), last, why)
    seqs = tuple(event.seq for event in left if _may_go(event))
    return Chosen(session, seqs, len(left) - len(seqs), last)


def older_than(ledger: Ledger, before_wall_ms: int) -> list[str]:
    """The sessions whose last event is older; the ledger's own lines are none."""
    found = ledger.sessions()
    return [s.session for s in found if s.last_wall_ms < before_wall_ms and s.session != LEDGER_SESSION]


def erase(ledger: Ledger, chosen: Chosen, *, actor: str, reason: str) -> Erased:
    """Erase what was chosen and record who did it, in one transaction. Raises LedgerError, nothing erased.

    What stood in backups, replicas and copies of the disk is not reached.
    """
    if chosen.why:
        raise LedgerError(
            f"nothing of {chosen.session!r} may be erased", why=chosen.why, fix="end the session first"
        )
    if not chosen.seqs:
        return Erased(chosen.session, 0, chosen.kept)

    def said(tx: Tx) -> None:
        if any(True for _ in tx.events(chosen.session, after=chosen.last_seq)):
            raise LedgerError(f"{chosen.session!r} went on meanwhile", fix="look at it and try again")
        body = {
            "session": chosen.session,
            "bodies": len(chosen.seqs),
            "ranges": [[first, last] for first, last in ranges(chosen.seqs)],
            "kept": chosen.kept,
            "actor": actor,
            "reason": reason,
        }
        tx.append("ledger.erased", LEDGER_SESSION, body)  # pyright: ignore[reportArgumentType]  # lists of lists

    ledger.erase(chosen.seqs, said)
    return Erased(chosen.session, len(chosen.seqs), chosen.kept)


def ranges(seqs: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of numbers that follow each other, as (first, last)."""
    found: list[tuple[int, int]] = []
    for seq in seqs:
        if found and found[-1][1] == seq - 1:
            found[-1] = (found[-1][0], seq)
        else:
            found.append((seq, seq))
    return found


def _may_go(event: Event) -> bool:
    counted = event.body.get("budget_keys") or event.body.get("claims")
    return event.name in ERASABLE and event.v == EVENT_VERSION and not counted


def _open(events: Sequence[Event]) -> str:
    """Why the session could still go on; empty when it is over."""
    for event in reversed(events):
        if event.name == "session.ended":
            state = str(event.body.get("state", ""))
            return "" if state in ENDED else f"it ended as {state!r} and can be resumed"
        if event.name in ("session.started", "session.resumed"):
            return "it has not ended"
    return "" if any(event.name == "session.leased" for event in events) else "it is no session of work"
