"""How does a report read in a terminal?"""

from collections import Counter

from veilig.audit.finding import Finding, Report, Severity

COLOURS = {Severity.LOW: "36", Severity.MEDIUM: "33", Severity.HIGH: "31", Severity.CRITICAL: "1;31"}
SKIPPED_SHOWN_MAX = 20


def render_text(report: Report, *, show_flow: bool = True, color: bool = False) -> str:
    """The whole report: findings by severity, then what was not looked at, then one summary line.

    Control characters of the audited source are shown escaped: a source file must not draw on the reader's
    terminal.
    """
    lines: list[str] = []
    for number, finding in enumerate(ordered(report.findings), 1):
        lines.extend(finding_lines(number, finding, show_flow=show_flow, color=color))
    if report.findings:
        lines.append("")
    lines.extend(not_looked_at(report))
    lines.extend(f"notice  {item.path}:{item.line}  {item.message}" for item in report.notices)
    lines.append(summary(report))
    return "\n".join(printable(line) for line in lines) if not color else "\n".join(lines)


def ordered(findings: tuple[Finding, ...]) -> list[Finding]:
    """Worst and surest first, then by place."""
    return sorted(findings, key=lambda f: (-f.severity.rank, f.confidence.rank, f.path, f.line, f.column))


def finding_lines(number: int, finding: Finding, *, show_flow: bool, color: bool) -> list[str]:
    """One finding: what and where on the first line, then the way of the value."""
    severity = f"{finding.severity.value:<8}"
    if color:
        severity = f"\x1b[{COLOURS[finding.severity]}m{severity}\x1b[0m"
    place = printable(f"{finding.path}:{finding.line}")
    head = f"{number:>2}  CWE-{finding.cwe:<4} {severity} {place}  {printable(finding.message)}"
    lines = [f"{head}  ({finding.confidence.value})", *(f"      {row}" for row in opinion_lines(finding))]
    if show_flow:
        for step in finding.flow:
            where = printable(f"{step.path}:{step.line}")
            lines.append(f"      {where:<32} {printable(step.text)}")
            lines.append(f"      {'':<32}   {printable(step.what)}")
    return lines


def opinion_lines(finding: Finding) -> list[str]:
    """What a model says of it, in one line; none when no model does."""
    said = finding.opinion
    if said is None:
        return []
    role = "found by" if said.was is None else "doubted by"
    before = f", was {said.was.value}" if said.was is not None else ""
    return [printable(f"{role} {said.by}{before}: {said.reason}")]


def not_looked_at(report: Report) -> list[str]:
    """Files and functions the audit says nothing about."""
    lines = [f"skipped {item.path}  {item.reason}" for item in report.skipped[:SKIPPED_SHOWN_MAX]]
    if len(report.skipped) > SKIPPED_SHOWN_MAX:
        lines.append(f"skipped {len(report.skipped) - SKIPPED_SHOWN_MAX} more files, all in the JSON report")
    for item in report.incomplete[:SKIPPED_SHOWN_MAX]:
        lines.append(f"partly  {item.path}  {item.function}: {item.reason}")
    if len(report.incomplete) > SKIPPED_SHOWN_MAX:
        lines.append(
            f"partly  {len(report.incomplete) - SKIPPED_SHOWN_MAX} more functions, all in the JSON report"
        )
    return lines


def summary(report: Report) -> str:
    """One line with every number: files, weaknesses by severity, and everything that was not looked at."""
    counts = Counter(finding.severity for finding in report.findings)
    split = ", ".join(f"{counts[level]} {level.value}" for level in reversed(Severity) if counts[level])
    total = len(report.findings)
    found = f"{total} weakness{'' if total == 1 else 'es'}" + (f" ({split})" if split else "")
    return (
        f"audit   {report.files} files, {report.lines} lines, {found}, {len(report.skipped)} skipped, "
        f"{len(report.incomplete)} partly followed, {len(report.suppressed)} suppressed, "
        f"{len(report.outside_profile)} test files not reported on, {report.seconds:.1f} s"
    )


def printable(text: str) -> str:
    """The text without control characters that could act on a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
