"""Is a freeze window open exactly when its author would say so, clock changes included?"""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilig.core.policy_freeze import Freeze, find_zone, read_cron, wrong_cron, wrong_instant, wrong_zone

AMSTERDAM = find_zone("Europe/Amsterdam")
assert AMSTERDAM is not None


def at(text: str) -> float:
    """Seconds since 1970 of a UTC time."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def weekly(line: str, hours: float) -> Freeze:
    assert AMSTERDAM is not None
    return Freeze("freeze[0]", "", AMSTERDAM, read_cron(line), hours)


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-11-20T16:59:59", False),  # Friday 17:59:59 in Amsterdam
        ("2026-11-20T17:00:00", True),
        ("2026-11-22T12:00:00", True),
        ("2026-11-23T06:59:59", True),
        ("2026-11-23T07:00:00", False),
        ("2026-11-25T12:00:00", False),
    ],
)
def test_a_weekend_window_opens_and_closes_to_the_second(moment: str, is_open: bool):
    assert weekly("0 18 * * FRI", 62).open_at(at(moment)) is is_open


def test_a_repeated_hour_opens_at_both_of_its_moments_and_a_missing_one_still_opens():
    autumn = weekly("30 2 25 10 *", 0.5)  # 02:30 happens twice on 25 October 2026
    assert [autumn.open_at(at(f"2026-10-25T0{h}:45")) for h in (0, 1)] == [True, True]
    spring = weekly("30 2 29 3 *", 1)  # 02:30 does not happen on 29 March 2026
    assert any(spring.open_at(at("2026-03-29T00:00") + m * 60) for m in range(180))


def test_a_time_the_calendar_cannot_hold_counts_as_open():
    assert weekly("0 0 1 1 *", 1).open_at(1e18)
    assert weekly("0 0 1 1 *", 1).open_at(float("nan"))
    assert weekly("0 0 1 1 *", 300).open_at(-62135596800.0)
    assert Freeze("r", "", UTC, start_s=0.0, end_s=1.0).open_at(float("nan"))


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("0 18 * *", "five fields"),
        ("60 18 * * *", "'60' is not between 0 and 59"),
        ("0 24 * * *", "'24'"),
        ("0 0 0 * *", "'0' is not between 1 and 31"),
        ("0 0 * * FRIDAY", "'FRIDAY'"),
        ("0 0 * * 5-1", "runs backwards"),
        ("*/0 * * * *", "'0'"),
        ("0 0 L * *", "'L'"),
        ("\u0663 0 * * *", "is not between"),
        ("", "five fields"),
    ],
)
def test_a_wrong_cron_line_says_which_part(line: str, what: str):
    assert what in str(wrong_cron(line))


def test_cron_fields_read_names_lists_ranges_and_steps():
    cron = read_cron("0,30 8-18/5 * JAN-MAR MON-FRI,SUN")
    assert cron.minutes == {0, 30}
    assert cron.hours == {8, 13, 18}
    assert cron.months == {1, 2, 3}
    assert cron.weekdays == {0, 1, 2, 3, 4, 5}
    assert read_cron("0 0 * * 7").weekdays == {0}


def test_two_restricted_day_fields_mean_either():
    cron = read_cron("0 0 13 * FRI")
    assert cron.fits(datetime(2026, 11, 13))  # noqa: DTZ001  # a local day
    assert cron.fits(datetime(2026, 11, 20))  # noqa: DTZ001
    assert not cron.fits(datetime(2026, 11, 21))  # noqa: DTZ001


@given(st.integers(0, 59), st.integers(0, 23), st.integers(0, 6), st.floats(0.1, 336), st.integers(0, 20000))
@settings(max_examples=150, deadline=None)
def test_a_window_in_utc_is_open_exactly_for_its_hours(
    minute: int, hour: int, day: int, hours: float, off: int
):
    freeze = Freeze("r", "", UTC, read_cron(f"{minute} {hour} * * {day}"), hours)
    now = at("2026-06-01T00:00") + off * 61
    since = (now - at("2026-05-31T00:00") - (day * 86400 + hour * 3600 + minute * 60)) % (7 * 86400)
    assert freeze.open_at(now) is (since < hours * 3600)


def test_wrong_instants_and_zones_are_said():
    assert wrong_instant("2026-02-29") is not None
    assert wrong_instant("2026-12-24 18:00") is not None
    assert wrong_instant("2026-12-24T18:00Z") is not None
    assert wrong_instant("2026-12-24T18:00") is None
    assert wrong_zone("Mars/Olympus") is not None
    assert wrong_zone("../../etc/passwd") is not None
    assert wrong_zone("") is not None
    assert wrong_zone("Europe/Amsterdam") is None
