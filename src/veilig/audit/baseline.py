"""Which findings were known before, and which lie on lines that a change added?"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

from veilig.audit.finding import Finding, Notice, Report, Suppressed
from veilig.audit.rows import diff_rows
from veilig.core.errors import UsageError

BASELINE_VERSION = 1
BASELINE_BYTES_MAX = 64 << 20
# How a suppression by the baseline begins, so that reports can tell it from one in the source.
KNOWN_BEFORE = "in the baseline"

_FILE = re.compile(r"^\+\+\+ (?P<path>.*?)(?:\t.*)?$")
_HUNK = re.compile(r"^@@ -\d+(?:,(?P<old>\d+))? \+(?P<start>\d+)(?:,(?P<new>\d+))? @@")


@dataclass(frozen=True, slots=True)
class Known:
    """One finding of the day the baseline was written; rule, path and line are for the reader only."""

    fingerprint: str
    rule: str
    path: str
    line: int


@dataclass(frozen=True, slots=True)
class Baseline:
    """The findings that a project lives with for now. `made_on`: ISO date."""

    known: tuple[Known, ...]
    made_on: str = ""

    def to_json(self) -> str:
        """One finding per line, sorted: a merge of two baselines is readable."""
        rows = sorted(set(self.known), key=lambda k: (k.path, k.line, k.rule, k.fingerprint))
        lines = ",\n".join(f"  {json.dumps(asdict(row), ensure_ascii=False)}" for row in rows)
        body = f"[\n{lines}\n ]" if rows else "[]"
        return f'{{"version": {BASELINE_VERSION}, "made_on": {json.dumps(self.made_on)}, "known": {body}}}\n'

    @classmethod
    def from_json(cls, text: str, name: str = "the baseline") -> "Baseline":
        """What `to_json` wrote. Raises UsageError: an unreadable baseline must not look like an empty one."""
        try:
            if len(text) > BASELINE_BYTES_MAX:
                raise ValueError(f"more than {BASELINE_BYTES_MAX} characters")
            data = cast("dict[str, Any]", json.loads(text))
            if data["version"] != BASELINE_VERSION:
                raise ValueError(f"version {data['version']!r}, this release reads {BASELINE_VERSION}")
            known = tuple(
                Known(str(r["fingerprint"]), str(r["rule"]), str(r["path"]), int(r["line"]))
                for r in data["known"]
            )
            return cls(known, str(data.get("made_on", "")))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UsageError(
                f"{name} is not a baseline of veilig",
                why=f"{type(error).__name__}: {error}",
                fix="write it anew with `veilig audit PATH --write-baseline FILE`",
            ) from error


def baseline_of(reports: Iterable[Report], made_on: str) -> Baseline:
    """Everything that these reports show, as known from now on."""
    found = [finding for report in reports for finding in report.findings]
    return Baseline(tuple(Known(f.fingerprint, f.rule, f.path, f.line) for f in found), made_on)


def without_known(report: Report, baseline: Baseline) -> Report:
    """The report without the known findings: they are listed as suppressed.

    A known finding that is gone is a notice, so that the baseline shrinks and never hides a new one of the
    same fingerprint unseen.
    """
    known = {item.fingerprint for item in baseline.known}
    reason = f"{KNOWN_BEFORE} of {baseline.made_on}" if baseline.made_on else KNOWN_BEFORE
    kept = tuple(f for f in report.findings if f.fingerprint not in known)
    old = tuple(Suppressed(f, reason) for f in report.findings if f.fingerprint in known)
    return replace(report, findings=kept, suppressed=(*report.suppressed, *old))


def gone(reports: Iterable[Report], baseline: Baseline) -> tuple[Notice, ...]:
    """A notice for each entry of the baseline that no report shows any more."""
    seen = {f.fingerprint for report in reports for f in report.findings}
    seen |= {s.finding.fingerprint for report in reports for s in report.suppressed}
    return tuple(
        Notice(item.path, item.line, f"{item.rule} is in the baseline but is not found any more")
        for item in baseline.known
        # What a model claims one day and not the next is no news.
        if item.fingerprint not in seen and not item.rule.startswith("model/")
    )


# --- changed lines only ---------------------------------------------------------------------------


def added_lines(diff: str) -> dict[str, frozenset[int]]:
    """New path -> numbers of the lines that a unified diff adds or changes (from 1, as after the change).

    Reads `git diff` and `diff -u`; deletions, renames and binary files add no lines.
    Raises UsageError when the text holds no hunk at all and is not empty, or when a hunk is cut off.
    """
    lines: dict[str, set[int]] = {}
    path, hunks, index = "", 0, 0
    rows = diff_rows(diff)
    while index < len(rows):
        row = rows[index]
        index += 1
        if named := new_path(row):
            path = named
            lines.setdefault(path, set())  # also without a hunk: what cannot be read there is still said
        elif hunk := _HUNK.match(row):
            hunks += 1
            span = hunk_rows(rows, index)
            number, added = int(hunk["start"]), lines.setdefault(path, set())
            for line in rows[index : index + span]:
                if line[:1] == "+":
                    added.add(number)
                number += line[:1] not in ("-", "\\")
            index += span
    if diff.strip() and not hunks and not re.search(r"^(diff --git|similarity|Binary)", diff, re.MULTILINE):
        raise UsageError("this is not a unified diff", why="it holds no @@ line", fix="use `git diff -U3`")
    return {name: frozenset(numbers) for name, numbers in lines.items() if name != "/dev/null"}


def new_path(row: str) -> str:
    """The path that a `+++` line of a diff names, without git's `b/`; "" for any other line."""
    named = _FILE.match(row.removesuffix("\r"))
    return _path(named["path"]) if named else ""


