"""What is wrong with a service, since when, and how do we know? `diagnose`, pure and explained.

Outside causes come first (a person, a port, a need, a disk), then the service's own files, then the process.
No decision reads free text: of a log only the class of a line counts, and only together with a fact.
"""

from collections.abc import Callable

from veilig.core.service import Service
from veilig.core.signal import Answer, Run, Sample
from veilig.heal import files, keeper_counts, outside, process
from veilig.heal.case import Case, Diagnosis
from veilig.heal.fleet import Cause, Fleet
from veilig.heal.history import History

__all__ = ["Case", "Cause", "Diagnosis", "Fleet", "diagnose"]


def diagnose(service: Service, sample: Sample, history: History, fleet: Fleet) -> Diagnosis:
    """The cause that explains this sample best. `fleet` must hold the causes of what the service needs."""
    case = Case(service, sample, history, fleet)
    for judge in _JUDGES:
        found = judge(case)
        if found is not None:
            return found.told(found.since_s or history.ill_s or sample.t_s, _state(case))
    return Diagnosis(Cause.HEALTHY, since_s=history.well_s or sample.t_s)


def _state(case: Case) -> tuple[str, ...]:
    """What was seen of process and answer, in one sentence each."""
    sample, ill_s = case.sample, case.ill_for_s
    if sample.run is Run.DOWN:
        down_s = case.now_s - (case.history.down_s or case.now_s)
        ended = f", it ended with {sample.exit}" if sample.exit else ""
        return (f"no process for {down_s:.1f} s{ended}",)
    lines = [f"process {sample.run} for {case.up_s:.1f} s"]
    if sample.answer is Answer.ERROR:
        lines.append(f"it answers with status {sample.status} for {ill_s:.1f} s ({sample.fails} probes)")
    elif sample.answer not in (Answer.OK, Answer.NONE):
        lines.append(f"its probe ends with {sample.answer} for {ill_s:.1f} s ({sample.fails} probes)")
    return tuple(lines)


def _while_well(case: Case) -> Diagnosis | None:
    """A service that answers may still lose memory, fill its disk, or be slow."""
    if case.sample.failing or case.sample.run is Run.FROZEN:
        return None
    found = outside.disk(case) or process.leak(case) or process.overload(case)
    return found or Diagnosis(Cause.HEALTHY, since_s=case.history.well_s or case.sample.t_s)


_JUDGES: tuple[Callable[[Case], Diagnosis | None], ...] = (
    outside.unseen,
    outside.stopped,
    keeper_counts.counted,
    _while_well,
    outside.port,
    outside.dependency,
    outside.disk,
    process.frozen,
    files.changed_files,
    process.starting,
    process.down,
    process.leak,
    process.overload,
    process.silent,
    process.errors,
)
