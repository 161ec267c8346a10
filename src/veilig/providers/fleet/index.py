"""How does the index of components lie in a fleet's database? One for each organisation, written by many."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

from veilig.providers.fleet.link import Link
from veilig.providers.fleet.tables_orgs import SBOMS

_LOCK = "SELECT pg_advisory_xact_lock{}(hashtext('veilig_sboms'), hashtext(%s))"


class ServerBase:
    """A place for campaign/sboms.py. Every use raises ProviderError when the database cannot be reached."""

    def __init__(self, url: str, org: str) -> None:
        self._link = Link(url, org, SBOMS)

    @contextmanager
    def writing(self, *, alone: bool) -> Generator["_Work"]:
        """A transaction that others do not cross: an advisory and an audit must not miss each other."""
        with self._link.transaction() as cursor:
            cursor.execute(_LOCK.format("" if alone else "_shared"), (self._link.org,))
            yield _Work(cursor)

    @contextmanager
    def reading(self) -> Generator["_Work"]:
        """A look."""
        with self._link.transaction() as cursor:
            yield _Work(cursor)

    def close(self) -> None:
        """Let go of the database."""
        self._link.close()


class _Work:
    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Any:
        """The cursor, with the answer."""
        return self._cursor.execute(_ours(sql), values)

    def executemany(self, sql: str, values: Iterable[Sequence[Any]], /) -> object:
        """Once for each, without waiting between them."""
        return self._cursor.executemany(_ours(sql), values)


def _ours(sql: str) -> str:
    """As this database wants it: every key of its tables begins with the organisation."""
    return sql.replace("?", "%s").replace("ON CONFLICT (", "ON CONFLICT (org, ")
