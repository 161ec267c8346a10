"""A models provider on a replay server, and what it was heard to say: for tests of the provider alone."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from replay_server import Server
from veilig.core.action import AskModel
from veilig.core.action_json import digest
from veilig.core.clock import SystemClock
from veilig.core.limits import MODEL_TIMEOUT_S
from veilig.core.message import Message, Role, ToolSpec, messages_json
from veilig.core.provider import Outcome, Permit
from veilig.providers.models.endpoint import Endpoint
from veilig.providers.models.provider import ModelsProvider

SHELL = ToolSpec(
    "shell",
    "Run a command",
    {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
)
SYSTEM = Message(Role.SYSTEM, "You are careful.")
HELLO = Message(Role.USER, "Do it.")
FORMS = {
    "chat": ("local-model", "auto", "/v1"),
    "responses": ("openai:gpt-5.5", "responses", "/v1"),
    "anthropic": ("anthropic:claude-sonnet-5-5", "auto", ""),
    "google": ("google:gemini-2.5-flash", "auto", ""),
}


@dataclass
class Asking:
    """A provider on a replay server, and what it was heard to say."""

    server: Server
    form: str = "chat"
    environment: dict[str, str] = field(default_factory=dict[str, str])
    images: dict[str, bytes] = field(default_factory=dict[str, bytes])
    heard: bytes = b""
    waits: list[float] = field(default_factory=list[float])
    seal: dict[str, str] = field(default_factory=dict[str, str])
    base_url: str | None = None

    def __post_init__(self) -> None:
        self.model, api, path = FORMS[self.form]
        base_url = self.server.root + path if self.base_url is None else self.base_url
        endpoint = Endpoint(base_url, api, self.environment)  # type: ignore[arg-type]
        self.provider = ModelsProvider(SystemClock(), endpoint, self.images.__getitem__, sleep=self._no_sleep)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.provider.close()

    async def _no_sleep(self, wait_s: float) -> None:
        self.waits.append(wait_s)

    def _emit(self, stream: str, data: bytes) -> None:
        assert stream == "model"
        self.heard += data

    def _seal(self, text: str) -> str:
        for secret, handle in self.seal.items():
            text = text.replace(secret, handle)
        return text

    async def ask(
        self, *messages: Message, base: str = "", tools: Sequence[ToolSpec] = (SHELL,), **more: Any
    ) -> Outcome:
        prompt = json.dumps(messages_json(messages))
        told = "" if base else json.dumps([tool.to_json() for tool in tools])
        action = AskModel(
            more.get("model", self.model),
            prompt,
            500,
            base,
            told,
            more.get("timeout_s", MODEL_TIMEOUT_S),
            more.get("temperature", -1.0),
        )
        now = SystemClock().boottime_s()
        permit = Permit("r1", digest(action), now + 60, "p", "s1", lambda text: text, self._seal, self._emit)
        outcome = await self.provider.perform(action, permit)
        assert await self.provider.verify(action, outcome, permit) == outcome
        return outcome


def said(outcome: Outcome) -> Message:
    return Message.from_json(outcome.data["message"])


def result(outcome: Outcome, text: str = "ok", call: int = 0) -> Message:
    made = said(outcome).calls[call]
    return Message(Role.TOOL, text, call=made.id, name=made.name)
