"""Which replicas of ours are needed no more? One ScaleDown at a time, long after the load is gone.

Pure. The policy decides whether it may be (`scale_down_own`); without that nothing is proposed, since a fleet
that is well gets no questions.
"""

from collections.abc import Mapping

from veilig.core.action import ScaleDown
from veilig.core.service import Service
from veilig.heal.ward import Kept, Ward

CALM_S = 300.0  # well, with answers as fast as usual, for so long after the last replica came or went
DOUBLINGS = 5  # who needed more again and again within hours keeps it longer: 300 s, 600 s, ... 2.7 h


def spare(ward: Ward, services: Mapping[str, Service]) -> tuple[str, ScaleDown] | None:
    """The service to note it for, and the act; None while nothing is to spare."""
    ill = {services[name].group or name for name in ward.incidents}
    for name, kept in ward.kept.items():
        group, sample = services[name].group or name, kept.sample
        if group in ill or sample.replicas < 2 or sample.replicas_own < 1 or sample.failing:
            continue
        if ward.now_s >= _until_s(kept):
            return name, ScaleDown(group, sample.replicas, sample.replicas - 1)
    return None


def _until_s(kept: Kept) -> float:
    """Not before this moment of the boot clock."""
    history = kept.history
    if not history.well_s:
        return float("inf")
    scaled = [act for act in history.acts if act.kind.startswith("container.scale")]
    grown = sum(act.kind == "container.scale_up" for act in scaled)
    slow_s = history.slow[-1][0] if history.slow else 0.0
    last_s = max([history.well_s, slow_s, *(act.t_s for act in scaled[-1:])])
    return last_s + CALM_S * 2 ** min(max(grown - 1, 0), DOUBLINGS)
