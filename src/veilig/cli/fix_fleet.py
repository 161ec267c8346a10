"""`veilig fix --fleet repos.txt --out DIR`: a proven patch for each repository; a person brings it in."""

import argparse
import asyncio
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from veilig.cli.audit_fleet import FleetProgress, detached, far_of, fleet_options, wanted_of
from veilig.cli.models import named_or_none, setting_of
from veilig.cli.style import Style, printable
from veilig.core.errors import EXIT_FINDINGS, EXIT_INCOMPLETE, EXIT_INTERRUPTED, EXIT_OK, UsageError

if TYPE_CHECKING:
    from veilig.app.campaigns import Finished

PAGE = "campaign.html"
LINES = "campaign.jsonl"


def options(parser: argparse.ArgumentParser) -> None:
    """What `fix` takes for many repositories."""
    fleet_options(parser)
    parser.add_argument(
        "--out", metavar="DIR", help="where patches and the campaign's page go (with --fleet)"
    )
    parser.add_argument(
        "--budget-all", type=float, default=0.0, metavar="SECONDS",
        help="begin no further repository after this time (with --fleet; default: no bound)",
    )  # fmt: skip
    parser.add_argument(
        "--stop-after", type=int, default=5, metavar="N",
        help="stop when N repositories in a row fail (with --fleet; default 5, 0 never)",
    )  # fmt: skip
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="repositories at once (with --fleet; default 1)"
    )
    parser.add_argument("--fresh", action="store_true", help="begin the campaign anew (with --fleet)")


def run(given: argparse.Namespace) -> int:
    """0 nothing left, 1 something is left for a person, 3 a repository failed or was not begun."""
    from veilig.app.mending import Mend, fix_fleet

    for name in ("path", "apply", "branch", "diff", "markdown"):
        if getattr(given, name):
            raise UsageError(
                f"--fleet and {'a folder' if name == 'path' else f'--{name}'} exclude each other",
                why="a campaign writes patches to --out; each is brought in by a person",
            )
    if not given.out:
        raise UsageError("--fleet needs --out", why="that is where the patches go", fix="give a folder")
    if given.stop_after < 0 or given.budget_all < 0 or not 1 <= given.jobs <= 64:
        raise UsageError("a bound is below 0, or --jobs outside 1 to 64")
    out = Path(given.out).expanduser().absolute()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make {out}", why=str(error)) from error
    mend = Mend(
        str(out),
        given.only,
        given.budget,
        given.budget_all,
        given.stop_after,
        tuple(shlex.split(given.test or "")),
        named_or_none(given),
    )
    watcher, far = FleetProgress(sys.stderr, str(out / PAGE)), far_of(given, 1)
    wanted = wanted_of(given, fresh=given.fresh)
    try:
        if far is None:
            finished = asyncio.run(fix_fleet(wanted, mend, setting_of(given), watcher))
        else:
            from veilig.app.fleet_campaigns import Commander

            commander = Commander(wanted, far, setting_of(given), watcher, mend)
            if given.detach:
                return detached(commander)
            finished = commander.go()
    except KeyboardInterrupt:
        watcher.done()
        print("interrupted: what was finished is kept; the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED
    watcher.done()
    return _report(finished, out, as_json=given.json)


def _report(finished: "Finished", out: Path, *, as_json: bool) -> int:
    from veilig.campaign.result import Status
    from veilig.cli.fleet_report import lines, write_report

    write_report(str(out / PAGE), "html", finished)
    write_report(str(out / LINES), "jsonl", finished)
    results, style = finished.results, Style(sys.stdout)
    if as_json:
        print("\n".join(lines(finished)))
    else:
        for result in results:
            if result.status is Status.CLEAN and not result.incomplete:
                continue
            told = (
                f"{result.fixed} fixed, {len(result.findings)} left" if not result.reason else result.reason
            )
            told += ", not all was looked at" if result.incomplete else ""
            where = f"  {result.patch}" if result.patch else ""
            print(f"{result.status:<8} {printable(result.label)}  {style('dim', printable(told))}{where}")
        statuses = Counter(result.status.value for result in results)
        patches = sum(1 for result in results if result.patch)
        print(f"fleet   {', '.join(f'{count} {name}' for name, count in statuses.items())}")
        print(f"next    read the {patches} patches in {out}; `git apply` what you want; page {PAGE}")
    if any(r.status.trouble or r.status is Status.SKIPPED or r.incomplete for r in results):
        return EXIT_INCOMPLETE
    return EXIT_FINDINGS if any(r.findings for r in results) else EXIT_OK
