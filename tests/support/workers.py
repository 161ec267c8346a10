"""A fleet in one folder: a real PostgreSQL, workers with homes of their own, sessions that leave a journal.

    python workers.py worker FOLDER NAME DATABASE SLOTS      one worker (started by `Hall`)

A session of kind `probe` restarts `acts` services that are files: each act is one line of a journal outside
of everything, and one line in the session's copy.
"""

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from kernel import AGENT, Rules, Script, Services
from postgres import Cluster
from server_ledger import Server
from veilig.app import fleet
from veilig.app.fleet_hold import Held
from veilig.app.fleet_session import Came
from veilig.app.fleet_worker import Plan, Worker
from veilig.app.wiring import Setting, operator_policy
from veilig.core.action import Action, RestartService
from veilig.core.actor import Actor
from veilig.core.clock import SystemClock
from veilig.core.gate import Gate
from veilig.core.ledger import Event
from veilig.core.ledger_verify import verify_store
from veilig.core.lock import SessionLock
from veilig.core.policy_model import Decision
from veilig.core.provider import Outcome, Permit, Provider, Verdict
from veilig.core.redact import Redactor
from veilig.core.session import Budget, Session, fold
from veilig.home import find_home
from veilig.providers.fleet.entries import State
from veilig.stores.address import parse_place
from veilig.stores.opening import looks, places_at
from veilig.stores.postgres_schema import prepare

KINDS = ("audit", "fix", "probe")
ACTS = 6


class Stops:
    """The first to come to the place named by `wanted` waits there, thread and all, until `go` is there."""

    def __init__(self, folder: Path, session: str, wanted: str, after: int) -> None:
        self._folder, self._session, self._wanted, self._after = folder, session, wanted, after

    def __call__(self, place: str) -> None:
        if place != self._wanted or list(self._folder.glob(f"at-{self._session}-*")):
            return
        (self._folder / f"at-{self._session}-{place}").touch()
        while not (self._folder / "go").exists():
            time.sleep(0.01)

    def turn(self) -> None:
        """Wait until so many others are at their places, where one holds what the others need."""
        while len(list(self._folder.glob("at-*"))) < self._after:
            time.sleep(0.01)


class Probed(Services):
    """A service whose restart takes a while, and writes to the session's copy as well."""

    def __init__(self, world: Path, copy: Path, slow_s: float, stop: Stops) -> None:
        world.mkdir(parents=True, exist_ok=True)
        super().__init__(world, SystemClock())  # pyright: ignore[reportArgumentType]  # the real clock
        self._copy, self._slow_s, self._stop = copy, slow_s, stop
        self.before_act, self.after_act = (lambda: stop("acting")), (lambda: stop("acted"))

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        seen = await super().verify(action, outcome, permit)
        self._stop("verified")
        return seen

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        self._stop("checked")
        await asyncio.sleep(self._slow_s)
        outcome = await super().perform(action, permit)
        assert isinstance(action, RestartService)
        self._copy.mkdir(parents=True, exist_ok=True)
        with (self._copy / "acts").open("a") as file:
            file.write(f"{action.incarnation}\n")
        return outcome


class Outermost:
    """What the gate sees: stops before anybody has looked at the lease, and after the copy is kept."""

    def __init__(self, inner: Provider, stop: Stops) -> None:
        self._inner, self._stop = inner, stop
        self.kinds, self.inspect = inner.kinds, inner.inspect

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        self._stop("begun")
        return await self._inner.perform(action, permit)

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        seen = await self._inner.verify(action, outcome, permit)
        self._stop("kept")
        return seen


@dataclass
class Ruled(Rules):
    """Rules that are asked in the transaction which records an intent."""

    stop: Callable[[str], None] = lambda place: None

    def decide(self, action: Action, actor: Actor) -> Decision:
        self.stop("recording")
        return super().decide(action, actor)


