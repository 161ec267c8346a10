"""Which ledger does a command read, and how are its ids and times shown?"""

import argparse
import json
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veilig.core.errors import LedgerError, UsageError

if TYPE_CHECKING:
    from veilig.app import Setting
    from veilig.core.ledger import Ledger
    from veilig.core.policy import Policy
    from veilig.home import Home
    from veilig.stores.address import Address

DATABASE = "VEILIG_DATABASE"  # where a fleet's queue is, and its ledgers beside it
_DURATION = re.compile(r"([0-9]{1,6})(s|m|h|d)")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def ledger_options(parser: argparse.ArgumentParser, *, inner: bool = False) -> None:
    """What every command that reads the ledger takes; `inner`: after the name of an action as well."""
    absent: Any = argparse.SUPPRESS if inner else None  # what stood before the action's name stays
    said = "the operator's policy, which may place the ledger"
    parser.add_argument("--policy", metavar="FILE", default=absent, help=said)
    where = "a file, or postgresql://user@host/database?org=NAME; else VEILIG_LEDGER, the policy"
    parser.add_argument("--ledger", metavar="PLACE", default=absent, help=where)
    parser.add_argument("--json", action="store_true", default=absent or False, help="print JSON")


def fleet_too(parser: argparse.ArgumentParser) -> None:
    """Where nothing names a ledger, read the one in the fleet's database ($VEILIG_DATABASE)."""
    parser.set_defaults(fleet=True)


@dataclass(frozen=True, slots=True)
class Places:
    """Home, the operator's policy, and where the ledger and its anchors are."""

    home: "Home"
    policy: "Policy"
    ledger: "Path | Address"
    anchors: Path


def find_places(given: argparse.Namespace) -> Places:
    """Raises PolicyError for a policy that does not validate, LedgerError for a home that cannot be used."""
    from veilig.home import find_home
    from veilig.law import find_laws

    home = find_home(os.environ)
    if named := getattr(given, "ledger", None):
        home = replace(home, store=named)
    policy = find_laws(home.path, given.policy, os.environ).operator
    if not home.store and (named := _database(given, policy)):
        home = replace(home, store=named)
    return Places(home, policy, home.place(policy), home.anchors_of(policy))


def setting_of(given: argparse.Namespace) -> "Setting":
    """For what acts on the ledger that `find_places` finds. Raises PolicyError, LedgerError."""
    from veilig.app import Setting
    from veilig.home import LEDGER_VARIABLE

    named = find_places(given).home.store
    environment = {**os.environ, LEDGER_VARIABLE: named} if named else dict(os.environ)
    return Setting(given.policy, environment=environment)


def _database(given: argparse.Namespace, policy: "Policy") -> str:
    """The fleet's database, where the command asks it and nothing else names a ledger."""
    elsewhere = policy.elsewhere
    if not getattr(given, "fleet", False) or elsewhere.ledger_store or elsewhere.ledger_path:
        return ""
    return os.environ.get(DATABASE, "")


@contextmanager
def opened(places: Places) -> "Generator[Ledger]":
    """The ledger, for reading. Raises LedgerError when there is none or it is not what was written."""
    need_ledger(places)
    with places.home.open_ledger(places.policy, create=False) as ledger:
        yield ledger


def need_ledger(places: Places) -> None:
    """Raises LedgerError when there is no ledger; says whether there was one."""
    if ledger_stands(places):
        return
    left = sorted(places.anchors.glob("*.head")) if places.anchors.is_dir() else []
    if left:
        why = f"{places.anchors} vouches for one: it was moved or deleted"
        raise LedgerError(f"there is no ledger at {places.ledger}", why=why, fix="restore it from a backup")
    raise LedgerError(
        f"there is no ledger at {places.ledger}",
        why="no session has run here yet, or it is kept elsewhere",
        fix="start with `veilig fix PATH`, or set VEILIG_HOME (or --policy) to where it is",
    )


def ledger_stands(places: Places) -> bool:
    """Whether there is a ledger to open; a database is asked when it is opened."""
    return not isinstance(places.ledger, Path) or places.ledger.exists()


def local_time(wall_ms: int) -> str:
    """A recorded wall-clock time, for people."""
    return datetime.fromtimestamp(wall_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def parse_duration(text: str) -> float:
    """Seconds of '90s', '30m', '2h' or '1d'. Raises UsageError for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise UsageError(
            f"{text!r} is not a duration",
            why="a number and a unit are needed",
            fix="write for example 90s, 30m, 2h or 1d",
        )
    return float(int(match[1]) * _UNIT_S[match[2]])


def duration(seconds: float) -> str:
    """A time span in the largest unit that says enough: '45 s', '12 min', '3 h', '5 d'."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def print_json(value: Any) -> None:
    """One JSON document for a script."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns as wide as their widest cell; the last one is left as it is."""
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = ["  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[-1]]) for row in rows]
    return "\n".join(line.rstrip() for line in lines)
