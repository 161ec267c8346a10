"""Which findings does the reader want: all, those that are new, or those on changed lines?"""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from veilig.agent.audit_opinion import About
from veilig.audit.baseline import Baseline, Known, added_lines, baseline_of, gone, only_added, without_known
from veilig.audit.dependencies_edges import Reach
from veilig.audit.finding import Finding, Notice, Report
from veilig.audit.sarif_import import with_imported
from veilig.audit.secrets import in_history
from veilig.audit.vex import Statement, judge
from veilig.cli.audit_report import Root
from veilig.core.errors import UsageError

INPUT_BYTES_MAX = 64 << 20


def read_input(name: str, what: str) -> str:
    """The text of a file, or of standard input for `-`. Raises UsageError."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(INPUT_BYTES_MAX + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(INPUT_BYTES_MAX + 1)
        if len(data) > INPUT_BYTES_MAX:
            raise UsageError(f"{what} {name!r} is too large", why=f"more than {INPUT_BYTES_MAX} bytes")
        return data.decode("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {what} {name!r}", why=error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{what} {name!r} is not UTF-8 text", why=str(error)) from error


def diff_of(given: argparse.Namespace, folders: Sequence[Path]) -> str | None:
    """What --diff or --since narrows the report to, as one diff; None for everything."""
    from veilig.app import changes_since

    if given.since is None:
        return read_input(given.diff, "the diff") if given.diff else None
    if given.diff:
        raise UsageError("--since and --diff exclude each other", why="both say which lines are new")
    pairs = zip(given.paths, folders, strict=True)
    places = [(folder, PurePosixPath(path).as_posix()) for path, folder in pairs]
    return "".join(changes_since(f, given.since, "" if at == "." else f"{at}/") for f, at in places)


def narrowed(roots: Sequence[Root], baseline: str | None, diff: str | None) -> list[Root]:
    """The roots without what the baseline knows and, given a diff, with what it touches only.

    baseline: text of the file, None for none. diff: a unified diff, its paths as the user or the folder
    sees them. Raises UsageError for text that is not what it should be.
    """
    shown = list(roots)
    if baseline is not None:
        known = Baseline.from_json(baseline)
        fingerprints = {item.fingerprint for item in known.known}
        missing = gone([r.report for r in shown], replace(known, known=_weaknesses(known)))
        shown = [
            replace(
                r,
                report=without_known(r.report, known),
                pins=tuple(p for p in r.pins if _pin_known(p).fingerprint not in fingerprints),
            )
            for r in shown
        ]
        if missing and shown:
            last = shown[-1].report
            shown[-1] = replace(shown[-1], report=replace(last, notices=(*last.notices, *missing)))
    if diff is not None:
        added = added_lines(diff)
        shown = [_touched(r, added) for r in shown]
    return shown


def asked_about(path: str, baseline: str | None, diff: str | None, exclude: Sequence[str]) -> About:
    """What `narrowed` will leave of the findings in the folder that the user calls `path`."""
    known = frozenset(item.fingerprint for item in Baseline.from_json(baseline).known) if baseline else ()
    added = None
    if diff is not None:
        here = "" if path in (".", "./") else f"{PurePosixPath(path).as_posix()}/"
        added = dict[str, frozenset[int]]()
        for file, lines in added_lines(diff).items():
            for name in {file, file.removeprefix(here)}:
                added[name] = added.get(name, frozenset()) | lines
    return About(added, frozenset(known), tuple(exclude))


def _weaknesses(known: Baseline) -> tuple[Known, ...]:
    return tuple(item for item in known.known if item.rule != "pin")


def _touched(root: Root, added: dict[str, frozenset[int]]) -> Root:
    here = "" if root.path in (".", "./") else f"{PurePosixPath(root.path).as_posix()}/"
    seen = {**{f"{here}{path}": lines for path, lines in added.items()}, **added}
    pins = tuple(p for p in root.pins if int(p["line"]) in seen.get(str(p["path"]), frozenset()))
    defects = tuple(d for d in root.defects if str(d["path"]) in seen)
    about = {**root.advisories, "unread": [p for p in root.advisories.get("unread", []) if p in seen]}
    report = only_added(root.report, seen)
    return replace(root, report=report, pins=pins, defects=defects, advisories=about)


def believed(roots: Sequence[Root], claims: Sequence[Statement]) -> list[Root]:
    """The roots without the pins that OpenVEX statements silence; each one is a notice with its reason."""
    if not claims:
        return list(roots)
    shown: list[Root] = []
    for root in roots:
        kept, notices = list[dict[str, Any]](), list[Notice]()
        for pin in root.pins:
            names, imported = str(pin.get("rule", "")).split(", "), pin.get("reach") == Reach.IMPORTED
            judged = judge(claims, names, str(pin["package"]), str(pin["version"]), imported=imported)
            if not judged.silenced:
                kept.append(pin)
            if judged.reason:
                verb = "left out" if judged.silenced else "kept"
                notices.append(Notice(str(pin["path"]), int(pin["line"]), f"{verb}: {judged.reason}"))
        report = replace(root.report, notices=(*root.report.notices, *notices))
        shown.append(replace(root, report=report, pins=tuple(kept)))
    return shown


def joined(root: Root, others: Sequence[Finding], folder: Path) -> Root:
    """The root with findings of other tools, their paths as seen from where the user stands."""
    here = "" if root.path in (".", "./") else f"{PurePosixPath(root.path).as_posix()}/"

    def seen(path: str) -> str:
        inside = path.removeprefix(f"{folder}/")
        return inside if inside.startswith(here) and inside == path else f"{here}{inside}"

    moved = [
        replace(f, path=seen(f.path), flow=tuple(replace(s, path=seen(s.path)) for s in f.flow))
        for f in others
    ]
    return replace(root, report=with_imported(root.report, moved))


def committed(file: str, pattern: bool, folders: int) -> list[Finding]:
    """The secrets in a `git log -p`. Raises UsageError for a text that holds no commit."""
    if folders != 1:
        raise UsageError("--history needs one folder", why="a history belongs to one repository")
    text = read_input(file, "the history")
    if not re.search(r"^commit [0-9a-f]{7,64}", text, re.MULTILINE):
        raise UsageError(
            f"{file!r} is no history",
            why="it holds no line `commit ...`",
            fix="make it with `git log -p -U0 --no-color --no-ext-diff --no-textconv`",
        )
    return in_history(text, pattern=pattern)


def with_past(root: Root, past: Sequence[Finding]) -> Root:
    """The root with what lies in the history, also where a file still shows it: both must be dealt with."""
    here = "" if root.path in (".", "./") else f"{PurePosixPath(root.path).as_posix()}/"
    fresh = tuple(replace(f, path=f"{here}{f.path}") for f in past)
    report = replace(root.report, findings=(*root.report.findings, *fresh))
    return replace(root, report=report)


def _pin_known(pin: dict[str, Any]) -> Known:
    """A pin as the baseline keeps it: a further vulnerability of the same pin is new."""
    return Known(f"{pin['id']}:{pin.get('rule', '')}", "pin", str(pin["path"]), int(pin["line"]))


def baseline_text(roots: Sequence[Root]) -> str:
    """What `--write-baseline` writes: every finding and every vulnerable pin."""
    today = datetime.now(UTC).date().isoformat()
    made = baseline_of([r.report for r in roots], today)
    pins = tuple(_pin_known(p) for r in roots for p in r.pins)
    return replace(made, known=(*made.known, *pins)).to_json()


def merged(roots: Sequence[Root]) -> Report:
    """One report on all folders, for forms that have one page."""
    reports = [r.report for r in roots]
    return Report(
        findings=tuple(f for r in reports for f in r.findings),
        skipped=tuple(s for r in reports for s in r.skipped),
        files=sum(r.files for r in reports),
        lines=sum(r.lines for r in reports),
        seconds=sum(r.seconds for r in reports),
        incomplete=tuple(i for r in reports for i in r.incomplete),
        suppressed=tuple(s for r in reports for s in r.suppressed),
        notices=tuple(n for r in reports for n in r.notices),
        outside_profile=tuple(p for r in reports for p in r.outside_profile),
    )
