"""`veilig worker`: this machine's share of a fleet's sessions."""

import argparse
import asyncio
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veilig.core.errors import EXIT_OK, UsageError

if TYPE_CHECKING:
    from veilig.app.fleet_worker import Worker

KINDS = ("audit", "explain", "fix", "fleet-audit", "fleet-fix", "review", "run", "trial")
ENVIRONMENT = "VEILIG_DATABASE"


def options(parser: argparse.ArgumentParser) -> None:
    """What `worker` takes."""
    parser.description = (
        "Take sessions from the queue in PostgreSQL and drive them, until SIGTERM: then each is left "
        "before its next act, and another worker goes on with it."
    )
    database_option(parser)
    parser.add_argument("--slots", type=int, default=2, metavar="N", help="sessions at once (default 2)")
    parser.add_argument(
        "--heal-slots", type=int, default=0, metavar="N",
        help="shards of services to watch and heal at once, beside the sessions (default 0: none)",
    )  # fmt: skip
    parser.add_argument("--kinds", default=",".join(KINDS), metavar="LIST", help="kinds of session to take")
    parser.add_argument(
        "--store", metavar="PLACE", default="", help="where copies lie: a shared folder or s3://bucket/prefix"
    )
    parser.add_argument(
        "--sources",
        metavar="DIR",
        help="where uploaded projects are laid out; the same path on every machine",
    )
    parser.add_argument(
        "--git-token", action="append", default=[], metavar="HOST=NAME",
        help="the variable NAME holds a token for this git host, for repositories of `audit --fleet`",
    )  # fmt: skip
    parser.add_argument("--drain", action="store_true", help="end when nothing is left to take")
    parser.add_argument(
        "--status", metavar="HOST:PORT", help="serve /healthz, /readyz and /metrics there (port 0: any)"
    )
    parser.add_argument("--python", metavar="EXE", help="the projects' interpreter")
    parser.add_argument("--policy", metavar="FILE", help="the operator's policy (default: see the reference)")
    parser.add_argument(
        "--model-url",
        default=os.environ.get("VEILIG_MODEL_URL", ""),
        metavar="URL",
        help="where models are asked, whatever a job says (default: $VEILIG_MODEL_URL; else their vendor)",
    )
    parser.add_argument(
        "--model-api", choices=("auto", "chat", "responses"), default="auto", help="what that server speaks"
    )


def database_option(parser: argparse.ArgumentParser) -> None:
    """Where the queue is."""
    parser.add_argument(
        "--database",
        metavar="URL",
        default=argparse.SUPPRESS,
        help=f"the fleet's PostgreSQL (default: ${ENVIRONMENT}; there, its password is in no list)",
    )


def database(given: argparse.Namespace) -> str:
    """The address of the database. Raises UsageError when nobody names one."""
    if found := getattr(given, "database", "") or os.environ.get(ENVIRONMENT, ""):
        return str(found)
    raise UsageError(
        "no database is named",
        why="the queue of a fleet is in PostgreSQL",
        fix=f"give --database postgresql://USER@HOST/NAME, or set {ENVIRONMENT}",
    )


def tokens_of(given: Sequence[str]) -> Mapping[str, str]:
    """Host -> variable. Raises UsageError."""
    found: dict[str, str] = {}
    for item in given:
        host, _, name = item.partition("=")
        if not host or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise UsageError(
                "--git-token names no host and variable",
                why="it is HOST=NAME, where NAME is a variable that holds the token",
                fix="write for example github.com=GIT_TOKEN",
            )
        found[host] = name
    return found


def run(given: argparse.Namespace) -> int:
    """Exit 0 when it was told to end, or drained."""
    from veilig.app.fleet_repository import Repositories
    from veilig.app.fleet_session import default_sources
    from veilig.app.fleet_worker import Plan, Worker
    from veilig.app.wiring import Setting
    from veilig.cli.worker_trials import KIND, make_trial

    sources = Path(given.sources).absolute() if given.sources else default_sources()
    setting = Setting(given.policy, given.python, model_url=given.model_url, model_api=given.model_api)
    kinds = tuple(kind.strip() for kind in given.kinds.split(",") if kind.strip())
    repositories = Repositories(database(given), sources, tokens_of(given.git_token))
    plan = Plan(
        database(given),
        setting,
        given.slots,
        kinds,
        given.store,
        sources,
        drain=given.drain,
        handlers={KIND: make_trial, **repositories.handlers},
        heal_slots=given.heal_slots,
    )
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, handlers=None)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(Lines())
    logging.getLogger("procrastinate").setLevel(logging.WARNING)
    asyncio.run(_work(Worker(plan), given.status))
    return EXIT_OK


async def _work(worker: "Worker", status: str | None) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    if not status:
        await worker.run()
        return
    from veilig.server.worker_status import serving

    async with serving(worker, status) as address:
        logging.getLogger(__name__).info("status.served", extra={"address": address})
        await worker.run()


class Lines(logging.Formatter):
    """One JSON object per line: time, level, event, and the event's own fields."""

    _OWN = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        told: dict[str, Any] = {
            "at": round(record.created, 3),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in self._OWN},
        }
        if record.exc_info:
            told["trace"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False, default=str)
