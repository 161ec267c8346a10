"""Does a ledger in PostgreSQL keep, count, claim, refuse and prove what one in a file does?"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from postgres import NoPostgres
from server_ledger import Server
from veilig.core.ledger import Draft
from veilig.core.ledger_verify import verify_store
from veilig.stores.opening import looks, places_at

pytestmark = pytest.mark.outside_gate


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    try:
        found = Server()
    except NoPostgres as error:
        pytest.skip(f"no PostgreSQL here: {error}")
    try:
        yield found
    finally:
        found.close()


def test_smoke(server: Server, tmp_path: Path):
    org = server.org()
    with server.open(org, tmp_path / "anchors") as ledger:
        print(
            ledger.append([Draft("action.proposed", "s1", {"n": 1, "claims": ["a"], "budget_keys": ["b"]})])
        )
        print(ledger.lease("s1", "w"))
        print(list(ledger.events()))
        print(ledger.sessions(), ledger.size(), ledger.last("s1"))
        print(ledger.checkpoint())
        print(ledger.prove(1))
        print(ledger.transact(lambda tx: (tx.count("b", 0), tx.claimed("a"), tx.leased("s1"), tx.now_ms())))
    address = server.address(org)
    print(verify_store(looks(address), places_at(address, tmp_path / "anchors")))
