"""How is an incident told to people? A notice, a report in Markdown, and the table of all services."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from veilig.core.canonical import JSON
from veilig.core.signal import Run
from veilig.heal.incident import Incident
from veilig.heal.leak import trend

if TYPE_CHECKING:
    from veilig.heal.ward import Ward

NOTICE_CHARS = 1500


def notice(incident: Incident) -> str:
    """A few lines for a chat: what, why, and what people can do. Texts of services stand in it as quotes."""
    lines = [f"{incident.service}: {incident.cause.replace('_', ' ')}" + _about(incident)]
    lines += [f"- {line}" for line in incident.evidence[:4]]
    if incident.asked is not None:
        lines.append(f"waits for people: approval {incident.asked.approval}")
    elif incident.why:
        lines.append(incident.why)
    if incident.clears:
        lines.append(f"over when {incident.clears}")
    if incident.hypothesis is not None:
        lines.append(f"{incident.hypothesis.model} guesses: {incident.hypothesis.text}")
    lines.append(f"incident {incident.id}")
    return "\n".join(lines)[:NOTICE_CHARS]


def _about(incident: Incident) -> str:
    return f" ({incident.subject})" if incident.subject else ""


def report(ward: "Ward") -> dict[str, JSON]:
    """One look at everything, as data: services, open incidents, what could not be seen."""
    rows: list[JSON] = [cast(JSON, row) for row in table(ward)]
    open_: list[JSON] = [cast(JSON, one.to_json()) for one in ward.incidents.values()]
    return {"services": rows, "incidents": open_, "notes": cast(JSON, list(ward.notes))}


def table(ward: "Ward") -> list[dict[str, Any]]:
    """One row per service: state, since when (s), cause, what is done about it, and the last act."""
    rows: list[dict[str, Any]] = []
    for name in sorted(ward.kept):
        kept, incident = ward.kept[name], ward.incidents.get(name)
        sample, history = kept.sample, kept.history
        if incident is not None:
            state, since_s = incident.stage, incident.since_s
        elif sample.held_by or sample.run is Run.STOPPED:
            state, since_s = "stopped by a person", history.ill_s
        elif sample.failing:
            state, since_s = "looked at", history.ill_s
        else:
            state, since_s = "healthy", history.well_s
        act = history.acts[-1] if history.acts else None
        grows = trend(history) if sample.alive and not incident else ""
        rows.append(
            {
                "service": name,
                "state": state,
                "for_s": round(ward.now_s - since_s, 1) if since_s else 0.0,
                "cause": incident.cause if incident else "",
                "subject": incident.subject if incident else "",
                "why": incident.why if incident else grows,
                "last_act": act.kind if act else "",
                "last_act_ago_s": round(ward.now_s - act.t_s, 1) if act else 0.0,
                "helped": act.helped if act else None,
            }
        )
    return rows


def markdown(incident: Incident, wall_offset_s: float = 0.0, stamps: Mapping[str, str] | None = None) -> str:
    """A report of one incident: what happened, the evidence, each act with what came of it, and the end.

    wall_offset_s: what to add to boot-clock times for seconds since 1970; 0 prints seconds from its start.
    stamps: extra lines for the head, such as the ledger's session.
    """
    lines = [f"# {incident.service}: {incident.cause.replace('_', ' ')}{_about(incident)}", ""]
    end_s = incident.closed_s or incident.updated_s
    lines += [f"- incident: {incident.id}", f"- opened: {_when(incident, incident.opened_s, wall_offset_s)}"]
    if incident.closed_s:
        lines.append(f"- closed: {_when(incident, incident.closed_s, wall_offset_s)} ({incident.ended})")
    else:
        lines.append(f"- open, {incident.stage}: {incident.why}")
    lines.append(f"- lasted: {end_s - incident.opened_s:.1f} s")
    lines += [f"- {key}: {value}" for key, value in (stamps or {}).items()]
    lines += ["", "## Evidence", "", *(f"- {one}" for one in incident.evidence or ("none",)), ""]
    lines += _guessed(incident)
    lines += ["## Course", "", "| when | what | detail |", "|---|---|---|"]
    for at_s, what, detail in moments(incident):
        cells = (_when(incident, at_s, wall_offset_s), what, detail)
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    if incident.dropped:
        lines += ["", f"{incident.dropped} earlier entries are only in the ledger."]
    return "\n".join(lines) + "\n"


def _guessed(incident: Incident) -> list[str]:
    """A model's word, under a head that says what it is."""
    guess = incident.hypothesis
    if guess is None:
        return []
    lines = [
        "## Model's hypothesis",
        "",
        f"A guess of {guess.model}, no fact: nothing was decided by it.",
        "",
    ]
    return [*lines, guess.text, "", *(f"- {one}" for one in guess.because), *([""] if guess.because else [])]


def moments(incident: Incident) -> list[tuple[float, str, str]]:
    """Causes and acts in the order of time: (seconds of the boot clock, what, detail)."""
    found = [
        (turn.t_s, f"cause: {turn.cause}", " ".join(filter(None, (turn.subject, turn.why))))
        for turn in incident.course
    ]
    found += [(d.t_s, f"{d.kind} {d.status}", f"{d.what} {d.detail}") for d in incident.acts]
    if incident.escalated_s:
        found.append((incident.escalated_s, "people are needed", incident.why))
    if incident.closed_s:
        found.append((incident.closed_s, "closed", incident.ended))
    return sorted(found, key=lambda moment: moment[0])


def _when(incident: Incident, at_s: float, wall_offset_s: float) -> str:
    if not wall_offset_s:
        return f"+{at_s - incident.opened_s:.1f} s"
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_s + wall_offset_s, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-4] + " UTC"
