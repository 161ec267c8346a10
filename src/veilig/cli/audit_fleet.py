"""`veilig audit --fleet repos.txt`: many repositories, one report; nothing of them is changed."""

import argparse
import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from veilig.cli.style import Style, cut, printable
from veilig.core.errors import EXIT_FINDINGS, EXIT_INCOMPLETE, EXIT_INTERRUPTED, EXIT_OK, UsageError

if TYPE_CHECKING:
    from veilig.app import Setting
    from veilig.app.campaigns import Wanted
    from veilig.app.fleet_campaigns import Commander, Far
    from veilig.campaign.repositories import Repository
    from veilig.campaign.result import Result
    from veilig.campaign.store import Heading

FORMS = {"html": ".html", "jsonl": ".jsonl", "sarif": ".sarif", "text": ".txt"}
LIST_BYTES_MAX = 64 << 20
NOT_WITH = (
    *("paths", "baseline", "write_baseline", "vex", "imports", "since", "diff", "history", "patch"),
    *("model", "format"),
)
PAGE_S = 3.0  # between two versions of the page
PAGE_SHARE = 20  # and so many times as long as one takes to write


def fleet_options(parser: argparse.ArgumentParser) -> None:
    """What both `audit` and `fix` take for many repositories."""
    parser.add_argument(
        "--fleet",
        metavar="FILE",
        help="every repository of this list: a folder or https git address on a line, with a ref after it if "
        "one is meant; # begins a comment. Far ones only from hosts in `audit.hosts` of the policy",
    )
    parser.add_argument(
        "--git-token",
        action="append",
        default=[],
        metavar="HOST=NAME",
        help="the variable NAME holds a token for this git host (with --fleet)",
    )
    _far_options(parser)


def _far_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--database", nargs="?", const="", metavar="URL",
        help="let the workers of a fleet do it (`veilig worker`): each repository is a session of the queue "
        "in this PostgreSQL, of the organisation that the address names; without URL: $VEILIG_DATABASE",
    )  # fmt: skip
    parser.add_argument("--store", default="", metavar="PLACE", help="the workers' store (with --database)")
    parser.add_argument(
        "--priority", type=int, default=0, metavar="N", help="larger is sooner (with --database)"
    )
    parser.add_argument(
        "--detach", action="store_true",
        help="only queue it; the same command without --detach follows it (with --database)",
    )  # fmt: skip


def far_of(given: argparse.Namespace, jobs: int) -> "Far | None":
    """The fleet that is to do it; None for this machine. jobs: what --jobs is unless given.

    Raises UsageError.
    """
    if given.database is None:
        if given.store or given.detach or given.priority:
            raise UsageError("--store, --priority and --detach belong to --database")
        return None
    from veilig.app.fleet_campaigns import Far

    for name, said in (("jobs", given.jobs != jobs), ("git_token", bool(given.git_token))):
        if said:
            raise UsageError(
                f"--{name.replace('_', '-')} and --database exclude each other",
                why="that is for each worker to say",
                fix="give it to `veilig worker` (--slots, --git-token), or bound the org: veilig queue limit",
            )
    from veilig.cli.worker import database

    return Far(database(given), given.store, given.priority)


def need_fleet(given: argparse.Namespace) -> None:
    """Raises UsageError for what belongs to --fleet alone: it would be passed over without a word."""
    said = {name: bool(getattr(given, name)) for name in ("store", "priority", "detach", "git_token")}
    for name, there in {**said, "database": given.database is not None}.items():
        if there:
            raise UsageError(f"--{name.replace('_', '-')} belongs to --fleet", fix="give --fleet FILE")


