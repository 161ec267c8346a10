"""What is left of a commit when the server dies, the wire is cut or another server takes over?

Nothing that was confirmed is lost, and nothing is recorded twice: the chain says what happened.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ledger_conformance import note
from postgres import NoPostgres
from server_ledger import Replica, Server
from veilig.core.errors import LedgerError, LedgerTampered
from veilig.core.ledger import Tx
from veilig.core.ledger_verify import verify_store
from veilig.stores.address import Address, parse_place
from veilig.stores.opening import looks, open_ledger, places_at

pytestmark = [pytest.mark.outside_gate, pytest.mark.faults]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    try:
        found = Server("wal_level = replica\nmax_wal_senders = 4\n")
    except NoPostgres as error:
        pytest.skip(f"no PostgreSQL here: {error}")
    try:
        yield found
    finally:
        found.close()


class Wire:
    """A proxy of the server's socket that is cut when `cut` says so of what passes: (from client, bytes)."""

    def __init__(self, server: Server) -> None:
        self._to = f"{server.cluster.folder}/.s.PGSQL.{server.cluster.port}"
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self.cut: Callable[[bool, bytes], str] = lambda client, data: ""
        self.cuts = 0
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def address(self, org: str) -> Address:
        found = parse_place(f"postgresql://worker@127.0.0.1:{self.port}/fleet?org={org}&sslmode=disable")
        assert isinstance(found, Address)
        return found

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in (self._socket, *self._ends):
            end.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = self._socket.accept()
                there = socket.socket(socket.AF_UNIX)
                self._ends += [here, there]
                there.connect(self._to)
                self._start(self._pump, here, there, True)
                self._start(self._pump, there, here, False)

    def _pump(self, one: socket.socket, other: socket.socket, client: bool) -> None:
        with contextlib.suppress(OSError):  # the other direction was cut
            while data := one.recv(1 << 16):
                what = self.cut(client, data)
                if what != "before":
                    other.sendall(data)
                if what:
                    self.cuts += 1
                    break
        for end in (one, other):
            with contextlib.suppress(OSError):  # it is closed already
                end.shutdown(socket.SHUT_RDWR)


def append(n: int) -> Callable[[Tx], int]:
    return lambda tx: tx.append("action.proposed", "s1", {"n": n, "claims": [f"once-{n}"]}).seq


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_wire_cut_around_any_message_of_a_commit_loses_and_repeats_nothing(
    server: Server, tmp_path: Path, where: str
):
    """Each piece to the server is once the last one; `after`: it arrives and no answer comes back."""
    wire, org = Wire(server), server.org()
    try:
        with open_ledger(wire.address(org), anchor_dir=tmp_path / "anchors") as ledger:
            ledger.transact(append(0))
            for nth in range(1, 7):
                passed = [0]

                def cut(client: bool, data: bytes, passed: list[int] = passed, nth: int = nth) -> str:
                    passed[0] += client and b"notifies" not in data
                    return where if client and passed[0] == nth else ""

                wire.cut = cut
                ledger.transact(append(nth))
                wire.cut = lambda client, data: ""
            assert wire.cuts >= 3
            assert [e.body["n"] for e in ledger.events()] == list(range(7))
        address = server.address(org)
        assert verify_store(looks(address), places_at(address, tmp_path / "anchors")).events == 7
    finally:
        wire.close()


def test_a_commit_whose_answer_was_lost_is_found_in_the_chain_and_its_request_runs_once(
    server: Server, tmp_path: Path
):
    wire, org, ran = Wire(server), server.org(), list[int]()
    try:
        with open_ledger(wire.address(org), anchor_dir=tmp_path / "anchors") as ledger:
            ledger.transact(append(0))

            def request(tx: Tx) -> int:
                ran.append(1)
                armed.append(True)
                return tx.append("action.proposed", "s1", {"n": 1}).seq

            armed = list[bool]()
            # The first answer after the request has run is that of the commit.
            wire.cut = lambda client, data: "before" if armed and not client and not wire.cuts else ""
            assert ledger.transact(request) == 2
            assert (len(ran), wire.cuts, ledger.size()) == (1, 1, 2)
    finally:
        wire.close()


