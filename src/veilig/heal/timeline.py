"""How does an incident look as a picture? One SVG: causes as bars, acts as marks, on one axis of seconds.

Pure; readable in grey: every bar and mark carries its word. Texts are escaped, nothing is loaded.
"""

from collections.abc import Mapping
from html import escape

from veilig.heal.incident import Incident
from veilig.heal.report import markdown, moments

WIDTH, LEFT, RIGHT = 960, 20, 20
BAR_Y, BAR_H, LEGEND_Y, MARK_Y, ROW_H = 64, 26, 110, 140, 34
SHADES = ("#8a5a44", "#4a6fa5", "#7a6a9a", "#a04a5f", "#996b2f")
WELL = "#4f7f52"  # no cause has the colour of "well"
POLICY = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
)
STYLE = (
    "<style>body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{border-bottom:1px solid #ccc;padding:.25rem .75rem;"
    "text-align:left;vertical-align:top}dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem}"
    "dt{color:#555}dd{margin:0}aside{border-left:4px solid #999;padding:.1rem 1rem;margin:1rem 0}"
    "svg{max-width:100%;height:auto}pre{overflow:auto;padding:1rem}</style>"
)
LEGEND = 5  # causes in one line; a flapping one has more
SIGNS = {"done": "■", "failed": "x", "refused": "–", "held": "?", "in_doubt": "~"}


def svg(incident: Incident, wall_offset_s: float = 0.0) -> str:
    """The picture as text. wall_offset_s: as in heal/report.py."""
    begin, end = _span(incident)
    acts = list(incident.acts)
    height = MARK_Y + ROW_H * max(1, len(acts)) + 46
    label = escape(_title(incident), quote=True)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"',
        f'height="{height}" role="img" aria-label="{label}" font-family="monospace" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="24" font-size="15" fill="#111">{escape(_title(incident))}</text>',
        f'<text x="{LEFT}" y="44" fill="#555">{escape(_when(incident, wall_offset_s))}</text>',
    ]
    parts += _bars(incident, begin, end)
    for row, act in enumerate(acts):
        x, y = _x(act.t_s, begin, end), MARK_Y + ROW_H * row
        said = f"{SIGNS.get(act.status, '·')} {act.kind} {act.what}: {act.status}"
        anchor = "start" if x < WIDTH / 2 else "end"
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{BAR_Y}" y2="{y}" stroke="#999" stroke-dasharray="2 3"/>'
            f'<text x="{x:.1f}" y="{y + 14}" text-anchor="{anchor}" fill="#111">{escape(_cut(said, 70))}'
            f"<title>{escape(act.detail)}</title></text>"
        )
    if not acts:
        parts.append(f'<text x="{LEFT}" y="{MARK_Y + 14}" fill="#555">no act</text>')
    parts += [*_axis(begin, end, height), "</svg>"]
    return "\n".join(parts) + "\n"


def _bars(incident: Incident, begin: float, end: float) -> list[str]:
    """Causes over time, then "well"; below, each with its word, for short ones have no room for it."""
    spans = [(t.t_s, f"{_words(t.cause)} {t.subject}".strip(), t.why) for t in incident.course]
    if begin < incident.well_s < end:
        spans.append((incident.well_s, "well", ""))
    parts: list[str] = []
    legend: list[str] = []
    for at, (from_s, label, why) in enumerate(spans):
        until_s = spans[at + 1][0] if at + 1 < len(spans) else end
        x = _x(from_s, begin, end)
        width = max(_x(until_s, begin, end) - x, 2)
        shade = WELL if label == "well" else SHADES[at % len(SHADES)]
        parts.append(
            f'<rect x="{x:.1f}" y="{BAR_Y}" width="{width:.1f}" height="{BAR_H}" '
            f'fill="{shade}"><title>{escape(label)} {escape(why)}</title></rect>'
        )
        if width > 7 * len(label) + 8:
            parts.append(f'<text x="{x + 5:.1f}" y="{BAR_Y + 17}" fill="#fff">{escape(label)}</text>')
        legend.append(
            f'<tspan fill="{shade}">■</tspan> {escape(_cut(label, 15))} +{from_s - begin:.1f} s&#160;&#160;'
        )
    shown = (
        legend if len(legend) <= LEGEND else [*legend[: LEGEND - 1], f"and {len(legend) - LEGEND + 1} more"]
    )
    return [*parts, f'<text x="{LEFT}" y="{LEGEND_Y}" fill="#333">{"".join(shown)}</text>']


