"""What is wrong as its keeper counts it: sessions that block others, connections, tables, bounds?

Numbers with their bounds, and sessions with their states; the text of a statement is shown and never read.
"""

from collections.abc import Mapping
from typing import Literal

from veilig.core.action import Action, ChangeDatabase
from veilig.core.service import Service
from veilig.core.signal import Backend, Gauge, Sample
from veilig.heal.case import Case, Diagnosis
from veilig.heal.fleet import Cause

IDLE_S = 10.0  # a transaction that does nothing for so long, while others wait, was forgotten
WAITS_S = 5.0  # shorter waits are how locks work
ACTIVE_S = 60.0  # a statement that works for so long while others wait is worth a person's look
FULL_S = 5.0  # a burst of connections is over by then
_VERBS: Mapping[str, Literal["vacuum", "analyze", "reindex"]] = {
    "dead rows": "vacuum",
    "age of a table": "vacuum",
    "rows since the last ANALYZE": "analyze",
    "an index is not valid": "reindex",
}


def counted(case: Case) -> Diagnosis | None:
    """The worst of what its keeper counts; None where that is within bounds, or there is no keeper's word."""
    sample = case.sample
    if not sample.alive or not (sample.gauges or sample.backends):
        return None
    return _full(case) or _blocked(case) or _tables(sample) or _beyond(sample)


def _blocked(case: Case) -> Diagnosis | None:
    """Others wait for a session that does nothing, or works for very long."""
    found = [one for one in case.sample.backends if one.blocks and one.waits_s >= WAITS_S]
    idle = [one for one in found if one.state.startswith("idle in transaction") and one.state_s >= IDLE_S]
    long_ = [one for one in found if one.state == "active" and one.state_s >= ACTIVE_S]
    if not idle and not long_:
        return None
    worst = max(idle or long_, key=lambda one: (one.blocks, one.waits_s))
    return Diagnosis(
        Cause.BLOCKED,
        _session(worst),
        since_s=case.sample.t_s - worst.waits_s,
        confidence=0.95 if idle else 0.6,
        evidence=_lines(worst),
        clears="nobody waits for that session",
    )


def _session(backend: Backend) -> str:
    return f"session {backend.id.partition('@')[0]}"


def _lines(backend: Backend) -> tuple[str, ...]:
    who = f"{_session(backend)} of {backend.program or '?'} as {backend.user}"
    lost = "it has written, which its end takes back" if backend.wrote else "it has written nothing"
    return (
        f"{who} is {backend.state} for {backend.state_s:.0f} s, in a transaction of {backend.open_s:.0f} s",
        f"{backend.blocks} sessions wait for it, {backend.waits_s:.0f} s at most; {lost}",
        f"its last statement: {backend.query!r}",
    )


def _full(case: Case) -> Diagnosis | None:
    """No connection is left for ordinary roles."""
    gauge = next((one for one in case.sample.gauges if one.name == "connections"), None)
    if gauge is None or not gauge.over:
        return None
    waits = forgotten(case.sample)
    line = f"{gauge.value:.0f} of {gauge.limit:.0f} {gauge.unit} are taken"
    more = (f"{len(waits)} of them idle amid a transaction for more than {IDLE_S:.0f} s",) if waits else ()
    return Diagnosis(
        Cause.CONNECTIONS_EXHAUSTED,
        _session(waits[0]) if waits else "",
        confidence=0.95,
        evidence=(line, *more, *(_lines(waits[0]) if waits else ())),
        clears="connections are free again",
        held=not waits,
        sure=case.ill_for_s >= FULL_S or not case.sample.failing,
    )


def forgotten(sample: Sample) -> list[Backend]:
    """Sessions that idle amid a transaction for long, the oldest first."""
    found = [b for b in sample.backends if b.state.startswith("idle in transaction") and b.state_s >= IDLE_S]
    return sorted(found, key=lambda one: -one.state_s)


def _tables(sample: Sample) -> Diagnosis | None:
    """Something that its own maintenance should have done."""
    found = [one for one in sample.gauges if one.over and one.subject and one.name in _VERBS]
    if not found:
        return None
    worst = max(found, key=lambda one: (one.name == "age of a table", one.value / one.limit))
    return Diagnosis(
        Cause.NEEDS_MAINTENANCE,
        f"{worst.name}: {worst.subject}",
        confidence=0.9,
        evidence=tuple(map(_line, found[:4])),
        clears=f"{worst.subject} is within its bounds",
    )


def _beyond(sample: Sample) -> Diagnosis | None:
    """A bound is passed, and nothing that is done here would help."""
    found = [one for one in sample.gauges if one.over]
    if not found:
        return None
    return Diagnosis(
        Cause.OUT_OF_BOUNDS,
        ", ".join(sorted({one.subject or one.name for one in found}))[:200],
        confidence=0.9,
        evidence=tuple(map(_line, found[:6])),
        clears="it is within its bounds",
        held=True,
    )


def _line(gauge: Gauge) -> str:
    about = f" ({gauge.subject})" if gauge.subject else ""
    value = f"{gauge.value:.0f} {gauge.unit}".rstrip()
    return f"{gauge.name}{about}: {value}, the bound is {gauge.limit:.0f}"


def act(diagnosis: Diagnosis, service: Service, sample: Sample) -> tuple[Action | None, str]:
    """(the change to propose, why); None where only people can help."""
    if diagnosis.cause in (Cause.BLOCKED, Cause.CONNECTIONS_EXHAUSTED):
        for backend in sample.backends:
            if _session(backend) == diagnosis.subject:
                action = ChangeDatabase(service.name, "terminate_backend", backend.id)
                return action, "one session is in the way of others"
        return None, "no session can be told to be forgotten: people choose"
    if diagnosis.cause is Cause.NEEDS_MAINTENANCE:
        for gauge in sample.gauges:
            if gauge.over and f"{gauge.name}: {gauge.subject}" == diagnosis.subject:
                verb = _VERBS[gauge.name]
                return ChangeDatabase(service.name, verb, gauge.subject), "its own upkeep is behind"
    return None, "nothing that is done here would help"
