"""Who asks a model that somebody else holds? An evaluation's own model, by a function instead of a client.

The conversation is kept here as it is with our own clients, so a planner sees no difference.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from veilig.core.action import Action, AskModel
from veilig.core.action_json import digest
from veilig.core.canonical import JSON
from veilig.core.clock import Clock
from veilig.core.errors import ProviderError
from veilig.core.message import Message, Role, Stop, ToolCall, ToolSpec
from veilig.core.provider import Found, Outcome, Permit, Status, must_fit
from veilig.providers.models.threads import chain


@dataclass(frozen=True, slots=True)
class Said:
    """What the model answered, and what it used. tokens_in counts the cached ones, too."""

    text: str
    calls: tuple[ToolCall, ...] = ()
    stop: Stop = Stop.DONE
    model: str = ""
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0


type Ask = Callable[[Sequence[Message], Sequence[ToolSpec], int], Awaitable[Said]]


class AskedProvider:
    """Performs `model.ask` through `ask(messages, tools, tokens_max)`, which may raise ProviderError."""

    kinds = frozenset({"model.ask"})

    def __init__(self, clock: Clock, ask: Ask, host: str) -> None:
        """host: what people are told of where the question goes."""
        self._clock = clock
        self._ask = ask
        self._host = host
        self._threads: dict[str, tuple[tuple[Message, ...], tuple[ToolSpec, ...]]] = {}

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        """The answer as `data["message"]`; FAILED with `unknown_thread` when the beginning is not known."""
        must_fit(permit, digest(action), self._clock.boottime_s())
        if not isinstance(action, AskModel):
            raise ProviderError(f"an asked model does not perform {action.kind}", why="wired wrongly")
        before: tuple[Message, ...] = ()
        tools: tuple[ToolSpec, ...] = ()
        if action.base:
            known = self._threads.get(action.base)
            if known is None:
                why = f"thread {action.base[:12]} is not known here (any more)"
                return Outcome(False, why, Status.FAILED, {"unknown_thread": True, "host": self._host})
            before, tools = known
        if action.tools:
            tools = tuple(_tool(one) for one in json.loads(action.tools))
        messages = (*before, *(Message.from_json(one) for one in json.loads(action.prompt)))
        said = await self._ask(messages, tools, action.tokens_max)
        message = _sealed(said, permit)
        thread = chain(action.base, action.tools, (*messages[len(before) :], message))
        self._threads[thread] = ((*messages, message), tools)
        if message.text:
            permit.emit("model", message.text.encode("utf-8", "replace"))
        data: dict[str, JSON] = {
            "message": message.to_json(),
            "stop": (Stop.CALLS if message.calls else said.stop).value,
            "thread": thread,
            "host": self._host,
            "model": said.model or action.model,
            "tokens_in": said.tokens_in,
            "tokens_cached": said.tokens_cached,
            "tokens_out": said.tokens_out,
            "tokens": said.tokens_in + said.tokens_out,
            "cost_usd": 0.0,
            "price_known": False,
            "attempts": 1,
            "lost_answers": 0,
        }
        return Outcome(True, message.text, data=data)

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        """An answer is its own result."""
        del action, permit
        return outcome

    async def inspect(self, action: Action) -> Found:
        """A lost answer is no answer: the question may be asked again."""
        del action
        return Found.NOT_DONE


def _sealed(said: Said, permit: Permit) -> Message:
    calls = tuple(ToolCall(call.id, call.name, permit.seal(call.arguments)) for call in said.calls)
    return Message(Role.ASSISTANT, permit.seal(said.text), calls)


def _tool(given: Any) -> ToolSpec:
    one = cast(dict[str, Any], given)
    return ToolSpec(str(one["name"]), str(one["description"]), one["parameters"])