def run(given: argparse.Namespace) -> int:
    """0 clean, 1 a finding at or above --fail-at, 3 nothing found but not all was looked at."""
    from veilig.app.campaigns import audit_fleet
    from veilig.cli.models import setting_of

    _need_alone(given)
    outputs = forms_of(given.output or [])
    from veilig.cli.audit_rules import rules_text

    wanted = wanted_of(given, rules=rules_text(given.rules), pattern=given.pattern, fresh=given.fresh)
    page = next((file for file, form in outputs.items() if form == "html"), "")
    watcher, far = FleetProgress(sys.stderr, page), far_of(given, 0)
    try:
        if far is None:
            finished = asyncio.run(audit_fleet(wanted, setting_of(given), watcher))
        else:
            from veilig.app.fleet_campaigns import Commander

            commander = Commander(wanted, far, setting_of(given), watcher)
            if given.detach:
                return detached(commander)
            finished = commander.go()
    except KeyboardInterrupt:
        watcher.done()
        print("interrupted: what was finished is kept; the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED
    watcher.done()
    from veilig.cli.fleet_report import render_text, write_report

    code = exit_code(finished.results, given.fail_at or "low")
    for file, form in outputs.items():
        write_report(file, form, finished)
        print(f"report  {file}, exit code {code}", file=sys.stderr)
    if not outputs:
        print(render_text(finished, Style(sys.stdout)))
    return code


def detached(commander: "Commander") -> int:
    """Queue it and say how it is followed."""
    print(f"queued  campaign {commander.queue()}; the same command without --detach follows it")
    return EXIT_OK


def remember(setting: "Setting", folder: Path, about: Mapping[str, Any]) -> None:
    """Keep the components of one audited folder, for advisories to come; the audit stands without that."""
    from veilig.app.components import keep_components, open_sboms

    place = str(folder)
    try:
        with open_sboms(setting) as sboms:
            keep_components(sboms, place, "", folder.name, "", about)
    except UsageError as error:
        print(f"note    its components are not kept: {error.what}: {error.why}", file=sys.stderr)


def wanted_of(
    given: argparse.Namespace, *, rules: str = "", pattern: bool = False, fresh: bool = False
) -> "Wanted":
    """What is asked of the repositories. Raises UsageError."""
    from veilig.app.campaigns import Wanted
    from veilig.cli.worker import tokens_of

    listed = Path(given.fleet).expanduser()
    return Wanted(
        str(listed.absolute()),
        tuple(read_list(listed)),
        given.jobs or len(os.sched_getaffinity(0)),
        pattern,
        fresh,
        rules,
        tokens_of(given.git_token),
    )


def read_list(listed: Path) -> "list[Repository]":
    """The repositories of the file. Raises UsageError."""
    from veilig.campaign.repositories import read_repositories

    try:
        with listed.open("rb") as file:
            data = file.read(LIST_BYTES_MAX + 1)
        if len(data) > LIST_BYTES_MAX:
            raise UsageError(f"{str(listed)!r} is too large", why=f"more than {LIST_BYTES_MAX} bytes")
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the list {str(listed)!r}", why=str(error)) from error
    return read_repositories(text, listed.absolute().parent, listed.name)


def forms_of(outputs: Sequence[str]) -> dict[str, str]:
    """File -> form, by its suffix. Raises UsageError."""
    found: dict[str, str] = {}
    for file in outputs:
        form = next((form for form, suffix in FORMS.items() if file.endswith(suffix)), "")
        if not form:
            raise UsageError(f"no form belongs to {file!r}", why=f"known are {', '.join(FORMS.values())}")
        if not Path(file).absolute().parent.is_dir():
            raise UsageError(f"cannot write {file!r}", why="its folder does not exist", fix="make it first")
        found[file] = form
    return found


def exit_code(results: "Sequence[Result]", fail_at: str) -> int:
    """As `run` says."""
    from veilig.campaign.result import SEVERITIES

    counted, missing = SEVERITIES[: SEVERITIES.index(fail_at) + 1], False
    for result in results:
        counts = result.counts
        if any(counts[name] for name in counted):
            return EXIT_FINDINGS
        missing = missing or not result.status.read or result.incomplete
    return EXIT_INCOMPLETE if missing else EXIT_OK


def _need_alone(given: argparse.Namespace) -> None:
    """Raises UsageError for what a fleet cannot be asked."""
    for name in NOT_WITH:
        if getattr(given, name):
            other = "a folder" if name == "paths" else f"--{name.replace('_', '-')}"
            raise UsageError(
                f"--fleet and {other} exclude each other",
                why="that belongs to one folder",
                fix="name the folder in the list; the last campaign is the baseline of the next",
            )


class FleetProgress:
    """One line for each repository that ended in trouble, one live line for the rest, and the page."""

    def __init__(self, stream: TextIO, page: str) -> None:
        self._stream = stream
        self._style = Style(stream)
        self._page = page
        self._heading: Heading | None = None
        self._next_s = 0.0
        self._done = 0
        self._counts = Counter[str]()

    def began(self, heading: "Heading", kept: "Collection[Result]") -> None:
        """A campaign begins, or goes on."""
        self._heading = heading
        self._done = len(kept)
        for result in kept:
            self._counts.update(result.counts)
        goes = f", goes on after {self._done}" if kept else ""
        print(f"fleet   {heading.repositories} repositories, campaign {heading.id}{goes}", file=self._stream)

    def ended(self, result: "Result", now: "Callable[[], Sequence[Result]]") -> None:
        """A repository has a result."""
        assert self._heading is not None, "a campaign begins before it has results"
        self.done()
        total = self._heading.repositories
        self._done += 1
        self._counts.update(result.counts)
        if result.status.trouble:
            print(
                f"{result.status:<8}{printable(result.label)}: {printable(result.reason)}", file=self._stream
            )
        elif self._style.live:
            told = ", ".join(f"{count} {name}" for name, count in self._counts.items() if count)
            line = cut(
                f"  {self._done} of {total}  {told or 'nothing found'}  {printable(result.label)}", 110
            )
            self._stream.write(self._style("dim", line))
            self._stream.flush()
        if self._page and time.monotonic() > self._next_s:
            from veilig.campaign.page import to_page

            began_s = time.monotonic()
            write(self._page, to_page(self._heading, now()))
            took_s = time.monotonic() - began_s
            self._next_s = began_s + took_s + max(PAGE_S, PAGE_SHARE * took_s)

    def done(self) -> None:
        """Leave a clean line."""
        if self._style.live:
            self._stream.write("\r\x1b[K")


def write(file: str, parts: Iterable[str]) -> None:
    """Put the whole text where the file is, at once. Raises UsageError."""
    place = Path(file)
    fresh = place.with_name(f".{place.name}.{os.getpid()}.new")
    try:
        with fresh.open("w", encoding="utf-8") as out:
            out.writelines(parts)
        fresh.replace(place)
    except OSError as error:
        raise UsageError(f"cannot write {file!r}", why=error.strerror or str(error)) from error
