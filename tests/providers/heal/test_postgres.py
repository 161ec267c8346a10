"""Is a real PostgreSQL seen as it is, and changed only as approved, by a role that may?

The database is one of our own (tests/support/postgres.py); where none is installed these tests skip, loudly.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from postgres import Cluster, NoPostgres, shop
from veilig.core.clock import SystemClock
from veilig.core.errors import ProviderError
from veilig.core.policy import Capability
from veilig.core.service import Service
from veilig.core.signal import Run
from veilig.providers.heal.postgres import PostgresSubstrate
from veilig.providers.heal.substrate import Seen

WAIT_S = 60


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    try:
        made = Cluster()
    except NoPostgres as error:
        pytest.skip(f"NO POSTGRESQL WAS TESTED: {error}")
    try:
        shop(made)
        yield made
    finally:
        made.close()


def service(cluster: Cluster, looker: str = "looker", writer: str = "actor", **more: Any) -> Service:
    more = {"cmd": tuple(cluster.restart), "data": (str(cluster.data),), "folder": "/"} | more
    text = cluster.conninfo(writer) if writer else ""
    return Service("db", provider="postgres", unit=cluster.conninfo(looker), writer=text, **more)


@asynccontextmanager
async def keeper(one: Service, *, readonly: bool = False) -> AsyncGenerator[PostgresSubstrate]:
    made = PostgresSubstrate([one], SystemClock(), dict(os.environ), readonly=readonly)
    try:
        yield made
    finally:
        await made.close()


async def seen_as(made: PostgresSubstrate, one: Service, *wanted: Run) -> Seen:
    async with asyncio.timeout(WAIT_S):
        while (now := (await made.look([one]))[0]).run not in wanted:
            await asyncio.sleep(0.05)
    return now


class App:
    """Sessions of an application."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._open: list[Any] = []

    async def session(self, *statements: str, role: str = "app") -> Any:
        import psycopg

        connection = await psycopg.AsyncConnection.connect(
            self._cluster.conninfo(role), autocommit=True, application_name="checkout"
        )
        self._open.append(connection)
        for one in statements:
            await connection.execute(one.encode())
        return connection

    async def close(self) -> None:
        for one in self._open:
            await one.close()


@pytest.fixture
async def app(cluster: Cluster) -> AsyncIterator[App]:
    made = App(cluster)
    yield made
    await made.close()


LOCK = "UPDATE orders SET paid = true WHERE id = 1"


async def blocked(made: PostgresSubstrate, one: Service) -> Seen:
    async with asyncio.timeout(WAIT_S):
        while True:
            (now,) = await made.look([one])
            if any(backend.blocks for backend in now.backends):
                return now
            await asyncio.sleep(0.05)


async def test_a_server_is_seen_with_its_start_its_counts_and_nobody_in_the_way(cluster: Cluster) -> None:
    one = service(cluster)
    async with keeper(one) as made:
        first = await seen_as(made, one, Run.RUNNING)
        again = await seen_as(made, one, Run.RUNNING)
    assert first.incarnation == again.incarnation != ""
    assert abs(first.started_s - again.started_s) < 5
    counts = {gauge.name: gauge for gauge in first.gauges}
    assert counts["connections"].limit == 13  # of 16, three are the superuser's
    assert not any(gauge.over for gauge in first.gauges)
    assert first.backends == ()


async def test_both_roles_are_tried_and_the_one_that_acts_may_act(cluster: Cluster) -> None:
    one = service(cluster)
    async with keeper(one) as made:
        assert await made.capability(one) == (Capability.READ_WRITE, "")


@pytest.mark.parametrize(
    ("looker", "writer", "held", "said"),
    [
        ("looker", "", Capability.READONLY, "no role that may act"),
        ("looker", "looker", Capability.READONLY, "two roles are needed"),
        ("looker", "app", Capability.READ_WRITE, "app cannot end sessions"),
        (
            "sneak",
            "actor",
            Capability.NOT_ENFORCED,
            "sneak, which should only look, may change public.orders (DELETE)",
        ),
        ("boss", "actor", Capability.NOT_ENFORCED, "everything: it is a superuser"),
        ("actor", "boss", Capability.NOT_ENFORCED, "sessions of others"),
        ("nobody-here", "actor", Capability.UNKNOWN, "takes no connection of ours"),
    ],
    ids=[
        "no-writer",
        "one-role",
        "writer-cannot",
        "writes-in-spite-of-read-only",
        "superuser",
        "signals",
        "unknown",
    ],
)
async def test_what_a_role_may_is_found_by_trying(
    cluster: Cluster, looker: str, writer: str, held: Capability, said: str
) -> None:
    one = service(cluster, looker, writer)
    async with keeper(one) as made:
        found, why = await made.capability(one)
    assert found is held
    assert said in why


