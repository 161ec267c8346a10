"""What is wrong with the process itself: gone, stopped, starting, leaking, overloaded, silent, in error?"""

from veilig.core.signal import Answer, LogKind, Run
from veilig.heal.case import (
    AFTER_CLEAR_S,
    BUSY_STATUS,
    ERROR_BUSY_S,
    ERROR_S,
    FROZEN_S,
    IDLE_CPU,
    LATENCY_S,
    LATENCY_SCALED_S,
    OVERLOAD_FOR_S,
    OVERLOAD_MEMORY_S,
    QUEUE_MS,
    QUEUE_TIMES,
    SLOW_START_S,
    TIMEOUT_FAILS,
    Case,
    Diagnosis,
)
from veilig.heal.fleet import Cause
from veilig.heal.history import is_slow
from veilig.heal.leak import descriptors, leaking


def down(case: Case) -> Diagnosis | None:
    """There is no process."""
    if case.sample.alive:
        return None
    early, sample = len(case.history.early), case.sample
    lines = (*case.quoted(*LogKind),)[:2]
    if case.died_early and early >= 2:
        lines = (f"{early} of its starts died within {case.service.warmup_s:g} s of warm-up", *lines)
        return Diagnosis(
            Cause.CRASH_LOOP, confidence=0.9, evidence=lines, clears="its files or what it needs change"
        )
    if case.hit(LogKind.MEMORY):
        lines = ("it ran out of memory", *lines)
    clears = "it runs and answers again"
    return Diagnosis(Cause.CRASH, sample.exit, confidence=0.9, evidence=lines, clears=clears)


def frozen(case: Case) -> Diagnosis | None:
    """The process exists and gets no CPU."""
    if case.sample.run is not Run.FROZEN:
        return None
    for_s = case.now_s - (case.history.frozen_s or case.now_s)
    clears = "the process runs and answers again"
    line = f"the process exists and gets no CPU for {for_s:.1f} s"
    if for_s < FROZEN_S:
        return Diagnosis(Cause.DEGRADED, "", confidence=0.4, evidence=(line,), clears=clears, sure=False)
    return Diagnosis(Cause.HANG, "stopped process", confidence=0.9, evidence=(line,), clears=clears)


def starting(case: Case) -> Diagnosis | None:
    """It started a moment ago: silence does not count yet."""
    sample, history = case.sample, case.history
    if not sample.failing or history.well_in or not sample.alive:
        return None
    silent = sample.answer in (Answer.REFUSED, Answer.TIMEOUT) or sample.status in BUSY_STATUS
    patience_s = max(case.service.warmup_s, 3 * history.took_s, SLOW_START_S if silent else 0.0)
    if sample.run is not Run.STARTING and case.up_s >= patience_s:
        return None
    line = f"it started {case.up_s:.1f} s ago; silence counts after {patience_s:g} s"
    return Diagnosis(Cause.STARTING, evidence=(line,), clears="it answers", sure=False)


def leak(case: Case) -> Diagnosis | None:
    """It holds ever more memory, or as many files as it may."""
    if files := descriptors(case.sample):
        sure = case.sample.fails >= TIMEOUT_FAILS
        return Diagnosis(
            Cause.LEAK, "open files", confidence=0.9, evidence=files, clears="it answers again", sure=sure
        )
    lines = leaking(case.service, case.sample, case.history)
    missing = case.fleet.missing(case.service, case.sample.needs)
    if not lines or any(n.how == "declared" or n.name not in case.history.tolerated for n in missing):
        return None  # a new process might not start without what is missing: the old one still serves
    return Diagnosis(
        Cause.LEAK, confidence=0.85, evidence=lines, clears="its memory is near its base", since_s=case.now_s
    )


