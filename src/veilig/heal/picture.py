"""How does an incident look? A timeline of causes and acts as SVG, alone or in an HTML page. Pure functions.

It reads well in grey: state is told by words and hatching, colour only repeats it. Every text from outside is
escaped; nothing in it is fetched or run.
"""

from html import escape

from veilig.heal.incident import Incident, Turn
from veilig.heal.report import markdown, moments

WIDTH, LEFT, RIGHT = 960, 110, 20
BAR_Y, BAR_H, ACT_Y, ROW = 44, 30, 112, 18
LABELS_MAX = 12  # more do not fit beside each other; the table has them all
FONT = "font-family='ui-sans-serif, system-ui, sans-serif' font-size='12'"
SHADES = {
    "look": "#d9d9d9",
    "outside": "#b8c4d6",
    "files": "#d6c4b8",
    "process": "#d6b8b8",
    "calm": "#c6d6c0",
}
KINDS = {
    "port_conflict": "outside",
    "dependency_down": "outside",
    "disk_full": "outside",
    "operator_stopped": "outside",
    "unseen": "look",
    "degraded": "look",
    "bad_config": "files",
    "bad_deploy": "files",
    "starting": "calm",
    "healthy": "calm",
}


def svg(incident: Incident) -> str:
    """A timeline: which cause when, each act as a numbered mark, and below what each number means."""
    end_s = max(incident.closed_s or incident.updated_s, incident.opened_s + 1.0)
    acts = incident.acts[-LABELS_MAX:]
    height = ACT_Y + 24 + ROW * (len(acts) + len(_turns(incident)) + 1)
    label = escape(_title(incident), quote=True)
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' "
        f"height='{height}' role='img' aria-label='{label}' {FONT}>"
    )
    hatch = (
        "<defs><pattern id='hatch' width='6' height='6' patternUnits='userSpaceOnUse' "
        "patternTransform='rotate(45)'><line x1='0' y1='0' x2='0' y2='6' stroke='#555' stroke-width='1'/>"
        "</pattern></defs>"
    )
    parts = [
        head,
        f"<title>{escape(_title(incident))}</title>",
        hatch,
        f"<rect width='{WIDTH}' height='{height}' fill='#fff'/>",
        f"<text x='12' y='22' font-weight='600'>{escape(_title(incident))}</text>",
        f"<text x='12' y='{BAR_Y + 20}'>cause</text><text x='12' y='{ACT_Y - 8}'>acts</text>",
    ]
    parts += _bars(incident, end_s)
    parts += _marks(incident, end_s)
    parts += _axis(incident, end_s)
    parts += _legend(incident)
    return "\n".join([*parts, "</svg>"]) + "\n"


def page(incident: Incident, wall_offset_s: float = 0.0) -> str:
    """One HTML page without scripts or anything from elsewhere: the timeline, evidence and course."""
    rows = "\n".join(
        f"<tr><td>+{at_s - incident.opened_s:.1f} s</td><td>{escape(what)}</td><td>{escape(detail)}</td></tr>"
        for at_s, what, detail in moments(incident)
    )
    evidence = "\n".join(f"<li>{escape(line)}</li>" for line in incident.evidence)
    report = escape(markdown(incident, wall_offset_s))
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>\n"
        "<meta http-equiv='Content-Security-Policy' "
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(_title(incident))}</title>\n"
        "<style>body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}"
        "svg{max-width:100%;height:auto}table{border-collapse:collapse}td,th{border-bottom:1px solid #ccc;"
        "padding:.25rem .75rem .25rem 0;text-align:left;vertical-align:top}"
        "pre{white-space:pre-wrap}</style></head>\n"
        f"<body><h1>{escape(_title(incident))}</h1>\n{svg(incident)}"
        f"<h2>Evidence</h2><ul>\n{evidence}\n</ul>\n<h2>Course</h2><table>\n"
        f"<tr><th>when</th><th>what</th><th>detail</th></tr>\n{rows}\n</table>\n"
        f"<details><summary>As Markdown</summary><pre>{report}</pre></details></body></html>\n"
    )


