"""Does the cause lie outside the service: a person, a port, a need, a disk? Then no restart helps."""

from veilig.core.signal import Answer, DependencySeen, Disk, LogHit, LogKind, Run
from veilig.heal.case import AFTER_CLEAR_S, ERROR_S, Case, Diagnosis
from veilig.heal.fleet import Cause
from veilig.heal.history import exhausted


def unseen(case: Case) -> Diagnosis | None:
    """Its keeper cannot show it, or what stands there cannot be shown to be it."""
    if case.sample.run is not Run.UNKNOWN:
        return None
    why = case.sample.why or "its keeper does not say why"
    return Diagnosis(
        Cause.UNSEEN, evidence=(f"it cannot be seen: {why}",), clears="it can be seen", held=True
    )


def stopped(case: Case) -> Diagnosis | None:
    """A person stopped it and wants it down."""
    sample = case.sample
    if not sample.held_by and sample.run is not Run.STOPPED:
        return None
    by = sample.held_by or "its keeper's own state"
    clears = "a person starts it, or takes the hold away"
    return Diagnosis(Cause.OPERATOR_STOPPED, by, evidence=(f"a person keeps it down: {by}",), clears=clears)


def port(case: Case) -> Diagnosis | None:
    """Somebody else listens where it should."""
    sample = case.sample
    if not sample.port_holder or (sample.alive and case.history.well_in):
        return None
    port = f"port {case.service.port}"
    return Diagnosis(
        Cause.PORT_CONFLICT,
        port,
        confidence=0.95 if case.hit(LogKind.PORT) else 0.85,
        evidence=(f"{sample.port_holder} listens on {port}", *case.quoted(LogKind.PORT)),
        clears=f"nobody else listens on {port}",
        held=True,
    )


def dependency(case: Case) -> Diagnosis | None:
    """Something it needs is not there. Needs that nobody declared must have been missed before."""
    missing = case.fleet.missing(case.service, case.sample.needs)
    told = case.hit(LogKind.DEPENDENCY)
    sample = case.sample
    slow = sample.answer in (Answer.ERROR, Answer.TIMEOUT, Answer.BROKEN)
    matters: list[DependencySeen] = []
    for need in missing:
        if need.how == "declared" or (
            need.name not in case.history.tolerated and (told or slow or sample.run is Run.DOWN)
        ):
            matters.append(need)
    if not matters:
        return _told_dependency(case, told)
    names = ", ".join(sorted({case.fleet.owner(n.name) or n.name for n in matters}))
    lines = [_need_line(case, need) for need in matters[:4]]
    declared = any(need.how == "declared" for need in matters)
    return Diagnosis(
        Cause.DEPENDENCY_DOWN,
        names,
        confidence=0.95 if declared or told else 0.75,
        evidence=(*lines, *case.quoted(LogKind.DEPENDENCY)),
        clears=f"{names} can be reached",
        held=True,
    )


def _need_line(case: Case, need: DependencySeen) -> str:
    owner = case.fleet.owner(need.name)
    cause = case.fleet.causes.get(owner)
    if cause is not None and case.fleet.ill(owner):
        return f"it needs {owner}, which is ill: {cause}"
    why = f" ({need.why})" if need.why else ""
    return f"it needs {need.name} ({need.how}), which cannot be reached{why}"


def _told_dependency(case: Case, told: LogHit | None) -> Diagnosis | None:
    """Only the log speaks of a need: believed of a start that died, and of errors that go on."""
    if told is None or not (case.died_early or case.sample.answer is Answer.ERROR):
        return None
    if case.now_s - case.history.cleared_s < AFTER_CLEAR_S and case.history.cleared_s:
        return None
    return Diagnosis(
        Cause.DEPENDENCY_DOWN,
        told.subject or "something its log names",
        confidence=0.5,
        evidence=case.quoted(LogKind.DEPENDENCY),
        clears="the service starts, or answers, again",
        held=True,
        sure=case.ill_for_s >= ERROR_S,
    )


def disk(case: Case) -> Diagnosis | None:
    """Nothing can be written where it writes, and it fails or says so."""
    told = case.hit(LogKind.DISK)
    full = [d for d in case.sample.disks if exhausted(d)]
    full = [d for d in full if told or f"disk {d.path}" not in case.history.tolerated]
    if not full or (not case.sample.failing and not told):
        return None
    disk = min(full, key=lambda d: d.free_bytes)
    return Diagnosis(
        Cause.DISK_FULL,
        disk.path,
        confidence=0.95 if told else 0.75,
        evidence=(_disk_line(disk), *case.quoted(LogKind.DISK)),
        clears=f"{disk.path} has room again",
        held=True,
    )


def _disk_line(disk: Disk) -> str:
    inodes = f", {disk.free_inodes} inodes" if disk.free_inodes >= 0 else ""
    held = sum(size for _, size, *_ in disk.regenerable)
    return (
        f"{disk.path}: {disk.free_bytes} of {disk.total_bytes} bytes free{inodes}; "
        f"{len(disk.regenerable)} files with {held} bytes could be made again"
    )
