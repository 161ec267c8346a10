"""`veilig monitor feeds`: which indicators are live, what is new, what a TAXII server offers."""

import argparse
import asyncio
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from veilig.cli.record import print_json, table
from veilig.cli.style import printable
from veilig.core.errors import EXIT_INCOMPLETE, EXIT_OK, UsageError, VeiligError

if TYPE_CHECKING:
    from veilig.core.action import FetchFeed
    from veilig.core.provider import Request, Vote


def options(parser: argparse.ArgumentParser) -> None:
    """What `monitor feeds` takes."""
    parser.description = (
        "Counts the indicators of monitor.feeds. `sync` fetches what is new in each feed with a TAXII "
        "collection; a gateway that runs takes it in by itself. `add URL` asks a TAXII 2.1 server what it "
        "offers, and prints the lines for veilig.yaml: what is believed, the operator writes."
    )
    parser.add_argument("what", nargs="?", default="list", choices=("list", "sync", "add"))
    parser.add_argument(
        "name", nargs="?", default="", metavar="FEED|URL", help="one feed to sync; or where to look"
    )
    parser.add_argument(
        "--key-env", default="", metavar="NAME", help="variable with the Authorization header"
    )
    parser.add_argument("--policy", metavar="FILE", help="the operator's policy")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(do=_do)


def _do(given: argparse.Namespace) -> int:
    """0 done; 3 when a feed did not come."""
    if given.what == "add":
        return _add(given)
    if given.key_env:
        raise UsageError("--key-env goes with `add`", fix="feeds name theirs in veilig.yaml")
    return _sync(given) if given.what == "sync" else _list(given)


def _rules(given: argparse.Namespace) -> Any:
    from veilig.app.watching import placed
    from veilig.home import find_home
    from veilig.law import find_laws

    home = find_home(os.environ)
    return placed(find_laws(home.path, given.policy, os.environ).operator.elsewhere.safeguards.monitor, home)


def _list(given: argparse.Namespace) -> int:
    from veilig.app.watching import load_indicators

    rules = _rules(given)
    began = time.monotonic()
    loaded = load_indicators(rules)
    took_s = time.monotonic() - began
    if given.json:
        print_json({
            "live": loaded.indicators.size,
            "refused": loaded.refused,
            "feeds": [f.name for f in rules.feeds],
        })  # fmt: skip
        return EXIT_OK
    print(f"feeds   {', '.join(f.name for f in rules.feeds) or 'none'}")
    print(f"live    {loaded.indicators.size} indicators, read in {took_s:.2f} s")
    for why, count in sorted(loaded.refused.items()):
        print(f"refused {count}: {why}")
    return EXIT_OK


def _sync(given: argparse.Namespace) -> int:
    from veilig.app import Setting, fetch_feed
    from veilig.core.action import FetchFeed

    wanted = [f for f in _rules(given).feeds if f.taxii and given.name in ("", f.name)]
    if not wanted:
        named = f"no feed {given.name!r} with `taxii`" if given.name else "no feed with `taxii`"
        raise UsageError(
            f"{named} is in monitor.feeds", fix="`veilig monitor feeds add URL` prints the lines for one"
        )
    facts: list[dict[str, Any]] = []
    for feed in wanted:
        action = FetchFeed(feed.taxii, feed.name, feed.key_env)
        try:
            came = asyncio.run(fetch_feed(action, Setting(given.policy), None))
        except VeiligError as error:
            facts.append({"feed": feed.name, "ok": False, "why": f"{error.what}: {error.why}"})
            continue
        facts.append({"feed": feed.name, "ok": True, **_counts(came)})
    if given.json:
        print_json(facts)
    else:
        rows = [("feed", "objects", "pages", "known up to")]
        for f in facts:
            seen = ("objects", "pages", "after")
            objects, pages, after = (printable(str(f.get(n) or "-")) if f["ok"] else "-" for n in seen)
            rows.append((f["feed"], objects, pages, after))
        print(table(rows))
        for f in facts:
            if not f["ok"]:
                print(f"failed  {f['feed']}: {printable(f['why'])}")
    return EXIT_OK if all(f["ok"] for f in facts) else EXIT_INCOMPLETE


def _counts(came: Mapping[str, Any]) -> dict[str, Any]:
    return {name: came[name] for name in ("objects", "pages", "after")}


class _Typed:
    """The person at the terminal typed the address: their vote for asking that, and nothing else."""

    def __init__(self, wanted: "FetchFeed") -> None:
        self._wanted = wanted

    async def ask(self, request: "Request") -> "Vote | None":
        """A yes for this very act."""
        if request.action != self._wanted:
            return None
        from veilig.core.policy import builtin_policy
        from veilig.core.provider import Vote
        from veilig.home import local_person

        return Vote(local_person(builtin_policy()), True, "command line", "the address was given")


def _add(given: argparse.Namespace) -> int:
    from veilig.app import Setting, fetch_feed
    from veilig.core.action import FetchFeed

    if not given.name:
        raise UsageError(
            "`feeds add` needs an address", fix="give a discovery address, an API root or a collection"
        )
    wanted = FetchFeed(given.name, key_env=given.key_env)
    came = asyncio.run(fetch_feed(wanted, Setting(given.policy), _Typed(wanted)))
    found: Any = came["collections"]
    if given.json:
        print_json(found)
        return EXIT_OK
    if not found:
        print("no collection is offered there")
        return EXIT_INCOMPLETE
    print("# into veilig.yaml, with a name of your own for each feed that you believe:\nmonitor:\n  feeds:")
    for number, one in enumerate(found, 1):
        note = "" if one["can_read"] else "   # this key may not read it"
        print(f"    # {printable(one['title'])}{note}")
        key = f", key_env: {given.key_env}" if given.key_env else ""
        print(f'    - {{name: feed-{number}, taxii: "{printable(one["url"])}"{key}}}')
    return EXIT_OK
