"""Who said yes to exactly what, and does it still count? Approvals as a fold of ledger events.

An approval is bound to one digest, spent once, needs the policy's quorum of distinct people,
and expires on the ledger's own clock. A reboot ends it: the time that passed meanwhile is not
known to that clock, so the safe reading is "too long".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

from veilig.core.actor import Actor
from veilig.core.errors import ApprovalError
from veilig.core.limits import APPROVAL_EXPIRY_S, DENIAL_FINAL_S, PROPOSAL_EXPIRY_S


class Recorded(Protocol):
    """What this fold reads of a ledger event."""

    @property
    def name(self) -> str: ...
    @property
    def session(self) -> str: ...
    @property
    def t_ms(self) -> int: ...
    @property
    def boot(self) -> str: ...
    @property
    def body(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Need:
    """One condition: `quorum` distinct people, each with one of `roles` (empty: any known person)."""

    gateway: str
    roles: frozenset[str]
    quorum: int
    expiry_s: float = APPROVAL_EXPIRY_S


class State(StrEnum):
    """Where an approval stands."""

    OPEN = "open"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    SPENT = "spent"


@dataclass(frozen=True, slots=True)
class Ballot:
    """One recorded vote."""

    actor: str
    person: str
    roles: frozenset[str]
    approve: bool
    t_ms: int
    boot: str


@dataclass(frozen=True, slots=True)
class Approval:
    """One question and its votes so far."""

    id: str
    ref: str
    session: str
    digest: str
    proposer: str
    needs: tuple[Need, ...]
    preview: str
    asked_ms: int
    boot: str
    ballots: tuple[Ballot, ...] = ()
    spent: bool = False
    closed: str = ""

    @property
    def claim(self) -> str:
        """The ledger's key that the act takes when it spends this approval."""
        return f"approval:{self.id}"

    def spent_if(self, claimed: bool) -> "Approval":
        """The same approval, spent when its claim is taken."""
        return replace(self, spent=True) if claimed else self

    def missing(self) -> tuple[Need, ...]:
        """Needs that the votes so far do not meet; each counts distinct people."""
        return tuple(need for need in self.needs if len(self._voices(need)) < need.quorum)

    def _voices(self, need: Need) -> set[str]:
        yes = (b for b in self.ballots if b.approve and b.person != self.proposer)
        return {b.person for b in yes if not need.roles or need.roles & b.roles}

    def state(self, now_ms: int, boot: str) -> State:
        """Where it stands at ledger time `now_ms` of boot `boot`."""
        if self.spent:
            return State.SPENT
        if any(not b.approve for b in self.ballots):
            return State.DENIED
        if self.closed or boot != self.boot or any(b.boot != boot for b in self.ballots):
            return State.EXPIRED
        if self.missing():
            return State.EXPIRED if now_ms - self.asked_ms > PROPOSAL_EXPIRY_S * 1000 else State.OPEN
        return State.EXPIRED if self.left_s(now_ms) < 0 else State.APPROVED

    def left_s(self, now_ms: int) -> float:
        """How long an approved act may still wait before it starts; negative when it is too late."""
        last = max((b.t_ms for b in self.ballots), default=self.asked_ms)
        expiry_s = min((need.expiry_s for need in self.needs), default=APPROVAL_EXPIRY_S)
        return expiry_s - (now_ms - last) / 1000


APPROVAL_EVENTS = (
    "approval.asked",
    "approval.voted",
    "approval.expired",
    "action.started",
)


def fold(events: Iterable[Recorded]) -> dict[str, Approval]:
    """Every approval by id, in the order asked. Events of other names are ignored."""
    found: dict[str, Approval] = {}
    for event in events:
        body = event.body
        if event.name == "approval.asked":
            found[body["approval"]] = Approval(
                id=body["approval"],
                ref=body["ref"],
                session=event.session,
                digest=body["digest"],
                proposer=body["proposer"],
                needs=tuple(need_from_json(n) for n in body["needs"]),
                preview=body["preview"],
                asked_ms=event.t_ms,
                boot=event.boot,
            )
        elif event.name == "approval.voted" and body["approval"] in found:
            roles = frozenset[str](body["roles"])
            ballot = Ballot(
                body["actor"],
                body["person"],
                roles,
                body["vote"] == "approve",
                event.t_ms,
                event.boot,
            )
            asked = found[body["approval"]]
            found[asked.id] = replace(asked, ballots=(*asked.ballots, ballot))
        elif event.name == "approval.expired" and body["approval"] in found:
            found[body["approval"]] = replace(found[body["approval"]], closed=body["why"])
        elif event.name == "action.started" and body.get("approval") in found:
            found[body["approval"]] = replace(found[body["approval"]], spent=True)
    return found


