"""`veilig doctor`: which walls stand here, what do they hold, and is everything else in order?"""

import argparse
import asyncio
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from veilig.cli.record import Places, find_places, ledger_options, ledger_stands, print_json
from veilig.cli.style import Style, printable
from veilig.core.errors import EXIT_OK, EXIT_REFUSED, VeiligError

WHY_CHARS = 150
COLOUR = {"ok": "good", "note": "warn", "missing": "bad"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. state: ok, note (works, with something to know) or missing."""

    name: str
    state: str
    said: str


def options(parser: argparse.ArgumentParser) -> None:
    """What `doctor` takes."""
    parser.description = (
        "Try every wall on this machine and say what each holds and misses, then look at the interpreter, "
        "git, the advisory data, the ledger and the policy. Exit code 0: a wall stands that the policy takes."
    )
    ledger_options(parser)
    parser.add_argument("--hide-wall", action="append", default=[], metavar="NAME", help=argparse.SUPPRESS)


def run(given: argparse.Namespace) -> int:
    """Exit code 0 when a wall stands, else 4."""
    from veilig.app.walls import walls

    places = find_places(given)
    tried = asyncio.run(walls(places.policy, frozenset(given.hide_wall)))
    taken = next((probe.rung for probe, why in tried if not why), "")
    checks = [_python(), _git(), _advisories(places), _ledger(places), _policy(places), _desktop()]
    if given.json:
        shown = [_wall_json(probe, why) for probe, why in tried]
        others = [{"name": c.name, "state": c.state, "said": c.said} for c in checks]
        print_json({"ok": bool(taken), "wall": taken, "walls": shown, "checks": others})
        return EXIT_OK if taken else EXIT_REFUSED
    style = Style(sys.stdout)
    for probe, why in tried:
        _print_wall(probe, why, style, taken=probe.rung == taken)
    for check in checks:
        state = style(COLOUR[check.state], f"{check.state:<8}")
        print(f"{check.name:<11} {state} {printable(check.said)}")
    if taken:
        print(f"result      sessions run behind {taken}")
        return EXIT_OK
    print("result      no wall stands that the policy takes: nothing can be run here")
    print("  fix: install bubblewrap (see docs/how-to/install-the-wall.md), or require less in `sandbox`")
    return EXIT_REFUSED


def _print_wall(probe: Any, why: str, style: Style, *, taken: bool) -> None:
    name = f"{probe.rung:<11}"
    if probe.wall is None:
        print(f"{name} {style('dim', 'absent  ')} {printable(why)[:WHY_CHARS]}")
        return
    word = "taken   " if taken else "stands  "
    held = len(probe.wall.enforces)
    total = held + len(probe.wall.missing)
    aside = f"; not taken: {why}" if why else ""
    tried = "remembered" if probe.remembered else f"tried in {probe.took_s:.1f} s"
    state = style("good" if taken else "dim", word)
    print(f"{name} {state} holds {held} of {total} features, {tried}{printable(aside)[:WHY_CHARS]}")
    for feature, reason in probe.wall.missing:
        print(f"            lacks {feature.value}: {printable(reason)[:WHY_CHARS]}")


def _wall_json(probe: Any, why: str) -> dict[str, Any]:
    wall = probe.wall
    return {
        "name": probe.rung,
        "stands": wall is not None,
        "why_not_taken": why,
        "holds": sorted(f.value for f in wall.enforces) if wall else [],
        "lacks": {f.value: reason for f, reason in wall.missing} if wall else {},
        "tried_s": round(probe.took_s, 2),
        "remembered": probe.remembered,
    }


def _python() -> Check:
    said = f"{platform.python_version()} at {sys.executable}, {platform.system()} {platform.release()}"
    return Check("python", "ok", said)


def _git() -> Check:
    found = shutil.which("git")
    if found:
        return Check("git", "ok", found)
    return Check("git", "note", "not found: `veilig fix --branch` needs it, nothing else does")


def _desktop() -> Check:
    from veilig.app.desktop import missing_packages

    if missing := missing_packages():
        said = f"`veilig run --desktop` needs more: apt-get install {' '.join(missing)}"
        return Check("desktop", "note", said)
    return Check("desktop", "ok", "its programs are here; each is tried when a desktop is stood up")


def _advisories(places: Places) -> Check:
    from veilig.app import find_advisories
    from veilig.audit.advisories import AdvisoryDatabase, locate

    try:
        found = find_advisories(places.home, os.environ)
        if found is None:
            locate(os.environ, places.home.path)  # says where it looked and what to do
            return Check("advisories", "missing", "none found: dependencies cannot be assessed")
        database = AdvisoryDatabase.open(found)
    except VeiligError as error:
        return Check("advisories", "missing", " ".join(str(error).split()))
    try:
        warning = database.warning(datetime.now(UTC).date())
        said = f"{database.advisories} advisories as of {database.as_of()}"
        return Check("advisories", "note" if warning else "ok", warning or said)
    finally:
        database.close()


def _ledger(places: Places) -> Check:
    if not ledger_stands(places) and not places.anchors.is_dir():
        return Check("ledger", "ok", f"none yet; it will be {places.ledger}")
    try:
        with places.home.open_ledger(places.policy, create=False) as ledger:
            size = ledger.size()
    except VeiligError as error:
        return Check("ledger", "missing", " ".join(str(error).split()))
    return Check("ledger", "ok", f"{size} events in {places.ledger}; its end agrees with the anchors")


def _policy(places: Places) -> Check:
    policy = places.policy
    return Check("policy", "ok", f"{policy.source}, mode {policy.mode.value}, digest {policy.digest[:12]}")
