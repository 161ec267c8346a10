"""`veilig sessions`: which sessions are there, what did one do, and which copies can go?"""

import argparse
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from veilig.cli.record import (
    Places,
    duration,
    find_places,
    fleet_too,
    ledger_options,
    local_time,
    opened,
    print_json,
    table,
)
from veilig.cli.session_export import export_options
from veilig.cli.style import Style, cut, printable
from veilig.core.errors import EXIT_OK, UsageError
from veilig.core.lock import driven

if TYPE_CHECKING:
    from veilig.core.ledger import Event

FINAL = ("done", "failed")  # what no resume takes up again
SUMMARY_CHARS = 90
DAYS_MAX = 36_500


def options(parser: argparse.ArgumentParser) -> None:
    """What `sessions` takes."""
    parser.description = "List sessions, show what one did, or remove the copies of those that have ended."
    ledger_options(parser)
    fleet_too(parser)
    parser.set_defaults(do=_list)
    _limit(parser, 50)
    actions = parser.add_subparsers(metavar="ACTION")
    listing = actions.add_parser("list", help="every session, the newest last (default)")
    ledger_options(listing, inner=True)
    _limit(listing, argparse.SUPPRESS)
    listing.set_defaults(do=_list)
    show = actions.add_parser("show", help="the timeline of one: action, verdict, rule, outcome, seconds")
    ledger_options(show, inner=True)
    show.add_argument("session", help="its id, or the beginning of it")
    show.set_defaults(do=_show)
    export_options(actions.add_parser("export", help="the record of one for viewers: OTLP, ATIF or JSON"))
    clean = actions.add_parser(
        "clean", help="remove the copies of sessions that have ended, never the ledger"
    )
    ledger_options(clean, inner=True)
    clean.add_argument(
        "--older-than", type=float, default=0.0, metavar="DAYS", help="only those that ended so long ago"
    )
    clean.set_defaults(do=_clean)


def _limit(parser: argparse.ArgumentParser, default: Any) -> None:
    parser.add_argument("--limit", type=int, default=default, metavar="N", help="the newest N (default 50)")


def run(given: argparse.Namespace) -> int:
    """Exit code 0; 2 or 4 for what is not there."""
    return int(given.do(given))


@dataclass(frozen=True, slots=True)
class Row:
    """One session in the list. state: how it ended, or running, or open (stopped without an end)."""

    id: str
    kind: str
    source: str
    began_ms: int
    last_ms: int
    steps: int = 0
    state: str = "open"
    summary: str = ""

    @property
    def parent(self) -> str:
        """The session that started it; empty for one that a person started."""
        return self.id.rpartition(".")[0]


@dataclass(slots=True)
class Line:
    """One action in a session's timeline, as its events tell."""

    ref: str
    at_ms: int
    kind: str
    target: str
    verdict: str = ""
    rule: str = ""
    outcome: str = "open"
    seconds: float = 0.0
    detail: str = ""
    guards: list[str] = field(default_factory=list[str])
    approval: str = ""


def rows(events: "Iterable[Event]") -> list[Row]:
    """The sessions these events tell of, in the order in which they began; each before those it started."""
    found: dict[str, Row] = {}
    for event in events:
        body: dict[str, Any] = event.body
        if event.name == "session.started":
            row = Row(event.session, body["kind"], body["source"], event.wall_ms, event.wall_ms)
            found[event.session] = row
        if event.session not in found:
            continue
        row = replace(found[event.session], last_ms=event.wall_ms)
        if event.name == "session.ended":
            row = replace(row, state=body["state"], summary=body["summary"])
        elif event.name == "session.resumed":
            row = replace(row, state="open", summary="")
        elif event.name == "action.proposed":
            row = replace(row, steps=row.steps + 1)
        found[event.session] = row
    below: dict[str, list[Row]] = {}
    for row in found.values():
        below.setdefault(row.parent if row.parent in found else "", []).append(row)
    return [one for row in below.get("", []) for one in _family(row, below)]


