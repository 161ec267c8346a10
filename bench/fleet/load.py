"""How many sessions a second does this fleet carry before they wait? Its own workers, its own database.

    python bench/fleet/load.py --database URL --path /srv/projects/shop --rate 0.2 0.5 1 2 --seconds 60

Audits of one folder that every worker reaches are queued at a steady rate, whether or not the workers keep
up; then the queue's own times are read. It stops at the first rate that is not carried, and cancels what it
queued. Raise the rates until one is not carried: the last that was is what the fleet carries.
"""

import argparse
import time
from pathlib import Path

from veilig.app import fleet
from veilig.app.driver import job_of
from veilig.app.fleet import Shown, State

OVER = (State.DONE, State.FAILED, State.CANCELLED)
SESSIONS_MAX = 100_000
LOOK_S = 0.5


def offer(url: str, options: dict[str, object], rate: float, seconds: float) -> list[str]:
    """Queue sessions at `rate` a second for so long; their ids."""
    work = fleet.Work("audit", options)  # pyright: ignore[reportArgumentType]  # as `job_of` writes them
    count, put, begin = max(1, round(rate * seconds)), list[str](), time.monotonic()
    while len(put) < count:
        due = min(count, int((time.monotonic() - begin) * rate) + 1)
        if due > len(put):
            put += fleet.enqueue_all(url, [work] * (due - len(put)))
        time.sleep(min(LOOK_S, 0.5 / rate))
    return put


def settle(url: str, mine: set[str], patience_s: float) -> list[Shown]:
    """What became of them, once they are over or `patience_s` is."""
    end = time.monotonic() + patience_s
    while True:
        found = [one for one in fleet.jobs(url, "audit-", limit=SESSIONS_MAX) if one.session in mine]
        if all(one.state in OVER for one in found) or time.monotonic() > end:
            return found
        time.sleep(LOOK_S)


def spread(values: list[float]) -> str:
    """p50 and p99, in seconds."""
    ordered = sorted(values)
    return (
        f"{ordered[len(ordered) // 2]:7.2f} {ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]:7.2f}"
    )


def main() -> None:
    """A line for each rate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--database", required=True, metavar="URL", help="a fleet of yours, as `veilig queue` takes it"
    )
    parser.add_argument("--path", required=True, type=Path, help="a project that every worker reaches")
    parser.add_argument("--rate", type=float, nargs="+", default=[0.2, 0.5, 1, 2], help="sessions a second")
    parser.add_argument("--seconds", type=float, default=60, help="for each rate")
    parser.add_argument("--wait", type=float, default=10, help="p99 that a session may wait, s (default 10)")
    args = parser.parse_args()
    if not all(0 < rate * args.seconds <= SESSIONS_MAX for rate in args.rate):
        raise SystemExit(f"rate x seconds is from 1 to {SESSIONS_MAX}")
    options: dict[str, object] = dict(job_of("audit", args.path, task="", model="", deliver="")["options"])
    print("offered/s  sessions  done  not done    done/s  waited p50     p99  lasted p50     p99")
    for rate in sorted(args.rate):
        put = offer(args.database, options, rate, args.seconds)
        found = settle(args.database, set(put), args.seconds + 60)
        begun_at = min((one.queued_at for one in found), default=0.0)
        took_s = max((one.ended_at or 0.0 for one in found), default=0.0) - begun_at
        done = [one for one in found if one.state is State.DONE]
        waits = [(one.began_at or time.time()) - one.queued_at for one in found]
        lasts = [one.ended_at - one.began_at for one in done if one.ended_at and one.began_at]
        done_a_second = len(done) / max(took_s, 0.001)
        print(
            f"{rate:9.2f} {len(put):9d} {len(done):5d} {len(put) - len(done):9d} {done_a_second:9.2f}"
            f"     {spread(waits)}     {spread(lasts or [0.0])}",
            flush=True,
        )
        ordered = sorted(waits)
        if len(done) < len(put) or ordered[len(ordered) * 99 // 100] > args.wait:
            for one in found:
                if one.state not in OVER:
                    fleet.cancel(args.database, one.session)
            print(f"not carried: {rate:g} a second")
            return


if __name__ == "__main__":
    main()
