cat > /app/next.py <<'PY'
import datetime
import sys

MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
DAYS = "sun mon tue wed thu fri sat".split()


def field(text, low, high, names=(), base=0):
    found = set()
    for part in text.lower().split(","):
        body, slash, step = part.partition("/")
        step = int(step) if slash else 1
        if step < 1:
            raise ValueError("step")

        def number(word):
            return names.index(word) + base if word in names else int(word)

        if body == "*":
            first, last = low, high
        elif "-" in body:
            first, last = map(number, body.split("-"))
        else:
            first = number(body)
            last = high if slash else first
        if not low <= first <= last <= high:
            raise ValueError("range")
        found.update(range(first, last + 1, step))
    return found


def main():
    try:
        parts = sys.argv[1].split()
        minute, hour, day, month, week = parts
        minutes, hours = field(minute, 0, 59), field(hour, 0, 23)
        days, months = field(day, 1, 31), field(month, 1, 12, MONTHS, 1)
        weekdays = {d % 7 for d in field(week, 0, 7, DAYS)}
        now = datetime.datetime.fromisoformat(sys.argv[2])
    except (ValueError, IndexError):
        return 2
    either = not day.startswith("*") and not week.startswith("*")
    date = now.date()
    for _ in range(366 * 9):
        a, b = date.day in days, (date.isoweekday() % 7) in weekdays
        if date.month in months and ((a or b) if either else (a and b)):
            for h in sorted(hours):
                for m in sorted(minutes):
                    at = datetime.datetime.combine(date, datetime.time(h, m))
                    if at > now:
                        print(at.strftime("%Y-%m-%dT%H:%M"))
                        return 0
        date += datetime.timedelta(days=1)
    return 2


sys.exit(main())
PY