def _family(row: Row, below: dict[str, list[Row]]) -> list[Row]:
    """A session, then what it started, and so on down."""
    return [row, *(one for child in below.get(row.id, []) for one in _family(child, below))]


def timeline(events: "Iterable[Event]") -> list[Line]:
    """Every action of one session with its decision and what came of it."""
    from veilig.core.action_json import from_json

    found: dict[str, Line] = {}
    for event in events:
        body: dict[str, Any] = event.body
        line = found.get(str(body.get("ref", "")))
        if event.name == "action.proposed":
            action = from_json(body["action"])
            found[body["ref"]] = Line(body["ref"], event.wall_ms, action.kind, _target(action))
        elif line is None:
            continue
        elif event.name == "action.decided":
            line.verdict, line.rule = body["verdict"], body["rule"]
        elif event.name == "guard.tightened":
            line.guards.append(f"{body['guard']}: {body['why']}")
        elif event.name == "approval.asked":
            line.approval = body["approval"]
        elif event.name == "action.started":
            line.outcome = "started"
        elif event.name in ("action.verified", "action.failed"):
            line.outcome, line.detail = body["status"], body["detail"]
            line.seconds = body["wall_ms"] / 1000
        elif event.name in ("action.refused", "action.held"):
            line.outcome, line.detail = event.name.removeprefix("action."), body["why"]
        elif event.name == "action.doubted":
            line.outcome, line.detail = f"in doubt: {body['found']}", body["detail"]
    return list(found.values())


# --- the three actions -------------------------------------------------------------------------------


def _list(given: argparse.Namespace) -> int:
    if given.limit < 1:
        raise UsageError(f"--limit {given.limit} shows nothing", fix="give a number above zero")
    places = find_places(given)
    names = ("session.started", "session.resumed", "session.ended", "action.proposed")
    with opened(places) as ledger:
        every = [with_state(places, row) for row in rows(ledger.events(names=names))]
    shown = every[-given.limit :]
    if given.json:
        print_json([row_json(row) for row in shown])
        return EXIT_OK
    style = Style(sys.stdout)
    colour = {"done": "good", "running": "bold", "failed": "bad", "held": "warn"}
    cells = [("session", "kind", "state", "steps", "began", "source", "summary")]
    for row in shown:
        summary = cut(printable(row.summary.partition("\n")[0]), SUMMARY_CHARS)
        cells.append(
            (
                "  " * row.id.count(".") + row.id,
                row.kind,
                row.state,
                str(row.steps),
                local_time(row.began_ms),
                row.source,
                summary,
            )
        )
    lines = table(cells).splitlines()
    print(style("dim", lines[0]))
    for row, line in zip(shown, lines[1:], strict=True):
        print(line.replace(f" {row.state} ", f" {style(colour.get(row.state, 'dim'), row.state)} ", 1))
    if len(every) > len(shown):
        print(f"{len(every) - len(shown)} older sessions are not shown: `veilig sessions list --limit N`")
    return EXIT_OK


