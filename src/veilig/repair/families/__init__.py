"""Which template families are there? Costs are set by hand, then fitted; the order means nothing."""

from dataclasses import replace

from veilig.repair.families import (
    arithmetic,
    blocks,
    calls,
    conditions,
    containers,
    forms,
    literals,
    names,
    operators,
    siblings,
    statements,
)
from veilig.repair.families.family import Draft, Family, Hints, Site
from veilig.repair.families.fitted import OFFSETS

_BY_HAND: tuple[Family, ...] = (
    *operators.FAMILIES,
    *arithmetic.FAMILIES,
    *names.FAMILIES,
    *calls.FAMILIES,
    *containers.FAMILIES,
    *literals.FAMILIES,
    *conditions.FAMILIES,
    *statements.FAMILIES,
    *blocks.FAMILIES,
    *siblings.FAMILIES,
    *forms.FAMILIES,
)
FAMILIES: tuple[Family, ...] = tuple(
    replace(one, cost=round(one.cost + OFFSETS.get(one.name, 0.0), 2)) for one in _BY_HAND
)

__all__ = ["FAMILIES", "Draft", "Family", "Hints", "Site"]