async def test_trying_rights_changes_nothing_and_fires_no_trigger(cluster: Cluster, app: App) -> None:
    one = service(cluster, "sneak")
    async with keeper(one) as made:
        await made.capability(one)
    session = await app.session(role="boss")
    rows = await (await session.execute("SELECT count(*) FROM orders")).fetchone()
    touched = await (await session.execute("SELECT count(*) FROM touched")).fetchone()
    assert (rows[0], touched[0]) == (1000, 0)


async def test_a_forgotten_transaction_is_named_shown_and_ended_after_which_others_go_on(
    cluster: Cluster, app: App
) -> None:
    await app.session("BEGIN", LOCK)
    waiting = asyncio.create_task((await app.session()).execute(LOCK))
    one = service(cluster)
    async with keeper(one) as made:
        (root,) = [b for b in (await blocked(made, one)).backends if b.blocks]
        assert (root.state, root.user, root.program, root.blocks) == (
            "idle in transaction",
            "app",
            "checkout",
            1,
        )
        assert root.wrote
        shown = await made.preview(one, "terminate_backend", root.id)
        for part in ("checkout as app", "taken back", LOCK, "on public.orders", "1 sessions wait"):
            assert part in shown
        done = await made.change(one, "terminate_backend", root.id)
        assert done.ok, done.detail
        await asyncio.wait_for(waiting, WAIT_S)
        assert not any(b.blocks for b in (await made.look([one]))[0].backends)
        with pytest.raises(ProviderError, match="ended by itself"):
            await made.change(one, "terminate_backend", root.id)


async def test_a_session_is_ended_only_as_named_and_only_while_in_the_way(cluster: Cluster, app: App) -> None:
    await app.session("BEGIN", LOCK)
    waiting = asyncio.create_task((await app.session()).execute(LOCK))
    idle = await app.session()
    mine = await (await idle.execute(
        "SELECT pid || '@' || (extract(epoch FROM backend_start) * 1000000)::bigint"
        " FROM pg_stat_activity WHERE pid = pg_backend_pid()"
    )).fetchone()  # fmt: skip
    one = service(cluster)
    async with keeper(one) as made:
        (root,) = [b for b in (await blocked(made, one)).backends if b.blocks]
        pid, _, started = root.id.partition("@")
        for argument, why in (
            (f"{pid}@{int(started) + 1}", "ended by itself"),  # the pid of another session by now
            (mine[0], "in nobody's way"),
            (pid, "names no session"),
            ("1 OR true@1", "names no session"),
            ("", "names no session"),
        ):
            with pytest.raises(ProviderError, match=why):
                await made.change(one, "terminate_backend", argument)
        assert (await blocked(made, one)).backends[0].id == root.id
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_a_broker_that_only_reads_changes_nothing_and_holds_no_writer(
    cluster: Cluster, app: App
) -> None:
    await app.session("BEGIN", LOCK)
    waiting = asyncio.create_task((await app.session()).execute(LOCK))
    one = service(cluster)
    async with keeper(one, readonly=True) as made:
        (root,) = [b for b in (await blocked(made, one)).backends if b.blocks]
        for verb, argument in (("terminate_backend", root.id), ("vacuum", "public.orders"), ("restart", "")):
            with pytest.raises(ProviderError, match="nothing here may change db"):
                await made.change(one, verb, argument)
        assert "actor" not in repr([vars(kept.watcher) for kept in made._kept.values()])
        assert (await blocked(made, one)).backends[0].id == root.id
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_dead_rows_and_an_index_nobody_can_use_are_named_mended_and_proven(
    cluster: Cluster, app: App
) -> None:
    cluster.sql(
        "CREATE TABLE big AS SELECT i FROM generate_series(1, 200000) i",
        "CREATE TABLE twice AS SELECT 1 AS k FROM generate_series(1, 2)",
        "ALTER TABLE big OWNER TO actor",
        "ALTER TABLE twice OWNER TO actor",
        "GRANT SELECT ON big, twice TO looker",
        "DELETE FROM big WHERE i > 20000",
    )
    session = await app.session(role="boss")
    with pytest.raises(Exception, match="could not create unique index"):
        await session.execute("CREATE UNIQUE INDEX CONCURRENTLY twice_k ON twice (k)")
    await session.execute("TRUNCATE twice")
    one = service(cluster)
    async with keeper(one) as made:
        async with asyncio.timeout(WAIT_S):  # statistics come a moment later
            while True:
                over = {(g.name, g.subject) for g in (await made.look([one]))[0].gauges if g.over}
                if {("dead rows", "public.big"), ("an index is not valid", "public.twice_k")} <= over:
                    break
                made._kept["db"].tables_at_s = -1e9
                await asyncio.sleep(0.1)
        assert "180000 dead" in await made.preview(one, "vacuum", "public.big")
        assert "not valid" in await made.preview(one, "reindex", "public.twice_k")
        for verb, argument in (
            ("vacuum", "public.big"),
            ("reindex", "public.twice_k"),
            ("analyze", "public.twice"),
        ):
            done = await made.change(one, verb, argument)
            assert done.ok, done.detail
        assert not [g for g in (await made.look([one]))[0].gauges if g.over]


