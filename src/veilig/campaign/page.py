"""How does a campaign read as one HTML file: what is worst, where, and what is new since the last time?

The page needs nothing else: it asks no server, and its one script only sorts and filters tables. While the
campaign runs the file is written again and loads itself anew.
"""

import hashlib
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from html import escape

from veilig.audit.finding import Severity
from veilig.audit.html import FILLS, STYLE
from veilig.campaign.result import SEVERITIES, Found, Result, Status
from veilig.campaign.store import Heading

FINDINGS_SHOWN_MAX = 2_000  # the worst; a page of more is slow to open
REFRESH_S = 5
BAR_PX = 160
SCRIPT = """
for (const table of document.querySelectorAll('table.sort')) {
  const body = table.tBodies[0];
  table.tHead.querySelectorAll('button').forEach((button, at) => button.addEventListener('click', () => {
    const up = button.dataset.up !== '1';
    table.tHead.querySelectorAll('th').forEach(th => th.removeAttribute('aria-sort'));
    button.closest('th').setAttribute('aria-sort', up ? 'ascending' : 'descending');
    button.dataset.up = up ? '1' : '0';
    const key = row => row.cells[at].dataset.v ?? row.cells[at].textContent;
    const rows = [...body.rows].sort((a, b) => {
      const x = key(a), y = key(b), n = x - y;
      return (Number.isNaN(n) ? x.localeCompare(y) : n) * (up ? 1 : -1);
    });
    body.append(...rows);
  }));
}
const wanted = document.getElementById('wanted');
if (wanted) wanted.addEventListener('input', () => {
  const text = wanted.value.toLowerCase();
  for (const row of document.querySelectorAll('table.sort tbody tr'))
    row.hidden = !row.textContent.toLowerCase().includes(text);
});
"""
MORE_STYLE = """
body { max-width: 84rem } th button { all: unset; cursor: pointer; font-weight: 600 }
th button:focus-visible { outline: 2px solid } th[aria-sort=ascending] button::after {
content: ' \\2191' }
th[aria-sort=descending] button::after { content: ' \\2193' }
.n { text-align: right; font-variant-numeric: tabular-nums }
td { font-size: 14px } .sums { display: flex; flex-wrap: wrap; gap: .4rem 2.2rem; margin: 1rem 0; padding: 0 }
.sums div { min-width: 5rem } .sums b { display: block; font-size: 1.3rem;
font-variant-numeric: tabular-nums }
input { font: inherit; padding: .3rem .5rem; width: 24rem; max-width: 100%; border: 1px solid var(--line);
border-radius: 3px; background: transparent; color: inherit } .bad { font-weight: 600 }
tr[hidden] { display: none } progress { width: 24rem; max-width: 100% }
"""


def to_page(heading: Heading, results: Sequence[Result], before: str = "") -> str:
    """The whole page. before: when the campaign began that it is compared with; empty: there is none."""
    digest = b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    allowed = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    title = f"{'Fix' if heading.kind == 'fix' else 'Audit'} of {heading.repositories} repositories"
    running = not heading.ended_at
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{allowed}">',
        f'<meta http-equiv="refresh" content="{REFRESH_S}">' if running else "",
        f"<title>{_text(title)}</title><style>{STYLE}{MORE_STYLE}</style></head><body>",
        f"<h1>{_text(title)}</h1>",
        f"<p>{_text(heading.list)}, begun {_text(heading.began_at)}, "
        + ("still running" if running else f"ended {_text(heading.ended_at)}")
        + (f"; compared with {_text(before)}" if before else "")
        + f' <span class="dim">{_text(heading.id)}</span></p>',
        f'<progress max="{heading.repositories}" value="{len(results)}"></progress> '
        f"{len(results)} of {heading.repositories}" if running else "",
        _sums(results),
        '<p><input id="wanted" type="search" placeholder="rows with ..." aria-label="show rows with"></p>',
        _repositories(results, heading.kind),
        _rules(results),
        _findings(results),
        f"<script>{SCRIPT}</script></body></html>",
    ]  # fmt: skip
    return "\n".join(part for part in parts if part) + "\n"


def _sums(results: Sequence[Result]) -> str:
    severities = Counter[str]()
    for result in results:
        severities.update(result.counts)
    statuses = Counter(result.status for result in results)
    sums = [(name, severities[name]) for name in SEVERITIES]
    if any(result.new is not None for result in results):
        sums += [("new", sum(r.new or 0 for r in results)), ("gone", sum(r.gone or 0 for r in results))]
    sums += [(status.value, statuses[status]) for status in Status if statuses[status]]
    sums.append(("lines read", sum(r.lines for r in results if r.status is not Status.SAME)))
    shown = "".join(f"<div><b>{count:,}</b>{_text(name)}</div>" for name, count in sums)
    return f'<div class="sums">{shown}</div>'


