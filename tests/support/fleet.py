"""Small real services in a folder each, and a fast look at what became of them."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from veilig.core.service import Inventory, Service
from veilig.core.service_file import read_services

PROGRAM = """
import http.server, os, sys
open("starts", "a").write(f"{os.getpid()}\\n")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        bad = os.path.exists("ill")
        self.send_response(500 if bad else 200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"no" if bad else b"ok")
    def log_message(self, *a): pass
class Server(http.server.HTTPServer):
    allow_reuse_address = True
Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(true: Callable[[], object], timeout_s: float = 8.0) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not become true in time"
        time.sleep(0.02)


@dataclass
class Fleet:
    """Services named as asked, each `python3 app.py PORT` in its own folder."""

    base: Path
    ports: dict[str, int] = field(default_factory=dict[str, int])
    entries: dict[str, dict[str, object]] = field(default_factory=dict[str, dict[str, object]])
    children: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    @property
    def file(self) -> Path:
        return self.base / "services.json"

    def add(self, name: str, **more: object) -> None:
        folder, port = self.base / name, free_port()
        folder.mkdir(parents=True)
        (folder / "app.py").write_text(PROGRAM)
        (folder / "data").mkdir()
        self.ports[name] = port
        self.entries[name] = {
            "cmd": [sys.executable, "app.py", str(port)],
            "dir": str(folder),
            "pidfile": str(folder / "pid"),
            "port": port,
            "health": f"http://127.0.0.1:{port}/health",
            "log": str(folder / "app.log"),
            "data": str(folder / "data"),
        } | more
        self.file.write_text(json.dumps({"services": self.entries}))

    def inventory(self) -> Inventory:
        return read_services(self.file)

    def service(self, name: str) -> Service:
        found = self.inventory().get(name)
        assert found is not None
        return found

    def start(self, name: str, wait: bool = True) -> int:
        """As an operator would, from a shell: no session of its own is made."""
        folder = self.base / name
        with (folder / "app.log").open("ab") as log:
            cmd = self.service(name).cmd
            child = subprocess.Popen(cmd, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.children.append(child)
        (folder / "pid").write_text(f"{child.pid}\n")
        if wait:
            until(lambda: self.answers(name))
        return child.pid

    def kill(self, name: str) -> None:
        pid = self.pid(name)
        os.kill(pid, 9)
        until(lambda: not alive(pid))

    def pid(self, name: str) -> int:
        return int((self.base / name / "pid").read_text())

    def starts(self, name: str) -> list[int]:
        place = self.base / name / "starts"
        return [int(line) for line in place.read_text().split()] if place.exists() else []

    def answers(self, name: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}/health", timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def bystander(self, *argv: str, cwd: Path | None = None) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(argv or ("sleep", "600"), cwd=cwd or "/")
        self.children.append(child)
        return child

    def close(self) -> None:
        for name in self.entries:
            for pid in {*self.starts(name)}:
                if alive(pid):
                    os.kill(pid, 9)
        for child in self.children:
            child.kill()
            child.wait()


def alive(pid: int) -> bool:
    """Neither gone nor a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
