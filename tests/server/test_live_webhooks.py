"""What the page tells an address outside: signed, in order, as a viewer may see it, and not once only."""

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web

from people_page import CANARY, S, events_with, plant, started
from veilig.app import Setting
from veilig.app.serving import Serving
from veilig.core.errors import UsageError
from veilig.server.webhooks import Target, Webhooks, signed

pytestmark = pytest.mark.outside_gate
SECRET = "a key of both sides"


async def test_a_receiver_hears_of_questions_and_ends_signed_and_after_a_failure_again(
    tmp_path: Path,
) -> None:
    heard: list[tuple[str, bytes]] = []
    done = asyncio.Event()

    async def receive(request: web.Request) -> web.Response:
        heard.append((request.headers["X-Veilig-Signature"], await request.read()))
        if len(heard) == 1:
            return web.Response(status=503)
        if json.loads(heard[-1][1])["event"]["kind"] == "session.ended":
            done.set()
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/hook", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    plant(tmp_path, "fix-0e0e0e0e", [started()])
    serving = Serving(Setting(environment={"VEILIG_HOME": str(tmp_path)}), [tmp_path])
    hooks = Webhooks(Target(f"http://127.0.0.1:{port}/hook", SECRET))
    serving.heard.append(hooks.told)
    try:
        async with serving.following():
            sending = asyncio.create_task(hooks.run())
            plant(tmp_path, S, events_with(CANARY))
            async with asyncio.timeout(60):
                await done.wait()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    finally:
        serving.close()
        await runner.cleanup()
    told = [json.loads(body) for _, body in heard]
    kinds = [t["event"]["kind"] for t in told]
    assert kinds == ["session.started", "session.started", "approval.asked", "session.ended"]
    assert CANARY not in json.dumps(told)
    for signature, body in heard:
        at_s = int(signature.partition(",")[0].removeprefix("t="))
        assert signature == signed(SECRET, at_s, body)
        assert signature != signed("another key", at_s, body)


@pytest.mark.parametrize("url", ["", "ftp://x/y", "https://", "https://user:pw@host/x"])
def test_what_is_no_address_for_messages_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        Target(url)