def _show(given: argparse.Namespace) -> int:
    from veilig.app import Setting, find_session

    places = find_places(given)
    with opened(places) as ledger:
        view = find_session(places.home, given.session, Setting(given.policy))
        events = list(ledger.events(session=view.id))
    row = with_state(places, rows(events)[0])
    lines = timeline(events)
    if given.json:
        print_json(
            {**row_json(row), "options": view.options, "timeline": [line_json(line) for line in lines]}
        )
        return EXIT_OK
    style = Style(sys.stdout)
    took = duration((row.last_ms - row.began_ms) / 1000)
    print(f"session {row.id}   {row.kind} {printable(row.source)}   {row.state}, {row.steps} steps, {took}")
    print(f"began   {local_time(row.began_ms)}   policy {_first(events, 'policy')[:12]}, {_wall(events)}")
    cells = [("time", "action", "verdict", "rule", "outcome", "seconds", "")]
    for line in lines:
        what = f"{line.kind} {cut(printable(line.target), 44)}"
        said = cut(printable(line.detail.partition("\n")[0]), SUMMARY_CHARS)
        seconds = f"{line.seconds:.2f}" if line.seconds else ""
        clock = local_time(line.at_ms)[11:]
        cells.append((clock, what, line.verdict, cut(line.rule, 40), line.outcome, seconds, said))
    header, *rest = table(cells).splitlines()
    print(style("dim", header))
    for line, text in zip(lines, rest, strict=True):
        print(text)
        for guard in line.guards:
            print(style("dim", f"          guard {printable(guard)}"))
    if row.summary:
        print(f"end     {printable(row.summary)}")
    if row.state not in (*FINAL, "running"):
        print(f"next    veilig resume {row.id.partition('.')[0]}")
    return EXIT_OK


def _clean(given: argparse.Namespace) -> int:
    if not 0 <= given.older_than <= DAYS_MAX:
        raise UsageError(
            f"--older-than {given.older_than:g} is not within 0 to {DAYS_MAX}", fix="give days, 0 for all"
        )
    places = find_places(given)
    before_ms = (time.time() - given.older_than * 86400) * 1000
    with opened(places) as ledger:
        names = ("session.started", "session.resumed", "session.ended")
        known = {row.id: with_state(places, row) for row in rows(ledger.events(names=names))}
    folder = places.home.session("x").parent
    removed: list[str] = []
    kept: list[tuple[str, str]] = []
    for name in sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []:
        why = _why_kept(known.get(name), before_ms)
        if why:
            kept.append((name, why))
        else:
            places.home.remove_session(name)
            removed.append(name)
    if given.json:
        print_json({"removed": removed, "kept": [{"session": s, "why": w} for s, w in kept]})
        return EXIT_OK
    for name, why in kept:
        print(f"kept    {printable(name)}: {why}")
    print(f"removed {len(removed)} copies, kept {len(kept)}; the ledger is as it was")
    return EXIT_OK


# --- parts -------------------------------------------------------------------------------------------


def _why_kept(row: Row | None, before_ms: float) -> str:
    if row is None:
        return "the ledger knows no such session"
    if row.state not in FINAL:
        return f"it is {row.state}: it can go on"
    return "" if row.last_ms <= before_ms else "it ended later than that"


def with_state(places: Places, row: Row) -> Row:
    """The same row, its state `running` while a process drives the session."""
    if row.state == "open" and driven(places.home.session(row.id.partition(".")[0])):
        return replace(row, state="running")
    return row


def _target(action: Any) -> str:
    argv = getattr(action, "argv", ())
    return " ".join(argv) if argv else str(action.target)


def _first(events: "list[Event]", key: str) -> str:
    return next((str(e.body[key]) for e in events if e.name == "session.started"), "")


def _wall(events: "list[Event]") -> str:
    stood = [e.body for e in events if e.name == "wall.stood"]
    return f"wall {stood[-1]['wall']}" if stood else "no wall was needed"


def row_json(row: Row) -> dict[str, Any]:
    """One session for a script."""
    return {
        "session": row.id,
        "parent": row.parent,
        "kind": row.kind,
        "source": row.source,
        "state": row.state,
        "steps": row.steps,
        "began": local_time(row.began_ms),
        "began_ms": row.began_ms,
        "last_ms": row.last_ms,
        "summary": row.summary,
    }


def line_json(line: Line) -> dict[str, Any]:
    """One act for a script."""
    return {
        "ref": line.ref,
        "at_ms": line.at_ms,
        "kind": line.kind,
        "target": line.target,
        "verdict": line.verdict,
        "rule": line.rule,
        "outcome": line.outcome,
        "seconds": line.seconds,
        "detail": line.detail,
        "guards": line.guards,
        "approval": line.approval,
    }
