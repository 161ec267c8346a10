"""Does a watcher see a question that a command asks, while the command waits, and nothing of a secret?"""

import asyncio
import json
from typing import Any

import pytest

from people_page import Running, browser, plant, started, until
from veilig.core.output import OutputLog
from veilig.core.redact import Redactor
from veilig.home import Home

pytestmark = pytest.mark.outside_gate

SESSION = "run-0d0d0d0d"
SECRET = "Nv7Yq2" + "LkT90sWd" + "Zx"


async def test_a_question_reaches_socket_and_stream_while_its_command_waits(server: Running) -> None:
    plant(server.home, SESSION, [started("run")])
    redactor = Redactor(b"k" * 32)
    redactor.mark(SECRET, "DEPLOY_KEY")
    heard: dict[str, str] = {"socket": "", "stream": ""}
    changed = asyncio.Condition()

    async def hears(name: str, text: str) -> None:
        async with changed:
            heard[name] += text
            changed.notify_all()

    async def until_both(word: str) -> None:
        async with asyncio.timeout(60), changed:
            await changed.wait_for(lambda: all(word in text for text in heard.values()))

    async def from_socket(who: Any) -> None:
        async with who.live(SESSION) as socket:
            while True:
                await hears("socket", text_of((await until(socket, "event"))["e"]))

    async def from_stream(who: Any) -> None:
        async with who.http.get(f"{who.url}/api/v1/sessions/{SESSION}/stream") as answer:
            async for line in answer.content:
                if line.startswith(b'data: {"t":"event"'):
                    await hears("stream", text_of(json.loads(line[6:])["e"]))

    with Home(server.home).open_ledger() as ledger:
        log = OutputLog(ledger, SESSION, "r1", redactor)
        async with browser(server.url, "vic") as vic:
            listening = [asyncio.create_task(one(vic)) for one in (from_socket, from_stream)]
            try:
                log.write("stdout", b"installing\nGo on?[y/N]")
                await until_both("[y/N]")
                log.write("stdout", b" key " + SECRET[:9].encode())
                await until_both("‹secret:unfinished›")
                log.write("stdout", SECRET[9:].encode() + b" taken\n")
                await until_both("taken")
            finally:
                for task in listening:
                    task.cancel()
                await asyncio.gather(*listening, return_exceptions=True)
        await log.close()
    for text in heard.values():
        assert text.startswith("installing") and "‹secret:DEPLOY_KEY#" in text, text
        assert SECRET[:4] not in text and SECRET[-8:] not in text, text


def text_of(event: dict[str, Any]) -> str:
    return str((event.get("outcome") or {}).get("text", ""))
