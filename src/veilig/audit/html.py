"""How does a report read as one HTML file that needs nothing else: no script, no font, no request?"""

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape

from veilig.audit.finding import Finding, Report, Severity
from veilig.audit.report import opinion_lines, ordered, printable, summary
from veilig.audit.rules import BY_ID

FINDINGS_MAX = 2_000  # the worst; a page of more is slow to open
FILES_DRAWN_MAX = 40
BAR_PX = 420
ROW_PX = 22
# Darkness grows with severity and every bar carries a pattern and a number: it reads the same in grey.
FILLS: Mapping[Severity, str] = {
    Severity.CRITICAL: "#7a0019",
    Severity.HIGH: "#c0392b",
    Severity.MEDIUM: "#e0a030",
    Severity.LOW: "#c9d6df",
}
# The page may style itself and do nothing else.
ALLOWED = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --line: #8885; --soft: #8881; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
code, .flow { font: 13px/1.5 ui-monospace, monospace; overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .3rem .6rem .3rem 0;
border-bottom: 1px solid var(--line); vertical-align: top } details { border-bottom: 1px solid var(--line);
padding: .4rem 0 } summary { cursor: pointer } .tag { display: inline-block;
min-width: 4.5rem; font-weight: 600 }
.flow { border-left: 2px solid var(--line); margin: .5rem 0 .5rem .5rem; padding-left: .8rem }
.flow p { margin: .2rem 0 } .what, .dim { opacity: .7 } pre { background: var(--soft); padding: .3rem .6rem;
margin: .1rem 0; overflow-x: auto } svg text { fill: currentColor; font: 12px ui-monospace, monospace }
@media print { details { break-inside: avoid } }
"""


def to_html(
    report: Report,
    *,
    title: str = "Audit",
    pins: Sequence[Mapping[str, object]] = (),
    remarks: Sequence[str] = (),
) -> str:
    """A whole page: numbers, a picture of severity by file, each finding with its flow, what is missing.

    pins: vulnerable pins as the audit worker lists them. remarks: lines about dependencies.
    Everything from the audited project is escaped.
    """
    found = ordered(report.findings)
    shown = found[:FINDINGS_MAX]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{ALLOWED}">',
        f"<title>{_text(title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{_text(title)}</h1><p>{_text(summary(report))}</p>",
        picture(found),
        "<h2>Findings</h2>" if shown else "<p>No weakness was found in what was looked at.</p>",
        *(_finding(number, finding) for number, finding in enumerate(shown, 1)),
    ]
    if len(found) > len(shown):
        parts.append(f"<p>{len(found) - len(shown)} less severe findings are not on this page.</p>")
    parts += [_pins(pins), _remarks(remarks), _missing(report), "</body></html>"]
    return "\n".join(part for part in parts if part) + "\n"


def picture(findings: Sequence[Finding]) -> str:
    """Bars of severity by file as SVG, the worst file first; "" when there is nothing to draw."""
    counts: dict[str, Counter[Severity]] = {}
    for finding in findings:
        counts.setdefault(finding.path, Counter())[finding.severity] += 1
    if not counts:
        return ""

    def weight(path: str) -> tuple[list[int], str]:
        return [-counts[path][level] for level in reversed(Severity)], path

    drawn = sorted(counts, key=weight)[:FILES_DRAWN_MAX]
    most = max(sum(counts[path].values()) for path in drawn)
    height = ROW_PX * len(drawn) + 30
    rows = [_legend()]
    for index, path in enumerate(drawn):
        rows += _bar(path, counts[path], 26 + index * ROW_PX, BAR_PX / most)
    left = len(counts) - len(drawn)
    more = f'<p class="dim">{left} more files have findings.</p>' if left else ""
    return (
        f'<h2>Severity by file</h2><svg role="img" aria-label="findings by file and severity" '
        f'width="100%" viewBox="0 0 900 {height}">{"".join(rows)}</svg>{more}'
    )


def _legend() -> str:
    x, parts = 0, list[str]()
    for level in reversed(Severity):
        parts.append(f'<rect x="{x}" y="2" width="12" height="12" fill="{FILLS[level]}"/>')
        parts.append(f'<text x="{x + 17}" y="12">{level[0].upper()} {level}</text>')
        x += 120
    return "".join(parts)


def _bar(path: str, counts: Counter[Severity], y: int, scale: float) -> list[str]:
    x, parts = 0.0, list[str]()
    for level in reversed(Severity):
        count = counts[level]
        if count:
            width = max(count * scale, 3.0)
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="14" fill="{FILLS[level]}" '
                f'stroke="currentColor" stroke-width=".4"><title>{count} {level}</title></rect>'
            )
            x += width
    letters = " ".join(f"{level[0].upper()}{counts[level]}" for level in reversed(Severity) if counts[level])
    parts.append(f'<text x="{x + 8:.1f}" y="{y + 12}">{letters}  {_text(_short(path))}</text>')
    return parts


def _short(path: str) -> str:
    return path if len(path) <= 60 else f"…{path[-59:]}"


def _finding(number: int, finding: Finding) -> str:
    rule = BY_ID.get(finding.rule)
    steps = "".join(
        f"<p><code>{_text(step.path)}:{step.line}</code> "
        f'<span class="what">{_text(step.what)}</span></p><pre>{_text(step.text)}</pre>'
        for step in finding.flow
    )
    flow = f'<div class="flow">{steps}</div>' if steps else ""
    said = "".join(f"<p>{_text(line)}</p>" for line in opinion_lines(finding))
    advice = f"<p>{_text(rule.why)}</p><p><strong>Instead:</strong> {_text(rule.advice)}</p>" if rule else ""
    return (
        f'<details id="f{number}"{" open" if number <= 3 else ""}><summary><span class="tag">'
        f"{finding.severity}</span> CWE-{finding.cwe} {_text(finding.title)} "
        f"<code>{_text(finding.path)}:{finding.line}</code> "
        f'<span class="dim">{finding.confidence}</span></summary>'
        f"<p>{_text(finding.message)}</p>{said}{flow}{advice}</details>"
    )


def _pins(pins: Sequence[Mapping[str, object]]) -> str:
    if not pins:
        return ""
    rows = "".join(
        f"<tr><td>{_text(str(pin.get('severity') or 'unknown'))}</td><td>{_text(str(pin['title']))}<br>"
        f'<span class="dim">{_text(str(pin.get("message", "")))}</span></td>'
        f"<td><code>{_text(str(pin['path']))}:{pin['line']}</code></td></tr>"
        for pin in pins
    )
    head = "<tr><th>severity</th><th>what</th><th>where</th></tr>"
    return f"<h2>Vulnerable pins</h2><table>{head}{rows}</table>"


def _remarks(remarks: Sequence[str]) -> str:
    rows = "".join(f"<li>{_text(remark)}</li>" for remark in remarks)
    return f"<h2>Dependencies</h2><ul>{rows}</ul>" if rows else ""


def _missing(report: Report) -> str:
    rows = [f"<li><code>{_text(i.path)}</code> {_text(i.reason)}</li>" for i in report.skipped]
    rows += [
        f"<li><code>{_text(i.path)}</code> {_text(i.function)}: {_text(i.reason)}</li>"
        for i in report.incomplete
    ]
    silenced = [
        f"<li><code>{_text(s.finding.path)}:{s.finding.line}</code> CWE-{s.finding.cwe}: {_text(s.reason)} "
        f"{_text(s.until)}</li>"
        for s in report.suppressed
    ]
    told = [f"<li><code>{_text(n.path)}:{n.line}</code> {_text(n.message)}</li>" for n in report.notices]
    lists = (("Not looked at", rows), ("Suppressed", silenced), ("Notices", told))
    return "".join(f"<h2>{name}</h2><ul>{''.join(items)}</ul>" for name, items in lists if items)


def _text(text: str) -> str:
    return escape(printable(text.replace("\n", " ")))
