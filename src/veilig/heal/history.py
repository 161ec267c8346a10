"""What is remembered of one service between two looks? History: rings with bounds, all on the boot clock.

Pure: `remember` folds one sample into it. What a person or a program wrote is not kept here, only facts.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, cast

from veilig.core.canonical import JSON
from veilig.core.service import Service
from veilig.core.signal import Answer, Disk, Run, Sample

RING = 12  # enough for a slope and a median, small enough to be written at every step
ACTS = 12  # more than any budget of an hour allows
EARLY_S = 600.0  # starts that died count for so long
TOLERATED_S = 15.0  # a service that is well for so long without something does not need it
LATENCY_SHARE = 0.2  # weight of one good answer in the usual latency
FLAP_S = 120.0
HOURS_APART_S = 600.0  # points of the slow ring: twelve of them are two hours
DISK_FREE_BYTES = 64 << 10  # less than one page of a log for each of a dozen writers
DISK_FREE_SHARE = 0.005


@dataclass(frozen=True, slots=True)
class Act:
    """One act on the service: when, which, for which cause, in which picture of the world, and did it help?

    helped: None while nobody can tell.
    """

    t_s: float
    kind: str
    cause: str
    picture: str
    helped: bool | None = None


@dataclass(frozen=True, slots=True)
class History:
    """One service over time. Times are seconds of the boot clock, 0 means never or not now.

    ill_s, well_s, down_s, frozen_s: since when without interruption. last_well_s: the last look at which
    it was well. incarnation: the last that was seen; well_in: it has been well since its start. took_s:
    how long the last start took until it was well. latency_ms: usual while well; slow: (when, ms) of good
    answers that took much longer. rss: (when, bytes); hours: the same, ten minutes apart. threads: while
    well. flaps: when a failing probe was good again without an act. tried: files (path, SHA-256) with
    which a start died early. tolerated: what was lacking while it was well. early: starts that died
    within the warm-up. lacks: what is lacking, and since when. cleared_s: when a cause outside last went
    away.
    """

    seen_s: float = 0.0
    ill_s: float = 0.0
    well_s: float = 0.0
    last_well_s: float = 0.0
    down_s: float = 0.0
    frozen_s: float = 0.0
    incarnation: str = ""
    well_in: bool = False
    took_s: float = 0.0
    latency_ms: float = 0.0
    slow: tuple[tuple[float, float], ...] = ()
    rss: tuple[tuple[float, int], ...] = ()
    hours: tuple[tuple[float, int], ...] = ()
    threads: int = 0
    flaps: tuple[float, ...] = ()
    tried: tuple[tuple[str, str], ...] = ()
    tolerated: tuple[str, ...] = ()
    early: tuple[float, ...] = ()
    lacks: tuple[tuple[str, float], ...] = ()
    cleared_s: float = 0.0
    acts: tuple[Act, ...] = ()

    def to_json(self) -> dict[str, JSON]:
        """Plain values; what is at its default is left out."""
        plain: dict[str, Any] = {}
        for name, default in _FIELDS:
            value = getattr(self, name)
            if value != default:
                plain[name] = _plain(value)
        return cast(dict[str, JSON], plain)

    @classmethod
    def from_json(cls, value: object) -> "History":
        """The inverse of `to_json`."""
        given = dict(cast(dict[str, Any], value))
        for name in ("slow", "rss", "hours", "tried", "lacks"):
            given[name] = tuple(tuple(item) for item in given.get(name, ()))
        for name in ("flaps", "tolerated", "early"):
            given[name] = tuple(given.get(name, ()))
        given["acts"] = tuple(Act(*item) for item in given.get("acts", ()))
        return cls(**given)

    def shifted(self, by_s: float) -> "History":
        """The same on another boot clock: after a reboot all of it seems more recent than it is."""
        moved = {
            name: value + by_s
            for name in ("seen_s", "ill_s", "well_s", "last_well_s", "down_s", "frozen_s", "cleared_s")
            if (value := getattr(self, name))
        }
        return replace(
            self,
            **moved,
            slow=(),
            rss=(),
            hours=(),
            flaps=tuple(t + by_s for t in self.flaps),
            early=tuple(t + by_s for t in self.early),
            lacks=tuple((name, t + by_s) for name, t in self.lacks),
            acts=tuple(replace(act, t_s=act.t_s + by_s) for act in self.acts),
        )


_FIELDS = tuple((field.name, field.default) for field in fields(History))


def _plain(value: Any) -> Any:
    if isinstance(value, Act):
        return [value.t_s, value.kind, value.cause, value.picture, value.helped]
    if isinstance(value, tuple):
        return [_plain(item) for item in cast(tuple[Any, ...], value)]
    return value


def exhausted(disk: Disk) -> bool:
    """Can next to nothing be written there?"""
    small = max(DISK_FREE_BYTES, int(disk.total_bytes * DISK_FREE_SHARE))
    return disk.free_bytes < min(small, disk.total_bytes // 10) or disk.free_inodes == 0


def lacking(sample: Sample) -> tuple[str, ...]:
    """What is missing around the service: needs that are down, disks that are full, a port that is taken."""
    names = [need.name for need in sample.needs if not need.up]
    names += [f"disk {disk.path}" for disk in sample.disks if exhausted(disk)]
    if sample.port_holder:
        names.append("port")
    return tuple(dict.fromkeys(names))


def remember(history: History, service: Service, sample: Sample) -> History:
    """The history with one more look. A sample that is older than the last one changes nothing but facts."""
    now = sample.t_s
    changed: dict[str, Any] = {"seen_s": history.seen_s or now}
    well = sample.alive and sample.answer in (Answer.OK, Answer.NONE)
    known = history.incarnation
    if sample.incarnation and sample.incarnation != known:
        changed |= {"incarnation": sample.incarnation, "well_in": False, "slow": (), "rss": (), "hours": ()}
    if well:
        changed |= _well(history, sample, fresh=bool(sample.incarnation) and sample.incarnation != known)
    else:
        changed |= {"ill_s": history.ill_s or now, "well_s": 0.0}
    changed["down_s"] = (history.down_s or now) if sample.run is Run.DOWN else 0.0
    changed["frozen_s"] = (history.frozen_s or now) if sample.run is Run.FROZEN else 0.0
    changed |= _memory(history, sample, changed)
    changed |= _around(history, sample, well)
    changed |= _starts(history, service, sample, changed["down_s"])
    return replace(history, **changed)


def _well(history: History, sample: Sample, fresh: bool) -> dict[str, Any]:
    now, up_s = sample.t_s, sample.up_s
    changed: dict[str, Any] = {"well_s": history.well_s or now, "last_well_s": now, "ill_s": 0.0}
    if fresh or not history.well_in:
        # At the first look of all nobody knows how long its start took, only how long ago it was.
        changed |= {"well_in": True, "took_s": round(up_s, 2) if history.seen_s else history.took_s}
    if sample.threads:
        changed["threads"] = max(history.threads, sample.threads) if history.threads else sample.threads
    if history.ill_s and not fresh and history.well_in:
        changed["flaps"] = (*(t for t in history.flaps if now - t < FLAP_S), now)[-RING:]
    if sample.answer is Answer.OK and sample.latency_ms > 0:
        usual = history.latency_ms
        if not usual:
            changed["latency_ms"] = sample.latency_ms
        elif is_slow(sample.latency_ms, usual):
            changed["slow"] = (*history.slow, (now, round(sample.latency_ms, 1)))[-RING:]
        else:
            changed["latency_ms"] = round(usual + LATENCY_SHARE * (sample.latency_ms - usual), 2)
    return changed


def is_slow(latency_ms: float, usual_ms: float) -> bool:
    """Four times as long as usual, and long enough for a person to notice."""
    return latency_ms >= max(250.0, 4 * usual_ms)


def _memory(history: History, sample: Sample, changed: dict[str, Any]) -> dict[str, Any]:
    ring = cast(tuple[tuple[float, int], ...], changed.get("rss", history.rss))
    if not sample.alive or not sample.rss_bytes or (ring and sample.t_s - ring[-1][0] < 0.5):
        return {}
    point = (sample.t_s, sample.rss_bytes)
    kept: dict[str, Any] = {"rss": (*ring, point)[-RING:]}
    hours = cast(tuple[tuple[float, int], ...], changed.get("hours", history.hours))
    if not hours or sample.t_s - hours[-1][0] >= HOURS_APART_S:
        kept["hours"] = (*hours, point)[-RING:]
    return kept


def _around(history: History, sample: Sample, well: bool) -> dict[str, Any]:
    """Since when something is lacking, what the service can do without, and when something came back."""
    now = sample.t_s
    before = dict(history.lacks)
    lacks = tuple((name, before.get(name, now)) for name in lacking(sample))
    changed: dict[str, Any] = {"lacks": lacks}
    if set(before) - {name for name, _ in lacks}:
        changed["cleared_s"] = now
    if well and history.well_s:
        borne = [n for n, since in lacks if now - max(since, history.well_s) >= TOLERATED_S]
        if new := [name for name in borne if name not in history.tolerated]:
            changed["tolerated"] = (*history.tolerated, *new)[-RING:]
    return changed


def _starts(history: History, service: Service, sample: Sample, down_s: float) -> dict[str, Any]:
    """Which starts died within the warm-up, and with which files?"""
    starts = sorted(sample.starts)
    early = [t for t in history.early if sample.t_s - t < EARLY_S]
    died = [a for a, b in zip(starts, starts[1:], strict=False) if b - a < service.warmup_s]
    if sample.run is Run.DOWN and starts and down_s - starts[-1] < service.warmup_s:
        died.append(starts[-1])
    new = [t for t in died if sample.t_s - t < EARLY_S and not _near(t, early)]
    if not new:
        return {"early": tuple(early)} if len(early) != len(history.early) else {}
    changed: dict[str, Any] = {"early": tuple(sorted([*early, *new]))[-RING:]}
    last = new[-1]
    loaded = [(c.path, c.after) for c in sample.changes if sample.t_s - c.age_s <= last + 0.5]
    if blamed := [pair for pair in loaded if pair not in history.tried]:
        changed["tried"] = (*history.tried, *blamed)[-RING:]
    return changed


def _near(t_s: float, known: Iterable[float]) -> bool:
    # The same start, told twice, may differ by the clock's grain.
    return any(abs(t_s - other) < 0.05 for other in known)
