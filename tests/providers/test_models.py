"""Does the models provider ask, stream and remember, over real HTTP on loopback?"""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_asking import FORMS, HELLO, SYSTEM, Asking, result, said
from replay_server import Answer, Call, call, fail, replay
from veilig.core.action import AskModel
from veilig.core.errors import InvalidAction, ProviderError
from veilig.core.message import Message, Role, ToolCall, messages_json
from veilig.core.provider import Found, Permit, Status
from veilig.providers.models import convert
from veilig.providers.models.threads import THREADS_MAX

OPENAI = ["chat", "responses"]
TAKES_ONE = {
    "chat": "local-model",
    "responses": "openai:gpt-4.1",
    "anthropic": "anthropic:claude-haiku-4-5",
    "google": "google:gemini-2.5-flash",
}


@pytest.mark.parametrize("form", FORMS)
async def test_an_answer_comes_with_its_text_tokens_host_and_thread(form: str) -> None:
    with replay(["Hello there, friend."]) as server:
        async with Asking(server, form) as asking:
            outcome = await asking.ask(SYSTEM, HELLO)
    assert outcome.ok
    assert outcome.detail == "Hello there, friend."
    assert said(outcome).text == "Hello there, friend."
    assert asking.heard == b"Hello there, friend."
    facts = dict(outcome.data)
    assert len(str(facts.pop("thread"))) == 64
    facts.pop("message")
    assert facts == {
        "stop": "done",
        "host": server.root.removeprefix("http://"),
        "model": FORMS[form][0].partition(":")[2] or "local-model",
        "attempts": 1,
        "lost_answers": 0,
        "tokens_in": 100,
        "tokens_cached": 40,
        "tokens_out": 10,
        "tokens": 110,
        "cost_usd": 0.0,
        "price_known": False,
    }
    request = server.requests[0]
    assert request.form == form
    assert request.tools == ["shell"]
    assert "You are careful." in request.text


@pytest.mark.parametrize("form", FORMS)
async def test_a_temperature_is_told_where_one_is_wanted_and_only_there(form: str) -> None:
    with replay(["a", "b"]) as server:
        async with Asking(server, form) as asking:
            await asking.ask(HELLO, temperature=0.0, model=TAKES_ONE[form])
            await asking.ask(HELLO, model=TAKES_ONE[form])
    told = [request.body.get("temperature", _google(request.body)) for request in server.requests]
    assert told == [0.0, None]


@pytest.mark.filterwarnings("error::UserWarning")
async def test_a_model_that_takes_no_temperature_is_asked_without_one_and_without_noise() -> None:
    with replay(["a"]) as server:
        async with Asking(server, "responses") as asking:
            outcome = await asking.ask(HELLO, temperature=0.0, model="openai:gpt-5.5")
    assert outcome.ok
    assert "temperature" not in server.requests[0].body


def _google(body: dict[str, Any]) -> object:
    return body.get("generationConfig", {}).get("temperature")


@pytest.mark.parametrize("temperature", [-1.1, 2.1, float("nan"), float("inf")])
def test_what_is_no_temperature_is_refused(temperature: float) -> None:
    with pytest.raises(InvalidAction, match="no temperature"):
        AskModel("m", "[]", 1, temperature=temperature)


@pytest.mark.parametrize("form", FORMS)
async def test_several_calls_keep_their_ids_and_get_their_results(form: str) -> None:
    both = Answer(text="Two.", calls=(Call("shell", {"command": "a"}), Call("shell", {"command": "b"})))
    with replay([both, "Done."]) as server:
        async with Asking(server, form) as asking:
            first = await asking.ask(SYSTEM, HELLO)
            thread = str(first.data["thread"])
            last = await asking.ask(result(first, "out a"), result(first, "out b", 1), base=thread)
    assert first.data["stop"] == "calls"
    assert [(c.name, json.loads(c.arguments)) for c in said(first).calls] == [
        ("shell", {"command": "a"}),
        ("shell", {"command": "b"}),
    ]
    ids = [c.id for c in said(first).calls]
    assert server.requests[1].results == list(zip(ids, ["out a", "out b"], strict=True))
    assert server.requests[1].tools == ["shell"]
    assert last.detail == "Done."


