"""Who asks, who votes: actors, their kind, roles and tier."""

from dataclasses import dataclass, field
from enum import StrEnum

from veilig.core.errors import InvalidAction


class ActorKind(StrEnum):
    """What stands behind an account; only a human can approve."""

    HUMAN = "human"
    AGENT = "agent"
    BOT = "bot"
    SERVICE = "service"


class Tier(StrEnum):
    """How far a subject has been vetted, from least to most (access/ says what each requires)."""

    NEW = "new"
    STANDARD = "standard"
    VERIFIED = "verified"
    TRUSTED = "trusted"
    RESEARCH = "research"


@dataclass(frozen=True, slots=True)
class Actor:
    """One account. `person` is the human behind it: two accounts of one person are one voice.

    id: unique, printable, no spaces. roles: names the policy's approvers use.
    Raises InvalidAction for an empty or unprintable id.
    """

    id: str
    kind: ActorKind = ActorKind.HUMAN
    roles: frozenset[str] = field(default_factory=frozenset[str])
    tier: Tier = Tier.STANDARD
    person: str = ""

    def __post_init__(self) -> None:
        if not self.id or not self.id.isprintable() or any(c.isspace() for c in self.id):
            raise InvalidAction(
                f"actor id {self.id!r} is empty, unprintable or has spaces",
                why="ids are written in the ledger and compared exactly",
                fix="use a short name such as 'ann' or 'agent:fix'",
            )
        if not self.person:
            object.__setattr__(self, "person", self.id)

    @property
    def may_approve(self) -> bool:
        """Agents, bots and services never approve."""
        return self.kind is ActorKind.HUMAN