def _title(incident: Incident) -> str:
    state = f"closed: {incident.ended}" if incident.closed_s else incident.stage
    about = f" ({incident.subject})" if incident.subject else ""
    return f"{incident.service}: {incident.cause.replace('_', ' ')}{about}, {state}"


def _x(incident: Incident, at_s: float, end_s: float) -> float:
    share = (at_s - incident.opened_s) / (end_s - incident.opened_s)
    return round(LEFT + min(1.0, max(0.0, share)) * (WIDTH - LEFT - RIGHT), 1)


def _turns(incident: Incident) -> tuple[Turn, ...]:
    return incident.course[-LABELS_MAX:]


def _bars(incident: Incident, end_s: float) -> list[str]:
    """One bar per cause; what only waits for something outside is hatched too."""
    parts: list[str] = []
    turns = _turns(incident)
    for at, turn in enumerate(turns):
        until_s = turns[at + 1].t_s if at + 1 < len(turns) else end_s
        x, width = _x(incident, turn.t_s, end_s), 0.0
        width = max(2.0, round(_x(incident, until_s, end_s) - x, 1))
        kind = KINDS.get(turn.cause, "process")
        box = f"x='{x}' y='{BAR_Y}' width='{width}' height='{BAR_H}'"
        parts.append(f"<rect {box} fill='{SHADES[kind]}' stroke='#333' stroke-width='.5'/>")
        if kind == "outside":
            parts.append(f"<rect {box} fill='url(#hatch)' opacity='.25'/>")
        if width > 8 * len(turn.cause):
            label = escape(turn.cause.replace("_", " "))
            parts.append(f"<text x='{x + 5}' y='{BAR_Y + 20}'>{label}</text>")
        elif width > 14:
            parts.append(f"<text x='{x + 3}' y='{BAR_Y + 20}'>{chr(97 + at)}</text>")
    return parts


def _marks(incident: Incident, end_s: float) -> list[str]:
    """Each act as a numbered mark: filled when done, hollow when it was refused, asked or failed."""
    parts: list[str] = []
    for at, done in enumerate(incident.acts[-LABELS_MAX:], 1):
        x = _x(incident, done.t_s, end_s)
        filled = done.status == "done"
        fill, ink = ("#222", "#fff") if filled else ("#fff", "#222")
        parts.append(
            f"<line x1='{x}' y1='{BAR_Y}' x2='{x}' y2='{ACT_Y - 20}' stroke='#222' stroke-dasharray='3 2'/>"
            f"<circle cx='{x}' cy='{ACT_Y - 12}' r='8' fill='{fill}' stroke='#222'/>"
            f"<text x='{x}' y='{ACT_Y - 8}' text-anchor='middle' fill='{ink}' font-size='11'>{at}</text>"
        )
    return parts


def _axis(incident: Incident, end_s: float) -> list[str]:
    length_s = end_s - incident.opened_s
    parts: list[str] = []
    for quarter in range(5):
        at_s = incident.opened_s + length_s * quarter / 4
        x = _x(incident, at_s, end_s)
        anchor = "end" if quarter == 4 else "start" if quarter == 0 else "middle"
        parts.append(
            f"<line x1='{x}' y1='{BAR_Y - 4}' x2='{x}' y2='{BAR_Y}' stroke='#333'/>"
            f"<text x='{x}' y='{BAR_Y - 8}' text-anchor='{anchor}' font-size='10'>"
            f"{_span(length_s * quarter / 4)}</text>"
        )
    return parts


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"+{seconds:.1f} s"
    return f"+{seconds / 60:.0f} min" if seconds < 7200 else f"+{seconds / 3600:.1f} h"


def _legend(incident: Incident) -> list[str]:
    lines = [
        f"{chr(97 + at)}  {turn.cause.replace('_', ' ')} {turn.subject}: {turn.why}"
        for at, turn in enumerate(_turns(incident))
    ]
    lines += [
        f"{at}  {done.kind} {done.status}: {done.what} {done.detail}"
        for at, done in enumerate(incident.acts[-LABELS_MAX:], 1)
    ]
    return [
        f"<text x='12' y='{ACT_Y + 24 + ROW * at}'>{escape(line[:140])}</text>"
        for at, line in enumerate(lines)
    ]
