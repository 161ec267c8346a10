"""Does what a database has confirmed outlast its own fail-over? Only where a standby confirms it, too."""

from enum import StrEnum

from veilig.core.errors import UsageError
from veilig.providers.fleet.queue import gone, libraries, plain


class Lasting(StrEnum):
    """What could lose the newest of what was confirmed."""

    NOTHING = "nothing"  # a standby confirms it, or there is no other server
    REPLICA = "replica"  # one follows without confirming: promoted, it lacks the newest
    FAILOVER = "failover"  # the address says that clients follow one


async def lasting(url: str) -> Lasting:
    """As the server that takes writes says now. Raises UsageError, ProviderError."""
    psycopg, _, _ = libraries()
    try:
        several = any(
            "," in str(part) for part in psycopg.conninfo.conninfo_to_dict(plain(url)).values() if part
        )
    except psycopg.Error as error:
        raise UsageError("this is no address of a database", why=str(error)) from error
    query = (
        "SELECT current_setting('synchronous_standby_names') <> '', EXISTS (SELECT FROM pg_stat_replication"
        " WHERE state IS DISTINCT FROM 'backup')"
    )
    try:
        async with await psycopg.AsyncConnection.connect(plain(url), connect_timeout=10) as db:
            confirmed, followed = await (await db.execute(query)).fetchone()
    except psycopg.Error as error:
        raise gone(error) from error
    if confirmed:
        return Lasting.NOTHING
    return Lasting.FAILOVER if several else Lasting.REPLICA if followed else Lasting.NOTHING
