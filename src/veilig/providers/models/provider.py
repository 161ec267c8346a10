"""Who asks models? One provider for `model.ask`, with retries that are seen and a memory of what was said."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from veilig.core.action import Action, AskModel
from veilig.core.action_json import digest
from veilig.core.canonical import JSON
from veilig.core.clock import Clock
from veilig.core.errors import ProviderError
from veilig.core.message import Message, Role, Stop
from veilig.core.provider import Found, Outcome, Permit, Status, must_fit
from veilig.providers.models import convert, trouble
from veilig.providers.models.clients import Client, connect
from veilig.providers.models.endpoint import Endpoint, Form, Route, route
from veilig.providers.models.threads import Thread, Threads, chain
from veilig.providers.models.trouble import CutStream, Next, Trouble
from veilig.providers.models.usage import told

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage, ModelResponse
    from pydantic_ai.models import StreamedResponse

RETRIES_MAX = 3  # after the first attempt; what fails four times is no hiccup
RETRY_WAIT_S_MAX = 60.0  # a vendor that asks for more is not waited for: the caller is told
STREAM = "model"  # the name of the stream on which an answer is shown as it comes


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question: the point it goes on from, what is new, and all of it as the library wants it."""

    action: AskModel
    route: Route
    base: Thread
    new: list[Message]
    history: "list[ModelMessage]"


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came back, and at which attempt."""

    response: "ModelResponse"
    attempts: int
    paid: int  # attempts before it whose answer was lost and may be on the bill

    def counted(self) -> dict[str, JSON]:
        """What an outcome says of them."""
        return {"attempts": self.attempts, "lost_answers": self.paid}


class ModelsProvider:
    """Asks any model and streams what it says; asking changes nothing in the world, so it may be repeated.

    endpoint: where, and which environment holds the keys. read_image: the bytes of an image by its path in
    the workspace. sleep: how to wait between attempts.
    """

    def __init__(
        self,
        clock: Clock,
        endpoint: Endpoint,
        read_image: Callable[[str], bytes],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._endpoint = endpoint
        self._read_image = read_image
        self._sleep = sleep
        self._threads = Threads()
        self._clients: dict[Route, Client] = {}
        self.kinds = frozenset({"model.ask"})

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        """The model's answer as `data["message"]`, with tokens, cost, host and the thread to go on from.

        FAILED with `unknown_thread` (send everything again) or `overflow` (send less). Raises ProviderError
        when nobody answered: no key, refused key, unknown model, or four failed attempts.
        """
        must_fit(permit, digest(action), self._clock.boottime_s())
        if not isinstance(action, AskModel):
            raise ProviderError(
                f"the models provider does not perform {action.kind}", why="the gate was wired wrongly"
            )
        where = route(action.model, self._endpoint)
        client = self._client(where)
        base = self._base(action)
        if base is None:
            why = f"thread {action.base[:12]} is not known here (any more)"
            return Outcome(False, why, Status.FAILED, {"unknown_thread": True, "host": where.host})
        new = convert.read_prompt(action.prompt)
        history = [*base.history, *convert.to_library(new, base.names, self._read_image)]
        asked = _Asked(action, where, base, new, history)
        found = await self._ask(client, asked, permit)
        if isinstance(found, Trouble):
            return self._unanswered(asked, found)
        return self._answered(asked, found, permit)

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        """An answer is its own result."""
        del action, permit
        return outcome

    async def inspect(self, action: Action) -> Found:
        """A lost answer is no answer: the question may be asked again."""
        del action
        await asyncio.sleep(0)
        return Found.NOT_DONE

    async def close(self) -> None:
        """Hang up."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.http.aclose()

    def _client(self, where: Route) -> Client:
        found = self._clients.get(where)
        if found is None:
            found = self._clients[where] = connect(where)
        return found

    def _base(self, action: AskModel) -> Thread | None:
        """The point that `action` goes on from, with the tools it names; None when it is not known."""
        if not action.base:
            return Thread("", (), convert.read_tools(action.tools))
        found = self._threads.get(action.base)
        if found is None or not action.tools:
            return found
        return replace(found, tools=convert.read_tools(action.tools))

    async def _ask(self, client: Client, asked: _Asked, permit: Permit) -> _Answer | Trouble:
        """The answer, or trouble that the planner may mend (SHORTER, REFUSED). Raises ProviderError."""
        # All attempts together: the gate stops waiting soon after, and would not know what happened.
        until_s = time.monotonic() + asked.action.timeout_s
        paid = 0
        for attempt in range(1, RETRIES_MAX + 2):
            try:
                async with asyncio.timeout(until_s - time.monotonic()):
                    return _Answer(await _stream(client, asked, permit), attempt, paid)
            except Exception as error:
                found = trouble.explain(error, asked.route)
                if found.next in (Next.SHORTER, Next.REFUSED):
                    return found
                wait_s = _wait_s(found, attempt)
                late = time.monotonic() + wait_s >= until_s or wait_s > RETRY_WAIT_S_MAX
                if found.next is Next.PERSON or late or attempt > RETRIES_MAX:
                    raise _given_up(found, attempt).error() from error
            note = f"{found.what} ({found.why}); asking again in {wait_s:.0f} s, {attempt} of {RETRIES_MAX}"
            if found.paid:
                paid += 1
                note += "; the answer that was lost may be on the bill"
            permit.emit(STREAM, f"\n[{note}]\n".encode())
            await self._sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    def _answered(self, asked: _Asked, found: _Answer, permit: Permit) -> Outcome:
        response = found.response
        message = convert.to_message(response, permit.seal)
        stop = _stop(response, message)
        if stop is Stop.REFUSAL and not message.text:
            details = response.provider_details or {}
            message = replace(message, text=permit.seal(str(details.get("refusal") or "")))
        model = response.model_name or asked.route.name
        data = told(model, response.usage, priced=asked.route.vendor)
        return self._outcome(asked, message, stop, data | {"model": model, **found.counted()})

    def _unanswered(self, asked: _Asked, found: Trouble) -> Outcome:
        if found.next is Next.SHORTER:
            detail = str(found.error())
            return Outcome(False, detail, Status.FAILED, {"overflow": True, "host": asked.route.host})
        data: dict[str, JSON] = {"tokens_in": 0, "tokens_cached": 0, "tokens_out": 0, "tokens": 0}
        data |= {"cost_usd": 0.0, "price_known": False, "model": asked.route.name}
        data |= {"attempts": 1, "lost_answers": 0}
        message = Message(Role.ASSISTANT, f"{found.what}: {found.why}")
        return self._outcome(asked, message, Stop.REFUSAL, data)

    def _outcome(self, asked: _Asked, message: Message, stop: Stop, data: dict[str, JSON]) -> Outcome:
        """Remember the point this answer makes, and tell of it."""
        thread = Thread(
            chain(asked.base.id, asked.action.tools, [*asked.new, message]),
            (*asked.history, convert.to_response(message)),
            asked.base.tools,
            {**asked.base.names, **{call.id: call.name for call in message.calls}},
        )
        self._threads.keep(thread)
        facts: dict[str, JSON] = {
            "message": message.to_json(),
            "stop": stop.value,
            "thread": thread.id,
            "host": asked.route.host,
        }
        return Outcome(True, message.text, data=facts | data)


