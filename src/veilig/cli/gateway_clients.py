"""`veilig gateway check --clients`: what real clients show of this gateway's signals."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from veilig.core.errors import EXIT_INCOMPLETE, EXIT_OK


def check_clients(policy: Any, rules: Any, *, as_json: bool) -> int:
    """0 when every feature shows in every client that is here; 3 otherwise. rules: the three sections."""
    import asyncio

    from veilig.app.clients import find_codex
    from veilig.app.safeguards import Desk
    from veilig.core.clock import SystemClock
    from veilig.home import Home
    from veilig.server.client_check import check_clients as check

    with tempfile.TemporaryDirectory(prefix="veilig-check-") as scratch:
        home = Home(Path(scratch) / "home")
        work = Path(scratch) / "work"
        work.mkdir()
        with home.open_ledger(policy) as ledger:
            found = asyncio.run(
                check(rules, lambda made: Desk(ledger, made, SystemClock()), work, find_codex())
            )
    if as_json:
        rows = [
            {"client": s.client, "feature": s.feature, "works": s.works, "shows": s.detail} for s in found
        ]
        print(json.dumps(rows, indent=2))
    for shown in found if not as_json else ():
        state = {True: "works", False: "FAILS", None: "absent"}[shown.works]
        print(f"{shown.client:<16} {shown.feature:<24} {state:<7} {shown.detail[:160]}")
    for shown in found:
        if shown.works is None:
            print(f"not tried: {shown.client}, {shown.detail}", file=sys.stderr)
    return EXIT_OK if all(s.works is not False for s in found) else EXIT_INCOMPLETE