async def probe(held: Held, setting: Setting) -> Came:
    """Drive one probe: a real gate, session and ledger, under the lease."""
    taken, home = held.taken, find_home(setting.environment)
    folder = home.session(taken.session)
    options: dict[str, Any] = taken.work["options"]
    stop = Stops(Path(options["world"]), taken.session, options["stop"], options["after"])
    ledger = await asyncio.to_thread(home.open_ledger, operator_policy(home, setting))
    try:
        stop("taken")
        fenced = await asyncio.to_thread(held.fence, ledger)
        stop("fenced")
        with SessionLock(folder):
            if taken.tree:
                await asyncio.to_thread(held.copies.restore, taken.tree)
            else:
                held.copies.empty()
            view = fold(taken.session, ledger.events(session=taken.session))
            services = Probed(
                Path(options["world"]) / taken.session, folder / "work", options["slow_s"], stop
            )
            rules = Ruled({"svc-1": Verdict.ASK} if options.get("ask") else {}, stop=stop)
            gate = Gate(
                session=taken.session, ledger=fenced, law=rules.law(),
                providers=[Outermost(held.around(services), stop)],
                redactor=Redactor(b"k" * 32), clock=SystemClock(),
            )  # fmt: skip
            session = Session(
                taken.session, gate=gate, ledger=fenced, planner=Script(options["acts"]), actor=AGENT,
                budget=Budget(), policy=lambda: "policy-1", leaving=held.leaving,
            )  # fmt: skip
            if view.ended == "done":
                return Came(State.DONE, view.summary)
            stop.turn()
            finish = await (session.resume("1") if view.kind else session.run("probe", str(folder), {}, "1"))
            if "approval" in finish.data:
                return Came(State.HELD, finish.summary)
            acts = folder / "work" / "acts"
            copied = acts.read_text().split() if acts.exists() else []
            missing = [one for one in told(list(ledger.events(session=taken.session))) if one not in copied]
            return Came(State.FAILED if missing else State.DONE, f"{finish.summary} {missing}")
    finally:
        await asyncio.to_thread(ledger.close)


def told(events: list[Event]) -> list[str]:
    """The acts whose result was recorded."""
    proposed: dict[Any, Any] = {e.body["ref"]: e.body for e in events if e.name == "action.proposed"}
    return [proposed[e.body["ref"]]["action"]["incarnation"] for e in events if e.name == "action.verified"]


