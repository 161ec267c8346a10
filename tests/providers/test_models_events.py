"""Are the events of a Responses stream read as the vendor's own client reads them, and odd ones survived?"""

from typing import Any

import pytest
from openai._models import construct_type
from openai.types.responses import ResponseContentPartDoneEvent, ResponseStreamEvent

from replay_forms import events, parsed
from replay_values import Answer, Call, Request
from veilig.providers.models.events import ResponseEvent

ANSWER = Answer(text="Hello there", reasoning="hmm", calls=(Call("shell", {"command": "ls"}, "call_1"),))
IGNORED = ("response.content_part.added", "response.content_part.done")


def build(data: object) -> Any:
    return ResponseEvent.build(response=None, data=data)


@pytest.mark.parametrize("answer", [ANSWER, Answer(refusal="no"), Answer(text="half", stop="length")])
def test_an_event_is_what_the_client_would_make_of_it(answer: Answer) -> None:
    request = Request("responses", "/v1/responses", {"model": "m", "stream": True}, {}, 0)
    for data in parsed(events(request, answer)):
        ours: Any = build(data)
        theirs: Any = construct_type(type_=ResponseStreamEvent, value=data)
        if data["type"] in IGNORED:
            assert isinstance(ours, ResponseContentPartDoneEvent)
            continue
        assert type(ours) is type(theirs)
        for name in ("delta", "text", "refusal", "arguments", "item_id", "sequence_number", "output_index"):
            assert getattr(ours, name, None) == getattr(theirs, name, None)
        if item := getattr(theirs, "item", None):
            assert type(ours.item) is type(item)
            assert (ours.item.id, ours.item.type) == (item.id, item.type)
        if response := getattr(theirs, "response", None):
            for name in ("id", "model", "status", "usage", "incomplete_details", "created_at", "background"):
                assert getattr(ours.response, name) == getattr(response, name)


@pytest.mark.parametrize(
    "data",
    [
        {"type": "response.web_search_call.searching", "item_id": "x"},
        {"type": "response.output_item.added", "item": {"type": "shell_call", "id": "x"}},
        {"type": "brand.new"},
        {},
        [],
        None,
        "text",
    ],
)
def test_what_is_not_needed_is_ignored(data: object) -> None:
    assert isinstance(build(data), ResponseContentPartDoneEvent)
