"""May this worker join the fleet? What sessions need on every machine must be the same, and must last."""

import asyncio
import logging

from veilig.app.fleet_session import Ledgers
from veilig.core.errors import UsageError
from veilig.providers.fleet.lasting import Lasting, lasting
from veilig.providers.fleet.queue import Queue

log = logging.getLogger(__name__)


async def one_of_a_kind(queue: Queue, name: str, mine: str, fix: str) -> None:
    """Raises UsageError when the other workers of this database have another one."""
    if await queue.only_key(name, mine) != mine:
        raise UsageError(
            f"this worker has another {name} than its fleet",
            why="a session that moves between them could not go on", fix=fix,
        )  # fmt: skip


async def must_record_as_others(queue: Queue, ledgers: Ledgers, database: str) -> None:
    """Raises UsageError for another ledger than the fleet's, or one that a fail-over may cut short.

    Whoever takes a session over learns from the ledger what was begun: what is missing there is done again.
    """
    identity = await asyncio.to_thread(ledgers.identity)
    fix = (
        "leave VEILIG_LEDGER and the policy's `ledger` empty everywhere, or name one database everywhere;"
        " after a move, with no session left: DELETE FROM veilig_fleet.fleet_meta WHERE name = 'ledger'"
    )
    await one_of_a_kind(queue, "ledger", identity, fix)
    for url in filter(None, (database, ledgers.elsewhere())):
        found = await lasting(url)
        if found is Lasting.REPLICA:
            log.warning("database.replica_behind", extra={"fix": "do not promote it while workers run"})
        if found is Lasting.FAILOVER:
            raise UsageError(
                "a fail-over of this database could forget what was begun",
                why="its address names several hosts, and no standby confirms what the primary has written",
                fix="set synchronous_standby_names; or name one host, and promote none by itself",
            )
