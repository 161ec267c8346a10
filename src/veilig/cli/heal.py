"""`veilig heal`: watch services, name what is wrong, act inside the policy; its state, its stop switch."""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from veilig.cli.broker import read_key
from veilig.cli.models import model_options, named_or_none
from veilig.cli.record import duration, find_places, opened, print_json, table
from veilig.cli.style import Style, cut, printable
from veilig.core.errors import EXIT_FINDINGS, EXIT_OK, UsageError

if TYPE_CHECKING:
    from veilig.app import Ended

USUAL = ("services.json", "services.yaml", "services.yml", "/etc/veilig/services.json")
COLOURS = {
    "healthy": "good",
    "hold": "warn",
    "asked": "warn",
    "act": "bad",
    "look": "bad",
    "settling": "warn",
}


def options(parser: argparse.ArgumentParser) -> None:
    """What `heal` takes."""
    parser.description = (
        "Watch the services of a file, name the cause of what fails, and act only inside veilig.yaml; what "
        "the policy does not grant is proposed to people (`veilig approvals`). Without `mode: act` in the "
        "policy, and without --act, every act is proposed only."
    )
    parser.add_argument(
        "what", nargs="?", default="watch", choices=("watch", "status", "stop", "start"),
        help="watch (default); status: a table of all services; stop --all: no act starts any more; start",
    )  # fmt: skip
    once = parser.add_mutually_exclusive_group()
    once.add_argument("--once", action="store_true", help="one full look, proposals, a report; then end")
    once.add_argument("--watch", action="store_true", help="until it is stopped (default)")
    parser.add_argument(
        "--services", metavar="FILE", help=f"what runs where, JSON or YAML (default: {USUAL[0]})"
    )
    parser.add_argument("--policy", metavar="FILE", help="the operator's policy (default: see the reference)")
    parser.add_argument("--act", action="store_true", help="act where the policy file states no mode")
    parser.add_argument("--all", action="store_true", help="with stop: every healer of this VEILIG_HOME")
    parser.add_argument(
        "--database", default="", metavar="URL",
        help="with stop and start: every shard that the workers of this fleet heal (veilig queue heal)",
    )  # fmt: skip
    parser.add_argument(
        "--ledger", default=None, metavar="PLACE", help="with status: where the record is, if elsewhere"
    )
    parser.add_argument("--reason", default="", metavar="TEXT", help="with stop: why, for the record")
    parser.add_argument(
        "--metrics", default="", metavar="HOST:PORT", help="serve OpenMetrics of all services there"
    )
    parser.add_argument("--alerts", default="", metavar="HOST:PORT", help="take Alertmanager webhooks there")
    parser.add_argument(
        "--broker",
        default="",
        metavar="SOCKET",
        help="act through a broker that runs already (veilig broker)",
    )
    parser.add_argument("--broker-key", default="", metavar="FILE", help="with --broker: the key of both")
    # Not from the environment: what is seen of services is sent nowhere unless this command says so.
    model_options(parser, "who is asked for a hypothesis where people are needed (default: nobody)")
    parser.add_argument("--json", action="store_true", help="print JSON lines (status: one document)")


def run(given: argparse.Namespace) -> int:
    """Exit 0 well or stopped, 1 something is wrong (--once), 2 wrong use, 4 refused."""
    if given.what == "status":
        return _status(given)
    if given.what in ("stop", "start"):
        return _switch(given)
    from veilig.app import Setting
    from veilig.app.healing import Watched, heal
    from veilig.cli.heal_view import HealView

    view = HealView(sys.stdout, lines=given.json)
    wanted = Watched(
        _services(given.services), given.once, given.act, given.metrics, given.alerts, given.broker,
        read_key(given.broker_key) if given.broker else "", named_or_none(given),
    )  # fmt: skip
    setting = Setting(given.policy, model_url=given.model_url, model_api=given.model_api)
    begun_s = time.monotonic()
    ended = asyncio.run(_until_stopped(heal(wanted, setting, view, None)))
    if ended is None:
        view.say("stopped  the services go on; `veilig heal` takes up the watch where it was")
        return EXIT_OK
    if given.json:
        print(json.dumps({"event": "result", "ok": ended.finish.ok, **dict(ended.finish.data)}))
    else:
        data = cast(dict[str, Any], ended.finish.data)
        print(_table(data.get("services", []), view.style, {}))
        print(f"{ended.finish.summary}     {time.monotonic() - begun_s:.1f} s, session {ended.session}")
    return EXIT_OK if ended.finish.ok else EXIT_FINDINGS


