"""Which findings did a person silence in the source, with which reason and until when?"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime

from veilig.audit.finding import Finding, Notice, Suppressed

COMMENT = re.compile(r"(?:#|//)\s*veilig:\s*ignore\[([^\]]*)\](.*)$")
_REASON = re.compile(r"reason=(.*?)(?=\s+until=|\s*$)")
_UNTIL = re.compile(r"until=(\S+)")


def apply_suppressions(
    findings: Sequence[Finding], texts: Mapping[str, Sequence[str]], today: str = ""
) -> tuple[list[Finding], list[Suppressed], list[Notice]]:
    """Findings that stay, findings that are silenced, and remarks on comments that do not count.

    A comment `# veilig: ignore[CWE-89] reason=... until=YYYY-MM-DD` on the finding's first or last line, or
    alone on
    the line above, silences it. Without a reason, after its day, or with a date nobody can read, it does not.
    """
    now = date.fromisoformat(today) if today else datetime.now(UTC).date()
    kept: list[Finding] = []
    silenced: list[Suppressed] = []
    notices: list[Notice] = []
    for finding in findings:
        lines = texts.get(finding.path, ())
        found = _comment_for(finding, lines)
        if found is None:
            kept.append(finding)
            continue
        line, rest = found
        reason, until, problem = _judge(rest, now)
        if problem:
            kept.append(finding)
            notices.append(Notice(finding.path, line, f"the suppression does not count: {problem}"))
        else:
            silenced.append(Suppressed(finding, reason, until))
    return kept, silenced, list(dict.fromkeys(notices))


def _comment_for(finding: Finding, lines: Sequence[str]) -> tuple[int, str] | None:
    for line in (finding.line, finding.end_line, finding.line - 1):
        if not 0 < line <= len(lines):
            continue
        text = lines[line - 1]
        if line == finding.line - 1 and not text.lstrip().startswith(("#", "//")):
            continue
        match = COMMENT.search(text)
        if match is None:
            continue
        names = {name.strip().lower() for name in match.group(1).split(",")}
        if f"cwe-{finding.cwe}" in names or finding.rule in names:
            return line, match.group(2)
    return None


def _judge(rest: str, now: date) -> tuple[str, str, str]:
    """Reason, last day, and why the comment does not count (empty when it does)."""
    reason_match, until_match = _REASON.search(rest), _UNTIL.search(rest)
    reason = reason_match.group(1).strip() if reason_match else ""
    until = until_match.group(1) if until_match else ""
    if not reason:
        return "", until, "it gives no reason="
    if until:
        try:
            last = date.fromisoformat(until)
        except ValueError:
            return reason, until, f"until={until} is not a date like 2027-01-31"
        if last < now:
            return reason, until, f"it expired on {until}"
    return reason, until, ""