async def _stream(client: Client, asked: _Asked, permit: Permit) -> "ModelResponse":
    """The whole answer; its text is shown as it comes. Raises the library's errors, and CutStream."""
    settings: Any = client.settings | {"max_tokens": asked.action.tokens_max}
    if asked.action.temperature >= 0:  # a model that cannot be told is not: the library knows which
        settings["temperature"] = asked.action.temperature
    if asked.route.vendor and asked.route.form in (Form.RESPONSES, Form.CHAT):
        settings["openai_prompt_cache_key"] = permit.session  # one session, one cache
    async with client.model.request_stream(asked.history, settings, asked.base.tools) as stream:
        await _show(stream, permit)
        response = stream.get()
    if response.finish_reason is None:
        raise CutStream("the stream ended before the model said that it had finished")
    return response


async def _show(stream: "StreamedResponse", permit: Permit) -> None:
    from pydantic_ai.messages import PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta

    async for event in stream:
        text = ""
        if isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
            text = event.delta.content_delta
        elif isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
            text = event.part.content
        if text:
            permit.emit(STREAM, text.encode("utf-8", "replace"))


def _stop(response: "ModelResponse", message: Message) -> Stop:
    match response.finish_reason:
        case "length":
            return Stop.LENGTH
        case "content_filter":
            return Stop.REFUSAL
        case _:
            return Stop.CALLS if message.calls else Stop.DONE


def _wait_s(found: Trouble, attempt: int) -> float:
    """How long before the next attempt: 1, 2, 4 s with up to half more, or what the vendor asks for."""
    return max(found.retry_after_s or 0.0, 2.0 ** (attempt - 1) * (1 + random.random() / 2))


def _given_up(found: Trouble, attempts: int) -> Trouble:
    """The error of the last attempt, saying how many there were."""
    return found if attempts == 1 else replace(found, what=f"{found.what}, {attempts} times in a row")
