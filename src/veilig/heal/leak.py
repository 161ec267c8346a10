"""Does a service lose memory or files? By its bound, or by growth: large, steady, and not its start."""

from veilig.core.service import Service
from veilig.core.signal import Sample
from veilig.heal.history import History

MIB = 1 << 20
NOISE_BYTES = 64 << 10  # per second: less takes half an hour to matter
MULTIPLE = 7.0  # of its base: caches double or triple a program
GROWTH_BYTES = 112 * MIB  # less is nobody's trouble
GROWTH_MAX_BYTES = 1024 * MIB  # a large program needs not grow sevenfold to be in trouble
STEADY_S = 2.0  # seen growing for so long, by samples that come with each doubling
FILLING_S = 2.5  # growth that goes back to the start is a cache being filled ...
SLOW_FOR_S = 3600.0  # a slow leak is steady growth over an hour and more ...
SLOW_BYTES = 16 * MIB  # ... that somebody would notice
DIP = 0.98  # a collected garbage heap is no end of a leak
YOUNG_S = 60.0  # ... for so long
FILES_SHARE = 0.97  # libraries keep a few in reserve
FLATTER = 0.6  # the later part grows at least so fast, compared with the earlier


def leaking(service: Service, sample: Sample, history: History) -> tuple[str, ...]:
    """Sentences that show it, or nothing. Pure; reads numbers only."""
    rss, base, slope = sample.rss_bytes, sample.rss_base_bytes, sample.rss_slope
    if service.memory_max_bytes:
        if rss <= service.memory_max_bytes:
            return ()
        held = f"it holds {rss // MIB} MiB, its bound is {service.memory_max_bytes // MIB} MiB"
        return (held, slow) if (slow := trend(history)) else (held,)
    if not suspect(sample):
        return ()
    grown = rss - base
    if grown < GROWTH_BYTES or grown < min(GROWTH_MAX_BYTES, (MULTIPLE - 1) * base):
        return ()
    if not _steady(history.rss):
        return ()
    rate = max(slope, _latest(history.rss))  # the slope over all samples still holds the time before
    for_s = grown / rate
    if sample.up_s < YOUNG_S and sample.up_s - for_s < FILLING_S + history.took_s:
        return ()
    grows = f"grows by {rate / MIB:.1f} MiB/s for about {for_s:.0f} s"
    return (f"it holds {rss // MIB} MiB, {rss / base:.1f} times its base of {base // MIB} MiB, and {grows}",)


def descriptors(sample: Sample) -> tuple[str, ...]:
    """One sentence when it holds nearly as many files open as it may, and fails; else nothing."""
    if not sample.failing or not sample.fds_max or sample.fds < FILES_SHARE * sample.fds_max:
        return ()
    return (f"it holds {sample.fds} files open, of {sample.fds_max} that it may",)


def trend(history: History) -> str:
    """Steady growth over hours in one sentence; "" where there is none. By itself no reason for an act.

    What a program may hold is the operator's to say (memory_max_mb): caches grow for days and are well.
    """
    ring = history.hours
    if len(ring) < 4 or ring[-1][0] - ring[0][0] < SLOW_FOR_S:
        return ""
    if any(later < DIP * earlier for (_, earlier), (_, later) in zip(ring, ring[1:], strict=False)):
        return ""
    for_s, grown = ring[-1][0] - ring[0][0], ring[-1][1] - ring[0][1]
    if grown < SLOW_BYTES:
        return ""
    return f"its memory grows by {60 * grown / for_s / MIB:.1f} MiB/min for {for_s / 3600:.1f} h"


def suspect(sample: Sample) -> bool:
    """Twice its base, and growing by more than noise: worth looking at more often."""
    base = sample.rss_base_bytes
    return 0 < 2 * base < sample.rss_bytes and sample.rss_slope > max(base / 600, NOISE_BYTES)


def _latest(ring: tuple[tuple[float, int], ...]) -> float:
    """Bytes a second over the last three points."""
    (t0, a), (t1, b) = ring[-3], ring[-1]
    return (b - a) / (t1 - t0) if t1 > t0 else 0.0


def _steady(ring: tuple[tuple[float, int], ...]) -> bool:
    """Seen for long enough, never shrinking, and the later part grows about as fast as the earlier."""
    if len(ring) < 3 or ring[-1][0] - ring[0][0] < STEADY_S:
        return False
    if any(later < earlier for (_, earlier), (_, later) in zip(ring, ring[1:], strict=False)):
        return False
    ring = tuple(point for point in ring if ring[-1][0] - point[0] <= 6 * STEADY_S)
    middle = len(ring) // 2
    (t0, a), (t1, b), (t2, c) = ring[0], ring[middle], ring[-1]
    if t1 <= t0 or t2 <= t1:
        return False
    first, second = (b - a) / (t1 - t0), (c - b) / (t2 - t1)
    return second > 0 and second >= FLATTER * first
