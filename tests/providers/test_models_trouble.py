"""What happens when a model does not answer as it should: errors, cuts, refusals, silence, over real HTTP?"""

import pytest

from model_asking import FORMS, HELLO, SYSTEM, Asking
from replay_server import Answer, cut, fail, overflow, refuse, replay
from veilig.core.errors import ProviderError
from veilig.core.message import Message, Role
from veilig.core.provider import Status

OPENAI = ["chat", "responses"]


@pytest.mark.parametrize("form", FORMS)
async def test_a_refusal_is_an_answer(form: str) -> None:
    with replay([refuse("I will not.")]) as server:
        async with Asking(server, form) as asking:
            outcome = await asking.ask(HELLO)
    assert (outcome.ok, outcome.data["stop"]) == (True, "refusal")
    if form in OPENAI:
        assert outcome.detail == "I will not."


@pytest.mark.parametrize("form", OPENAI)
async def test_a_conversation_that_does_not_fit_is_said_and_can_be_sent_shorter(form: str) -> None:
    with replay(["Hi.", overflow(), "Fine."]) as server:
        async with Asking(server, form) as asking:
            first = await asking.ask(SYSTEM, HELLO)
            base = str(first.data["thread"])
            outcome = await asking.ask(Message(Role.USER, "long" * 100), base=base)
            last = await asking.ask(Message(Role.USER, "short"), base=base)
    assert (outcome.ok, outcome.status, outcome.data["overflow"]) == (False, Status.FAILED, True)
    assert last.detail == "Fine."
    assert "longlong" not in server.requests[2].text
    assert asking.waits == []


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_passing_error_is_asked_again_and_said(form: str, status: int) -> None:
    code = "RESOURCE_EXHAUSTED" if form == "google" and status == 429 else ""
    with replay([fail(status, "busy", code=code, retry_after=7), "Fine."]) as server:
        async with Asking(server, form) as asking:
            outcome = await asking.ask(HELLO)
    assert (outcome.detail, outcome.data["attempts"]) == ("Fine.", 2)
    assert asking.waits == [7.0]
    assert b"asking again in 7 s, 1 of 3" in asking.heard
    assert server.requests[0].body == server.requests[1].body


async def test_the_fourth_failure_is_the_last() -> None:
    with replay(lambda _: fail(500, "down")) as server:
        async with Asking(server) as asking:
            with pytest.raises(ProviderError) as caught:
                await asking.ask(HELLO)
    assert len(server.requests) == 4
    assert "4 times in a row" in caught.value.what
    assert caught.value.retry_after_s is not None
    assert [round(w, 1) >= least for w, least in zip(asking.waits, (1, 2, 4), strict=True)] == [True] * 3
    assert all(w <= least * 1.5 for w, least in zip(asking.waits, (1, 2, 4), strict=True))


async def test_a_vendor_that_wants_to_be_left_alone_for_long_is_not_waited_for() -> None:
    with replay([fail(429, "slow down", retry_after=61)]) as server:
        async with Asking(server) as asking:
            with pytest.raises(ProviderError) as caught:
                await asking.ask(HELLO)
    assert caught.value.retry_after_s == 61
    assert len(server.requests) == 1


@pytest.mark.parametrize("form", ["chat", "responses", "anthropic", "google"])
@pytest.mark.parametrize("events", [0, 1, 3])
async def test_a_cut_stream_is_no_answer(form: str, events: int) -> None:
    with replay([cut("A long answer that breaks off", events=events), "Whole."]) as server:
        async with Asking(server, form) as asking:
            outcome = await asking.ask(HELLO)
    assert (outcome.detail, outcome.data["attempts"], outcome.data["lost_answers"]) == ("Whole.", 2, 1)
    assert b"asking again" in asking.heard
    assert b"may be on the bill" in asking.heard


@pytest.mark.parametrize("form", ["chat", "responses"])
async def test_a_page_that_is_no_answer_is_said(form: str) -> None:
    with replay(lambda _: Answer(raw=b"<html>welcome</html>")) as server:
        async with Asking(server, form) as asking:
            with pytest.raises(ProviderError, match=r"cut"):
                await asking.ask(HELLO)


@pytest.mark.parametrize(
    ("answer", "what", "fix"),
    [
        (fail(401, "bad key", code="invalid_api_key"), "does not accept the key", "OPENAI_API_KEY"),
        (fail(403, "not for you"), "does not allow this", "OPENAI_API_KEY"),
        (fail(404, "no such model", code="model_not_found"), "knows no model '", "name"),
        (fail(429, "no money", code="insufficient_quota"), "nothing left to spend", "top it up"),
        (fail(400, "bad tool"), "refused the request", "in the request"),
    ],
    ids=["401", "403", "404", "quota", "400"],
)
@pytest.mark.parametrize("form", OPENAI)
async def test_what_a_person_must_mend_is_not_asked_again(
    form: str, answer: Answer, what: str, fix: str
) -> None:
    with replay([answer]) as server:
        async with Asking(server, form) as asking:
            with pytest.raises(ProviderError) as caught:
                await asking.ask(HELLO)
    assert what in caught.value.what
    assert fix in caught.value.fix
    assert caught.value.retry_after_s is None
    assert len(server.requests) == 1