def overload(case: Case) -> Diagnosis | None:
    """Answers grew slow before they stopped, or are slow and go on: work is being done, only too much."""
    sample, history = case.sample, case.history
    slow = [t for t, _ in history.slow if case.now_s - t < OVERLOAD_MEMORY_S + case.ill_for_s]
    worst = max((ms for _, ms in history.slow), default=0.0)
    load = f"answers took up to {worst:.0f} ms, usual are {history.latency_ms:.0f} ms"
    queue = f"; {sample.backlog} connections wait" if sample.backlog > 0 else ""
    clears = "answers are as fast as usual again"
    if sample.failing:
        if sample.answer not in (Answer.TIMEOUT, Answer.ERROR) or not slow or not history.ill_s:
            return None
        if sample.answer is Answer.ERROR and sample.status not in BUSY_STATUS:
            return None
        idle = case.ill_for_s > OVERLOAD_FOR_S and sample.cpu < IDLE_CPU
        if idle or history.ill_s - max(slow) > OVERLOAD_MEMORY_S:
            return None
        sure = sample.fails >= TIMEOUT_FAILS
        return Diagnosis(Cause.OVERLOAD, "", 0.0, 0.8, (load + queue,), clears, sure)
    if sample.answer is Answer.OK and _lasting_slow(case):
        return Diagnosis(Cause.OVERLOAD, "", slow[0], 0.7, (load + queue,), clears)
    return None


def _lasting_slow(case: Case) -> bool:
    """Are slow answers a state by now? Sooner where a replica may help: queues drown a service in seconds."""
    sample, slow = case.sample, case.history.slow
    usual = case.history.latency_ms or sample.latency_ms
    if not is_slow(sample.latency_ms, usual) or len(slow) < 2 or case.now_s - slow[-1][0] >= LATENCY_S:
        return False
    scaled = sample.replicas >= 1
    (before_s, before_ms), (last_s, last_ms) = slow[-2:]
    if scaled and last_ms >= max(QUEUE_MS, QUEUE_TIMES * before_ms) and last_s - before_s < LATENCY_S:
        return True
    recent = [t for t, _ in slow if case.now_s - t < OVERLOAD_MEMORY_S + case.ill_for_s]
    return len(recent) >= 3 and recent[-1] - recent[0] >= (LATENCY_SCALED_S if scaled else LATENCY_S)


def silent(case: Case) -> Diagnosis | None:
    """It runs, and does not answer at all."""
    sample, history = case.sample, case.history
    if not sample.alive or sample.answer not in (Answer.TIMEOUT, Answer.REFUSED, Answer.BROKEN):
        return None
    calm = len(history.flaps) >= 2  # a probe that fails and comes back by itself proves little
    told = case.hit(LogKind.DEADLOCK) is not None
    signs = [
        text
        for text, seen in (
            (f"{sample.backlog} connections wait to be accepted", sample.backlog > 0),
            (f"{sample.threads} threads, {history.threads} while well", 0 < history.threads < sample.threads),
            (f"it uses {sample.cpu:.0%} of a core", sample.cpu >= 0.9),
            ("its log speaks of a deadlock", told),
        )
        if seen
    ]
    clears = "it answers again"
    if sample.answer is Answer.TIMEOUT:
        sure = sample.fails >= (TIMEOUT_FAILS if signs else TIMEOUT_FAILS + 1) + 2 * calm
    else:
        sure = sample.fails >= 3 and case.answer_for_s >= ERROR_S * (1 + 2 * calm)
    back_s = case.now_s - history.cleared_s if history.cleared_s else AFTER_CLEAR_S
    if not sure or back_s < AFTER_CLEAR_S:
        return Diagnosis(Cause.DEGRADED, "", 0.0, 0.5, tuple(signs), clears, sure=False)
    idle = sample.cpu < 0.05 and sample.backlog <= 0
    if told or (sample.answer is Answer.TIMEOUT and idle):
        line = f"it takes connections, uses {sample.cpu:.0%} of a core and answers none"
        return Diagnosis(Cause.DEADLOCK, "", 0.0, 0.8, (line, *signs), clears)
    return Diagnosis(Cause.HANG, "", 0.0, 0.85, tuple(signs), clears)


def errors(case: Case) -> Diagnosis | None:
    """It answers that it is not well, and nothing above says why."""
    sample = case.sample
    if not sample.failing:
        return None
    need_s = ERROR_BUSY_S if sample.status in BUSY_STATUS else 2 * ERROR_S
    if case.history.cleared_s and case.history.cleared_s >= case.history.ill_s:
        need_s = AFTER_CLEAR_S  # its cause is gone, and it did not come back by itself
    waited_s = min(case.answer_for_s, case.now_s - case.history.cleared_s)
    calm = 3 if len(case.history.flaps) >= 2 else 1
    sure = sample.fails >= 3 and waited_s >= need_s * calm
    return Diagnosis(Cause.DEGRADED, "", 0.0, 0.6, case.quoted(*LogKind), "it answers well again", sure)