async def test_a_change_that_left_no_trace_or_names_nothing_is_no_success(cluster: Cluster) -> None:
    one = service(cluster)
    async with keeper(one) as made:
        done = await made.change(one, "vacuum", "public.orders")  # another's table: PostgreSQL only warns
        assert not done.ok
        assert "left no trace" in done.detail
        for verb, argument, why in (
            ("vacuum", "public.none", "there is no"),
            ("vacuum", "orders", "SCHEMA.NAME"),
            ("vacuum", "public.orders; DROP TABLE orders", "there is no"),
            ("rollback_migration", "1", "nothing that is done"),
        ):
            with pytest.raises(ProviderError, match=why):
                await made.change(one, verb, argument)


async def test_a_full_server_is_seen_as_full_and_the_watcher_keeps_its_place(
    cluster: Cluster, app: App
) -> None:
    import psycopg

    one, late = service(cluster), service(cluster)
    async with keeper(one) as made, keeper(late) as second:
        await seen_as(made, one, Run.RUNNING)
        with pytest.raises(psycopg.OperationalError):
            for _ in range(30):
                await app.session()
        now = await seen_as(made, one, Run.RUNNING)
        assert next(g for g in now.gauges if g.name == "connections").over
        unheard = await seen_as(second, late, Run.RUNNING)
        assert next(g for g in unheard.gauges if g.name == "connections").over
        assert unheard.why


async def test_a_stop_by_people_a_crash_and_a_restart_are_told_apart(cluster: Cluster) -> None:
    one = service(cluster)
    async with keeper(one) as made:
        before = await seen_as(made, one, Run.RUNNING)
        await asyncio.to_thread(cluster.stop)
        stopped = await seen_as(made, one, Run.STOPPED)
        assert "shut down" in stopped.held_by
        with pytest.raises(ProviderError, match="stopped"):
            await made.change(one, "restart", "")
        await asyncio.to_thread(cluster.start)
        running = await seen_as(made, one, Run.RUNNING)
        assert running.incarnation != before.incarnation
        with pytest.raises(ProviderError, match="another one by now"):
            await made.change(one, "restart", before.incarnation)
        assert "every session is cut" in await made.preview(one, "restart", running.incarnation)
        done = await made.change(one, "restart", running.incarnation)
        assert done.ok, done.detail
        assert done.incarnation not in ("", running.incarnation)
        await asyncio.to_thread(cluster.crash)
        down = await seen_as(made, one, Run.DOWN)
        assert (down.held_by, down.incarnation) == ("", "")
        assert (await made.capability(one))[0] is Capability.READ_WRITE
        again = await made.change(one, "restart", "")
        assert again.ok, again.detail
        assert (await seen_as(made, one, Run.RUNNING)).incarnation == again.incarnation


@pytest.mark.parametrize(
    ("unit", "why"),
    [
        ("dbname=x user=y", "no single host"),
        ("host=a,b user=y", "no single host"),
        ("host=a nonsense", "connection string"),
    ],
    ids=["no-host", "two-hosts", "nonsense"],
)
async def test_a_connection_string_that_cannot_be_used_is_unknown_with_its_reason(
    unit: str, why: str
) -> None:
    one = Service("db", provider="postgres", unit=unit)
    async with keeper(one) as made:
        (now,) = await made.look([one])
    assert now.run is Run.UNKNOWN
    assert why in now.why
