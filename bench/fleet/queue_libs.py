"""One worker or one producer of each queue library under test, by name: `queue_libs.py LIB ROLE ...`.

Started by queues.py with the interpreter of an environment of its own: the project needs one of them only.
A job writes one line (number, begun, pid) to the journal and sleeps for as long as it was told.
"""

import asyncio
import json
import os
import sys
import time
from typing import Any

JOURNAL = os.environ.get("JOURNAL", "")
SLOTS = 10
SILENT_S = 15  # a worker that was not heard of for so long is dead, in every library that lets one say so
BEAT_S = 5


def note(number: int) -> None:
    with open(JOURNAL, "a", buffering=1) as file:  # noqa: PTH123
        file.write(f"{number} {time.time():.6f} {os.getpid()}\n")


class Procrastinate:
    def __init__(self, conninfo: str) -> None:
        import procrastinate

        self.app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=conninfo, max_size=12))

        @self.app.task(name="job", queue="bench")
        async def job(number: int, sleep_s: float) -> None:
            note(number)
            await asyncio.sleep(sleep_s)

        self.job = job

    async def setup(self) -> None:
        async with self.app.open_async():
            await self.app.schema_manager.apply_schema_async()

    async def put(self, numbers: list[int], sleep_s: float, batch: bool, gap_s: float) -> list[float]:
        sent: list[float] = []
        async with self.app.open_async():
            if batch:
                for at in range(0, len(numbers), 1000):
                    rows = [{"number": n, "sleep_s": sleep_s} for n in numbers[at : at + 1000]]
                    await self.job.batch_defer_async(*rows)
                return sent
            for n in numbers:
                sent.append(time.time())
                await self.job.configure().defer_async(number=n, sleep_s=sleep_s)
                await asyncio.sleep(gap_s)
        return sent

    async def work(self) -> None:
        async with self.app.open_async():
            watch = asyncio.create_task(self.watch())
            await self.app.run_worker_async(
                queues=["bench"], concurrency=SLOTS, update_heartbeat_interval=BEAT_S,
                stalled_worker_timeout=4 * SILENT_S, install_signal_handlers=False,
            )  # fmt: skip
            watch.cancel()

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(2)
            stalled = await self.app.job_manager.get_stalled_jobs(seconds_since_heartbeat=SILENT_S)
            for one in stalled:
                await self.app.job_manager.retry_job(one)


class Pgqueuer:
    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo

    async def connect(self) -> Any:
        import psycopg
        from pgqueuer.db import PsycopgDriver

        made = await psycopg.AsyncConnection.connect(self.conninfo, autocommit=True)
        return PsycopgDriver(made)

    async def setup(self) -> None:
        from pgqueuer.queries import Queries

        await Queries(await self.connect()).install()

    async def put(self, numbers: list[int], sleep_s: float, batch: bool, gap_s: float) -> list[float]:
        from pgqueuer.queries import Queries

        queries, sent = Queries(await self.connect()), []
        bodies = [json.dumps([n, sleep_s]).encode() for n in numbers]
        if batch:
            for at in range(0, len(bodies), 1000):
                part = bodies[at : at + 1000]
                await queries.enqueue(["job"] * len(part), part, [0] * len(part))
            return sent
        for body in bodies:
            sent.append(time.time())
            await queries.enqueue("job", body)
            await asyncio.sleep(gap_s)
        return sent

    async def work(self) -> None:
        from datetime import timedelta

        from pgqueuer import PgQueuer

        queue = PgQueuer(await self.connect())

        @queue.entrypoint("job")
        async def job(job: Any) -> None:
            number, sleep_s = json.loads(job.payload)
            note(number)
            await asyncio.sleep(sleep_s)

        await queue.run(
            dequeue_timeout=timedelta(seconds=2), batch_size=SLOTS // 2, max_concurrent_tasks=SLOTS,
            heartbeat_timeout=timedelta(seconds=SILENT_S),
        )  # fmt: skip


class Dbos:
    """Its queue alone: workflows of one step. A dead executor is recovered by whoever knows its name."""

    def __init__(self, url: str) -> None:
        from dbos import DBOS, DBOSConfig

        name = f"w{os.getpid()}"
        self.dbos = DBOS
        config: DBOSConfig = {
            "name": "bench", "system_database_url": url, "log_level": "ERROR", "executor_id": name,
            "application_version": "1", "run_admin_server": False,
        }  # fmt: skip
        DBOS(config=config)

        @DBOS.workflow(name="job")
        def job(number: int, sleep_s: float) -> None:
            note(number)
            time.sleep(sleep_s)

        self.job = job

    def queue(self) -> Any:
        return self.dbos.register_queue("bench", worker_concurrency=SLOTS, polling_interval_sec=0.1)

    async def setup(self) -> None:
        await asyncio.to_thread(self.launch)

    def launch(self) -> None:
        self.dbos.launch()
        self.queue()

    async def put(self, numbers: list[int], sleep_s: float, batch: bool, gap_s: float) -> list[float]:
        del batch  # it has none
        return await asyncio.to_thread(self.put_now, numbers, sleep_s, gap_s)

    def put_now(self, numbers: list[int], sleep_s: float, gap_s: float) -> list[float]:
        self.dbos.listen_queues([])
        self.dbos.launch()
        queue, sent = self.queue(), []
        for n in numbers:
            sent.append(time.time())
            queue.enqueue(self.job, n, sleep_s)
            time.sleep(gap_s)
        return sent

    async def work(self) -> None:
        await asyncio.to_thread(self.launch)
        await asyncio.Event().wait()


class Celery:
    """With Redis as its broker: one server more. acks_late, or a killed worker loses what it had."""

    def __init__(self, url: str) -> None:
        import celery

        self.app = celery.Celery("bench", broker=url)
        self.app.conf.update(
            task_acks_late=True, task_reject_on_worker_lost=True, worker_prefetch_multiplier=1,
            broker_transport_options={"visibility_timeout": SILENT_S}, task_ignore_result=True,
        )  # fmt: skip

        @self.app.task(name="job")
        def job(number: int, sleep_s: float) -> None:
            note(number)
            time.sleep(sleep_s)

        self.job = job

    async def setup(self) -> None:
        """Nothing to make."""

    async def put(self, numbers: list[int], sleep_s: float, batch: bool, gap_s: float) -> list[float]:
        del batch
        sent: list[float] = []
        for n in numbers:
            sent.append(time.time())
            self.job.delay(n, sleep_s)
            if gap_s:
                time.sleep(gap_s)
        return sent

    async def work(self) -> None:
        self.app.worker_main(["worker", "-P", "threads", "-c", str(SLOTS), "-l", "ERROR", "--without-mingle"])


LIBS = {"procrastinate": Procrastinate, "pgqueuer": Pgqueuer, "dbos": Dbos, "celery": Celery}


def main() -> None:
    name, role, place, *rest = sys.argv[1:]
    lib: Any = LIBS[name](place)
    if role == "setup":
        asyncio.run(lib.setup())
    elif role == "put":
        first, count, sleep_s, batch, gap_s = (json.loads(word) for word in rest)
        begun = time.perf_counter()
        sent = asyncio.run(lib.put(list(range(first, first + count)), sleep_s, batch, gap_s))
        print(json.dumps({"seconds": time.perf_counter() - begun, "sent": sent}), flush=True)
        os._exit(0)
    else:
        asyncio.run(lib.work())


if __name__ == "__main__":
    main()
