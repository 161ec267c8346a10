"""Did the failure come with changed files? Those of which the service was well without are to blame."""

from pathlib import PurePosixPath

from veilig.core.signal import Answer, Change, LogKind, Run
from veilig.heal.case import (
    BUSY_STATUS,
    CHANGED_START_S,
    ERROR_S,
    RELOAD_S,
    TIMEOUT_FAILS,
    Case,
    Diagnosis,
)
from veilig.heal.fleet import Cause
from veilig.heal.remedy import picture


def changed_files(case: Case) -> Diagnosis | None:
    """The failure came with files that differ from those it was last well with."""
    config = [c for c in case.changes("config") if _blamed(case, c)]
    version = [c for c in case.changes("version") if _blamed(case, c)]
    if config and version:
        # Both changed: what does not parse is to blame for certain, else what the log's class says.
        if not any(c.valid is False for c in config) and not case.hit(LogKind.CONFIG):
            config = []
        elif not case.hit(LogKind.CODE):
            version = []
    if config and not (version and case.hit(LogKind.CODE)):
        return _bad_files(case, Cause.BAD_CONFIG, config, LogKind.CONFIG)
    if version:
        return _bad_files(case, Cause.BAD_DEPLOY, version, LogKind.CODE)
    return _told_files(case)


def _told_files(case: Case) -> Diagnosis | None:
    """Only the log of a start that died speaks of its files: believed until one of them changes."""
    tried, loaded = case.history.tried, [(c.path, c.after) for c in case.sample.changes]
    mended = bool(tried) and not any(pair in tried for pair in loaded)
    if case.history.acts and case.history.acts[-1].picture != picture(case.sample):
        mended = True  # the start that said so found other files, or lacked something
    if not case.died_early or mended or any(pair not in tried for pair in loaded):
        return None
    for kind, cause, what in (
        (LogKind.CONFIG, Cause.BAD_CONFIG, "configuration"),
        (LogKind.CODE, Cause.BAD_DEPLOY, "program"),
    ):
        if case.hit(kind):
            clears = f"its {what} changes, or it starts again"
            told = case.quoted(kind)
            return Diagnosis(cause, "", confidence=0.6, evidence=told, clears=clears, held=True)
    return None


def _blamed(case: Case, change: Change) -> bool:
    sample, history = case.sample, case.history
    age_s = change.age_s + case.now_s - sample.t_s
    if sample.run is Run.DOWN:
        return change.valid is False or _missing(case, change) or (change.path, change.after) in history.tried
    if not sample.alive or sample.answer in (Answer.OK, Answer.NONE) or not _lasting(case):
        return False
    loaded = age_s >= case.up_s - 0.5
    # A running service may read its files again: then the failure began after the change, and soon.
    began = 0 <= age_s - case.ill_for_s <= RELOAD_S and case.history.last_well_s > 0
    reread = began and sample.answer in (Answer.ERROR, Answer.BROKEN)
    return (loaded and not history.well_in) or reread


def _missing(case: Case, change: Change) -> bool:
    """A file that its command names is not there: no start can go well, and none need be tried."""
    name = PurePosixPath(change.path).name
    return not change.after and any(PurePosixPath(word).name == name for word in case.service.cmd)


def _lasting(case: Case) -> bool:
    """Does the answer stand for long enough to blame files for it?"""
    sample = case.sample
    if sample.answer is Answer.ERROR:
        busy = sample.status in BUSY_STATUS and not case.history.well_in
        return sample.fails >= TIMEOUT_FAILS and case.answer_for_s >= (CHANGED_START_S if busy else ERROR_S)
    if case.history.well_in:
        return sample.fails >= TIMEOUT_FAILS and case.ill_for_s >= ERROR_S
    return case.up_s >= max(case.service.warmup_s, CHANGED_START_S)


def _bad_files(case: Case, cause: Cause, changes: list[Change], kind: LogKind) -> Diagnosis:
    lines: list[str] = []
    for change in changes[:4]:
        age_s = change.age_s + case.now_s - case.sample.t_s
        bad = f" and cannot be read ({change.why or 'it does not parse'})" if change.valid is False else ""
        if _missing(case, change):
            lines.append(f"{change.path} is not there; it was when the service was last well")
        else:
            lines.append(f"{change.path} changed {age_s:.0f} s ago{bad}; it was last well without that")
    broken = any(c.valid is False for c in changes)
    told = case.hit(kind) is not None
    return Diagnosis(
        cause,
        changes[0].path,
        confidence=0.95 if broken or told else 0.8,
        evidence=(*lines, *case.quoted(kind)),
        clears="these files change again",
        blamed=tuple(c.path for c in changes),
        held=True,
    )