async def test_a_filter_of_the_vendor_is_a_refusal() -> None:
    with replay([fail(400, "flagged", code="content_policy_violation")]) as server:
        async with Asking(server) as asking:
            outcome = await asking.ask(HELLO)
    assert (outcome.ok, outcome.data["stop"]) == (True, "refusal")
    assert "flagged" in outcome.detail


async def test_a_server_that_is_not_there_is_said() -> None:
    with replay([]) as server:
        pass
    async with Asking(server) as asking:
        with pytest.raises(ProviderError, match="cannot be reached"):
            await asking.ask(HELLO)


@pytest.mark.parametrize("form", FORMS)
async def test_a_model_that_says_nothing_is_given_up_before_the_gate_does(form: str) -> None:
    with replay(lambda _: Answer(text="late", delay_s=4)) as server:
        async with Asking(server, form) as asking:
            with pytest.raises(ProviderError, match="did not answer in time"):
                await asking.ask(HELLO, timeout_s=1.0)


async def test_a_stream_that_stops_halfway_says_what_was_lost_and_shows_the_whole_again() -> None:
    with replay([cut("abcdefghi", events=2), "abcdefghi"]) as server:
        async with Asking(server) as asking:
            outcome = await asking.ask(HELLO)
    assert outcome.detail == "abcdefghi"
    assert asking.heard.startswith(b"abc\n[")
    assert asking.heard.endswith(b"]\nabcdefghi")


@pytest.mark.parametrize(
    ("form", "answer"),
    [
        ("chat", fail(400, "This model's maximum context length is 4096 tokens.")),
        ("chat", fail(400, "the request exceeds the available context size, try increasing it")),
        ("anthropic", fail(400, "prompt is too long: 9 > 5 maximum", code="invalid_request_error")),
        (
            "google",
            fail(
                400,
                "The input token count (9) exceeds the maximum number of tokens allowed (5).",
                code="INVALID_ARGUMENT",
            ),
        ),
    ],
    ids=["vllm", "llama.cpp", "anthropic", "google"],
)
async def test_every_server_has_its_words_for_a_conversation_that_does_not_fit(
    form: str, answer: Answer
) -> None:
    with replay([answer]) as server:
        async with Asking(server, form) as asking:
            outcome = await asking.ask(HELLO)
    assert (outcome.ok, outcome.data.get("overflow")) == (False, True)


@pytest.mark.parametrize(
    ("form", "answer", "variable"),
    [
        ("anthropic", fail(401, "invalid x-api-key", code="authentication_error"), "ANTHROPIC_API_KEY"),
        ("google", fail(403, "permission denied", code="PERMISSION_DENIED"), "GOOGLE_API_KEY"),
        (
            "google",
            fail(400, "API key not valid. Please pass a valid API key.", code="INVALID_ARGUMENT"),
            "GOOGLE_API_KEY",
        ),
    ],
    ids=["anthropic", "google", "google 400"],
)
async def test_a_refused_key_names_its_variable(form: str, answer: Answer, variable: str) -> None:
    with replay([answer]) as server:
        async with Asking(server, form) as asking:
            with pytest.raises(ProviderError) as caught:
                await asking.ask(HELLO)
    assert variable in caught.value.fix
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ("chat", "server_error"),
        ("responses", "server_error"),
        ("responses", "rate_limit_exceeded"),
        ("anthropic", "overloaded_error"),
        ("google", "UNAVAILABLE"),
    ],
)
async def test_an_error_in_the_middle_of_a_stream_is_asked_again(form: str, code: str) -> None:
    with replay([Answer(text="The first words", error="busy", code=code), "Whole."]) as server:
        async with Asking(server, form) as asking:
            outcome = await asking.ask(HELLO)
    assert (outcome.detail, outcome.data["attempts"]) == ("Whole.", 2)
    assert b"asking again" in asking.heard


@pytest.mark.parametrize("form", FORMS)
async def test_an_empty_answer_is_an_answer_or_is_asked_again_but_never_a_crash(form: str) -> None:
    with replay(["", "Whole."]) as server:
        async with Asking(server, form) as asking:
            outcome = await asking.ask(HELLO)
    assert outcome.detail in ("", "Whole.")


async def test_a_server_that_does_not_stream_is_said() -> None:
    whole = b'{"id": "1", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}}]}'
    with replay(lambda _: Answer(raw=whole)) as server:
        async with Asking(server) as asking:
            with pytest.raises(ProviderError):
                await asking.ask(HELLO)
