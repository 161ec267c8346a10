"""`veilig queue heal`: the services of a file, dealt out to the workers that watch and heal them."""

import argparse
from pathlib import Path

from veilig.cli.record import print_json, table
from veilig.cli.worker import database
from veilig.core.errors import EXIT_OK


def options(parser: argparse.ArgumentParser) -> None:
    """What `queue heal` takes."""
    parser.description = (
        "Queue the services of a file in shards; each is watched and healed by one worker at a time, without "
        "end. Services that need each other or carry the same load stay together. The policy is the workers'."
    )
    parser.add_argument("services", help="the services file, at the same path on every worker")
    parser.add_argument(
        "--on", default="", metavar="HOST", help="the machine that runs what only it can see (its host name)"
    )
    parser.add_argument("--per-shard", type=int, default=50, metavar="N", help="services per shard")
    parser.add_argument("--replace", action="store_true", help="end the shards of before, then deal anew")
    parser.add_argument("--org", default="main", metavar="NAME")
    parser.add_argument("--priority", type=int, default=0, metavar="N", help="larger is sooner")


def run(given: argparse.Namespace) -> int:
    """Exit 0 when they are queued."""
    from veilig.app.fleet_heal import deal

    dealt = deal(
        database(given), Path(given.services).expanduser(), host=given.on, most=given.per_shard,
        org=given.org, priority=given.priority, again=given.replace,
    )  # fmt: skip
    rows = [
        (session, one.part, one.host or "anywhere", str(len(one.names)), ", ".join(one.names[:4]))
        for session, one in zip(dealt.sessions, dealt.shards, strict=True)
    ]
    if given.json:
        keys = ("session", "part", "host")
        print_json({"shards": [{**dict(zip(keys, row, strict=False)), "names": [*one.names]}
                               for row, one in zip(rows, dealt.shards, strict=True)]})  # fmt: skip
        return EXIT_OK
    print(table([("session", "part", "host", "services", ""), *rows]))
    print("next    workers take them: veilig worker --heal-slots N")
    return EXIT_OK