def _summary(incident: Incident, wall_offset_s: float, stamps: Mapping[str, str] | None) -> str:
    """The head of the page: what somebody on call asks first."""
    counts: dict[str, int] = {}
    for act in incident.acts:
        counts[act.status.replace("_", " ")] = counts.get(act.status.replace("_", " "), 0) + 1
    acts = ", ".join(f"{count} {status}" for status, count in counts.items()) or "none"
    rows = {
        "incident": incident.id,
        "began": _when(incident, wall_offset_s),
        "now" if not incident.closed_s else "ended": incident.ended or f"{incident.stage}: {incident.why}",
        "acts": acts,
        "over when": incident.clears,
        **(stamps or {}),
    }
    cells = (f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in rows.items() if v)
    return f"<dl>{''.join(cells)}</dl>"


def _guess(incident: Incident) -> str:
    one = incident.hypothesis
    if one is None:
        return ""
    because = "".join(f"<li>{escape(reason)}</li>" for reason in one.because)
    return (
        f"<aside><h2>Model's hypothesis</h2><p>A guess of {escape(one.model)}, no fact: nothing was decided "
        f"by it.</p><p>{escape(one.text)}</p><ul>{because}</ul></aside>"
    )


def html(incident: Incident, wall_offset_s: float = 0.0, stamps: Mapping[str, str] | None = None) -> str:
    """One page without scripts: the picture, then the report's words."""
    rows = "".join(
        f"<tr><td>+{at_s - incident.opened_s:.1f} s</td>"
        f"<td>{escape(_words(what))}</td><td>{escape(detail)}</td></tr>"
        for at_s, what, detail in moments(incident)
    )
    evidence = "".join(f"<li>{escape(one)}</li>" for one in incident.evidence)
    report = escape(markdown(incident, wall_offset_s, stamps))
    title = escape(_title(incident))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">{POLICY}<title>{title}</title>{STYLE}'
        f"<h1>{title}</h1>{_summary(incident, wall_offset_s, stamps)}{svg(incident, wall_offset_s)}"
        f"<h2>Evidence</h2><ul>{evidence}</ul>{_guess(incident)}"
        f"<h2>Course</h2><table><tr><th>when</th><th>what</th><th>detail</th></tr>{rows}</table>"
        f"<details><summary>as Markdown</summary><pre>{report}</pre></details></html>\n"
    )


def _title(incident: Incident) -> str:
    cause = incident.course[-1].cause if incident.course else incident.cause
    return f"{incident.service}: {_words(cause) or 'being looked at'}"


def _words(cause: str) -> str:
    return cause.replace("_", " ")


def _when(incident: Incident, wall_offset_s: float) -> str:
    begin, end = _span(incident)
    state = incident.ended or f"open, {incident.stage}"
    if not wall_offset_s:
        return f"{end - begin:.1f} s, {state}"
    from datetime import UTC, datetime

    at = datetime.fromtimestamp(begin + wall_offset_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{at}, {end - begin:.1f} s, {state}"


def _span(incident: Incident) -> tuple[float, float]:
    begin = min([incident.opened_s, *(turn.t_s for turn in incident.course)])
    last = [incident.closed_s, incident.updated_s, *(act.t_s for act in incident.acts)]
    return begin, max([begin + 1.0, *last])


def _x(at_s: float, begin: float, end: float) -> float:
    share = min(max((at_s - begin) / (end - begin), 0.0), 1.0)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _axis(begin: float, end: float, height: int) -> list[str]:
    """Five ticks, in seconds from the beginning."""
    y = height - 28
    parts = [f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="#333"/>']
    for step in range(5):
        at = begin + (end - begin) * step / 4
        x = _x(at, begin, end)
        anchor = "start" if step == 0 else "end" if step == 4 else "middle"
        parts.append(
            f'<text x="{x:.1f}" y="{y + 18}" text-anchor="{anchor}" fill="#333">+{at - begin:.1f} s</text>'
        )
    return parts


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
