"""Who is taken next, by whom, and what a lease is worth: the queue itself, on a real PostgreSQL."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from postgres import NoPostgres
from server_ledger import Server
from terminal import Terminal
from veilig.app import fleet
from veilig.core.errors import ProviderError, UsageError
from veilig.evals.suite import find_suite
from veilig.providers.fleet.entries import Entry, LeaseLost, State, Taken
from veilig.providers.fleet.taking import Desk
from veilig.server.worker_status import Status

pytestmark = pytest.mark.outside_gate


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    try:
        made = Server("autovacuum = on\n")
    except NoPostgres as error:
        pytest.skip(f"NO POSTGRESQL WAS TESTED: {error}")
    yield made
    made.close()


@pytest.fixture
def url(server: Server) -> str:
    """A database with an empty queue, that the role `worker` may use."""
    name = "q_" + uuid.uuid4().hex
    server.cluster.sql(f"CREATE DATABASE {name}", database="postgres")
    fleet.prepare(server.cluster.conninfo("boss", name), "worker")
    host = str(server.cluster.folder).replace("/", "%2F")
    return f"postgresql://worker@{host}:{server.cluster.port}/{name}"


async def test_priority_then_age_decide_and_an_org_at_its_bound_waits(url: str) -> None:
    async with Desk.open(url) as desk:
        await desk.put(
            [Entry("a1", "audit", {}), Entry("a2", "audit", {}), Entry("a3", "audit", {}, priority=1)]
        )
        await desk.limit("small", at_once=1, per_hour=None)
        await desk.put([Entry(f"s{n}", "audit", {}, org="small", priority=9) for n in range(3)])
        await desk.put(
            [Entry("new", "audit", {}, priority=9, version=99), Entry("odd", "juggle", {}, priority=9)]
        )
        me = await desk.register()
        taken = [await need(desk, me) for _ in range(4)]
        assert [one.session for one in taken] == ["s0", "a3", "a1", "a2"]
        assert (
            await desk.take(me, "me", ("audit",)) is None
        )  # one of `small` is at work, the rest is not for us
        await desk.settle(taken[0], State.DONE)
        assert (await need(desk, me)).session == "s1"
        assert await desk.cancel("s2")
        assert not await desk.cancel("s2")
        assert not await desk.cancel("s0")
        counts = await desk.counts()
    assert counts == {
        ("audit", State.DONE): 1, ("audit", State.WORKING): 4, ("audit", State.CANCELLED): 1,
        ("audit", State.QUEUED): 1, ("juggle", State.QUEUED): 1,
    }  # fmt: skip


async def test_a_rate_gives_each_session_the_next_free_moment(url: str) -> None:
    async with Desk.open(url) as desk:
        await desk.limit("slow", at_once=None, per_hour=1)
        await desk.put([Entry("one", "audit", {}, org="slow"), Entry("two", "audit", {}, org="slow")])
        me = await desk.register()
        assert (await need(desk, me)).session == "one"
        assert await desk.take(me, "me", ("audit",)) is None
        await desk.limit("slow", at_once=None, per_hour=None)
        await desk.put([Entry("three", "audit", {}, org="slow")])
        assert (await need(desk, me)).session == "three"


async def test_a_session_whose_giving_nobody_heard_of_is_given_again(server: Server, url: str) -> None:
    async with Desk.open(url) as desk:
        await desk.put([Entry("lost", "audit", {}), Entry("held", "audit", {})])
        me = await desk.register()
        queues = await desk.rows("SELECT DISTINCT queue_name FROM procrastinate_jobs")
        assert await desk.app.job_manager.fetch_job([row[0] for row in queues], me)  # the answer is lost
        held = await need(desk, me)
        assert await desk.rescue() == 0, "it may be on its way"
        server.cluster.sql(
            "UPDATE veilig_fleet.procrastinate_events SET at = at - interval '16 s' WHERE type = 'started'",
            database=url.rpartition("/")[2],
        )
        assert await desk.rescue() == 1, "the other one has its lease"
        again = await need(desk, me)
    assert {held.session, again.session} == {"lost", "held"}


async def test_whoever_lost_the_lease_can_tell_keep_and_renew_nothing(server: Server, url: str) -> None:
    database = url.rpartition("/")[2]
    async with Desk.open(url) as desk:
        await desk.put([Entry("s", "audit", {})])
        dead, alive = await desk.register(), await desk.register()
        old = await need(desk, dead)
        assert await desk.beat(dead, {"s": old.token, "t": 1}) == {"s"}
        assert await desk.rescue() == 0  # it lives
        server.cluster.sql(
            f"UPDATE veilig_fleet.procrastinate_workers SET last_heartbeat = now() - interval '16 s' "
            f"WHERE id = {dead}",
            database=database,
        )
        assert await desk.rescue() == 1
        assert await desk.take(alive, "alive", ("audit",)) is None  # the lease lasts still
        server.cluster.sql(
            "UPDATE veilig_fleet.fleet_session SET until = now() - interval '1 s'",
            "SET search_path = veilig_fleet; UPDATE procrastinate_jobs SET scheduled_at = now()",
            database=database,
        )
        new = await need(desk, alive)
        assert new.token > old.token
        assert new.tries == 2
        for lost in (
            desk.keep("s", old.token, "t"),
            desk.settle(old, State.DONE),
            desk.settle(old, State.QUEUED),
        ):
            with pytest.raises(LeaseLost):
                await lost
        assert await desk.beat(dead, {"s": old.token}) == frozenset()
        await desk.keep("s", new.token, "tree-2")
        await desk.settle(new, State.QUEUED)  # left in peace: no try
        again = await need(desk, alive)
        assert again.token > new.token
        assert (again.tree, again.tries) == ("tree-2", 2)
        await desk.settle(again, State.FAILED, "why")
        assert await desk.again("s")
        assert not await desk.again("s")
        assert (await need(desk, alive)).session == "s"


async def need(desk: Desk, worker: int) -> Taken:
    found = await desk.take(worker, "me", ("audit",))
    assert found is not None
    return found


async def test_a_batch_with_an_id_that_is_taken_queues_nothing(url: str) -> None:
    async with Desk.open(url) as desk:
        await desk.put([Entry("s", "audit", {})])
        with pytest.raises(UsageError, match="queued already"):
            await desk.put([Entry("t", "audit", {}), Entry("s", "audit", {})])
        assert [one.session for one in await desk.shown()] == ["s"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"org": "A b"},
        {"org": "../x"},
        {"org": ""},
        {"session": "a/b"},
        {"session": "a.b"},
        {"priority": 1001},
    ],
    ids=str,
)
def test_work_that_nobody_could_name_is_refused_where_it_is_born(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        fleet.Work("audit", **wrong)  # pyright: ignore[reportArgumentType]  # wrong on purpose


def test_a_database_that_cannot_be_used_says_so_without_its_password(server: Server) -> None:
    host = str(server.cluster.folder).replace("/", "%2F")
    with pytest.raises(ProviderError) as caught:
        fleet.jobs(
            f"postgresql://worker:hush-{'hush'}@{host}:{server.cluster.port}/nowhere?connect_timeout=1"
        )
    assert "hush" not in str(caught.value)
    with pytest.raises(ProviderError, match="queue prepare"):
        fleet.jobs(f"postgresql://worker@{host}:{server.cluster.port}/fleet")


def test_a_project_is_put_worked_on_and_shown_by_commands(server: Server, url: str, tmp_path: Path) -> None:
    veilig = Terminal(tmp_path)
    project, store = tmp_path / "project", tmp_path / "store"
    project.mkdir()
    (project / "app.py").write_text("import os\ndef f(request):\n    os.system(request.args['x'])\n")
    org = server.org()
    words = ("--database", url, "--json")
    said = veilig("queue", "put", "audit", str(project), "--upload", str(store), "--org", org, *words)
    assert said.code == 0, said.err
    session = said.json["session"]
    place = str(server.address(org))
    worker = veilig(
        "worker", "--database", url, "--store", str(store), "--sources", str(tmp_path / "sources"), "--drain",
        "--slots", "1", "--status", "127.0.0.1:0", VEILIG_LEDGER=place,
    )  # fmt: skip
    assert worker.code == 0, worker.err
    told = veilig("queue", "show", session, *words).json
    assert (told["state"], told["tries"]) == ("done", 1), told["note"]
    assert veilig("queue", "list", *words).json["counts"] == [
        {"kind": "audit", "state": "done", "sessions": 1}
    ]
    assert veilig("queue", "cancel", session, *words).code == 1
    shown = veilig("sessions", "show", session, "--ledger", place)
    assert "audit.scan" in shown.out, shown.err
    assert veilig("queue", "show", "nobody", *words).code == 2
    assert veilig("queue", "list").code == 2  # no database is named


def test_a_trial_of_a_suite_is_made_by_a_worker_and_its_result_fetched(url: str, tmp_path: Path) -> None:
    veilig, store = Terminal(tmp_path), str(tmp_path / "store")
    suite = find_suite("terminal-mini")
    words = ("--agent", "none", "--task", suite.tasks[0].name, "--database", url, "--json")
    [session] = veilig("queue", "eval", suite.name, *words).json["sessions"]
    place = str(tmp_path / "ledger.db")
    words = ("--database", url, "--store", store, "--kinds", "trial", "--drain")
    ended = veilig("worker", *words, VEILIG_LEDGER=place)
    assert ended.code == 0, ended.err
    [one] = fleet.jobs(url)
    assert (one.session, one.state, one.kind) == (session, State.DONE, "trial"), one
    fetched = veilig("queue", "fetch", session, "--store", store, "--out", "got", "--database", url)
    assert fetched.code == 0, fetched.err
    results = [json.loads(file.read_text()) for file in (tmp_path / "got").rglob("result.json")]
    assert [one["task"] for one in results] == [suite.tasks[0].name]
    again = veilig("queue", "fetch", session, "--store", store, "--out", "got", "--database", url)
    assert "there already" in again.err


def test_a_workers_numbers_name_neither_session_nor_org() -> None:
    from veilig.app.fleet_worker import Plan, Worker
    from veilig.app.wiring import Setting

    worker = Worker(Plan("postgresql://nowhere/x", Setting()))
    worker.seen.taken = 2
    worker.seen.ended[("audit", "done")] = 1
    worker.seen.waited_s += [0.01, 3.0]
    status = Status(worker)
    assert status.answer("/healthz") == (200, "ok\n")
    assert status.answer("/readyz")[0] == 503
    code, text = status.answer("/metrics")
    assert code == 200
    assert 'veilig_worker_sessions_ended_total{kind="audit",state="done"} 1' in text
    assert "veilig_worker_waited_seconds_count 2" in text
    assert status.answer("/metrics")[1].count("veilig_worker_waited_seconds_count 2") == 1
    assert status.answer("/elsewhere")[0] == 404
    for slots in (0, 65):
        with pytest.raises(UsageError):
            Worker(Plan("x", Setting(), slots=slots))
    with pytest.raises(UsageError, match="no kind"):
        Worker(Plan("x", Setting(), kinds=("juggle",)))
