"""Real workers of a fleet as an operator starts them: `veilig worker`, each with a home of its own."""

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, LiteralString, cast

from server_ledger import Server
from terminal import Said, Terminal
from veilig.app import fleet
from veilig.stores.address import Address, parse_place
from veilig.stores.postgres_schema import prepare


class Crew:
    """One database, one store, and whoever was started; they are taken down by `close`."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder = folder
        self._cluster = server.cluster
        self._database = "crew_" + uuid.uuid4().hex
        self._cluster.sql(f"CREATE DATABASE {self._database}", database="postgres")
        owner = parse_place(self.address("boss"))
        assert isinstance(owner, Address)
        prepare(owner, worker="worker", keeper="keeper")
        fleet.prepare(self.address("boss"), "worker")
        self.url = self.address("worker")
        self.store = folder / "store"
        self._key = os.urandom(32)
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def address(self, role: str) -> str:
        host = str(self._cluster.folder).replace("/", "%2F")
        return f"postgresql://{role}@{host}:{self._cluster.port}/{self._database}"

    def sql(self, *statements: str) -> None:
        """As a superuser, past every wall."""
        self._cluster.sql(*statements, database=self._database)

    def number(self, query: str) -> int:
        """What a question of one number is answered."""
        import psycopg

        with psycopg.connect(self._cluster.conninfo("boss", self._database)) as db:
            row = db.execute(cast(LiteralString, query)).fetchone()
        return int(row[0]) if row else 0

    def words(self, *words: str) -> list[str]:
        return Terminal(self.folder).argv(*words)

    def environment(self, name: str) -> dict[str, str]:
        home = self.folder / "homes" / name
        (home / "keys").mkdir(parents=True, exist_ok=True)
        (home / "keys" / "redact.key").write_bytes(self._key)
        mine = {"VEILIG_HOME": str(home), "VEILIG_DATABASE": self.url}
        return Terminal(self.folder).environment() | mine

    def start(self, name: str, *words: str) -> "subprocess.Popen[bytes]":
        """Begin a command as this machine; what it says goes to NAME.log."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                self.words(*words), cwd=self.folder, env=self.environment(name), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        return self.running[name]

    def worker(self, name: str, *more: str) -> None:
        sources = str(self.folder / "sources")
        self.start(name, "worker", "--store", str(self.store), "--sources", sources, "--slots", "1", *more)

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def __call__(self, name: str, *words: str) -> Said:
        """Run a command as this machine to its end."""
        done = subprocess.run(
            self.words(*words), cwd=self.folder, env=self.environment(name), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return Said(done.returncode, done.stdout, done.stderr)

    def until(self, true: Callable[[], Any], limit_s: float = 240) -> None:
        end = time.monotonic() + limit_s
        while not true():
            logs = (f"{file.name}: {file.read_text()[-2000:]}" for file in self.folder.glob("*.log"))
            assert time.monotonic() < end, "\n".join(logs)
            time.sleep(0.1)

    def close(self) -> None:
        for name in list(self.running):
            self.kill(name)
