"""When is growth a leak, and when a cache that fills?"""

from dataclasses import replace

import pytest

from veilig.core.service import Service
from veilig.core.signal import Answer, Run, Sample
from veilig.heal.history import History, remember
from veilig.heal.leak import MIB, descriptors, leaking, suspect, trend

SERVICE = Service("worker-a")
BASE = 20 * MIB


def seen(points: list[tuple[float, int]], up_s: float, slope_mib: float) -> tuple[Sample, History]:
    """The last of these (seconds, MiB) as a sample, all of them as its history."""
    ring = tuple((t, mib * MIB) for t, mib in points)
    sample = Sample(
        "worker-a",
        ring[-1][0],
        Run.RUNNING,
        answer=Answer.OK,
        up_s=up_s,
        rss_bytes=ring[-1][1],
        rss_base_bytes=BASE,
        rss_slope=slope_mib * MIB,
    )
    return sample, History(took_s=0.3, rss=ring)


GROWING = [(100.0, 40), (101.5, 80), (104.0, 160)]


@pytest.mark.parametrize(
    ("points", "up_s", "slope_mib", "is_leak"),
    [
        pytest.param(GROWING, 500.0, 30, True, id="seven-times-the-base"),
        pytest.param(GROWING, 9.0, 11, True, id="young-but-flat-before"),
        pytest.param(GROWING, 6.0, 30, False, id="since-its-start"),
        pytest.param([(100.0, 40), (101.5, 80), (104.0, 120)], 500.0, 30, False, id="six-times-the-base"),
        pytest.param([(100.0, 40), (101.0, 150), (104.0, 160)], 500.0, 30, False, id="flattens"),
        pytest.param([(100.0, 40), (101.5, 170), (104.0, 160)], 500.0, 30, False, id="shrinks"),
        pytest.param([(100.0, 40), (100.9, 80), (101.9, 160)], 500.0, 30, False, id="too-short"),
        pytest.param(GROWING, 500.0, 0.01, False, id="noise"),
    ],
)
def test_growth_is_a_leak_only_if_large_steady_and_not_its_start(
    points: list[tuple[float, int]], up_s: float, slope_mib: float, is_leak: bool
) -> None:
    sample, history = seen(points, up_s, slope_mib)
    assert bool(leaking(SERVICE, sample, history)) is is_leak


@pytest.mark.parametrize(("mib", "is_leak"), [(200, False), (201, True)])
def test_a_stated_bound_is_the_bound(mib: int, is_leak: bool) -> None:
    sample, history = seen([(100.0, mib)], 5.0, 0.0)
    bound = replace(SERVICE, memory_max_bytes=200 * MIB)
    assert bool(leaking(bound, sample, history)) is is_leak


def test_a_process_is_looked_at_more_often_from_twice_its_base_on() -> None:
    assert not suspect(seen([(1.0, 40)], 5.0, 1.0)[0])
    assert suspect(seen([(1.0, 41)], 5.0, 1.0)[0])


def test_nobody_knows_at_the_first_look_how_long_a_start_took() -> None:
    first = Sample("worker-a", 9000.0, Run.RUNNING, incarnation="1", up_s=8000.0, answer=Answer.OK)
    history = remember(History(), SERVICE, first)
    assert (history.well_in, history.took_s) == (True, 0.0)
    again = replace(first, t_s=9100.0, incarnation="2", up_s=1.2)
    assert remember(history, SERVICE, again).took_s == 1.2


@pytest.mark.parametrize(
    ("held", "most", "answer", "is_leak"),
    [
        pytest.param(1024, 1024, Answer.ERROR, True, id="all"),
        pytest.param(994, 1024, Answer.TIMEOUT, True, id="nearly-all"),
        pytest.param(993, 1024, Answer.TIMEOUT, False, id="one-less"),
        pytest.param(1024, 1024, Answer.OK, False, id="it-answers"),
        pytest.param(1024, 0, Answer.ERROR, False, id="no-limit-known"),
    ],
)
def test_as_many_open_files_as_it_may_are_a_leak_of_a_service_that_fails(
    held: int, most: int, answer: Answer, is_leak: bool
) -> None:
    sample = Sample("worker-a", 9.0, Run.RUNNING, answer=answer, fails=2, fds=held, fds_max=most)
    assert bool(descriptors(sample)) is is_leak


def hours(growth_mib_per_min: float, minutes: int, bound_mib: int = 0) -> tuple[Service, Sample, History]:
    """A service that was looked at each minute for so long."""
    service, history = Service("worker-a", memory_max_bytes=bound_mib * MIB), History()
    sample = Sample("worker-a", 0.0)
    for minute in range(minutes + 1):
        rss = round((100 + growth_mib_per_min * minute) * MIB)
        sample = Sample("worker-a", 60.0 * minute, Run.RUNNING, answer=Answer.OK, up_s=60.0 * minute + 5,
                        incarnation="1:1", rss_bytes=rss, rss_base_bytes=100 * MIB)  # fmt: skip
        history = remember(history, service, sample)
    return service, sample, history


def test_a_megabyte_a_minute_is_shown_after_an_hour_and_is_no_reason_to_act() -> None:
    service, sample, history = hours(1.0, 180)
    assert trend(history) == "its memory grows by 1.0 MiB/min for 1.8 h"  # of the last twelve points
    assert leaking(service, sample, history) == ()
    assert trend(hours(1.0, 50)[2]) == ""


def test_with_a_bound_the_same_growth_is_a_leak_once_it_is_passed() -> None:
    assert leaking(*hours(1.0, 100, bound_mib=200)) == ()
    held, slow = leaking(*hours(1.0, 101, bound_mib=200))
    assert held == "it holds 201 MiB, its bound is 200 MiB"
    assert slow == "its memory grows by 1.0 MiB/min for 1.7 h"


def test_what_is_steady_or_small_or_goes_back_is_no_trend() -> None:
    assert trend(hours(0.0, 300)[2]) == ""
    assert trend(hours(0.1, 120)[2]) == ""
    ring = tuple((600.0 * n, (100 + n * 30 % 90) * MIB) for n in range(12))
    assert trend(History(hours=ring)) == ""


def test_a_new_process_begins_anew() -> None:
    service, sample, history = hours(1.0, 180)
    fresh = replace(sample, incarnation="2:2", t_s=sample.t_s + 60, up_s=1.0, rss_bytes=90 * MIB)
    assert trend(remember(history, service, fresh)) == ""