async def _until_stopped(work: Any) -> "Ended | None":
    """The work, ended cleanly by SIGTERM or SIGINT: then None."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        return cast("Ended", await task)
    except asyncio.CancelledError:
        return None


def _services(given: str | None) -> Path:
    if given:
        return Path(given).expanduser()
    found = next((Path(place) for place in USUAL if Path(place).is_file()), None)
    if found is None:
        raise UsageError(
            "there is no services file here",
            why=f"looked for {', '.join(USUAL)}",
            fix="name it: veilig heal --services FILE (see docs/how-to/heal-services.md)",
        )
    return found


def _switch(given: argparse.Namespace) -> int:
    """The kill switch of this VEILIG_HOME, both ways."""
    from veilig.app import Setting
    from veilig.app.healing import go_on, stop

    if given.database:
        return _switch_fleet(given)
    if given.what == "stop":
        if not given.all:
            raise UsageError(
                "say what to stop", why="there is one switch for all", fix="veilig heal stop --all"
            )
        who = asyncio.run(stop(given.reason, Setting(given.policy)))
        print(f"stopped  by {who}: no act starts any more, looking goes on; `veilig heal start` ends it")
        return EXIT_OK
    was = asyncio.run(go_on(Setting(given.policy)))
    print("started  acts may start again" if was else "healing was not stopped")
    return EXIT_OK


def _switch_fleet(given: argparse.Namespace) -> int:
    """The same for every shard that workers heal, on whatever machine."""
    from veilig.app import Setting
    from veilig.app.fleet_heal import switch

    if given.what == "stop" and not given.all:
        raise UsageError("say what to stop", why="there is one switch for all", fix="add --all")
    state = "stopped" if given.what == "stop" else "started"
    who, orgs = asyncio.run(switch(given.database, state, given.reason, Setting(given.policy)))
    then = "no act starts any more" if state == "stopped" else "acts may start again"
    print(f"{state}  by {who}, for every shard of {', '.join(orgs)}: {then}")
    return EXIT_OK


def _status(given: argparse.Namespace) -> int:
    """The last known state of every watched service, from the ledger."""
    from veilig.app.healing import starts_left, switched_off
    from veilig.heal.report import table as services
    from veilig.heal.ward import Ward

    places = find_places(given)
    rows: list[dict[str, Any]] = []
    budgets: dict[str, str] = {}
    with opened(places) as ledger:
        for session, state, at_ms in _last_states(ledger, given.services):
            age_s = time.time() - at_ms / 1000
            for row in services(Ward.from_json(state)):
                for_s = row["for_s"] + age_s if row["for_s"] or row["state"] == "healthy" else 0.0
                rows.append({**row, "for_s": for_s, "session": session, "seen_ago_s": round(age_s, 1)})
        for row in rows:
            budgets[row["service"]] = starts_left(ledger, places.policy, row["service"])
    off = switched_off(places.home.path)
    if given.json:
        print_json({"services": [{**r, "budget": budgets[r["service"]]} for r in rows], "stopped": off})
        return EXIT_OK
    style = Style(sys.stdout)
    print(_table(rows, style, budgets) if rows else "nothing is watched yet: veilig heal --services FILE")
    stale = max((row["seen_ago_s"] for row in rows), default=0.0)
    if stale > 120:
        print(style("warn", f"the last look was {duration(stale)} ago: is the healer running?"))
    if off:
        print(style("bad", off))
    return EXIT_OK


def _last_states(ledger: Any, services: str | None) -> list[tuple[str, dict[str, Any], int]]:
    """(session, the planner's state, when) of the newest watch over each services file."""
    from veilig.core.delta import apply

    wanted = os.path.realpath(services) if services else ""
    newest: dict[str, dict[str, str]] = {}  # a fleet's shards of one file were queued together
    for event in ledger.events(names=("session.started",)):
        if event.body["kind"] == "heal" and wanted in ("", event.body["source"]):
            part = str(event.body["options"].get("part", ""))
            together = event.session.rpartition("-")[0] if part else event.session
            known = newest.setdefault(event.body["source"], {})
            if any(one.rpartition("-")[0] != together for one in known.values()) or not part:
                known.clear()
            known[part] = event.session
    found: list[tuple[str, dict[str, Any], int]] = []
    for session in [one for parts in newest.values() for one in parts.values()]:
        state: dict[str, Any] = {}
        at_ms = 0
        for event in ledger.events(session=session, names=("session.noted",)):
            state, at_ms = apply(state, event.body["delta"]), event.wall_ms
        if state:
            found.append((session, state, at_ms))
    return found


def _table(rows: list[dict[str, Any]], style: Style, budgets: dict[str, str]) -> str:
    head = ("service", "state", "for", "cause", "last act", *(("budget (1 h)",) if budgets else ()), "")
    lines: list[tuple[str, ...]] = [head]
    for row in rows:
        cause = str(row["cause"]).replace("_", " ")
        if row["subject"]:
            cause += f": {printable(str(row['subject']))}"
        act = "-"
        if row["last_act"]:
            helped = {True: ", helped", False: ", no help", None: ""}[row["helped"]]
            act = f"{str(row['last_act']).rpartition('.')[2]} {duration(row['last_act_ago_s'])} ago{helped}"
        budget = (budgets.get(row["service"], "-"),) if budgets else ()
        why = cut(printable(str(row["why"])), 60)
        lines.append(
            (row["service"], row["state"], duration(row["for_s"]), cut(cause or "-", 48), act, *budget, why)
        )
    text = table(lines)
    first, *rest = text.split("\n")
    painted = [style("dim", first)]
    for row, line in zip(rows, rest, strict=True):
        colour = COLOURS.get(row["state"])
        painted.append(line.replace(row["state"], style(colour, row["state"]), 1) if colour else line)
    return "\n".join(painted)