@pytest.mark.parametrize("form", ["responses", "anthropic", "google"])
async def test_signed_reasoning_comes_back_unchanged_also_after_a_restart(form: str) -> None:
    thinking = Answer(reasoning="hmm", text="So.", calls=(Call("shell", {"command": "a"}),))
    with replay([thinking, "Done.", "Done."]) as server:
        async with Asking(server, form) as asking:
            first = await asking.ask(SYSTEM, HELLO)
            back = result(first)
            await asking.ask(back, base=str(first.data["thread"]))
            again = Asking(server, form)
            resumed = await again.ask(SYSTEM, HELLO, said(first), back)
            await again.provider.close()
    signed = "c2lnOg==" if form == "google" else "sig:hmm"
    assert signed in server.requests[1].text
    assert server.requests[2].body == server.requests[1].body
    assert resumed.detail == "Done."


async def test_a_damaged_signature_is_left_out_and_the_answer_kept() -> None:
    thinking = Answer(reasoning="hmm", text="So.", calls=(Call("shell", {"command": "a"}),))
    with replay([thinking, "Done."]) as server:
        async with Asking(server, "anthropic") as asking:
            first = await asking.ask(HELLO)
            hurt = Message.from_json(
                {**said(first).to_json(), "opaque": said(first).opaque.replace("sig:hmm", "sig:hum")}
            )
            await asking.ask(HELLO, hurt, result(first))
    assert "sig:" not in server.requests[1].text
    assert "So." in server.requests[1].text


@pytest.mark.parametrize("form", OPENAI)
@pytest.mark.parametrize("arguments", ["{not json", "", "[1]", '{"command": "a"'])
async def test_arguments_that_are_no_json_reach_the_planner_and_do_not_poison_the_thread(
    form: str, arguments: str
) -> None:
    with replay([Answer(calls=(Call("shell", arguments),)), "Sorry."]) as server:
        async with Asking(server, form) as asking:
            first = await asking.ask(HELLO)
            assert said(first).calls == (ToolCall("call_1", "shell", arguments),)
            last = await asking.ask(result(first, "that is no JSON"), base=str(first.data["thread"]))
    assert last.ok
    sent = server.requests[1].text
    assert "that is no JSON" in sent
    for item in server.requests[1].messages:
        given = [item["arguments"]] if "arguments" in item else []
        given += [c["function"]["arguments"] for c in item.get("tool_calls", [])]
        for text in given:
            assert isinstance(json.loads(text), dict)


async def test_the_thread_is_bound_to_what_was_said() -> None:
    with replay(lambda _: "Same.") as server:
        one, two = Asking(server), Asking(server)
        first = await one.ask(SYSTEM, HELLO)
        same = await two.ask(SYSTEM, HELLO)
        other = await two.ask(SYSTEM, Message(Role.USER, "Do something else."))
        tools = await two.ask(SYSTEM, HELLO, tools=())
        await one.provider.close()
        await two.provider.close()
    threads = [outcome.data["thread"] for outcome in (first, same, other, tools)]
    assert threads[0] == threads[1]
    assert len(set(threads)) == 3


async def test_an_unknown_thread_is_said_and_nothing_is_sent() -> None:
    with replay([]) as server:
        async with Asking(server) as asking:
            outcome = await asking.ask(HELLO, base="f" * 64)
    assert (outcome.ok, outcome.status, outcome.data["unknown_thread"]) == (False, Status.FAILED, True)
    assert server.requests == []


async def test_two_futures_of_one_thread_do_not_see_each_other() -> None:
    with replay(lambda request: f"answer {len(request.messages)}") as server:
        async with Asking(server) as asking:
            first = await asking.ask(SYSTEM, HELLO)
            base = str(first.data["thread"])
            left, right = await asyncio.gather(
                asking.ask(Message(Role.USER, "left"), base=base),
                asking.ask(Message(Role.USER, "right"), base=base),
            )
            after = await asking.ask(Message(Role.USER, "more"), base=str(left.data["thread"]))
    assert left.data["thread"] != right.data["thread"]
    assert "right" not in server.requests[3].text
    assert "left" in server.requests[3].text
    assert after.ok


@pytest.mark.parametrize("form", FORMS)
async def test_an_answer_that_hits_its_bound_says_so(form: str) -> None:
    with replay([Answer(text="half of", stop="length")]) as server:
        async with Asking(server, form) as asking:
            outcome = await asking.ask(HELLO)
    assert (outcome.ok, outcome.data["stop"], outcome.detail) == (True, "length", "half of")
    assert str(500) in server.requests[0].text