def hunk_rows(rows: list[str], index: int) -> int:
    """How many rows from `index` on belong to the hunk whose head stands before; 0 when none does.

    Raises UsageError for a hunk that is shorter than it says.
    """
    head = _HUNK.match(rows[index - 1])
    if head is None:
        return 0
    old, new, first = int(head["old"] or 1), int(head["new"] or 1), index
    while old > 0 or new > 0:
        if index >= len(rows):
            raise UsageError("the diff is cut off", why="a hunk is shorter than it says", fix="make it anew")
        mark = rows[index][:1]
        index += 1
        if mark != "\\":
            old -= mark != "+"
            new -= mark != "-"
    return index - first


def _path(written: str) -> str:
    """The path in a `+++` line without git's `b/` and quotes."""
    if written.startswith('"') and written.endswith('"'):
        raw = re.sub(
            rb"\\([0-7]{3}|.)",
            lambda m: bytes([int(m[1], 8)]) if len(m[1]) == 3 else {b"t": b"\t", b"n": b"\n"}.get(m[1], m[1]),
            written[1:-1].encode(),
        )
        written = raw.decode("utf-8", "backslashreplace")
    return written[2:] if written.startswith(("b/", "w/", "i/")) else written


def only_added(report: Report, added: Mapping[str, frozenset[int]]) -> Report:
    """The findings that a change touches: its place, or a step of its flow, is on an added line.

    What was skipped or only partly followed stays in the report, for files that the change touches.
    """
    findings = tuple(f for f in report.findings if _touched(f, added))
    return replace(
        report,
        findings=findings,
        suppressed=tuple(s for s in report.suppressed if _touched(s.finding, added)),
        skipped=tuple(s for s in report.skipped if s.path in added),
        incomplete=tuple(i for i in report.incomplete if i.path in added),
        notices=tuple(n for n in report.notices if n.path in added),
    )


def _touched(finding: Finding, added: Mapping[str, frozenset[int]]) -> bool:
    end = max(finding.end_line, finding.line)
    own = added.get(finding.path, frozenset())
    if any(number in own for number in range(finding.line, min(end, finding.line + 200) + 1)):
        return True
    return any(step.line in added.get(step.path, frozenset()) for step in finding.flow)
