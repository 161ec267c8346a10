"""May this subject reach this model now? Classes, tiers, grants and the safeguards a class stands on.

Pure: the answer follows from the registry, the policy, which safeguards are known to work, and the time.
Every refusal says what is missing; it never tells somebody who is verified to apply again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from veilig.access.registry import Grant, Registry, Subject
from veilig.access.tiers import REQUIRES, rank
from veilig.core.actor import Tier
from veilig.core.policy_match import NamePattern
from veilig.core.policy_safeguards import CapabilityClass, ServedModel

GENERAL = CapabilityClass("general")


@dataclass(frozen=True, slots=True)
class No:
    """A refusal: code as the API's errors have it, what happened, why, what to do."""

    status: int
    code: str
    what: str
    why: str
    fix: str


@dataclass(frozen=True, slots=True)
class Yes:
    """The subject may. grant: what it rests on, None where the class needs none."""

    tier: Tier
    grant: Grant | None


@dataclass(frozen=True, slots=True)
class Models:
    """The models of the policy, by the name a client asks for."""

    served: tuple[tuple[NamePattern, ServedModel], ...]

    @classmethod
    def of(cls, models: tuple[ServedModel, ...]) -> "Models":
        """In the policy's order: the first that matches holds."""
        return cls(tuple((NamePattern(m.name), m) for m in models))

    def find(self, name: str) -> ServedModel | None:
        """The rule for a model's name."""
        return next((m for pattern, m in self.served if pattern.matches(name)), None)


def find_class(name: str, classes: tuple[CapabilityClass, ...]) -> CapabilityClass | None:
    """The class of this name; `general` exists without being stated."""
    found = next((c for c in classes if c.name == name), None)
    return found or (GENERAL if name == GENERAL.name else None)


def may_reach(
    registry: Registry,
    subject: Subject,
    model: str,
    wanted: CapabilityClass,
    surface: str,
    *,
    default: Tier,
    working: Mapping[str, bool],
    now_s: float,
) -> Yes | No:
    """working: which safeguards passed their last self-test; one that is not named did not."""
    broken = [s for s in wanted.safeguards if not working.get(s, False)]
    if broken:
        return No(
            503,
            "safeguard_unavailable",
            f"{model} is not served at the moment",
            f"its class {wanted.name!r} stands on safeguards that do not work now: {', '.join(broken)}",
            "your access is as it was: try again later, or have the operator run `veilig gateway check`",
        )
    tier = subject.tier(now_s, default)
    if rank(tier) < rank(wanted.least_tier):
        return No(
            403,
            "tier_too_low",
            f"{model} is not open to {subject.id}",
            f"its class {wanted.name!r} needs tier {wanted.least_tier}, and yours is {tier}",
            f"tier {wanted.least_tier} takes {REQUIRES[wanted.least_tier]}: ask your administrator once",
        )
    if not wanted.grant:
        return Yes(tier, None)
    grant = registry.grant_for(subject.id, wanted.name, surface, now_s)
    if grant is not None:
        return Yes(tier, grant)
    return No(
        403,
        "no_grant",
        f"{model} is not open to {subject.id}",
        *_why(registry, subject, wanted, surface, now_s),
    )


def _why(
    registry: Registry, subject: Subject, wanted: CapabilityClass, surface: str, now_s: float
) -> tuple[str, str]:
    fix = "ask your administrator for a grant (`veilig access grant`); your verification stays as it is"
    last = registry.lapsed_grant(subject.id, wanted.name)
    if last is None:
        return f"its class {wanted.name!r} needs a grant, and you have none", fix
    if last.withdrawn:
        return f"your grant {last.id} was withdrawn", fix
    if last.expires_s <= now_s:
        return f"your grant {last.id} has expired", fix
    return f"your grant {last.id} is for {last.surface!r}, not for {surface!r}", fix
