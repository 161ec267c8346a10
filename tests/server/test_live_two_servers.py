"""Do two `veilig serve` processes on one PostgreSQL show the same session, live, and one room?"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from people_page import S, add_person, browser, planted, running, started, until
from postgres import NoPostgres
from server_ledger import Server

pytestmark = pytest.mark.outside_gate


@pytest.fixture
def server() -> Iterator[Server]:
    try:
        found = Server()
    except NoPostgres as error:
        pytest.skip(f"no PostgreSQL here: {error}")
    try:
        yield found
    finally:
        found.close()


async def test_what_is_said_at_one_server_is_heard_at_the_other(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    org = server.org()
    monkeypatch.setenv("VEILIG_LEDGER", str(server.address(org)))
    homes = [tmp_path / name for name in ("one", "two")]
    for home, name in zip(homes, ("ann", "ben"), strict=True):
        home.mkdir()
        add_person(home, name, "owner")
    with server.open(org, tmp_path / "anchors") as ledger:
        planted(ledger, S, [started()])
    with running(homes[0], [tmp_path]) as one, running(homes[1], [tmp_path]) as two:
        async with browser(one.url, "ann") as ann, browser(two.url, "ben") as ben:
            async with ann.live(S) as here, ben.live(S) as there:
                await until(here, "hello")
                await until(there, "hello")
                assert (await ben.post(f"/sessions/{S}/comments", {"text": "look here"}))[0] == 201
                while "look here" not in str((heard := await until(here, "event"))["e"]):
                    pass
                assert heard["e"]["kind"] == "comment.added"
                assert (await ann.post(f"/sessions/{S}/comments", {"text": "and seen"}))[0] == 201
                while "and seen" not in str((await until(there, "event"))["e"]):
                    pass
            listed = [await person.get("/sessions") for person in (ann, ben)]
            assert listed[0] == listed[1]
            async with ann.http.get(f"{two.url}/readyz") as answer:
                assert (answer.status, await answer.json()) == (200, {"ready": True})