def _repositories(results: Sequence[Result], kind: str) -> str:
    most = max((len(result.findings) for result in results), default=0)
    heads = ["repository", "state", *SEVERITIES, "", "new", "gone", "left out", "lines", "seconds"]
    if kind == "fix":
        heads = ["repository", "state", "fixed", "left", "patch", "seconds"]
    rows: list[str] = []
    for result in sorted(results, key=_badness):
        cells = [_place(result), _state(result)]
        if kind == "fix":
            cells += [_number(result.fixed), _number(len(result.findings))]
            cells += [f"<td><code>{_text(result.patch)}</code></td>", _number(result.seconds)]
        else:
            cells += [_number(result.counts[name]) for name in SEVERITIES]
            cells += [_bar(result, most), _number(result.new), _number(result.gone)]
            cells += [_number(result.left_out), _number(result.lines), _number(result.seconds)]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"<h2>Repositories</h2>{_table(heads, rows)}"


def _badness(result: Result) -> tuple[int, list[int], str]:
    return (not result.status.trouble, [-result.counts[name] for name in SEVERITIES], result.label)


def _place(result: Result) -> str:
    commit = f' <span class="dim">{_text(result.commit[:10])}</span>' if result.commit else ""
    return f"<td><code>{_text(result.label)}</code>{commit}</td>"


def _state(result: Result) -> str:
    mark = ' class="bad"' if result.status.trouble else ""
    reason = f'<br><span class="dim">{_text(result.reason)}</span>' if result.reason else ""
    return f"<td{mark}>{result.status.value}{reason}</td>"


def _number(value: float | None) -> str:
    if value is None:
        return '<td class="n" data-v="-1"></td>'
    return (
        f'<td class="n" data-v="{value}">{value:,}</td>' if value else '<td class="n dim" data-v="0">0</td>'
    )


def _bar(result: Result, most: int) -> str:
    x, parts = 0.0, list[str]()
    for name in SEVERITIES:
        width = result.counts[name] * BAR_PX / most if most else 0.0
        if width:
            fill = FILLS[Severity(name)]
            parts.append(f'<rect x="{x:.1f}" width="{width:.1f}" height="11" fill="{fill}"/>')
            x += width
    total = len(result.findings)
    drawn = f'<svg width="{BAR_PX}" height="11" aria-hidden="true">{"".join(parts)}</svg>'
    return f'<td data-v="{total}">{drawn}</td>'


def _rules(results: Sequence[Result]) -> str:
    found: defaultdict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for result in results:
        counts = Counter((f.rule, f.severity, "" if f.rule == "pin" else f.title) for f in result.findings)
        for key, count in counts.items():
            found[key][0] += count
            found[key][1] += 1
    order = {name: at for at, name in enumerate(SEVERITIES)}
    rows = [
        f"<tr><td><code>{_text(rule)}</code></td><td>{_text(title or 'vulnerable pin')}</td>"
        f'<td data-v="{order.get(severity, 0)}">{severity}</td>{_number(count)}{_number(places)}</tr>'
        for (rule, severity, title), (count, places) in sorted(
            found.items(), key=lambda item: (order.get(item[0][1], 0), -item[1][0], item[0])
        )
    ]
    heads = ["rule", "weakness", "severity", "findings", "repositories"]
    return f"<h2>By rule</h2>{_table(heads, rows)}" if rows else ""


def _findings(results: Sequence[Result]) -> str:
    order = {name: at for at, name in enumerate(SEVERITIES)}
    # The same content in two repositories is the same finding, shown where it was read.
    every = [(r.label, f) for r in results if r.status is not Status.SAME for f in r.findings]
    every.sort(key=lambda item: (order.get(item[1].severity, 0), item[0], item[1].path, item[1].line))
    rows = [_finding(label, found, order) for label, found in every[:FINDINGS_SHOWN_MAX]]
    left = len(every) - len(rows)
    more = f'<p class="dim">{left:,} less severe findings are not on this page.</p>' if left else ""
    heads = ["severity", "what", "repository", "where"]
    return f"<h2>Findings</h2>{_table(heads, rows)}{more}" if rows else ""


def _finding(label: str, found: Found, order: dict[str, int]) -> str:
    return (
        f'<tr><td data-v="{order.get(found.severity, 0)}">{_text(found.severity)}</td>'
        f"<td>{_text(found.title)}</td><td><code>{_text(label)}</code></td>"
        f"<td><code>{_text(found.path)}:{found.line}</code></td></tr>"
    )


def _table(heads: Iterable[str], rows: Iterable[str]) -> str:
    head = "".join(f'<th scope="col"><button type="button">{_text(name)}</button></th>' for name in heads)
    return f'<table class="sort"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _text(text: str) -> str:
    shown = "".join(c if c.isprintable() else " " for c in text.replace("\n", " "))
    return escape(shown)
