"""Planners with one rule broken on purpose: a judge that does not see it is worth nothing."""

from dataclasses import replace
from typing import Any

from veilig.core.action import Action, RestartService
from veilig.heal.case import Diagnosis
from veilig.heal.fleet import Cause
from veilig.heal.planner import HealPlanner


class Hasty(HealPlanner):
    """Restarts whatever has an incident, at once and for ever."""

    def _proposal(self, ward: Any, name: str, found: Any) -> Action | None:
        super()._proposal(ward, name, found)
        kept = ward.kept[name]
        return RestartService(name, kept.sample.incarnation) if ward.looks % 5 == 0 else None


class Anxious(HealPlanner):
    """Restarts what is well."""

    def _proposal(self, ward: Any, name: str, found: Any) -> Action | None:
        super()._proposal(ward, name, found)
        well = sorted(set(ward.kept) - set(ward.incidents))
        return RestartService(well[0], ward.kept[well[0]].sample.incarnation) if well else None


class Confused(HealPlanner):
    """Remembers an incarnation that is gone."""

    def _proposal(self, ward: Any, name: str, found: Any) -> Action | None:
        action = super()._proposal(ward, name, found)
        return RestartService(name, "0:0") if isinstance(action, RestartService) else action


class Stubborn(HealPlanner):
    """Starts what a person stopped."""

    def _proposal(self, ward: Any, name: str, found: Any) -> Action | None:
        action = super()._proposal(ward, name, found)
        held = [one for one, kept in ward.kept.items() if kept.sample.held_by and not kept.sample.alive]
        return RestartService(held[0]) if held else action


class Blind(HealPlanner):
    """Takes who waits for another one for crashed."""

    def _diagnoses(self, ward: Any) -> dict[str, Diagnosis]:
        found = super()._diagnoses(ward)
        for name, one in found.items():
            if one.cause is Cause.DEPENDENCY_DOWN:
                found[name] = replace(one, cause=Cause.CRASH, sure=True)
        return found
