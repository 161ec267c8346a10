"""Which template families are there? One table with hand-set costs; its order means nothing."""

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

FAMILIES: tuple[Family, ...] = (
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

__all__ = ["FAMILIES", "Draft", "Family", "Hints", "Site"]
