"""What must a provider, planner, approver, guard or clock be able to do? The Protocols.

Implementations do not inherit; only `app.py` names one. Every provider passes
`tests/conformance/`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from veilig.core.action import Action
from veilig.core.action_json import JSON
from veilig.core.actor import Actor
from veilig.core.errors import ProviderError


class Status(StrEnum):
    """How an action ended."""

    DONE = "done"  # performed and verified
    FAILED = "failed"  # performed, and it did not do what it should; the detail says what is known
    REFUSED = "refused"  # policy, a person, a guard or a budget said no: nothing happened
    HELD = "held"  # waits for people; nothing has happened yet
    IN_DOUBT = "in_doubt"  # a crash lies between intent and result, and nobody can tell


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an action: text for the planner (secrets are handles) and typed facts.

    ref: the act's own name in the ledger, which the gate gives.
    """

    ok: bool
    detail: str = ""
    status: Status = Status.DONE
    data: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    ref: str = ""


class Found(StrEnum):
    """What a provider finds when asked whether an interrupted action happened."""

    DONE = "done"
    NOT_DONE = "not_done"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Permit:
    """What the gate tells the provider; the provider checks it again before it acts.

    deadline_s: seconds on the boot clock after which the act must not start. expand: turns the
    handles this action may use into their secrets, raises SecretRefused for others. seal:
    the inverse, so that a provider can show what a planner would see. emit: takes
    (stream, raw bytes) while it happens; the gate redacts before anybody sees them. approval: the approval
    or grant that answered the policy's question, "" when it asked none.
    """

    ref: str
    digest: str
    deadline_s: float
    policy: str
    session: str
    expand: Callable[[str], str]
    seal: Callable[[str], str]
    emit: Callable[[str, bytes], None]
    approval: str = ""


class Provider(Protocol):
    """Performs one family of actions and proves that it worked."""

    @property
    def kinds(self) -> frozenset[str]: ...

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        """Do it. Raises ProviderError when it could not be done; never raises anything foreign."""
        ...

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        """Look independently whether it is so; returns the outcome to believe."""
        ...

    async def inspect(self, action: Action) -> Found:
        """After a crash: did this action happen? UNKNOWN when that cannot be seen."""
        ...


class Verdict(StrEnum):
    """What the gate may answer; `strictness` orders them."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


_STRICTNESS = {Verdict.ALLOW: 0, Verdict.ASK: 1, Verdict.DENY: 2}


def strictness(verdict: Verdict) -> int:
    """0 allow, 1 ask, 2 deny."""
    return _STRICTNESS[verdict]


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a guard thinks of an action; anything looser than the policy's verdict has no effect."""

    guard: str
    verdict: Verdict
    why: str


class Guard(Protocol):
    """Sees every proposal; may only tighten."""

    def judge(self, action: Action, actor: Actor) -> Opinion | None: ...


@dataclass(frozen=True, slots=True)
class Request:
    """One question to people: exactly this action, for these reasons, until then."""

    approval: str
    ref: str
    digest: str
    action: Action
    why: Sequence[str]
    preview: str
    expires_s: float


@dataclass(frozen=True, slots=True)
class Vote:
    """One person's answer, and through which channel it came."""

    actor: Actor
    approve: bool
    via: str
    reason: str = ""


class Approver(Protocol):
    """A channel that may ask a person at once; None means: nobody here, votes may come through the ledger."""

    async def ask(self, request: Request) -> Vote | None: ...


@dataclass(frozen=True, slots=True)
class Finish:
    """The planner is done (or stuck): how, in one line, and the result as data.

    resumable: what stopped it may pass (a model that does not answer); `veilig resume` goes on then.
    """

    ok: bool
    summary: str
    data: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    resumable: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One move of a planner: its new state (JSON, enough to go on from) and what it proposes."""

    state: dict[str, JSON]
    propose: Action | Finish


class Planner(Protocol):
    """Proposes one action after another; pure: same state and outcome, same step."""

    def first(self) -> Step: ...

    def next(self, state: dict[str, JSON], action: Action, outcome: Outcome) -> Step: ...


@runtime_checkable
class Listener(Planner, Protocol):
    """A planner that people may speak to while it works. What they say is data: it approves nothing."""

    def heard(self, state: dict[str, JSON]) -> int:
        """The event number of the last message that `state` holds; 0 for none."""
        ...

    def hear(self, state: dict[str, JSON], seq: int, text: str) -> dict[str, JSON]:
        """The state that holds the message of event `seq`, too; pure, as `next` is."""
        ...


@runtime_checkable
class Shows(Protocol):
    """A provider that can tell people, before they vote, what an act would touch; it only looks."""

    async def show(self, action: Action) -> str:
        """Some lines, "" for nothing to add. Raises ProviderError when it cannot be told."""
        ...


def must_fit(permit: Permit, digest: str, boottime_s: float) -> None:
    """The provider's own check of its permit. Raises ProviderError; the world is unchanged then."""
    if permit.digest != digest:
        raise ProviderError(
            f"action {permit.ref} is not the one that was decided",
            why="its digest differs from the permit's",
            fix="propose it again",
        )
    if boottime_s > permit.deadline_s:
        raise ProviderError(
            f"action {permit.ref} came after its deadline",
            why="the permit has expired",
            fix="propose it again",
        )
