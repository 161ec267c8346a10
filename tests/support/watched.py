"""Small real services to be watched: a process each, told what to do by files; their keeper only looks."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from veilig.core.clock import SystemClock
from veilig.core.service import Inventory, Service
from veilig.core.signal import Run
from veilig.providers.heal import proc
from veilig.providers.heal.substrate import Seen

PROGRAM = """
import http.server, json, os, socket, sys, threading, time
base, port = sys.argv[1], int(sys.argv[2])
config = json.load(open(f"{base}/config.json"))
kept = []
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *unused): pass
    def do_GET(self):
        if os.path.exists(f"{base}/hang"): time.sleep(60)
        if os.path.exists(f"{base}/slow"): time.sleep(0.4)
        if os.path.exists(f"{base}/leak"): kept.append(bytearray(b"x") * (20 << 20))
        bad = os.path.exists(f"{base}/bad")
        self.send_response(500 if bad else 200)
        self.end_headers()
        self.wfile.write(b"bad" if bad else b"ok")
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def free_port() -> int:
    """A port that nobody holds now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass
class Looked:
    """What a look gives."""

    seen: tuple[Seen, ...]
    starts: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    own: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])


class Fleet:
    """Services below one folder. `look` is a keeper's look, with a count of starts after the first."""

    def __init__(self, folder: Path, *names: str, needs: Mapping[str, tuple[str, ...]] | None = None) -> None:
        from veilig.core.service import Dependency

        self.folder = folder
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.held = dict[str, str]()
        self.starts = dict[str, tuple[float, ...]]()
        services: list[Service] = []
        for name in names:
            base, port = folder / name, free_port()
            base.mkdir()
            (base / "config.json").write_text("{}")
            (base / "app.py").write_text(PROGRAM)
            depends = tuple(Dependency(service=one) for one in (needs or {}).get(name, ()))
            services.append(
                Service(
                    name,
                    cmd=(sys.executable, "app.py", str(base), str(port)),
                    folder=str(base),
                    health=f"http://127.0.0.1:{port}/health",
                    health_timeout_s=0.5,
                    port=port,
                    log=(str(base / "app.log"),),
                    config=(str(base / "config.json"),),
                    depends_on=depends,
                )
            )
        self.inventory = Inventory(str(folder / "services.json"), "0" * 64, tuple(services))

    def service(self, name: str) -> Service:
        """By its name."""
        found = self.inventory.get(name)
        assert found is not None
        return found

    def start(self, *names: str) -> None:
        """Start these, and wait until they listen (or have ended)."""
        for name in names:
            service = self.service(name)
            with Path(service.log[0]).open("ab") as log:
                if name in self.children:
                    self.starts[name] = (*self.starts.get(name, ()), SystemClock().boottime_s())
                self.children[name] = subprocess.Popen(
                    service.cmd, cwd=service.folder, stdout=log, stderr=log, start_new_session=True
                )
        for name in names:
            child, until = self.children[name], time.monotonic() + 60
            while child.poll() is None and time.monotonic() < until:
                with socket.socket() as one:
                    if one.connect_ex(("127.0.0.1", self.service(name).port)) == 0:
                        break
                time.sleep(0.01)

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send it a signal; an ended one is reaped."""
        os.kill(self.children[name].pid, number)
        if number == signal.SIGKILL:
            self.children[name].wait()

    def put(self, name: str, file: str, text: str = "") -> None:
        """Write a file of it."""
        (self.folder / name / file).write_text(text)

    def drop(self, name: str, file: str) -> None:
        """Remove a file of it."""
        (self.folder / name / file).unlink()

    async def look(self) -> Looked:
        """As a keeper sees them."""
        return Looked(tuple(self._seen(service) for service in self.inventory.services), dict(self.starts))

    def _seen(self, service: Service) -> Seen:
        held = self.held.get(service.name, "")
        child = self.children.get(service.name)
        row = proc.process(child.pid) if child is not None and child.poll() is None else None
        if child is None or row is None or row.ended:
            code = child.poll() if child is not None else None
            ended = "" if code is None else f"exit {code}" if code >= 0 else f"signal {-code}"
            return Seen(service.name, Run.STOPPED if held else Run.DOWN, exit=ended, held_by=held)
        return Seen(
            service.name, Run.RUNNING, incarnation=row.incarnation, started_s=row.started_s, pids=(row.pid,),
            held_by=held, managed=True,
        )  # fmt: skip

    def kill_all(self) -> None:
        """End what is left."""
        for child in self.children.values():
            if child.poll() is None:
                child.kill()
            child.wait()
