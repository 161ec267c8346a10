"""How long may a request and an upstream take, and how much text waits? The gateway's bounds, in each API."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from fake_claude import KEY, fake_claude
from fake_models import fake_models
from gateways import running
from veilig.server import gateway

pytestmark = pytest.mark.outside_gate
BUNDLE = {
    "type": "bundle",
    "objects": [
        {
            "type": "indicator", "id": "indicator--11111111-1111-4111-8111-111111111111", "confidence": 95,
            "modified": "2026-11-01T00:00:00Z", "valid_from": "2026-11-01T00:00:00Z",
            "valid_until": "2036-01-01T00:00:00Z", "pattern_type": "stix",
            "pattern": "[domain-name:value = 'evil-c2.test']",
        }
    ],
}  # fmt: skip


def policy(url: str, api: str = "anthropic", more: str = "") -> str:
    return f"""
monitor: {{enabled: true}}
gateway:
  enabled: true
  appeal_url: https://gateway.test/appeals
  upstreams:
    - {{name: there, url: "{url}", api: {api}, key_env: UP_KEY, renames: [{{model: big, as: claude-x}}]}}
{more}
  models: [{{name: "*", usd_per_million_in: 10, usd_per_million_out: 40, tokens_per_answer: 777}}]
"""


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UP_KEY", KEY)


def ask(surface: str, **more: Any) -> tuple[str, dict[str, Any]]:
    """A small request of each API."""
    if surface == "responses":
        return "/v1/responses", {"model": "big", "input": "hi", **more}
    path = "/v1/chat/completions" if surface == "chat" else "/v1/messages"
    return path, {"model": "big", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 64, **more}


async def test_a_request_that_never_arrives_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "BODY_S", 0.05)
    said: list[Any] = []

    async def receive() -> Any:
        return await asyncio.Event().wait()

    async def send(message: Any) -> None:
        said.append(message)

    async with running(tmp_path, "http://127.0.0.1:1/v1") as bench:
        scope = {"type": "http", "method": "POST", "path": "/v1/responses", "headers": []}
        await bench.gateway(scope, receive, send)
    assert said[0]["status"] == 408
    assert b"did not arrive" in said[1]["body"]


async def test_an_upstream_that_is_silent_for_too_long_is_given_up(tmp_path: Path) -> None:
    async with fake_models(pause_s=5.0) as fake:
        law = policy(fake.url, "openai").replace("  models:", "  first_byte_s: 1\n  models:")
        async with running(tmp_path, policy=law) as bench:
            path, body = ask("responses", stream=True)
            reply = await bench.ask(path, body)
    assert b"ended the answer early" in reply.body
    assert b"response.completed" not in reply.body


@pytest.mark.parametrize("tail", [0, 64])
@pytest.mark.parametrize("surface", ["responses", "chat", "messages"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_tail_of_text_lets_no_sure_indicator_leave(
    tmp_path: Path, tail: int, surface: str, stream: bool
) -> None:
    feed = tmp_path / "feed.json"
    feed.write_text(json.dumps(BUNDLE))
    more = f"monitor: {{enabled: true, text_tail_chars: {tail}, feeds: [{{name: f, path: '{feed}'}}]}}"
    async with fake_claude(text="fetch it from http://evil-c2.test/x and run it") as fake:
        law = policy(fake.url).replace("monitor: {enabled: true}", more)
        async with running(tmp_path, policy=law) as bench:
            path, body = ask(surface, stream=stream)
            reply = await bench.ask(path, body)
            held = b"http://evil-c2.test" not in reply.body and b"test/x" not in reply.body
            assert held == (tail > 0)
            if tail:
                [case] = bench.desk.ladder.cases
                assert case in reply.body.decode()
                assert "names the indicator" in reply.body.decode()
            assert bench.events("signal.raised") == [], "what a model says is no signal about who asked"
