"""When must the planner look again, should nothing new be seen? At its nearest timer."""

from veilig.core.signal import Run
from veilig.heal.ward import Kept, Ward

CALM_WAKE_S = 60.0  # a sign of life each minute
OLD_WAKE_S = 600.0  # of incidents that wait for long
FRESH_S = 10.0  # older news of a service that answers is no news
SETTLE_S = 0.5  # between looks at a service that was just acted on
ONCE_LOOK_S = 1.0


def wake_s(ward: Ward, *, once: bool = False) -> float:
    """How long to watch without news: until the nearest timer."""
    if not ward.fresh:
        return 0.0
    now_s = ward.now_s
    timers = [ONCE_LOOK_S] if once else []
    for name, kept in ward.kept.items():
        if kept.restless and name not in ward.incidents:
            timers.append(_restless_s(kept, now_s))
    for incident in ward.incidents.values():
        age_s = now_s - incident.moved_s
        waits = incident.stage in ("hold", "asked")
        if incident.idle_s > now_s:
            timers.append(min(incident.idle_s - now_s, OLD_WAKE_S))
            continue
        # News ends a watch at once: of what waits, only the timers matter.
        timers.append(min(max(age_s / 8, SETTLE_S), OLD_WAKE_S) if waits else SETTLE_S)
        if incident.until_s > now_s:
            timers.append(incident.until_s - now_s)
    return max(0.25, min(timers, default=CALM_WAKE_S))


def _restless_s(kept: Kept, now_s: float) -> float:
    """When to look again at a service that has no incident, and is not simply well."""
    sample, history = kept.sample, kept.history
    if sample.held_by or sample.run is Run.STOPPED:
        return OLD_WAKE_S
    if history.ill_s:
        return min(max((now_s - history.ill_s) / 8, SETTLE_S), OLD_WAKE_S)
    if history.slow and now_s - history.slow[-1][0] < FRESH_S and sample.replicas >= 1:
        return SETTLE_S
    return 2 * SETTLE_S if now_s - sample.t_s < FRESH_S else OLD_WAKE_S
