"""How is a database reached, for how long is it waited for, and what do its errors mean?"""

from typing import TYPE_CHECKING, Any

from veilig.core.errors import LedgerError
from veilig.core.limits import LEDGER_BUSY_S
from veilig.stores.address import Address

if TYPE_CHECKING:
    import psycopg
    from psycopg import Connection

CONNECT_S = 5  # per host of the address
PATIENCE_S = 60.0  # a restart or a fail-over takes less; a session does not stop for it
SILENT_S = 15  # a server or a client that says nothing for so long is gone

# Both sides notice a cut: the client by TCP, the server too, so that it lets go of the head's lock.
_CLIENT: dict[str, Any] = {
    "connect_timeout": CONNECT_S,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 4,
    "tcp_user_timeout": SILENT_S * 1000,
    "application_name": "veilig",
}
_SERVER = (
    f"-c lock_timeout={round(LEDGER_BUSY_S)}s -c idle_in_transaction_session_timeout={SILENT_S}s"
    f" -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=4"
    f" -c tcp_user_timeout={SILENT_S * 1000} -c synchronous_commit=off -c search_path=pg_catalog"
)

# Worth another try on another connection: shut down, starting, a standby, cut, too many, a timeout.
_PASSING = ("57P01", "57P02", "57P03", "25006", "08", "53300", "25P03", "40", "55000")
_FULL = ("53100", "53200", "53400")


def connect(address: Address) -> "Connection[Any]":
    """A connection in autocommit mode. Raises LedgerError."""
    psycopg = driver()
    try:
        return psycopg.connect(address.conninfo, **settings())
    except psycopg.Error as error:
        raise translated(error, address) from error


def settings() -> dict[str, Any]:
    """What every connection is opened with."""
    return {**_CLIENT, "options": _SERVER, "autocommit": True}


def driver() -> Any:
    """The psycopg module. Raises LedgerError when it is not installed."""
    try:
        import psycopg
        import psycopg_pool  # noqa: F401  # pyright: ignore[reportUnusedImport]  # asked for here, used later
    except ImportError as error:
        raise LedgerError(
            "a ledger in PostgreSQL needs psycopg and its pool",
            why=f"{error.name or error} is not installed",
            fix="pip install 'veilig[fleet]'",
        ) from error
    return psycopg


def passing(error: "psycopg.Error") -> bool:
    """Whether another connection may succeed where this one failed: a cut, a restart, a fail-over."""
    import psycopg

    state = error.sqlstate
    if state is not None:
        return state.startswith(_PASSING)
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)


def translated(error: "psycopg.Error", address: Address) -> LedgerError:
    """Our error for the server's. No text of it holds a password."""
    state = error.sqlstate or ""
    text = " ".join(str(error).split())[:300]
    what = f"the ledger {address} cannot be used"
    if state == "55P03":
        return LedgerError(
            f"the ledger {address} is busy",
            why=f"somebody held its head for more than {LEDGER_BUSY_S:.0f} s",
            fix="try again; if it stays, look for a stopped veilig process",
            retry_after_s=1.0,
        )
    if state.startswith(_FULL):
        why, fix = f"the server has no room: {text}", "free space and go on: nothing was half-written"
        return LedgerError(what, why=why, fix=fix, retry_after_s=5.0)
    if state in ("42501", "28P01", "28000"):
        return LedgerError(
            what, why=f"the role may not: {text}", fix="see docs/how-to/ledger-on-postgresql.md"
        )
    if passing(error):
        why, fix = f"the server did not answer: {text}", "look at the server; nothing more was recorded"
        return LedgerError(what, why=why, fix=fix, retry_after_s=5.0)
    return LedgerError(what, why=f"the server says: {text}", fix="look at the server and its log")
