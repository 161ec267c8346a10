"""A real `veilig serve` in a home of its own, with people, and sessions whose events were planted."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from veilig.collab.accounts import Accounts
from veilig.collab.roles import Role
from veilig.core.ledger import Ledger
from veilig.home import Home

PASSWORD = "correct-horse-battery-9"
CANARY = "Zq8" + "Lw3Kd0" + "TnV5xR2y" + "Bm7"  # looks random; assembled, so that nobody takes it for a key


@dataclass
class Running:
    """A server under test."""

    url: str
    home: Path
    link: str
    process: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list[str])


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "VEILIG_HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")}


def add_person(home: Path, name: str, role: str) -> None:
    accounts = Accounts(home / "people.db")
    accounts.add(name, name, Role(role), password=PASSWORD)
    accounts.close()


@contextlib.contextmanager
def running(home: Path, roots: list[Path], *more: str) -> Generator[Running]:
    argv = [
        sys.executable,
        "-m",
        "veilig.cli.main",
        "serve",
        *map(str, roots),
        "--listen",
        "127.0.0.1:0",
        *more,
    ]
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(home)
    )
    lines: list[str] = []
    try:
        assert process.stdout is not None
        while not lines or not lines[-1].startswith("you"):
            line = process.stdout.readline()
            if not line:
                raise AssertionError("the server did not start: " + "".join(lines))
            lines.append(line)
        url = re.search(r"page\s+(\S+)", lines[0])
        link = re.search(r"join/(\S+)", lines[-1])
        assert url is not None
        assert link is not None
        yield Running(url[1], home, link[1], process, lines)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
        if process.stdout is not None:
            process.stdout.close()


def plant(home: Path, session: str, events: list[tuple[str, dict[str, Any]]]) -> None:
    """Events of a session, as some other process would have written them."""
    with Home(home).open_ledger() as ledger:
        planted(ledger, session, events)


def planted(ledger: Ledger, session: str, events: list[tuple[str, dict[str, Any]]]) -> None:
    for name, body in events:
        ledger.transact(lambda tx, n=name, b=body: tx.append(n, session, b))


def started(kind: str = "fix", source: str = "/nowhere") -> tuple[str, dict[str, Any]]:
    body = {
        "kind": kind,
        "actor": f"agent:{kind}",
        "source": source,
        "options": {},
        "policy": "p",
        "veilig": "t",
    }
    return "session.started", body


class Browser:
    """Somebody signed in: a cookie jar, and the token for changes."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.http = http
        self.url = url
        self.csrf = ""
        self.id = ""

    async def me(self) -> dict[str, Any]:
        status, found = await self.get("/me")
        assert status == 200, found
        self.csrf, self.id = found["csrf"], found["person"]["id"]
        return found

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.http.get(f"{self.url}/api/v1{path}") as answer:
            return answer.status, await said(answer)

    async def post(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        given = {"X-CSRF-Token": self.csrf, **headers}
        async with self.http.post(f"{self.url}/api/v1{path}", json=body or {}, headers=given) as answer:
            return answer.status, await said(answer)

    async def delete(self, path: str) -> tuple[int, Any]:
        given = {"X-CSRF-Token": self.csrf}
        async with self.http.delete(f"{self.url}/api/v1{path}", headers=given) as answer:
            return answer.status, await said(answer)

    def live(self, session: str, after: int = 0, **more: Any) -> Any:
        return self.http.ws_connect(f"{self.url}/api/v1/sessions/{session}/live?after={after}", **more)


async def said(answer: aiohttp.ClientResponse) -> Any:
    if answer.content_type == "application/json":
        return await answer.json()
    return (await answer.read()).decode()


@contextlib.asynccontextmanager
async def browser(url: str, name: str = "", token: str = "", shown: str = "") -> AsyncGenerator[Browser]:
    """A browser that has signed in by name, or come through a link; a stranger without both."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        made = Browser(http, url)
        if name:
            status, found = await made.post("/auth/sign-in", {"name": name, "password": PASSWORD})
            assert status == 200, found
            await made.me()
        elif token:
            status, found = await made.post("/invites/accept", {"token": token, "name": shown})
            assert status == 200, found
            await made.me()
        yield made


async def until(socket: Any, kind: str, within_s: float = 60.0) -> dict[str, Any]:
    """The next message of this kind."""
    async with asyncio.timeout(within_s):
        while True:
            message = await socket.receive_json()
            if message["t"] == kind:
                return message


# --- one session with a canary in all it says -------------------------------------------------------------

S = "fix-0a0a0a0a"
NEEDS = [{"gateway": "changes", "roles": [], "quorum": 2, "expiry_ms": 900_000}]


def events_with(secret: str) -> list[tuple[str, dict[str, Any]]]:
    action = {"kind": "command.run", "argv": ["echo", secret], "timeout_s": 5.0}
    return [
        started(source=f"/srv/{secret}"),
        ("action.proposed", {"ref": "r1", "action": action, "digest": "d1", "actor": "agent:fix"}),
        ("action.decided", {"ref": "r1", "verdict": "ask", "rule": "law", "reasons": [secret], "policy": ""}),
        ("action.output", {"ref": "r1", "stream": "out", "text": f"\x1b[1m{secret}\r\n", "dropped_bytes": 0}),
        ("action.verified", {"ref": "r1", "status": "done", "detail": secret, "data": {"s": secret},
                             "wall_ms": 3}),
        ("approval.asked", {"ref": "r1", "approval": "ap01", "digest": "d1", "proposer": "agent:fix",
                            "needs": NEEDS, "why": [secret], "preview": f"+ {secret}"}),
        ("session.ended", {"state": "held", "summary": secret, "result": {
            "diff": f"+x = '{secret}'", "problems": [{"title": secret, "flow": [{"text": secret}]}]}}),
    ]  # fmt: skip
