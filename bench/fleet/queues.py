"""Which queue library distributes sessions? Four on a real PostgreSQL (Celery on Redis), one line each.

`queues.py [--python EXE]`: EXE is the Python of an environment with procrastinate, pgqueuer, dbos, celery
and redis; without it one is made with uv in a temporary folder.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "support"))

from postgres import Cluster  # noqa: E402

WANTED = ("procrastinate", "pgqueuer", "dbos", "celery", "redis", "psycopg[binary,pool]", "asyncpg")


class Bench:
    def __init__(self, name: str, place: str, python: str, folder: Path) -> None:
        self.name, self.place, self.python = name, place, python
        self.journal = folder / f"{name}.journal"
        self.log = (folder / f"{name}.log").open("ab")
        self.next = 0

    def argv(self, role: str, *words: Any) -> list[str]:
        return [
            self.python,
            str(HERE / "queue_libs.py"),
            self.name,
            role,
            self.place,
            *map(json.dumps, words),
        ]

    def env(self) -> dict[str, str]:
        return {**os.environ, "JOURNAL": str(self.journal)}

    def setup(self) -> None:
        subprocess.run(
            self.argv("setup"), check=True, env=self.env(), stdout=self.log, stderr=self.log, timeout=120
        )

    def put(
        self, count: int, *, sleep_s: float = 0.0, batch: bool = False, gap_s: float = 0.0
    ) -> dict[str, Any]:
        words = self.argv("put", self.next, count, sleep_s, batch, gap_s)
        self.next += count
        done = subprocess.run(words, check=True, env=self.env(), capture_output=True, text=True, timeout=900)
        return json.loads(done.stdout.strip().splitlines()[-1])

    def worker(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self.argv("work"), env=self.env(), stdout=self.log, stderr=self.log, start_new_session=True
        )

    def lines(self) -> list[tuple[int, float, int]]:
        if not self.journal.exists():
            return []
        rows = [row.split() for row in self.journal.read_text().splitlines()]
        return [(int(a), float(b), int(c)) for a, b, c in rows]

    def until(self, count: int, limit_s: float = 300) -> list[tuple[int, float, int]]:
        end = time.time() + limit_s
        while len(rows := self.lines()) < count:
            if time.time() > end:
                break
            time.sleep(0.05)
        return rows


def kill(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run(bench: Bench, jobs: int, many: int) -> dict[str, Any]:
    found: dict[str, Any] = {"library": bench.name}
    bench.setup()
    single = bench.put(1000)
    found["put/s"] = 1000 / single["seconds"]
    batch = bench.put(jobs, batch=True)
    found["batch put/s"] = jobs / batch["seconds"]
    worker = bench.worker()
    rows = bench.until(1000 + jobs)
    times = sorted(row[1] for row in rows)
    found["done/s"] = (len(times) - 1) / (times[-1] - times[0])
    before = len(rows)
    told = bench.put(200, gap_s=0.03)
    rows = bench.until(before + 200, 60)[before:]
    begun = {n: t for n, t, _ in rows}
    first = bench.next - 200
    waits = sorted(begun[first + i] - sent for i, sent in enumerate(told["sent"]) if first + i in begun)
    found["p50 ms"] = statistics.median(waits) * 1e3
    found["p99 ms"] = waits[int(len(waits) * 0.99)] * 1e3
    kill(worker)
    # --- a dead worker: ten jobs of 5 s, killed at work, another worker lives ------------------------
    before = len(bench.lines())
    first = bench.worker()
    bench.put(10, sleep_s=5.0)
    bench.until(before + 10, 60)
    second = bench.worker()
    time.sleep(3)
    before = len(bench.lines())
    kill(first)
    died = time.time()
    rows = bench.until(before + 10, 75)[before:]
    found["again s"] = max((t - died for _, t, _ in rows), default=float("nan"))
    found["lost of 10"] = 10 - len({n for n, _, _ in rows})
    # --- many waiting --------------------------------------------------------------------------------
    kill(second)
    if many:
        bench.put(many, batch=True)
        before = len(bench.lines())
        third = bench.worker()
        rows = bench.until(before + 3000, 300)[before:]
        times = sorted(row[1] for row in rows)
        found[f"done/s of {many}"] = (len(times) - 1) / (times[-1] - times[0])
        kill(third)
    return found


def weights(python: str) -> dict[str, str]:
    code = (
        "import importlib.metadata as m, json\n"
        "def closure(name, seen):\n"
        "    import re\n"
        "    try: d = m.distribution(name)\n"
        "    except Exception: return seen\n"
        "    if d.metadata['Name'].lower() in seen: return seen\n"
        "    seen.add(d.metadata['Name'].lower())\n"
        "    for r in d.requires or []:\n"
        "        if 'extra ==' not in r: closure(re.match(r'[\\w.-]+', r)[0], seen)\n"
        "    return seen\n"
        "size = lambda n: sum((f.size or 0) for f in m.distribution(n).files or [])\n"
        "print(json.dumps({n: [m.version(n), len(c := closure(n, set())) - 1, sum(map(size, c)) / 1e6] "
        "for n in ('procrastinate', 'pgqueuer', 'dbos', 'celery')}))"
    )
    told = json.loads(subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout)
    return {
        n: f"{n} {v}: {count} packages beside it, {size:.0f} MB in all"
        for n, (v, count, size) in told.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--python", default="")
    parser.add_argument("--only", default="procrastinate,pgqueuer,dbos,celery")
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--many", type=int, default=100_000)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="vq-"))
    python = given.python
    if not python:
        subprocess.run(["uv", "venv", "-q", "--python", sys.executable, str(folder / "env")], check=True)
        python = str(folder / "env" / "bin" / "python")
        subprocess.run(["uv", "pip", "install", "-q", "--python", python, *WANTED], check=True)
    cluster = Cluster()
    redis: subprocess.Popen[bytes] | None = None
    try:
        cluster.sql(
            "ALTER SYSTEM SET fsync = on",
            "ALTER SYSTEM SET max_connections = 100",
            "ALTER SYSTEM SET autovacuum = on",
            database="postgres",
        )
        cluster.stop()
        cluster.start()
        for name in given.only.split(","):
            place = cluster.conninfo("boss", f"q_{name}")
            if name == "dbos":
                place = f"postgresql://boss@/q_dbos?host={cluster.folder}&port={cluster.port}"
            if name == "celery":
                if not shutil.which("redis-server"):
                    print("celery: NOT MEASURED, there is no redis-server here")
                    continue
                words = [
                    "redis-server",
                    "--port",
                    "0",
                    "--unixsocket",
                    str(folder / "r.sock"),
                    "--appendonly",
                    "yes",
                    "--dir",
                    str(folder),
                ]
                redis = subprocess.Popen(words, stdout=subprocess.DEVNULL)
                time.sleep(1)
                place = f"redis+socket://{folder}/r.sock"
            else:
                cluster.sql(f"CREATE DATABASE q_{name}", database="postgres")
            many = given.many if name in ("procrastinate", "pgqueuer", "celery") else given.many // 10
            found = run(Bench(name, place, python, folder), given.jobs, many)
            print(
                "  ".join(f"{k} {v:,.1f}" if isinstance(v, float) else f"{k} {v}" for k, v in found.items()),
                flush=True,
            )
        for line in weights(python).values():
            print(line)
    finally:
        if redis:
            redis.kill()
        cluster.close()
        print(f"logs in {folder}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is taken down
    main()
