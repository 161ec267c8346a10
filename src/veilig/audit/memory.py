"""What did an earlier audit of this same project find? A text that travels in and out of the wall."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any, cast

from veilig.audit.finding import Finding, Report, Step
from veilig.core.errors import UsageError

VERSION = 1
CHARS_MAX = 16 << 20  # half a million lines need a tenth; more is forgotten rather than carried


class Memory:
    """Key of a program -> its report, without source lines: they are put back from the files.

    It belongs to one project folder. A report in it is only shown for files with the same contents, read by
    the same engine; who could write a false one could already falsify the report of this project, and of no
    other.
    """

    def __init__(self, text: str = "") -> None:
        """text: what `to_text` gave. What cannot be read is an empty memory: that costs time only."""
        self._reports: dict[str, dict[str, Any]] = {}
        self.recalled = 0
        try:
            data = cast("dict[str, Any]", json.loads(text)) if text else {}
            if data.get("version") == VERSION:
                self._reports = dict(data["reports"])
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            self._reports = {}

    def recall(self, key: str, files: Mapping[str, str]) -> Report | None:
        """The report under this key; None when there is none, or none that can be read."""
        held = self._reports.get(key)
        if held is None:
            return None
        try:
            report = Report.from_json(json.dumps(held))
        except UsageError:
            return None
        rows: dict[str, list[str]] = {}
        findings = tuple(_with_lines(f, files, rows) for f in report.findings)
        self.recalled += 1
        return replace(report, findings=findings)

    def remember(self, key: str, report: Report) -> None:
        """Keep a report, unless part of its program was not followed: next time there may be more of it."""
        if report.incomplete and any("time" in item.reason for item in report.incomplete):
            return
        bare = replace(report, findings=tuple(_without_lines(f) for f in report.findings), seconds=0.0)
        self._reports[key] = asdict(bare)

    def retain(self, keys: Iterable[str]) -> None:
        """Forget every other key."""
        wanted = set(keys)
        self._reports = {key: value for key, value in self._reports.items() if key in wanted}

    def to_text(self) -> str:
        """The memory as JSON; an empty one when it grew beyond CHARS_MAX."""
        text = json.dumps({"version": VERSION, "reports": self._reports}, separators=(",", ":"))
        return text if len(text) <= CHARS_MAX else ""


def _without_lines(finding: Finding) -> Finding:
    return replace(finding, flow=tuple(replace(step, text="") for step in finding.flow))


def _with_lines(finding: Finding, files: Mapping[str, str], rows: dict[str, list[str]]) -> Finding:
    def line(step: Step) -> Step:
        if step.path not in rows:
            rows[step.path] = files.get(step.path, "").splitlines()
        lines = rows[step.path]
        text = lines[step.line - 1].strip()[:200] if 0 < step.line <= len(lines) else ""
        return replace(step, text=text)

    return replace(finding, flow=tuple(map(line, finding.flow)))
