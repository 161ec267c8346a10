"""Do `approvals` and `sessions` find the fleet's record, and does one org's trouble stay its own?"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from people_page import S, events_with, planted
from postgres import NoPostgres
from server_ledger import Server
from terminal import Said
from veilig.app.fleet_session import Ledgers
from veilig.app.fleet_worker import _answered
from veilig.app.wiring import Setting
from veilig.core.ledger import Ledger
from veilig.stores.postgres_schema import prepare

pytestmark = pytest.mark.outside_gate
type Inside = Callable[..., Said]


@pytest.fixture
def server() -> Iterator[Server]:
    try:
        found = Server()
    except NoPostgres as error:
        pytest.skip(f"no PostgreSQL here: {error}")
    try:
        for org in ("main", "acme"):
            prepare(found.address(org, "boss"), worker="worker", keeper="keeper", server="server")
        yield found
    finally:
        found.close()


def voted(ledger: Ledger) -> list[object]:
    return [event.body["approval"] for event in ledger.events(names=("approval.voted",))]


def test_where_nothing_names_a_ledger_the_fleets_database_is_read(
    server: Server, tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    main, acme = (server.open(org, tmp_path / "anchors") for org in ("main", "acme"))
    planted(main, S, events_with("x")[:6])
    planted(acme, "fix-0c0c0c0c", events_with("y")[:6])
    host = server.address("main").conninfo
    monkeypatch.setenv("VEILIG_DATABASE", host)
    assert [a["session"] for a in inside("approvals", "--json").json] == [S]
    assert [s["session"] for s in inside("sessions", "--json").json] == [S]
    said = inside("approvals", "approve", "ap01", "--reason", "read it")
    assert said.code == 0, said.err
    assert (voted(main), voted(acme)) == (["ap01"], [])
    named = f"{host}?org=acme"
    said = inside("approvals", "deny", "ap01", "--ledger", named, "--reason", "not this")
    assert said.code == 0, said.err
    assert (voted(main), voted(acme)) == (["ap01"], ["ap01"]), "the vote goes where --ledger says"
    monkeypatch.setenv("VEILIG_LEDGER", named)  # whoever names a ledger means it
    assert [s["session"] for s in inside("sessions", "--json").json] == ["fix-0c0c0c0c"]
    monkeypatch.delenv("VEILIG_LEDGER")
    assert "there is no ledger" in inside("grants").err, "other commands read this machine's record"
    main.close()
    acme.close()


def test_an_org_whose_ledger_cannot_be_read_keeps_no_other_waiting(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environment = {"VEILIG_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}
    with server.open("main", tmp_path / "anchors") as ledger:
        planted(ledger, S, events_with("x")[:2])
        before = ledger.size()
        planted(ledger, S, [("session.told", {"actor": "ann", "via": "page", "text": "go on", "anchor": 0})])
        ledgers = Ledgers(Setting(environment=environment), server.address("main").conninfo)
        held = {"a-1": ("gone", 0), "a-2": ("gone", 0), S: ("main", before)}
        assert _answered(ledgers, held) == [S]
        ledgers.close()
    assert [record.getMessage() for record in caplog.records].count("ledger.unread") == 1
