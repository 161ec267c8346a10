"""How do workers of a fleet share the services of one file? Each shard of it is a piece of work without end.

A shard is driven as `veilig heal --watch` drives a whole file, by one worker at a time. Where services are
seen from their own machine alone, only workers there take it.
"""

import asyncio
import hashlib
import logging
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from veilig.app import fleet
from veilig.app.driver import Silent
from veilig.app.fleet_hold import Held
from veilig.app.healing import KIND, Watched, heal
from veilig.app.wiring import Setting, operator_policy
from veilig.core.action import Action, WatchSignals
from veilig.core.canonical import JSON
from veilig.core.errors import Fenced, LedgerError, SessionError, UsageError, VeiligError
from veilig.core.provider import Outcome
from veilig.core.service_file import read_services
from veilig.core.session import Left
from veilig.heal.shards import SERVICES_PER_SHARD, Shard, kind_at, shards
from veilig.home import LEDGER_VARIABLE, find_home, local_person
from veilig.providers.fleet.entries import LeaseLost, State
from veilig.providers.fleet.queue import plain

log = logging.getLogger(__name__)

LATER_S: Final = 15.0  # until another worker tries what this one cannot
OLD_GONE_S: Final = 120.0  # a worker of the old shards that died is found out in twenty
LIVE: Final = frozenset({State.QUEUED, State.WORKING, State.HELD})


@dataclass(frozen=True, slots=True)
class Dealt:
    """Shards as they were queued, with the sessions that will heal them."""

    sessions: tuple[str, ...]
    shards: tuple[Shard, ...]


def kinds_here() -> tuple[str, ...]:
    """The kinds of healing that a worker of this machine can do."""
    return kind_at(""), kind_at(platform.node())


def is_healing(kind: str) -> bool:
    """Whether this kind of work is a shard of services."""
    return kind.partition("@")[0] == KIND


# --- whoever wants services healed ------------------------------------------------------------------


def deal(
    url: str,
    services: Path,
    *,
    host: str = "",
    most: int = SERVICES_PER_SHARD,
    org: str = "main",
    priority: int = 0,
    again: bool = False,
) -> Dealt:
    """Queue the shards of a services file. Blocks.

    again: those that were queued before end first, each before its next act. Raises UsageError when the file
    is healed already, when it cannot be dealt out so, or when an old shard does not end.
    """
    inventory = read_services(services)
    found = shards(inventory, host, most)
    prefix = f"{KIND}-{hashlib.sha256(inventory.path.encode()).hexdigest()[:10]}-"
    before = fleet.jobs(url, prefix, limit=100_000)
    if live := [one.session for one in before if one.state in LIVE]:
        if not again:
            raise UsageError(
                f"{inventory.path} is healed already, by {len(live)} shards",
                why="no service has two healers", fix="end those first: --replace",
            )  # fmt: skip
        _end(url, prefix, live)
    number = 1 + max((int(one.session.split("-")[2]) for one in before), default=0)
    sessions = tuple(f"{prefix}{number}-{at}" for at in range(1, len(found) + 1))
    found = tuple(replace(one, peers=sessions) for one in found)
    works = [
        fleet.Work(one.kind, one.to_json(), org, priority, session)
        for session, one in zip(sessions, found, strict=True)
    ]
    fleet.enqueue_all(url, works)
    return Dealt(sessions, found)


def _end(url: str, prefix: str, live: Sequence[str]) -> None:
    for session in live:
        fleet.cancel(url, session)
    end_s = time.monotonic() + OLD_GONE_S
    while left := [one.session for one in fleet.jobs(url, prefix, states=tuple(LIVE), limit=100_000)]:
        if time.monotonic() > end_s:
            raise UsageError(
                f"{left[0]} does not end", why="its worker does not answer, and no other has taken it over",
                fix="start a worker that heals, or try again",
            )  # fmt: skip
        time.sleep(0.5)


async def switch(url: str, state: str, reason: str, setting: Setting) -> tuple[str, list[str]]:
    """Let no act of any shard start any more ("stopped"), or let them ("started"): (who, which orgs).

    The ledger of each org that has shards says so, and every gate reads it right before an act. Raises
    UsageError when nothing is healed there, ProviderError, LedgerError.
    """
    rows = await asyncio.to_thread(fleet.jobs, url, f"{KIND}-", limit=100_000)
    orgs = sorted({one.org for one in rows if one.state in LIVE})
    if not orgs:
        raise UsageError("this fleet heals nothing", fix="for this machine alone leave --database out")
    who = ""
    base = plain(url)
    for org in orgs:
        mark = "&" if "?" in base else "?"
        environment = {**setting.environment, LEDGER_VARIABLE: f"{base}{mark}org={org}"}
        home = find_home(environment)
        policy = operator_policy(home, setting)
        who = local_person(policy).id
        body: dict[str, JSON] = {
            "state": state, "actor": who, "reason": home.redactor(environment).seal(reason),
        }  # fmt: skip
        with home.open_ledger(policy) as ledger:
            await ledger.submit(lambda tx, body=body: tx.append("heal.switched", KIND, body))
    return who, orgs


# --- the worker ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Over:
    """A shard that this worker let go of. later: why another attempt is worth it; "" when it is over."""

    note: str
    later: bool = False


class Logged(Silent):
    """Acts and causes go to the worker's log."""

    def __init__(self, session: str) -> None:
        self._session = session

    def observed(self, action: Action, outcome: Outcome) -> None:
        """Looks say nothing."""
        if not isinstance(action, WatchSignals):
            told = {"session": self._session, "kind": action.kind, "target": action.target}
            log.info("heal.act", extra={**told, "status": str(outcome.status), "note": outcome.detail[:200]})


async def drive_shard(held: Held, setting: Setting) -> Over:
    """Watch and heal until it is left, cancelled, or its services are gone from the file.

    Raises LeaseLost, Fenced and Left as every session does; what this machine cannot do is tried by others.
    """
    options: dict[str, Any] = held.taken.work["options"]
    shard = Shard.from_json(options)
    if shard.host and shard.host != platform.node():
        return Over(f"these services are kept on {shard.host}, this is {platform.node()}", later=True)
    try:
        await asyncio.to_thread(held.bring)
        if not set(shard.names) & {one.name for one in read_services(Path(shard.services)).services}:
            return Over("none of its services is in the file any more")
        wanted = Watched(Path(shard.services), stands_by=False, shard=shard)
        ended = await heal(wanted, setting, Logged(held.taken.session), None)
    except (LeaseLost, Fenced, Left, LedgerError, SessionError):
        raise
    except VeiligError as error:  # no such file here, a policy that does not read: others may do better
        return Over(f"{error.what}: {error.why}" if error.why else error.what, later=True)
    return Over(ended.finish.summary)