class Hall:
    """The fleet. `place`: what the workers are told where the database is, if not where it is."""

    def __init__(self, folder: Path, more: str = "", **how: Any) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.server = Server(f"autovacuum = on\n{more}", **how)
        self.cluster = self.server.cluster
        self.others: list[Cluster] = []  # that may take over
        prepare(self.server.address("main", "boss"), worker="worker", keeper="keeper")
        fleet.prepare(self.cluster.conninfo("boss", "fleet"), "worker")
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.key = os.urandom(32)

    @property
    def url(self) -> str:
        if not self.others:
            return self.at(self.cluster.folder)
        all_of_them = [self.cluster, *self.others]
        hosts = ",".join(str(one.folder).replace("/", "%2F") for one in all_of_them)
        ports = ",".join(str(one.port) for one in all_of_them)
        return f"postgresql://worker@{hosts}/fleet?port={ports}&target_session_attrs=read-write"

    def at(self, folder: Path) -> str:
        """The address, by way of the socket in this folder."""
        host = str(folder).replace("/", "%2F")
        return f"postgresql://worker@{host}:{self.cluster.port}/fleet"

    def verified(self) -> int:
        """How many events the ledger has, once it is what every worker's home vouches for."""
        address, sizes = parse_place(f"{self.url}{'&' if '?' in self.url else '?'}org=main"), [0]
        for anchors in (self.folder / "homes").glob("*/anchors"):
            sizes.append(verify_store(looks(address), places_at(address, anchors)).events)
        return max(sizes)

    def environment(self, name: str) -> dict[str, str]:
        home = self.folder / "homes" / name
        (home / "keys").mkdir(parents=True, exist_ok=True)
        (home / "keys" / "redact.key").write_bytes(self.key)
        return {**os.environ, "VEILIG_HOME": str(home), "VEILIG_DATABASE": self.url}

    def start(
        self, name: str, *, url: str = "", slots: int = 2, within: Sequence[str] = ()
    ) -> "subprocess.Popen[bytes]":
        words = [
            *within,
            sys.executable,
            __file__,
            "worker",
            str(self.folder),
            name,
            url or self.url,
            str(slots),
        ]
        with (self.folder / f"{name}.log").open("ab") as log:
            made = subprocess.Popen(
                words, env=self.environment(name), stdout=log, stderr=log, start_new_session=True
            )
        self.workers[name] = made
        return made

    def kill(self, name: str) -> None:
        """With SIGKILL, everything of it."""
        worker = self.workers.pop(name)
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()

    def put(
        self,
        count: int,
        acts: int = 5,
        slow_s: float = 0.05,
        *,
        ask: bool = False,
        stop: str = "",
        after: int = 0,
        **more: Any,
    ) -> list[str]:
        """stop: a place where the first driver of each waits. after: once so many others wait."""
        world = self.folder / "world"
        world.mkdir(exist_ok=True)
        options: dict[str, Any] = {"acts": acts, "slow_s": slow_s, "world": str(world), "ask": ask}
        options |= {"stop": stop, "after": after}
        return fleet.enqueue_all(self.url, [fleet.Work("probe", options, **more) for _ in range(count)])

    def counts(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for (_, state), n in fleet.counts(self.url).items():
            found[str(state)] += n
        return found

    def journal(self, session: str) -> list[str]:
        """Every act of a session, as the world saw it."""
        folder = self.folder / "world" / session
        return [line for file in sorted(folder.glob("*")) for line in file.read_text().split()]

    def acted(self) -> int:
        """How many acts there were in all."""
        return sum(len(f.read_bytes().split()) for f in (self.folder / "world").glob("*/*"))

    def waiting(self) -> int:
        """How many are at the place where they stop."""
        return len(list((self.folder / "world").glob("at-*")))

    def until(self, what: Any, limit_s: float = 240) -> None:
        end = time.monotonic() + limit_s
        while not what():
            if time.monotonic() > end:
                raise AssertionError(f"{self.counts()}: {self.logs()[-3000:]}")
            time.sleep(0.1)

    def over(self) -> bool:
        return not any(self.counts()[state] for state in ("queued", "working"))

    def logs(self) -> str:
        return "\n".join(file.read_text() for file in sorted(self.folder.glob("*.log")))

    def log(self, name: str) -> list[dict[str, Any]]:
        text = (self.folder / f"{name}.log").read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def close(self) -> None:
        try:
            for name in list(self.workers):
                self.kill(name)
        finally:
            self.server.close()
        shutil.rmtree(self.folder / "store", ignore_errors=True)


def all_is_well(hall: Hall, sessions: list[str], acts: int = ACTS) -> None:
    """Every session is done, each of its acts happened once, and the ledger is what was written."""
    found = {one.session: (str(one.state), one.note) for one in fleet.jobs(hall.url, limit=10_000)}
    assert {s: found[s][0] for s in sessions} == dict.fromkeys(sessions, "done"), found
    wanted = sorted(f"act-{n}" for n in range(acts))
    assert {s: sorted(hall.journal(s)) for s in sessions} == dict.fromkeys(sessions, wanted)
    assert hall.verified() > 4 * acts * len(sessions)


def lost(hall: Hall, name: str) -> bool:
    """Whether the worker has noticed that none of what it held is its own any more."""
    events = hall.log(name)
    taken = {(e["session"], e["token"]) for e in events if e["event"] == "session.taken"}
    left = {(e["session"], e["token"]) for e in events if e["event"] == "session.left"}
    return taken == left


class Proxy:
    """A door to the database that can be shut: what is said then is held back, and nobody is told."""

    def __init__(self, cluster: Cluster) -> None:
        self._to = str(cluster.folder / f".s.PGSQL.{cluster.port}")
        self.folder = Path(f"{cluster.folder}-door")
        self.folder.mkdir()
        self.open = threading.Event()
        self.open.set()
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(cluster.port, ready)))
        self._thread.start()
        ready.wait(30)

    async def _run(self, port: int, ready: threading.Event) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_unix_server(self._serve, self.folder / f".s.PGSQL.{port}")
        ready.set()
        await self._end.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_unix_connection(self._to)
        except OSError:
            writer.close()
            return
        with contextlib.suppress(asyncio.CancelledError):  # the test is over
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                while not self.open.is_set():
                    await asyncio.sleep(0.05)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    def close(self) -> None:
        self.open.set()
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(30)
        shutil.rmtree(self.folder, ignore_errors=True)


def worker(folder: Path, name: str, url: str, slots: int) -> None:
    from veilig.cli.worker import Lines

    del name
    handler = logging.StreamHandler()
    handler.setFormatter(Lines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    setting = Setting()
    plan = Plan(
        url, setting, slots, KINDS, str(folder / "store"), folder / "sources", handlers={"probe": probe}
    )
    one = Worker(plan)

    async def run() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, one.stop)
        await one.run()

    asyncio.run(run())


if __name__ == "__main__":
    worker(Path(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5]))
