"""Does a ledger in PostgreSQL keep, count, claim, refuse and prove what one in a file does?"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ledger_conformance import *  # noqa: F403  # the tests that every store passes
from ledger_conformance import Check, Reopen, SetClock, note
from postgres import NoPostgres
from server_ledger import Server
from veilig.core.errors import Fenced, LedgerError, LedgerTampered
from veilig.core.ledger import Ledger
from veilig.core.ledger_verify import verify_store
from veilig.stores.address import has_password, parse_place
from veilig.stores.opening import looks, places_at
from veilig.stores.postgres_schema import VERSION, prepare

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


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def org(server: Server) -> str:
    return server.org()


@pytest.fixture
def ledger(server: Server, org: str, tmp_path: Path, clock: SetClock) -> Iterator[Ledger]:
    with server.open(org, tmp_path / "state" / "anchors", clock=clock) as opened:
        yield opened


@pytest.fixture
def reopen(server: Server, org: str, tmp_path: Path) -> Reopen:
    return partial(server.open, org, tmp_path / "state" / "anchors")


@pytest.fixture
def check(server: Server, org: str, tmp_path: Path) -> Check:
    address = server.address(org)
    return lambda: verify_store(looks(address), places_at(address, tmp_path / "state" / "anchors"))


def test_a_driver_whose_session_was_taken_over_records_nothing(ledger: Ledger, reopen: Reopen, check: Check):
    first = ledger.fenced("s1", ledger.lease("s1", "worker-1"))
    first.append([note(1)])
    with reopen() as other:  # another machine, as far as the database knows
        second = other.fenced("s1", other.lease("s1", "worker-2"))
        for late in (lambda: first.append([note(2)]), lambda: first.transact(lambda tx: None)):
            with pytest.raises(Fenced, match="taken over"):
                late()
        second.append([note(3)])
        ledger.append([note(4)])  # a person who votes or speaks holds no lease
    assert [e.body["n"] for e in ledger.events(names=["action.proposed"])] == [1, 3, 4]
    assert check().events == 5


def test_one_organisation_sees_and_changes_nothing_of_another(server: Server, tmp_path: Path):
    """Not through the ledger, and not through SQL: a role must be a member of what it names."""
    import psycopg

    one, two = server.org(), server.org()
    prepare(server.address(two, "boss"), worker="other", bound=True)
    for name in (one, two):
        with server.open(name, tmp_path / name, role="worker" if name == one else "other") as ledger:
            ledger.append([note(1, session=name, claims=["c"], budget_keys=["b"])])
            ledger.lease(name, "w")
            ledger.checkpoint()
            assert [s.session for s in ledger.sessions()] == [name, "ledger"]
    with pytest.raises(LedgerError, match="there is no ledger"):
        server.open(two, tmp_path / "x")
    with psycopg.connect(server.address(one).conninfo, autocommit=True) as db:
        for table in ("events", "head", "counters", "claims", "leases", "checkpoints", "orgs"):
            assert db.execute(f"SELECT count(*) FROM veilig.{table}").fetchone() == (0,)  # none named
            db.execute("SELECT set_config('veilig.org', %s, false)", (two,))
            assert db.execute(f"SELECT count(*) FROM veilig.{table}").fetchone() == (0,)  # not a member
            db.execute("SELECT set_config('veilig.org', %s, false)", (one,))
            found = db.execute(
                f"SELECT count(*), count(*) FILTER (WHERE org = %s) FROM veilig.{table}", (one,)
            )
            mine = found.fetchone()
            assert mine is not None and mine[0] == mine[1] > 0, table
            db.execute("SELECT set_config('veilig.org', '', false)")
        db.execute("SELECT set_config('veilig.org', %s, false)", (one,))
        wrongs: tuple[Any, ...] = (
            f"INSERT INTO veilig.claims VALUES ('{two}', 'mine', 1)",
            f"UPDATE veilig.events SET body = '{{}}' WHERE org = '{one}'",
            f"DELETE FROM veilig.events WHERE org = '{one}'",
            "TRUNCATE veilig.events",
            "UPDATE veilig.orgs SET role = NULL",
            "ALTER TABLE veilig.events DISABLE ROW LEVEL SECURITY",
        )
        for wrong in wrongs:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                db.execute(wrong)
        assert db.execute("UPDATE veilig.head SET size = 0 WHERE org = %s", (two,)).rowcount == 0
    with pytest.raises(LedgerError, match="walks through the walls"):
        server.open(one, tmp_path / one, role="boss")


@pytest.mark.parametrize(
    ("change", "seq"),
    [
        ("UPDATE veilig.events SET body = '{\"n\":9}' WHERE seq = 2 AND org = '{org}'", 2),
        ("UPDATE veilig.events SET session = 's9' WHERE seq = 1 AND org = '{org}'", 1),
        ("DELETE FROM veilig.counters WHERE org = '{org}'", 3),
        ("UPDATE veilig.leases SET token = 5 WHERE org = '{org}'", 4),
        ("DELETE FROM veilig.events WHERE seq = 4 AND org = '{org}'", 4),
    ],
)
def test_a_row_that_the_owner_of_the_server_changed_is_found(
    server: Server, ledger: Ledger, org: str, check: Check, change: str, seq: int
):
    ledger.append([note(1), note(2), note(3, budget_keys=["b"])])
    ledger.lease("s1", "w")
    assert check().events == 4
    server.sql(change.replace("{org}", org))
    with pytest.raises(LedgerTampered) as caught:
        check()
    assert caught.value.seq == seq


def test_a_server_that_lost_confirmed_events_is_written_by_nobody_who_saw_them(
    server: Server, ledger: Ledger, org: str, reopen: Reopen
):
    ledger.append([note(1), note(2)])
    before = server.sql_one(
        f"SELECT size, hash, t_ms, boot, up_ms, peaks FROM veilig.head WHERE org = '{org}'"
    )
    ledger.append([note(3)])
    server.restore(org, 2, before)  # as a replica that lagged behind would have it
    with pytest.raises(LedgerTampered, match="not what was written"):
        ledger.append([note(4)])
    with pytest.raises(LedgerTampered, match="its anchor vouches for 3"):
        reopen()


def test_an_older_worker_goes_on_while_a_migration_runs_and_a_too_new_database_is_refused(
    server: Server, ledger: Ledger, reopen: Reopen
):
    ledger.append([note(1)])
    next_one = f"INSERT INTO veilig.schema VALUES ({VERSION + 1}, 1)"
    server.sql("ALTER TABLE veilig.events ADD COLUMN later text", next_one)
    try:
        ledger.append([note(2)])
        with reopen() as other:
            assert other.size() == 2
        server.sql(f"UPDATE veilig.schema SET oldest = version WHERE version = {VERSION + 1}")
        with pytest.raises(LedgerError, match=f"have version {VERSION + 1}"):
            reopen()
    finally:
        server.sql(f"DELETE FROM veilig.schema WHERE version = {VERSION + 1}")


@pytest.mark.parametrize(
    ("text", "shown", "secret"),
    [
        ("postgresql://u:hunter22@h:5/db?org=acme", "postgresql://u@h:5/db?org=acme", True),
        ("postgres://h/db", "postgresql://h/db?org=main", False),
        (
            "postgresql://u@h/db?password=hunter22&sslmode=require",
            "postgresql://u@h/db?sslmode=require&org=main",
            True,
        ),
        ("postgresql://u@a:1,b:2/db?target_session_attrs=read-write", None, False),
    ],
)
def test_an_address_is_shown_without_its_password(text: str, shown: str | None, secret: bool):
    found = parse_place(text)
    assert "hunter22" not in f"{found} {found!r}"
    assert has_password(text) is secret
    if shown is not None:
        assert str(found) == shown


@pytest.mark.parametrize(
    "text", ["mysql://h/db", "postgresql://h", "postgresql://h/db?org=A%20b", "postgresql://[h/db"]
)
def test_what_names_no_ledger_is_refused(text: str):
    from veilig.core.errors import UsageError

    with pytest.raises(UsageError):
        parse_place(text)


def test_a_server_that_is_not_there_is_said_without_the_password(tmp_path: Path):
    from veilig.stores.opening import open_ledger

    with pytest.raises(LedgerError) as caught:
        open_ledger(parse_place("postgresql://u:hunter22@127.0.0.1:1/db"), anchor_dir=tmp_path)
    assert "hunter22" not in str(caught.value)
    assert caught.value.retry_after_s
