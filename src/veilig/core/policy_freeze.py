"""Is a freeze window open at this moment? Cron or start/end, in the window's own time zone."""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

HOURS_MAX = 336.0  # two weeks; a longer freeze is written with start and end
_DAY = timedelta(days=1)
_MONTHS = {
    m: i
    for i, m in enumerate(
        ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"], 1
    )
}
_DAYS = {d: i for i, d in enumerate(["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"])}
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2})?)?")


@dataclass(frozen=True, slots=True)
class Cron:
    """Minutes, hours, days, months and weekdays (0 is Sunday) at which a window opens."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def fits(self, day: datetime) -> bool:
        """Does it fire on this day? As in Vixie cron, two restricted day fields mean either."""
        if day.month not in self.months:
            return False
        by_day = day.day in self.days
        by_weekday = day.isoweekday() % 7 in self.weekdays
        return by_day and by_weekday if self.any_day or self.any_weekday else by_day or by_weekday


@dataclass(frozen=True, slots=True)
class Freeze:
    """One window: `cron` and `hours`, or `start` (inclusive) and `end` (exclusive) as seconds since 1970."""

    rule: str
    name: str
    zone: tzinfo
    cron: Cron | None = None
    hours: float = 0.0
    start_s: float = 0.0
    end_s: float = 0.0

    def open_at(self, wall_s: float) -> bool:
        """Is it open at wall clock time `wall_s` (seconds since 1970)? An unreadable time counts as open."""
        if not math.isfinite(wall_s):
            return True
        if self.cron is None:
            return self.start_s <= wall_s < self.end_s
        try:
            return self._open_by_cron(self.cron, wall_s)
        except (OverflowError, ValueError, OSError):  # outside what a calendar holds
            return True

    def _open_by_cron(self, cron: Cron, wall_s: float) -> bool:
        first = datetime.fromtimestamp(wall_s - self.hours * 3600, self.zone) - _DAY
        day = datetime.fromtimestamp(wall_s, self.zone).replace(
            hour=0, minute=0, second=0, microsecond=0, fold=0
        )
        while day >= first.replace(hour=0, minute=0):
            if cron.fits(day) and self._fired(cron, day, wall_s):
                return True
            day -= _DAY
        return False

    def _fired(self, cron: Cron, day: datetime, wall_s: float) -> bool:
        for hour in cron.hours:
            for minute in cron.minutes:
                at = day.replace(hour=hour, minute=minute)
                # A local time that a clock change repeats opens the window at both of its moments.
                for fold in (0, 1):
                    opened_s = at.replace(fold=fold).timestamp()
                    if opened_s <= wall_s < opened_s + self.hours * 3600:
                        return True
        return False


def wrong_cron(text: str) -> str | None:
    """What is wrong with a cron line of five fields, or None."""
    try:
        read_cron(text)
    except ValueError as error:
        return f"is no cron line: {error}"
    return None


def read_cron(text: str) -> Cron:
    """The five fields of a cron line. Raises ValueError saying what is wrong."""
    fields = text.split()
    if len(fields) != 5:
        raise ValueError("five fields: minute hour day month weekday, such as '0 18 * * FRI'")
    names: tuple[dict[str, int], ...] = ({}, {}, {}, _MONTHS, _DAYS)
    values = [_field(f, *r, n) for f, r, n in zip(fields, _RANGES, names, strict=True)]
    weekdays = frozenset(d % 7 for d in values[4])
    return Cron(values[0], values[1], values[2], values[3], weekdays, fields[2] == "*", fields[4] == "*")


def _field(text: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        step = _number(step_text, 1, high, {}) if slash else 1
        if span == "*":
            first, last = low, high
        else:
            start, dash, end = span.partition("-")
            first = _number(start, low, high, names)
            last = _number(end, low, high, names) if dash else (high if slash else first)
            if last < first:
                raise ValueError(f"{part!r} runs backwards")
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _number(text: str, low: int, high: int, names: dict[str, int]) -> int:
    value = names.get(text.upper(), -1)
    if text.isascii() and text.isdigit() and len(text) < 4:
        value = int(text)
    if not low <= value <= high:
        raise ValueError(f"{text!r} is not between {low} and {high}")
    return value


def wrong_instant(text: str) -> str | None:
    """What is wrong with a local date or time, or None."""
    try:
        if not _INSTANT.fullmatch(text):
            raise ValueError
        datetime.fromisoformat(text)
    except ValueError:
        return "is no date or time such as 2026-12-24 or 2026-12-24T18:00 (the zone stands in `tz`)"
    return None


def read_instant(text: str, zone: tzinfo, *, last: bool) -> float:
    """Seconds since 1970 of a local time; of a time that a clock change repeats, its first or last moment."""
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=int(last)).timestamp()


def wrong_zone(text: str) -> str | None:
    """What is wrong with a time zone's name, or None."""
    return (
        None
        if find_zone(text) is not None
        else "is no time zone this machine knows, such as Europe/Amsterdam"
    )


def find_zone(text: str) -> tzinfo | None:
    """The IANA zone of that name, or None."""
    if text == "UTC":
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
