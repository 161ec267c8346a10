"""A group of containers behind a small load balancer, and people who ask it: for healing under load.

Each replica listens on a Unix socket in a shared folder, named by its host name, and answers about twenty
requests a second. The balancer gives a replica a few requests at a time, as good ones do; the others wait
with it, and those that waited in vain are turned away (503).
"""

import asyncio
import contextlib
import shutil
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

from engine import NoEngine, OwnEngine
from fleet import free_port

PYTHON = "/usr/bin/python3"
PROGRAM = r"""
import http.server, os, socketserver, sys, threading, time
folder = sys.argv[1]
with open(folder + "/starts", "a") as f:
    f.write(os.uname().nodename + "\n")
lock = threading.Lock()
class Handler(http.server.BaseHTTPRequestHandler):
    def address_string(self): return "proxy"
    def log_message(self, *a): pass
    def do_GET(self):
        with lock:
            if self.path == "/job": time.sleep(0.05)
        self.send_response(200); self.send_header("content-length", "2"); self.end_headers()
        self.wfile.write(b"ok")
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads, request_queue_size = True, 256
    def handle_error(self, *a): pass
path = folder + "/" + os.uname().nodename + ".sock"
if os.path.exists(path): os.unlink(path)
server = Server(path, Handler)
os.chmod(path, 0o777)
server.serve_forever()
"""
GROUP = "worker-pool"
USER = 64324  # nobody's
AT_A_TIME = 4  # requests that one replica has
QUEUE_S = 0.7  # who waited for so long is turned away


class Pool:
    """`worker-1`, and its replicas, behind `port`. user: whose engine; 0: root's. Raises NoEngine."""

    def __init__(self, user: int = USER) -> None:
        if not Path(PYTHON).exists():
            raise NoEngine(f"there is no {PYTHON} to run inside containers")
        self.engine = OwnEngine(user)
        self.folder = Path(tempfile.mkdtemp(prefix="vp-"))
        self.folder.chmod(0o777)
        (self.folder / "app.py").write_text(PROGRAM)
        self.port = free_port()
        self._busy: Counter[str] = Counter()
        self._queue: list[object] = []
        self._ended, self._serving = asyncio.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        self._serving.wait(20)

    def start(self, name: str, *, managed: bool = True) -> None:
        """One replica, made by a person."""
        labels = [
            "--label",
            f"veilig.group={GROUP}",
            *(["--label", "veilig.managed=true"] if managed else []),
        ]
        words = ["--network", "none", "--name", name, *labels, "-v", f"{self.folder}:/pool"]
        for place in ("/usr", "/lib", "/lib64"):
            if Path(place).exists():
                words += ["-v", f"{place}:{place}:ro"]
        image = "localhost/veilig/busybox:1"
        self.engine.podman("run", "-d", *words, image, PYTHON, "/pool/app.py", "/pool")

    def entry(self) -> dict[str, object]:
        """The services file's entry."""
        return {
            "provider": "container",
            "unit": f"{self.engine.socket}#worker-1",
            "health": f"http://127.0.0.1:{self.port}/health",
            "group": GROUP,
        }

    def starts(self) -> int:
        """Of all replicas together."""
        place = self.folder / "starts"
        return len(place.read_text().splitlines()) if place.exists() else 0

    def answers(self, path: str = "/health", timeout_s: float = 1.0) -> bool:
        """Does somebody who asks get an answer in time?"""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=timeout_s) as answer:
                return answer.status == 200
        except (OSError, urllib.error.HTTPError):
            return False

    def close(self) -> None:
        """Everything goes."""
        self.engine.close()  # who waits for an answer gets none
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(20)
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- the balancer -------------------------------------------------------------------------------

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._pass, "127.0.0.1", self.port, backlog=512)
        self._serving.set()
        await self._ended.wait()
        server.close()
        await asyncio.sleep(2 * QUEUE_S)  # the last ones are turned away

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = await reader.readuntil(b"\r\n\r\n")
            answer = await self._ask(asked)
            writer.write(answer or b"HTTP/1.0 503 nobody\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return  # who asked is gone
        finally:
            writer.close()

    async def _ask(self, asked: bytes) -> bytes:
        """The answer of one replica; the next one where nobody listens any more. Empty: none had room."""
        until_s = self._loop.time() + QUEUE_S
        mine = object()
        self._queue.append(mine)
        try:
            while self._loop.time() < until_s and mine in self._queue:
                names = [str(one) for one in self.folder.glob("*.sock") if self._busy[str(one)] < AT_A_TIME]
                if self._queue[0] is mine and names:
                    answer = await self._of(min(names, key=self._busy.__getitem__), asked, mine)
                    if answer:
                        return answer
                    continue
                await asyncio.sleep(0.005)
        finally:
            if mine in self._queue:
                self._queue.remove(mine)
        return b""

    async def _of(self, name: str, asked: bytes, mine: object) -> bytes:
        self._busy[name] += 1
        try:
            there, out = await asyncio.open_unix_connection(name)
            self._queue.remove(mine)  # the next one's turn
            try:
                out.write(asked)
                return await there.read()
            finally:
                out.close()
        except OSError:
            Path(name).unlink(missing_ok=True)
            return b""
        finally:
            self._busy[name] -= 1


class Load:
    """`rate` requests a second until `stop`; each counts when it is answered within a second."""

    def __init__(self, pool: Pool, rate: float) -> None:
        self.answered: list[float] = []
        self.sent: list[float] = []
        self._pool, self._calm, self._begun = pool, threading.Event(), time.monotonic()
        self._thread = threading.Thread(target=self._generate, args=(rate,), daemon=True)
        self._thread.start()

    def share(self, since_s: float = 0.0) -> float:
        """Of those sent so many seconds after the begin."""
        sent = [t for t in self.sent if t >= since_s]
        return len([t for t in self.answered if t >= since_s]) / max(len(sent), 1)

    def stop(self) -> None:
        """No more, and wait for the last answers."""
        self._calm.set()
        self._thread.join(10)
        time.sleep(1.2)  # the last ones have a second

    def _generate(self, rate: float) -> None:
        number = 0
        while not self._calm.wait(max(0.0, self._begun + number / rate - time.monotonic())):
            number += 1
            threading.Thread(target=self._one, daemon=True).start()

    def _one(self) -> None:
        at_s = time.monotonic() - self._begun
        self.sent.append(at_s)
        with contextlib.suppress(Exception):  # whatever goes wrong is an answer that did not come
            if self._pool.answers("/job"):
                self.answered.append(at_s)
