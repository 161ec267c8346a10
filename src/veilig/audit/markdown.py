"""How does a report read as Markdown, in a pull request or a ticket?"""

import re
from collections.abc import Mapping, Sequence

from veilig.audit.finding import Finding, Report
from veilig.audit.report import opinion_lines, ordered, printable, summary
from veilig.audit.rules import BY_ID

FINDINGS_MAX = 200  # a comment of more is not read; the rest is counted
NOT_LOOKED_AT_MAX = 50


def to_markdown(
    report: Report,
    *,
    title: str = "Audit",
    pins: Sequence[Mapping[str, object]] = (),
    remarks: Sequence[str] = (),
) -> str:
    """The report as GitHub-flavoured Markdown: a table, each finding with its flow, what is missing.

    pins: vulnerable pins as the audit worker lists them (severity, path, line, title, message). remarks:
    lines about dependencies, for example how old the advisory data is.
    Text of the audited project is escaped: it cannot add links, images, HTML or mentions.
    """
    lines = [f"# {_text(title)}", "", _text(summary(report)), ""]
    found = ordered(report.findings)
    if found or pins:
        lines += ["| severity | what | where | confidence |", "|---|---|---|---|"]
        lines += [_row(finding) for finding in found[:FINDINGS_MAX]]
        lines += [_pin_row(pin) for pin in pins[:FINDINGS_MAX]]
        lines.append("")
    for finding in found[:FINDINGS_MAX]:
        lines += _section(finding)
    if len(found) > FINDINGS_MAX:
        lines += [f"{len(found) - FINDINGS_MAX} less severe findings are not shown here.", ""]
    lines += _missing(report)
    if remarks:
        lines += ["## Dependencies", "", *(f"- {_text(remark)}" for remark in remarks), ""]
    return "\n".join(lines).rstrip() + "\n"


def _row(finding: Finding) -> str:
    what = f"CWE-{finding.cwe} {_text(finding.title)}"
    sure = f"{finding.confidence}{_mark(finding)}"
    return f"| {finding.severity} | {what} | {_code(f'{finding.path}:{finding.line}')} | {sure} |"


def _mark(finding: Finding) -> str:
    if finding.opinion is None:
        return ""
    return ", model" if finding.claimed else ", doubted"


def _pin_row(pin: Mapping[str, object]) -> str:
    place = _code(f"{pin['path']}:{pin['line']}")
    return f"| {_text(str(pin.get('severity') or 'unknown'))} | {_text(str(pin['title']))} | {place} | pin |"


def _section(finding: Finding) -> list[str]:
    rule = BY_ID.get(finding.rule)
    place = _code(f"{finding.path}:{finding.line}")
    lines = [
        f"## CWE-{finding.cwe} {_text(finding.title)}",
        "",
        f"{place}, {finding.severity}, {finding.confidence}. {_text(finding.message)}",
        "",
    ]
    for said in opinion_lines(finding):
        lines += [_text(said), ""]
    for number, step in enumerate(finding.flow, 1):
        lines.append(f"{number}. {_code(f'{step.path}:{step.line}')} {_code(step.text)} {_text(step.what)}")
    if finding.flow:
        lines.append("")
    if rule is not None:
        lines += [f"Instead: {_text(rule.advice)}", ""]
    return lines


def _missing(report: Report) -> list[str]:
    lines: list[str] = []
    if report.skipped or report.incomplete:
        rows = [f"- {_code(item.path)}: {_text(item.reason)}" for item in report.skipped]
        rows += [
            f"- {_code(item.path)} {_code(item.function)}: {_text(item.reason)}" for item in report.incomplete
        ]
        lines += ["## Not looked at", "", *rows[:NOT_LOOKED_AT_MAX]]
        if len(rows) > NOT_LOOKED_AT_MAX:
            lines.append(f"- and {len(rows) - NOT_LOOKED_AT_MAX} more")
        lines.append("")
    if report.suppressed:
        lines += ["## Suppressed", ""]
        for item in report.suppressed[:NOT_LOOKED_AT_MAX]:
            place = _code(f"{item.finding.path}:{item.finding.line}")
            until = f" (until {_text(item.until)})" if item.until else ""
            lines.append(f"- {place} CWE-{item.finding.cwe}: {_text(item.reason)}{until}")
        lines.append("")
    if report.notices:
        lines += ["## Notices", ""]
        lines += [f"- {_code(f'{n.path}:{n.line}')}: {_text(n.message)}" for n in report.notices]
        lines.append("")
    return lines


_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+!|~$&-])")
_MENTION = re.compile(r"(?<![\w.])@(?=\w)")


def _text(text: str) -> str:
    """Text that Markdown shows as it is, on one line; an @name does not call anybody."""
    return _MENTION.sub("@\u200b", _SPECIAL.sub(r"\\\1", printable(text.replace("\n", " "))))


def _code(text: str) -> str:
    """Text as code, whatever backticks it holds; a table cell keeps its bounds."""
    plain = printable(text.replace("\n", " ").strip()).replace("|", "\\|")
    if not plain:
        return ""
    longest = max((len(run) for run in re.findall(r"`+", plain)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{pad}{plain}{pad}{fence}"
