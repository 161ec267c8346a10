"""What may help, and is it time? One Remedy per diagnosis: look, hold, act, or hand over to people.

Pure. It knows no limits (the policy does), only what cannot help: a restart while the cause lies outside,
the same act in the same picture of the world, a second compensating act. After a failure to help it waits
longer and longer, and never gives up for ever.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from veilig.core.action import Action, ChangeDatabase, FreeSpace, RestartService, RollBack, ScaleUp
from veilig.core.errors import InvalidAction
from veilig.core.service import Service
from veilig.core.signal import Disk, LogKind, Sample
from veilig.heal import keeper_counts
from veilig.heal.case import Diagnosis
from veilig.heal.fleet import Cause
from veilig.heal.history import Act, History, exhausted, lacking

LOOK_S = 0.6  # logs and ports of a dead process can be read then
LOOK_TOLD_S = 2.0  # its log speaks of a cause that no fact shows yet
QUIET_S = 1.2  # somebody is changing its files right now
HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
SPACED_MAX_S = 6 * HOUR_S  # never for ever
FUTILE_MAX = 2  # one act and one compensating act
LOOP_S = 600.0  # between tries of a service that dies at once; then three times as long, and so on
AGAIN_S = 300.0  # the same cure of the same illness
UNPROVEN_S = 30.0  # a cause that only a log names: one try after so long
SPACE_AGAIN_S = 30.0
SCALE_AGAIN_S = 20.0
ESCALATE_S = 30.0  # of what nobody here can do anything about
FILES_MAX = 200
FREE_SHARE = 10  # a tenth of the file system
FREE_BYTES_MIN, FREE_BYTES_MAX = 1 << 20, 1 << 30


class Step(StrEnum):
    """What to do about one service now."""

    NOTHING = "nothing"
    LOOK = "look"  # a moment more
    HOLD = "hold"  # until the cause clears, or `until_s`
    ACT = "act"


@dataclass(frozen=True, slots=True)
class Remedy:
    """One decision. until_s: when to think again without news (0: only with news). escalate: tell people."""

    step: Step
    why: str = ""
    action: Action | None = None
    until_s: float = 0.0
    escalate: bool = False


@dataclass(frozen=True, slots=True)
class Patient:
    """One service with its diagnosis. stable_s: for how long cause and subject have been the same."""

    diagnosis: Diagnosis
    service: Service
    sample: Sample
    history: History
    now_s: float
    stable_s: float
    picture: str

    @property
    def acts(self) -> list[Act]:
        """Of the last hour."""
        return [act for act in self.history.acts if self.now_s - act.t_s < HOUR_S]

    @property
    def futile(self) -> list[Act]:
        """Those of the last day after the last one that helped; the latest first."""
        found: list[Act] = []
        for act in reversed(self.history.acts):
            if act.helped or self.now_s - act.t_s >= DAY_S:
                break
            found.append(act)
        return found


def picture(sample: Sample) -> str:
    """The world around a service in twelve characters: its files, and what is lacking; not its process."""
    parts = [f"{c.path}={c.after}" for c in sample.changes]
    parts += lacking(sample)
    return hashlib.sha256("\0".join(sorted(parts)).encode()).hexdigest()[:12]


def remedy(patient: Patient) -> Remedy:
    """What to do about this service now. Never raises: an action that cannot exist is handed to people."""
    try:
        return _REMEDIES[patient.diagnosis.cause](patient)
    except InvalidAction as error:
        return Remedy(Step.HOLD, f"nothing can be proposed: {error}", escalate=True)


# --- when ---------------------------------------------------------------------------------------------------


def _look(patient: Patient) -> Remedy | None:
    """A moment before the first act: evidence arrives, and whoever is changing files finishes."""
    sample, now = patient.sample, patient.now_s
    told = any(h.kind in (LogKind.DEPENDENCY, LogKind.PORT, LogKind.CONFIG) for h in sample.log)
    cleared = patient.history.cleared_s > 0 and patient.history.cleared_s >= patient.history.ill_s
    need_s = LOOK_TOLD_S if told and not cleared and not patient.diagnosis.held else LOOK_S
    wait_s = need_s - patient.stable_s
    why = "looks for evidence before it acts"
    if sample.changes:
        quiet_s = min(c.age_s for c in sample.changes) + now - sample.t_s
        if QUIET_S - quiet_s > wait_s:
            wait_s, why = QUIET_S - quiet_s, "its files are being changed"
    return Remedy(Step.LOOK, why, until_s=now + wait_s) if wait_s > 0.001 else None


def _futile(patient: Patient) -> list[Act]:
    """The last acts that did not help, without one that did after them; the latest first.

    What was tried in another picture of the world does not count, unless an act of ours changed the picture.
    """
    found: list[Act] = []
    now, ours = patient.picture, False
    for act in patient.futile:
        ours = ours or act.kind in ("service.rollback", "space.free")
        if act.picture == now or ours:
            found.append(act)
    return found


def _spaced(last_s: float, first_s: float, times: int) -> float:
    return last_s + min(first_s * 3 ** max(0, times), SPACED_MAX_S)


def _too_often(patient: Patient) -> Remedy | None:
    """Two acts did not help (four, where the world changed between them): people first, a try much later."""
    futile, all_ = _futile(patient), patient.futile
    over = max(len(futile) - FUTILE_MAX, len(all_) - 2 * FUTILE_MAX)
    if over < 0:
        return None
    until_s = _spaced(all_[0].t_s, LOOP_S, over)
    if patient.now_s >= until_s:
        return None
    kinds = ", ".join(act.kind for act in reversed(all_[:4]))
    return Remedy(Step.HOLD, f"{kinds} did not help; people are needed", until_s=until_s, escalate=True)


# --- what -------------------------------------------------------------------------------------------


def _restart(patient: Patient, why: str) -> Remedy:
    name, incarnation = patient.service.name, patient.sample.incarnation
    action: Action = RestartService(name, incarnation)
    if patient.service.provider == "postgres":
        action = ChangeDatabase(name, "restart", incarnation)  # every session is cut: people decide
    return Remedy(Step.ACT, why, action)


def _nothing(_: Patient) -> Remedy:
    return Remedy(Step.NOTHING)


def _hold(patient: Patient) -> Remedy:
    """The cause lies outside: wait for it to clear. What only a log names is tried once in a while."""
    diagnosis = patient.diagnosis
    until_s = 0.0
    if diagnosis.confidence < 0.7 and not patient.sample.alive:
        acts = patient.acts
        since_s = max([diagnosis.since_s, *(act.t_s for act in acts[-1:])])
        until_s = _spaced(since_s, UNPROVEN_S, 2 * len(acts))
        if patient.now_s >= until_s:
            return _restart(patient, "nothing but its log speaks of a cause: one try")
    late = patient.now_s - diagnosis.since_s >= ESCALATE_S
    why = f"held until {diagnosis.clears}" if diagnosis.clears else "held"
    return Remedy(Step.HOLD, why, until_s=until_s or _tell_s(patient), escalate=late)


def _tell_s(patient: Patient) -> float:
    tell_s = patient.diagnosis.since_s + ESCALATE_S
    return tell_s if tell_s > patient.now_s else 0.0


def _crash(patient: Patient) -> Remedy:
    if early := _too_often(patient) or _look(patient):
        return early
    healed = [a for a in patient.acts if a.helped and patient.now_s - a.t_s < LOOP_S]
    if len(healed) >= 3 and patient.now_s < (until_s := _spaced(healed[-1].t_s, AGAIN_S, len(healed) - 3)):
        why = f"restarted {len(healed)} times in {LOOP_S / 60:.0f} min: people are needed"
        return Remedy(Step.HOLD, why, until_s=until_s, escalate=True)
    return _restart(patient, "it is down, and nothing seen keeps it from running")


def _loop(patient: Patient) -> Remedy:
    """It dies at once: only a change of files or surroundings is a reason to try, or much time."""
    now, acts, early = patient.picture, patient.futile, patient.history.early
    changed = bool(acts) and all(act.picture != now for act in acts)
    cleared = bool(early) and patient.history.cleared_s > early[-1]
    if (changed or cleared) and not _too_often(patient):
        return _look(patient) or _restart(patient, "what it died of has changed since")
    tries = [a.t_s for a in acts] or [early[-1] if early else patient.diagnosis.since_s]
    until_s = _spaced(tries[0], LOOP_S, len(tries) - FUTILE_MAX)
    if patient.now_s >= until_s:
        return _restart(patient, f"one try after {patient.now_s - tries[0]:.0f} s")
    why = "its starts die at once: held until its files or surroundings change"
    return Remedy(Step.HOLD, why, until_s=until_s, escalate=True)


def _silent(patient: Patient) -> Remedy:
    """Hang, deadlock, leak, unexplained errors: one restart; soon again means that it is no cure."""
    if not patient.diagnosis.sure:
        return Remedy(Step.LOOK, "not seen for long enough", until_s=patient.now_s + 0.5)
    if held := _too_often(patient):
        return held
    same = [act for act in patient.acts if act.kind == "service.restart" and act.cause in _SILENT]
    if same and patient.now_s < (until_s := _spaced(same[-1].t_s, AGAIN_S, len(same) - 1)):
        ago = f"{patient.now_s - same[-1].t_s:.0f} s after a restart"
        why = f"{patient.diagnosis.cause} again {ago}: a restart is no cure"
        return Remedy(Step.HOLD, why, until_s=until_s, escalate=True)
    return _look(patient) or _restart(patient, f"{patient.diagnosis.cause}: a restart is the known cure")


_SILENT = frozenset({"hang", "deadlock", "leak", "degraded"})


def _back(patient: Patient) -> Remedy:
    """Bad files: the recorded last-good ones, once; held while nobody grants it."""
    diagnosis, sample = patient.diagnosis, patient.sample
    if held := _too_often(patient):
        return held
    files = tuple((c.path, c.after, c.before) for c in sample.changes if c.path in diagnosis.blamed)
    if not files or not sample.good:
        return _hold(patient)
    if patient.diagnosis.cause is Cause.BAD_CONFIG:
        action = RollBack(patient.service.name, sample.incarnation, "config", sample.good, files)
    else:
        action = RollBack(patient.service.name, sample.incarnation, "version", sample.good, files)
    now = patient.picture
    if any(act.kind == action.kind and act.picture == now for act in patient.acts):
        why = "the same files were taken back within the hour, and are here again: people are needed"
        return Remedy(Step.HOLD, why, until_s=patient.now_s + AGAIN_S, escalate=True)
    return _look(patient) or Remedy(
        Step.ACT, f"{len(files)} files go back to the state it was last well in", action
    )


def _space(patient: Patient) -> Remedy:
    full = [d for d in patient.sample.disks if exhausted(d) and d.path == patient.diagnosis.subject]
    files = needed(full[0]) if full else ()
    freed = [act for act in patient.acts if act.kind == "space.free"]
    if not files or len(freed) >= 3:
        why = (
            "nothing that can be made again is left to remove"
            if not files
            else "freed three times: still full"
        )
        return Remedy(Step.HOLD, why, until_s=_tell_s(patient), escalate=True)
    if freed and patient.now_s < (until_s := freed[-1].t_s + SPACE_AGAIN_S):
        return Remedy(Step.HOLD, "space was freed a moment ago", until_s=until_s)
    why = f"{len(files)} files that can be made again, {sum(size for _, size, *_ in files)} bytes"
    return _look(patient) or Remedy(Step.ACT, why, FreeSpace(patient.service.name, files))


def needed(disk: Disk) -> tuple[tuple[str, int, int, int], ...]:
    """The oldest regenerable files, as many as bring a tenth of the file system (1 MiB to 1 GiB) free."""
    want = max(FREE_BYTES_MIN, min(FREE_BYTES_MAX, disk.total_bytes // FREE_SHARE))
    want = min(want, disk.total_bytes // 2) - disk.free_bytes
    chosen: list[tuple[str, int, int, int]] = []
    for file in disk.regenerable:
        if (want <= 0 and chosen) or len(chosen) >= FILES_MAX:
            break
        chosen.append(file)
        want -= file[1]
    return tuple(chosen)


def _scale(patient: Patient) -> Remedy:
    """More replicas where there are some; never a restart, which loses the work that waits."""
    sample, service = patient.sample, patient.service
    if not patient.diagnosis.sure:
        return Remedy(Step.LOOK, "not seen for long enough", until_s=patient.now_s + 0.5)
    if sample.replicas < 1:
        why = "overload, and nothing to scale: a restart would only lose the work that waits"
        late = patient.now_s - patient.diagnosis.since_s >= ESCALATE_S
        return Remedy(Step.HOLD, why, until_s=_tell_s(patient), escalate=late)
    grown = [act for act in patient.acts if act.kind == "container.scale_up"]
    if grown and patient.now_s < (until_s := grown[-1].t_s + SCALE_AGAIN_S):
        return Remedy(Step.HOLD, "replicas were added a moment ago", until_s=until_s)
    replicas = sample.replicas + max(1, sample.replicas // 2)
    action = ScaleUp(service.group or service.name, sample.replicas, replicas)
    return Remedy(Step.ACT, f"overload: {sample.replicas} replicas become {replicas}", action)


def _counted(patient: Patient) -> Remedy:
    """What a database's own statistics ask for; each is a question to people."""
    if held := _too_often(patient) or _look(patient):
        return held
    action, why = keeper_counts.act(patient.diagnosis, patient.service, patient.sample)
    if action is None:
        return Remedy(Step.HOLD, why, until_s=_tell_s(patient), escalate=True)
    return Remedy(Step.ACT, why, action)


_REMEDIES: Mapping[Cause, Callable[[Patient], Remedy]] = {
    Cause.HEALTHY: _nothing,
    Cause.STARTING: _nothing,
    Cause.OPERATOR_STOPPED: _nothing,
    Cause.UNSEEN: _hold,
    Cause.DEGRADED: _silent,
    Cause.CRASH: _crash,
    Cause.CRASH_LOOP: _loop,
    Cause.BAD_CONFIG: _back,
    Cause.BAD_DEPLOY: _back,
    Cause.HANG: _silent,
    Cause.DEADLOCK: _silent,
    Cause.LEAK: _silent,
    Cause.PORT_CONFLICT: _hold,
    Cause.DEPENDENCY_DOWN: _hold,
    Cause.DISK_FULL: _space,
    Cause.OVERLOAD: _scale,
    Cause.BLOCKED: _counted,
    Cause.CONNECTIONS_EXHAUSTED: _counted,
    Cause.NEEDS_MAINTENANCE: _counted,
    Cause.OUT_OF_BOUNDS: _hold,
}


def missing_remedies(causes: Sequence[Cause]) -> list[Cause]:
    """Causes that nothing is said about; a test keeps this empty."""
    return [cause for cause in causes if cause not in _REMEDIES]
