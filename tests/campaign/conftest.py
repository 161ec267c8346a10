"""What do the tests of campaigns share? A terminal with a home of its own, and one database server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from crew import Crew
from postgres import NoPostgres
from server_ledger import Server
from terminal import Terminal


@pytest.fixture
def veilig(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    try:
        made = Server("autovacuum = on\n")
    except NoPostgres as error:
        pytest.skip(f"NO POSTGRESQL WAS TESTED: {error}")
    yield made
    made.close()


@pytest.fixture
def crew(server: Server, tmp_path: Path) -> Iterator[Crew]:
    """A fleet in a database of its own; nobody works there yet."""
    made = Crew(tmp_path, server)
    try:
        yield made
    finally:
        made.close()