async def test_a_server_killed_among_many_commits_is_waited_for(server: Server, tmp_path: Path):
    """kill -9 of the server and all its processes, three times, while 8 callers record."""
    org = server.org()
    with server.open(org, tmp_path / "anchors") as ledger:
        confirmed = list[str]()
        half = asyncio.Event()

        async def work(name: str) -> None:
            for n in range(30):
                key = f"{name}-{n}"
                await ledger.submit(
                    lambda tx, key=key: tx.append("action.proposed", "s1", {"k": key, "claims": [key]})
                )
                confirmed.append(key)
                if len(confirmed) % 70 == 69:
                    half.set()

        tasks = [asyncio.create_task(work(name)) for name in "abcdefgh"]
        for _ in range(3):
            await asyncio.wait_for(half.wait(), 120)
            half.clear()
            await asyncio.to_thread(server.cluster.crash)
            await asyncio.to_thread(server.cluster.start)
        await asyncio.wait_for(asyncio.gather(*tasks), 120)
        kept = [e.body["k"] for e in ledger.events()]
        assert sorted(map(str, kept)) == sorted(confirmed)
        assert len(set(confirmed)) == 240
    address = server.address(org)
    verify_store(looks(address), places_at(address, tmp_path / "anchors"))


def test_nothing_confirmed_is_lost_when_a_synchronous_replica_takes_over(server: Server, tmp_path: Path):
    org = server.org()
    replica = Replica(server)
    try:
        hosts = ",".join(str(c.folder).replace("/", "%2F") for c in (server.cluster, replica.cluster))
        both = parse_place(
            f"postgresql://worker@{hosts}/fleet?port={server.cluster.port},{replica.cluster.port}"
            f"&target_session_attrs=read-write&org={org}"
        )
        with open_ledger(both, anchor_dir=tmp_path / "anchors") as ledger:
            ledger.append([note(n) for n in range(5)])
            before = ledger.size()
            server.cluster.crash()
            replica.promote()
            ledger.append([note(5)])  # waits, and goes to the other
            assert [e.body["n"] for e in ledger.events(names=["action.proposed"])] == [0, 1, 2, 3, 4, 5]
            assert ledger.size() == before + 1
            ledger.checkpoint()
        verify_store(looks(both), places_at(both, tmp_path / "anchors"))
    finally:
        replica.close()
        server.cluster.start()
        server.sql("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")


def test_a_writer_whose_events_a_fail_over_lost_writes_no_more_although_the_chain_grew_past_them(
    server: Server, tmp_path: Path
):
    """An asynchronous replica took over: what it never got is gone, and others have written since."""
    org = server.org()
    with server.open(org, tmp_path / "one") as one, server.open(org, tmp_path / "two") as two:
        one.append([note(1)])
        query = "SELECT size, hash, t_ms, boot, up_ms, peaks FROM veilig.head WHERE org = "
        head = server.sql_one(f"{query}'{org}'")
        one.append([note(2), note(3)])
        server.restore(org, int(head[0]), head)
        two.append([note(n) for n in range(10, 20)])
        with pytest.raises(LedgerTampered, match="changed back"):
            one.append([note(4)])
        assert [e.body["n"] for e in two.events(names=["action.proposed"])] == [1, *range(10, 20)]


def test_a_server_that_stays_away_is_said_after_a_while_and_the_ledger_goes_on_when_it_is_back(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("veilig.stores.postgres_write.PATIENCE_S", 1.0)
    monkeypatch.setattr("veilig.stores.postgres_look.PATIENCE_S", 1.0)
    with server.open(server.org(), tmp_path / "anchors") as ledger:
        ledger.append([note(1)])
        server.cluster.stop("immediate")
        try:
            for use in (lambda: ledger.append([note(2)]), ledger.size):
                with pytest.raises(LedgerError, match="cannot be used") as caught:
                    use()
                assert caught.value.retry_after_s
        finally:
            server.cluster.start()
        ledger.append([note(3)])
        assert [e.body["n"] for e in ledger.events()] == [1, 3]


def test_a_head_that_somebody_holds_is_said_to_be_busy(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import psycopg

    from veilig.stores import postgres_link

    shorter = postgres_link._SERVER.replace("lock_timeout=10s", "lock_timeout=1s")
    monkeypatch.setattr(postgres_link, "_SERVER", shorter)
    org = server.org()
    with server.open(org, tmp_path / "anchors") as ledger:
        ledger.append([note(1)])
        with psycopg.connect(server.cluster.conninfo("boss", "fleet")) as db:
            db.execute("SELECT 1 FROM veilig.head WHERE org = %s FOR UPDATE", (org,))
            with pytest.raises(LedgerError, match="is busy"):
                ledger.append([note(2)])
        ledger.append([note(3)])
        assert ledger.size() == 2
