"""`veilig advisories`: make the offline database of known vulnerabilities, and say what it holds."""

import argparse
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from veilig.core.errors import EXIT_INCOMPLETE, EXIT_OK


def options(parser: argparse.ArgumentParser) -> None:
    """What `advisories` takes."""
    parser.description = (
        "The advisory database is a read-only file in the state folder, made from data you fetched or whose "
        "address you give: nothing is downloaded unasked, and no list of dependencies leaves this machine."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    sync = verbs.add_parser("sync", help="make the database from a checkout, a zip, a file or an address")
    sync.add_argument(
        "--from",
        dest="sources",
        action="append",
        required=True,
        metavar="PATH|URL",
        help="a checkout of pypa/advisory-database or github/advisory-database, OSV's PyPI zip, "
        "GHSA JSON, or .jsonl(.gz) of OSV records; or the https address of such a file, which is then "
        "fetched from that host alone (`audit.download` of the policy); may be repeated",
    )
    sync.add_argument("--policy", metavar="FILE", help="the operator's policy (default: see the reference)")
    status = verbs.add_parser("status", help="which data is in use, and how old it is")
    from veilig.cli.advisories_watch import alerts_options, watch_options

    watch_options(
        verbs.add_parser("watch", help="name the audited repositories that a new advisory concerns")
    )
    alerts_options(verbs.add_parser("alerts", help="what concerns audited repositories now"))
    for verb in (sync, status):
        verb.add_argument("--json", action="store_true", help="for scripts")


def run(given: argparse.Namespace) -> int:
    """0 done; 1 somebody is concerned (`watch`); 3 when there is no usable data or source."""
    from veilig.cli.advisories_watch import list_alerts, watch

    verbs = {"sync": _sync, "status": _status, "watch": watch, "alerts": list_alerts}
    return verbs[given.verb](given)


def _sync(given: argparse.Namespace) -> int:
    from veilig.audit.advisories import DATABASE_NAME, ENVIRONMENT_NAME, AdvisoryDatabase
    from veilig.home import find_home

    target = find_home(os.environ).path / DATABASE_NAME
    fetched: list[Path] = []
    try:
        paths = [_path(source, given, fetched) for source in given.sources]
        synced = {"synced_at": datetime.now(UTC).isoformat(timespec="seconds")}
        if fetched:
            synced["source"] = ", ".join(given.sources)
        database = AdvisoryDatabase.build(paths[0], target, *paths[1:], facts=synced)
    finally:
        for file in fetched:
            file.unlink(missing_ok=True)
    _show(given, database, target)
    if os.environ.get(ENVIRONMENT_NAME):
        print(f"note    ${ENVIRONMENT_NAME} is set and goes before this database", file=sys.stderr)
    return EXIT_OK


def _path(source: str, given: argparse.Namespace, fetched: list[Path]) -> Path:
    """The file or folder; what an address names is fetched first and added to `fetched`."""
    from veilig.app import Setting
    from veilig.cli.advisories_fetch import fetched_file

    if "://" not in source:
        return Path(source).expanduser()
    print(f"fetches {source}", file=sys.stderr)
    path = fetched_file(source, Setting(given.policy))
    fetched.append(path)
    return path


def _status(given: argparse.Namespace) -> int:
    from veilig.app import find_advisories
    from veilig.audit.advisories import AdvisoryDatabase, locate
    from veilig.home import find_home

    home = find_home(os.environ)
    place = find_advisories(home, os.environ)
    if place is None:
        place = locate(os.environ, home.path)  # raises, and says how to get one
    return _show(given, AdvisoryDatabase.open(place), place)


def _show(given: argparse.Namespace, database: Any, place: Path) -> int:
    today = datetime.now(UTC).date()
    warning, age = database.warning(today), database.age_days(today)
    if given.json:
        facts = {
            "path": str(place),
            "advisories": database.advisories,
            "packages": len(database.names()),
            "as_of": str(database.as_of() or ""),
            "age_days": age,
            "warning": warning,
            "meta": database.meta,
        }
        print(json.dumps(facts, indent=1, ensure_ascii=False))
    else:
        known = ("source", "commit", "sha256", "synced_at", "license", "attribution")
        print(f"data    {place}")
        print(f"holds   {database.advisories} advisories for {len(database.names())} packages")
        print(f"as of   {database.as_of() or 'unknown'}" + ("" if age is None else f", {age} days old"))
        for key in known:
            if database.meta.get(key):
                print(f"{key:<11} {database.meta[key]}")
        counts = {key: database.meta.get(key, "0") for key in ("withdrawn", "other_ecosystems")}
        print(
            f"left out    {counts['withdrawn']} withdrawn, {counts['other_ecosystems']} of other ecosystems"
        )
        if warning:
            print(f"warning {warning}")
    return EXIT_OK if database.advisories else EXIT_INCOMPLETE
