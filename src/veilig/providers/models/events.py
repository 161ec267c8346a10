"""How is one event of a Responses stream read, without building the types of all the others?

The client validates each event against the union of all sixty: 30 MB of validators, and a fifth of the CPU of
an ask. Of a stream without the vendor's own tools we need the events below, and each names itself.
"""

from functools import cache
from types import SimpleNamespace
from typing import Any, cast

from pydantic import BaseModel

_EVENTS = {
    "error": "ResponseErrorEvent",
    "response.created": "ResponseCreatedEvent",
    "response.queued": "ResponseQueuedEvent",
    "response.in_progress": "ResponseInProgressEvent",
    "response.completed": "ResponseCompletedEvent",
    "response.incomplete": "ResponseIncompleteEvent",
    "response.failed": "ResponseFailedEvent",
    "response.output_item.added": "ResponseOutputItemAddedEvent",
    "response.output_item.done": "ResponseOutputItemDoneEvent",
    "response.output_text.delta": "ResponseTextDeltaEvent",
    "response.output_text.done": "ResponseTextDoneEvent",
    "response.refusal.delta": "ResponseRefusalDeltaEvent",
    "response.refusal.done": "ResponseRefusalDoneEvent",
    "response.function_call_arguments.delta": "ResponseFunctionCallArgumentsDeltaEvent",
    "response.function_call_arguments.done": "ResponseFunctionCallArgumentsDoneEvent",
    "response.reasoning_summary_part.added": "ResponseReasoningSummaryPartAddedEvent",
    "response.reasoning_summary_text.delta": "ResponseReasoningSummaryTextDeltaEvent",
    "response.reasoning_text.delta": "ResponseReasoningTextDeltaEvent",
}
_ITEMS = {
    "function_call": "ResponseFunctionToolCall",
    "message": "ResponseOutputMessage",
    "reasoning": "ResponseReasoningItem",
}
_IGNORED = "ResponseContentPartDoneEvent"  # the adapter knows it and does nothing


class ResponseEvent:
    """What the client is told to make of each event of a stream: it calls `build`."""

    @classmethod
    def build(cls, *, response: object, data: object) -> object:
        """The vendor's type for `data`; what needs no answer from us becomes an event that is ignored."""
        del response
        given = cast(dict[str, Any], data) if isinstance(data, dict) else {}
        name = _EVENTS.get(str(given.get("type")), _IGNORED)
        found = dict(given)
        if isinstance(found.get("response"), dict):
            found["response"] = _response(found["response"])
        if isinstance(item := found.get("item"), dict):
            kind = _ITEMS.get(cast(dict[str, Any], item).get("type", ""))
            if kind is None:
                return _made(_type(_IGNORED), given)
            found["item"] = _made(_type(kind), cast(dict[str, Any], item))
        if isinstance(part := found.get("part"), dict):
            found["part"] = SimpleNamespace(**cast(dict[str, Any], part))
        if name == "ResponseTextDoneEvent":
            found["logprobs"] = None
        return _made(_type(name), found)


def _response(given: dict[str, Any]) -> object:
    """The answer as a whole, without its output: that came piece by piece."""
    from openai.types import responses
    from openai.types.responses.response import IncompleteDetails

    left_out: dict[str, Any] = {
        "output": [],
        "tools": [],
        "moderation": None,
        "prompt_cache_diagnostics": None,
    }
    found = given | left_out
    for name, cls in (
        ("usage", responses.ResponseUsage),
        ("error", responses.ResponseError),
        ("incomplete_details", IncompleteDetails),
    ):
        if isinstance(found.get(name), dict):
            found[name] = cls.construct(**found[name])
    return _made(responses.Response, found)


@cache
def _type(name: str) -> type[BaseModel]:
    from openai.types import responses

    return getattr(responses, name)


def _made(cls: type[BaseModel], fields: dict[str, Any]) -> BaseModel:
    """Fields as they are, defaults where they are missing, nothing validated."""
    make: Any = BaseModel.model_construct
    return make.__func__(cls, **fields)
