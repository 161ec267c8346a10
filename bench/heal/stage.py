"""A stage for healing scenarios: small services that can be hurt, a services file, a healer, and counters."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
POLICY = """\
mode: act
autonomous_healing:
  enabled: true
  scope:
    services:
      - name: "worker-*"
        actions: [{actions}]
        max_restarts_per_hour: 3
approval_gateways:
  database_actions: always
  security_changes: always
  destructive_ops: always
"""

SERVICE = """\
import http.server, json, os, socket, sys, threading, time
base, port = sys.argv[1], int(sys.argv[2])
with open(base + "/starts", "a") as f:
    f.write(f"{time.time()} {os.getpid()}\\n")
cfg = {}
if os.path.exists(base + "/settings.json"):
    cfg = json.load(open(base + "/settings.json"))
time.sleep(cfg.get("slow_start", 0))
def ask(where):
    try:
        socket.create_connection(("127.0.0.1", where), 0.5).close()
        return True
    except OSError:
        return False
need = cfg.get("upstream_port")
if need and cfg.get("strict") and not ask(need):
    print(f"ERROR cannot connect to 127.0.0.1:{need}: Connection refused", file=sys.stderr)
    sys.exit(3)
hoard, count, stalled = [], [0], []
class H(http.server.BaseHTTPRequestHandler):
    def log_message(self, *a): pass
    def do_GET(self):
        count[0] += 1
        code = 200
        if os.path.exists(base + "/spin"):
            while True: pass
        if os.path.exists(base + "/stall"):
            os.unlink(base + "/stall"); stalled.append(1)
        if stalled: time.sleep(1e6)
        if os.path.exists(base + "/flap") and count[0] % 5 == 0: code = 500
        if need and not cfg.get("strict") and not ask(need): code = 503
        body = b"fine" if code == 200 else b"not fine"
        self.send_response(code); self.send_header("content-length", str(len(body))); self.end_headers()
        self.wfile.write(body)
def background():
    while True:
        if os.path.exists(base + "/grow"): hoard.append(bytearray(b"x" * (4 << 20)))
        if os.path.exists(base + "/warm") and len(hoard) < 30: hoard.append(bytearray(b"x" * (4 << 20)))
        if need and cfg.get("strict") and not ask(need):
            print(f"FATAL lost 127.0.0.1:{need}: Connection refused", flush=True); os._exit(3)
        time.sleep(0.4)
threading.Thread(target=background, daemon=True).start()
print("listening on", port, flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", port), H).serve_forever()
"""

NODE = """\
const http = require('http'), fs = require('fs');
const [base, port] = process.argv.slice(2);
fs.appendFileSync(base + '/starts', Date.now() / 1000 + ' ' + process.pid + '\\n');
http.createServer((q, r) => r.end('fine')).listen(+port, '127.0.0.1');
"""


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def status(port: int, timeout_s: float = 1.0) -> int:
    """The HTTP status of the service, 0 for none."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=timeout_s) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except Exception:  # refused, reset, timed out: all mean "no"
        return 0


class Hurt:
    """One service on the stage."""

    def __init__(self, folder: Path, name: str, text: str = SERVICE, program: str = "python3", **config: Any):
        self.name, self.base, self.port = name, folder / name, free_port()
        self.base.mkdir(parents=True)
        self.program = program
        self.app = self.base / ("app.py" if program == "python3" else "app.js")
        self.app.write_text(text)
        self.extra: dict[str, Any] = {}
        if config:
            self.configure(**config)

    def configure(self, **config: Any) -> None:
        (self.base / "settings.json").write_text(json.dumps(config))

    @property
    def argv(self) -> list[str]:
        return [shutil.which(self.program) or self.program, str(self.app), str(self.base), str(self.port)]

    def entry(self) -> dict[str, Any]:
        return {
            "cmd": self.argv,
            "pidfile": str(self.base / "pid"),
            "health": f"http://127.0.0.1:{self.port}/",
            "port": self.port,
            "log": str(self.base / "out.log"),
            "config": str(self.base / "settings.json"),
            **self.extra,
        }

    def start(self) -> None:
        with (self.base / "out.log").open("a") as log:
            child = subprocess.Popen(
                self.argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        (self.base / "pid").write_text(str(child.pid))

    def touch(self, name: str) -> None:
        (self.base / name).touch()

    def pids(self) -> list[int]:
        found: list[int] = []
        for entry in (p.name for p in Path("/proc").iterdir() if p.name.isdigit()):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
                state = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[0]
                if str(self.app).encode() in words and state != "Z":
                    found.append(int(entry))
        return found

    def signal(self, number: int = signal.SIGKILL) -> None:
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def starts(self) -> int:
        log = self.base / "starts"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def ok(self) -> bool:
        return status(self.port) == 200


class Stage:
    """A folder with services, a policy and one healer."""

    def __init__(self, folder: Path, services: list[Hurt], actions: str = "restart"):
        self.folder, self.services = folder, services
        entries = {service.name: service.entry() for service in services}
        (folder / "services.json").write_text(json.dumps(entries, indent=1))
        (folder / "veilig.yaml").write_text(POLICY.format(actions=actions))
        self.environment = dict(os.environ, VEILIG_HOME=str(folder / "home"))
        self.healer: subprocess.Popen[bytes] | None = None

    def veilig(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(CHECKOUT / "veilig"), *words]
        return subprocess.run(command, capture_output=True, text=True, env=self.environment, check=False)

    def heal(self, *words: str) -> None:
        given = [
            "--services",
            str(self.folder / "services.json"),
            "--policy",
            str(self.folder / "veilig.yaml"),
        ]
        with (self.folder / "healer.log").open("ab") as log:
            self.healer = subprocess.Popen(
                [str(CHECKOUT / "veilig"), "heal", "--watch", *given, *words],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment,
                start_new_session=True,
            )  # fmt: skip

    def begin(self, *words: str, settle_s: float = 4.0) -> None:
        """Start every service, then the healer, and let both come to rest."""
        for service in self.services:
            service.start()
        until(lambda: all(s.ok() for s in self.services), 15)
        self.heal(*words)
        until(lambda: "broker " in (self.folder / "healer.log").read_text(), 30)
        time.sleep(settle_s)

    def incidents(self) -> list[dict[str, Any]]:
        done = self.veilig("incidents", "list", "--json", "--policy", str(self.folder / "veilig.yaml"))
        try:
            return json.loads(done.stdout)
        except ValueError:
            sys.stderr.write(done.stdout[-400:] + done.stderr[-400:])
            return []

    def causes(self, name: str) -> list[str]:
        return [str(i.get("cause")) for i in self.incidents() if i.get("service") == name]

    def end(self) -> None:
        if self.healer:
            self.healer.terminate()
            try:
                self.healer.wait(10)
            except subprocess.TimeoutExpired:
                self.healer.kill()
        for service in self.services:
            service.signal()


def until(true: Callable[[], bool], seconds: float, step_s: float = 0.1) -> float | None:
    """Seconds until `true` held, None when it did not within the bound."""
    begun = time.monotonic()
    while (now := time.monotonic() - begun) < seconds:
        if true():
            return now
        time.sleep(step_s)
    return None