def usable(
    approvals: Iterable[Approval], session: str, digest: str, now_ms: int, boot: str
) -> Approval | None:
    """The newest approval of this session and digest that is open or approved."""
    live = (State.OPEN, State.APPROVED)
    fit = [
        a for a in approvals if a.session == session and a.digest == digest and a.state(now_ms, boot) in live
    ]
    return fit[-1] if fit else None


def recently_denied(approvals: Iterable[Approval], digest: str, now_ms: int) -> Approval | None:
    """A denial of this digest that is still final."""
    for approval in approvals:
        for ballot in approval.ballots:
            if (
                approval.digest == digest
                and not ballot.approve
                and now_ms - ballot.t_ms < DENIAL_FINAL_S * 1000
            ):
                return approval
    return None


def may_vote(approval: Approval, actor: Actor, approve: bool, now_ms: int, boot: str) -> None:
    """Raises ApprovalError when this actor's vote cannot count, saying why."""
    state = approval.state(now_ms, boot)
    if state is not State.OPEN and not (state is State.APPROVED and not approve):
        raise ApprovalError(
            f"approval {approval.id} is {state}",
            why="a vote counts while it is open",
            fix="propose the act again",
        )
    if not actor.may_approve:
        raise ApprovalError(
            f"{actor.id!r} is {actor.kind}, not a person",
            why="agents, bots and services never approve",
        )
    if actor.person == approval.proposer:
        raise ApprovalError(
            f"{actor.person!r} proposed this act",
            why="the proposer never approves it",
            fix="ask somebody else",
        )
    if any(b.person == actor.person and b.approve == approve for b in approval.ballots):
        raise ApprovalError(
            f"{actor.person!r} has voted already",
            why="two accounts of one person are one voice",
        )
    if approve and not any(not n.roles or n.roles & actor.roles for n in approval.needs):
        wanted = sorted({role for n in approval.needs for role in n.roles})
        raise ApprovalError(
            f"{actor.id!r} has none of the roles {', '.join(wanted)}",
            why="veilig.yaml says who approves this class of act",
            fix="ask one of them, or change `approvers` in veilig.yaml",
        )


def need_to_json(need: Need) -> dict[str, Any]:
    """The need as it stands in `approval.asked`."""
    return {
        "gateway": need.gateway,
        "roles": sorted(need.roles),
        "quorum": need.quorum,
        "expiry_ms": round(need.expiry_s * 1000),
    }


def need_from_json(value: dict[str, Any]) -> Need:
    """The inverse of `need_to_json`."""
    return Need(
        value["gateway"],
        frozenset(value["roles"]),
        value["quorum"],
        value["expiry_ms"] / 1000,
    )


def explain_missing(needs: Sequence[Need]) -> str:
    """For people: what is still needed."""
    parts = [
        f"{n.quorum} {'person' if n.quorum == 1 else 'people'}"
        + (f" of role {' or '.join(sorted(n.roles))}" if n.roles else "")
        + f" ({n.gateway})"
        for n in needs
    ]
    return "; ".join(parts) or "nothing more"


def need_known(approvals: dict[str, Approval], prefix: str) -> Approval:
    """The approval whose id starts with `prefix`. Raises ApprovalError when none or several do."""
    fit = [a for a in approvals.values() if prefix and a.id.startswith(prefix)]
    if len(fit) != 1:
        raise ApprovalError(
            f"{'no' if not fit else 'more than one'} approval starts with {prefix!r}",
            why="votes name one question",
            fix="see `veilig approvals list`",
        )
    return fit[0]


def voted(asked: Approval, actor: Actor, approve: bool, via: str, reason: str) -> dict[str, Any]:
    """The body of `approval.voted`."""
    return {
        "approval": asked.id,
        "actor": actor.id,
        "person": actor.person,
        "roles": sorted(actor.roles),
        "vote": "approve" if approve else "deny",
        "via": via,
        "reason": reason,
    }
