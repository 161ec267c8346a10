"""Which walls stand on this machine, and which of them would the policy take?"""

from veilig.app.wiring import terms
from veilig.core.policy import Policy
from veilig.providers.box import Terms
from veilig.providers.sandbox.ladder import preflight
from veilig.providers.sandbox.probe import Probe


async def walls(policy: Policy, hide: frozenset[str] = frozenset()) -> tuple[tuple[Probe, str], ...]:
    """Every wall as tried on this machine, and why the policy would not take it (empty: it would)."""
    wanted = terms(policy)
    prefer = wanted.walls[0] if wanted.walls else None
    probes = await preflight(require=wanted.require, prefer=prefer, hide=hide)
    return tuple((probe, _why_not(probe, wanted)) for probe in probes)


def _why_not(probe: Probe, wanted: Terms) -> str:
    if probe.wall is None:
        return probe.why_not or "it does not stand"
    if wanted.walls and probe.rung.removesuffix("-strict") not in wanted.walls:
        return "the policy does not name it"
    return "; ".join(f"lacks {feature}: {why}" for feature, why in probe.wall.lacks(wanted.require))
