"""How does a campaign read as one HTML file: what is worst, where, and what is new since the last time?

The page needs nothing else: it asks no server, and its one script only sorts and filters tables. While the
campaign runs the file is written again and loads itself anew.
"""

import hashlib
import heapq
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
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


@dataclass(slots=True)
class _Sums:
    """What one walk over the results counts; nothing in it grows with what was found, but the worst."""

    severities: Counter[str] = field(default_factory=Counter[str])
    statuses: Counter[Status] = field(default_factory=Counter[Status])
    new: int = 0
    gone: int = 0
    compared: bool = False
    lines: int = 0
    most: int = 0  # findings of one repository
    order: list[tuple[tuple[bool, tuple[int, ...], str], int]] = field(default_factory=list)  # pyright: ignore[reportUnknownVariableType]
    rules: dict[tuple[str, str, str], list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    worst: list["_Worst"] = field(default_factory=list)  # pyright: ignore[reportUnknownVariableType]
    findings: int = 0


def to_page(heading: Heading, results: Sequence[Result], before: str = "") -> Iterator[str]:
    """The whole page, piece by piece: results are read when they are wanted.

    before: when the campaign began that it is compared with; empty: there is none.
    """
    digest = b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    allowed = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    title = f"{'Fix' if heading.kind == 'fix' else 'Audit'} of {heading.repositories} repositories"
    running = not heading.ended_at
    yield "<!doctype html>\n"
    yield '<html lang="en"><head><meta charset="utf-8">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{allowed}">\n'
    yield f'<meta http-equiv="refresh" content="{REFRESH_S}">\n' if running else ""
    yield f"<title>{_text(title)}</title><style>{STYLE}{MORE_STYLE}</style></head><body>\n"
    yield f"<h1>{_text(title)}</h1>\n<p>{_text(heading.list)}, begun {_text(heading.began_at)}, "
    yield "still running" if running else f"ended {_text(heading.ended_at)}"
    yield f"; compared with {_text(before)}" if before else ""
    yield f' <span class="dim">{_text(heading.id)}</span></p>\n'
    if running:
        yield f'<progress max="{heading.repositories}" value="{len(results)}"></progress> '
        yield f"{len(results)} of {heading.repositories}\n"
    sums = _summed(results)
    yield _shown(sums)
    yield '<p><input id="wanted" type="search" placeholder="rows with ..." aria-label="show rows with"></p>\n'
    yield from _repositories(results, sums, heading.kind)
    yield from _rules(sums)
    yield from _findings(sums)
    yield f"<script>{SCRIPT}</script></body></html>\n"


def _summed(results: Sequence[Result]) -> _Sums:
    sums, order = _Sums(), {name: at for at, name in enumerate(SEVERITIES)}
    for at, result in enumerate(results):
        counts = result.counts
        sums.severities.update(counts)
        sums.statuses[result.status] += 1
        sums.compared = sums.compared or result.new is not None
        sums.new, sums.gone = sums.new + (result.new or 0), sums.gone + (result.gone or 0)
        sums.most = max(sums.most, len(result.findings))
        badness = (not result.status.trouble, tuple(-counts[name] for name in SEVERITIES), result.label)
        sums.order.append((badness, at))
        keys = Counter((f.rule, f.severity, "" if f.rule == "pin" else f.title) for f in result.findings)
        for key, count in keys.items():
            sums.rules[key][0] += count
            sums.rules[key][1] += 1
        if result.status is Status.SAME:
            continue  # the same content is the same finding, shown where it was read
        sums.lines += result.lines
        sums.findings += len(result.findings)
        for found in result.findings:
            one = _Worst((order.get(found.severity, 0), result.label, found.path, found.line), found)
            if len(sums.worst) < FINDINGS_SHOWN_MAX:
                heapq.heappush(sums.worst, one)
            elif sums.worst[0] < one:
                heapq.heapreplace(sums.worst, one)
    sums.order.sort()
    return sums


@dataclass(frozen=True, slots=True)
class _Worst:
    """A finding in a heap of which the least bad is on top."""

    place: tuple[int, str, str, int]
    found: Found

    def __lt__(self, other: "_Worst") -> bool:
        return self.place > other.place


def _shown(sums: _Sums) -> str:
    told = [(name, sums.severities[name]) for name in SEVERITIES]
    if sums.compared:
        told += [("new", sums.new), ("gone", sums.gone)]
    told += [(status.value, sums.statuses[status]) for status in Status if sums.statuses[status]]
    told.append(("lines read", sums.lines))
    shown = "".join(f"<div><b>{count:,}</b>{_text(name)}</div>" for name, count in told)
    return f'<div class="sums">{shown}</div>\n'


def _repositories(results: Sequence[Result], sums: _Sums, kind: str) -> Iterator[str]:
    heads = ["repository", "state", *SEVERITIES, "", "new", "gone", "left out", "lines", "seconds"]
    if kind == "fix":
        heads = ["repository", "state", "fixed", "left", "patch", "seconds"]
    yield "<h2>Repositories</h2>"
    yield from _table(heads, (_repository(results[at], sums.most, kind) for _, at in sums.order))


def _repository(result: Result, most: int, kind: str) -> str:
    cells = [_place(result), _state(result)]
    if kind == "fix":
        cells += [_number(result.fixed), _number(len(result.findings))]
        cells += [f"<td><code>{_text(result.patch)}</code></td>", _number(result.seconds)]
    else:
        cells += [_number(result.counts[name]) for name in SEVERITIES]
        cells += [_bar(result, most), _number(result.new), _number(result.gone)]
        cells += [_number(result.left_out), _number(result.lines), _number(result.seconds)]
    return f"<tr>{''.join(cells)}</tr>"


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


def _rules(sums: _Sums) -> Iterator[str]:
    if not sums.rules:
        return
    order = {name: at for at, name in enumerate(SEVERITIES)}
    rows = (
        f"<tr><td><code>{_text(rule)}</code></td><td>{_text(title or 'vulnerable pin')}</td>"
        f'<td data-v="{order.get(severity, 0)}">{severity}</td>{_number(count)}{_number(places)}</tr>'
        for (rule, severity, title), (count, places) in sorted(
            sums.rules.items(), key=lambda item: (order.get(item[0][1], 0), -item[1][0], item[0])
        )
    )
    yield "<h2>By rule</h2>"
    yield from _table(["rule", "weakness", "severity", "findings", "repositories"], rows)


def _findings(sums: _Sums) -> Iterator[str]:
    if not sums.worst:
        return
    order = {name: at for at, name in enumerate(SEVERITIES)}
    rows = (_finding(one.place[1], one.found, order) for one in sorted(sums.worst, reverse=True))
    yield "<h2>Findings</h2>"
    yield from _table(["severity", "what", "repository", "where"], rows)
    if left := sums.findings - len(sums.worst):
        yield f'<p class="dim">{left:,} less severe findings are not on this page.</p>\n'


def _finding(label: str, found: Found, order: dict[str, int]) -> str:
    return (
        f'<tr><td data-v="{order.get(found.severity, 0)}">{_text(found.severity)}</td>'
        f"<td>{_text(found.title)}</td><td><code>{_text(label)}</code></td>"
        f"<td><code>{_text(found.path)}:{found.line}</code></td></tr>"
    )


def _table(heads: Iterable[str], rows: Iterable[str]) -> Iterator[str]:
    head = "".join(f'<th scope="col"><button type="button">{_text(name)}</button></th>' for name in heads)
    yield f'<table class="sort"><thead><tr>{head}</tr></thead><tbody>'
    yield from rows
    yield "</tbody></table>\n"


def _text(text: str) -> str:
    shown = "".join(c if c.isprintable() else " " for c in text.replace("\n", " "))
    return escape(shown)