async def test_the_key_is_sent_and_never_said() -> None:
    key = "sk-" + "x" * 30
    with replay(["Hi.", fail(401, f"Incorrect API key provided: {key}")]) as server:
        async with Asking(server, environment={"OPENAI_API_KEY": key}) as asking:
            outcome = await asking.ask(HELLO)
            with pytest.raises(ProviderError) as caught:
                await asking.ask(HELLO)
    assert server.requests[0].headers["authorization"] == f"Bearer {key}"
    assert key not in str(outcome) + str(caught.value) + str(asking.heard) + repr(asking.provider._endpoint)


async def test_a_secret_in_an_answer_is_a_handle_in_the_message_and_in_what_goes_back() -> None:
    answer = Answer(text="It is s3cret-value.", calls=(Call("shell", {"command": "echo s3cret-value"}),))
    with replay([answer, "Ok."]) as server:
        async with Asking(server, seal={"s3cret-value": "<handle>"}) as asking:
            first = await asking.ask(HELLO)
            await asking.ask(result(first), base=str(first.data["thread"]))
    assert "s3cret-value" not in str(first)
    assert "s3cret-value" not in server.requests[1].text
    assert said(first).text == "It is <handle>."


@pytest.mark.parametrize("form", FORMS)
async def test_a_user_and_a_tool_show_images(form: str) -> None:
    png = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
    with replay([call("shell", command="shot"), "I see."]) as server:
        async with Asking(server, form, images={"a.png": png}) as asking:
            first = await asking.ask(Message(Role.USER, "Look.", images=("a.png",)))
            made = said(first).calls[0]
            shot = Message(Role.TOOL, "the screen", call=made.id, name="shell", images=("a.png",))
            last = await asking.ask(shot, base=str(first.data["thread"]))
    assert last.detail == "I see."
    assert "iVBORw0KGgo" in server.requests[0].text.replace("\\/", "/")
    assert server.requests[1].text.count("iVBORw0KGgo") == 2


async def test_what_is_no_image_is_not_sent() -> None:
    with replay([]) as server:
        async with Asking(server, images={"a.txt": b"text"}) as asking:
            with pytest.raises(ProviderError, match="is no image"):
                await asking.ask(Message(Role.USER, "Look.", images=("a.txt",)))
    assert server.requests == []


async def test_a_lost_answer_may_be_asked_again() -> None:
    with replay([]) as server:
        async with Asking(server) as asking:
            assert await asking.provider.inspect(AskModel("openai:x", "[]", 1)) is Found.NOT_DONE


async def test_an_action_of_another_digest_is_not_sent() -> None:
    with replay([]) as server:
        async with Asking(server) as asking:
            action = AskModel("m", json.dumps(messages_json([HELLO])), 5)
            permit = Permit("r", "0" * 64, 1e12, "p", "s", str, str, lambda _a, _b: None)
            with pytest.raises(ProviderError, match="not the one that was decided"):
                await asking.provider.perform(action, permit)
    assert server.requests == []


async def test_text_is_shown_while_it_comes() -> None:
    with replay([Answer(text="one two three", pause_s=0.15)]) as server:
        async with Asking(server) as asking:
            asked = asyncio.ensure_future(asking.ask(HELLO))
            while not asking.heard:
                await asyncio.sleep(0.01)
            assert not asked.done()
            assert "one two three".startswith(asking.heard.decode())
            assert (await asked).detail == "one two three"
    assert asking.heard == b"one two three"


async def test_what_is_forgotten_is_sent_again_from_the_beginning() -> None:
    with replay(lambda request: f"answer {len(request.messages)}") as server:
        async with Asking(server) as asking:
            first = await asking.ask(HELLO)
            for number in range(THREADS_MAX):
                await asking.ask(Message(Role.USER, f"other {number}"))
            lost = await asking.ask(Message(Role.USER, "more"), base=str(first.data["thread"]))
            again = await asking.ask(HELLO, said(first), Message(Role.USER, "more"))
    assert lost.data["unknown_thread"] is True
    assert again.ok


@given(
    text=st.text(max_size=30),
    calls=st.lists(st.tuples(st.text(max_size=8), st.text(max_size=20)), max_size=3),
    opaque=st.text(max_size=60),
)
@settings(max_examples=50, deadline=None)
def test_any_message_survives_the_way_to_the_library_and_back(
    text: str, calls: list[tuple[str, str]], opaque: str
) -> None:
    message = Message(
        Role.ASSISTANT, text, tuple(ToolCall(f"c{i}", n, a) for i, (n, a) in enumerate(calls)), opaque=opaque
    )
    found = convert.to_message(convert.to_response(message), str)
    assert (found.text, found.calls) == (message.text, message.calls)
