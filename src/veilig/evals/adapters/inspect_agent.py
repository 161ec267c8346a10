"""How does our agent work on a sample of Inspect's? Through our gate: to its model, in its sandbox.

Inspect's own approvers see none of these acts: the gate and its ledger are the authority. Inspect counts the
tokens, since its model is asked.
"""

import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from inspect_ai.agent import Agent, AgentState, agent
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    GenerateConfig,
    ModelOutput,
    get_model,
)
from inspect_ai.tool import ToolCall as InspectCall
from inspect_ai.tool import ToolInfo, ToolParams
from inspect_ai.util import OutputLimitExceededError, SandboxEnvironment, sandbox, store

from veilig.app import Setting
from veilig.app.trials import Done, FarResult, Model, Said, with_model
from veilig.core.errors import ProviderError, UsageError
from veilig.core.message import Message, Role, Stop, ToolCall, ToolSpec
from veilig.evals.adapters.inspect_sandbox import BwrapSandbox


@dataclass(frozen=True, slots=True)
class InInspect:
    """A sandbox of Inspect's as the world that a session of ours works in."""

    sandbox: SandboxEnvironment

    @property
    def name(self) -> str:
        """For people: whose wall it is."""
        return f"Inspect's {type(self.sandbox).__name__}"

    @property
    def enforces(self) -> frozenset[str]:
        """Known of our own wall only."""
        return self.sandbox.enforces if isinstance(self.sandbox, BwrapSandbox) else frozenset()

    async def exec(self, argv: Sequence[str], *, env: Mapping[str, str], timeout_s: float) -> FarResult:
        """Run one argv in the sample's folder. Raises ProviderError when the sandbox cannot."""
        limit_s = math.ceil(timeout_s)
        try:
            done = await self.sandbox.exec([*argv], env=dict(env), timeout=limit_s, timeout_retry=False)
        except TimeoutError:
            return FarResult(124, b"", b"", timed_out=True)
        except (OSError, RuntimeError, UnicodeDecodeError, OutputLimitExceededError) as error:
            raise ProviderError(f"{self.name} did not run a command", why=f"{error}"[:600]) from error
        return FarResult(done.returncode, done.stdout.encode(), done.stderr.encode())


@agent
def veilig_agent(policy: str = "", home: str = "") -> Agent:
    """Our agent on Inspect's model and sandbox.

    policy: the operator's veilig.yaml; "" for what holds on this machine. home: the folder for the ledgers,
    one to each session below it; "" for a temporary one. The trajectory goes into the sample's store anyway.
    """

    async def execute(state: AgentState) -> AgentState:
        task = "\n\n".join(message.text for message in state.messages if message.role in ("system", "user"))
        if not task.strip():
            raise UsageError("the sample asks nothing", fix="give it an input")
        done = await _worked(task, policy, home)
        store().set("veilig", {"session": done.session, "ok": done.ok, "trajectory": done.trajectory})
        answer = ChatMessageAssistant(content=done.summary, source="generate")
        state.messages.append(answer)
        state.output = ModelOutput.from_content(str(get_model()), done.summary)
        return state

    return execute


async def _worked(task: str, policy: str, home: str) -> Done:
    name = f"inspect:{get_model().name.replace(' ', '-') or 'model'}"
    setting = Setting(policy or None, environment=dict(os.environ))
    if home:
        place = Path(home) / os.urandom(4).hex()
        return await with_model(task, InInspect(sandbox()), place, setting, Model(name, ask))
    with tempfile.TemporaryDirectory(prefix="veilig-inspect-") as folder:
        return await with_model(task, InInspect(sandbox()), Path(folder), setting, Model(name, ask))


async def ask(messages: Sequence[Message], tools: Sequence[ToolSpec], tokens_max: int) -> Said:
    """Ask Inspect's model. Raises ProviderError when it cannot answer."""
    given = [_message(one) for one in messages]
    told = [ToolInfo(name=t.name, description=t.description, parameters=_parameters(t)) for t in tools]
    model = get_model()
    try:
        output = await model.generate(given, tools=told, config=GenerateConfig(max_tokens=tokens_max))
    except (OSError, RuntimeError, ValueError) as error:
        raise ProviderError(f"{model} did not answer", why=f"{error}"[:600]) from error
    answer = output.message
    calls = tuple(ToolCall(c.id, c.function, json.dumps(c.arguments)) for c in answer.tool_calls or ())
    used = output.usage
    cached = (used.input_tokens_cache_read or 0) if used else 0
    written = (used.input_tokens_cache_write or 0) if used else 0
    return Said(
        answer.text,
        calls,
        _STOPS.get(output.stop_reason, Stop.DONE),
        output.model,
        (used.input_tokens + cached + written) if used else 0,
        cached,
        used.output_tokens if used else 0,
    )


_STOPS: Mapping[str, Stop] = {
    "tool_calls": Stop.CALLS,
    "max_tokens": Stop.LENGTH,
    "model_length": Stop.LENGTH,
    "content_filter": Stop.REFUSAL,
}


def _message(one: Message) -> ChatMessage:
    match one.role:
        case Role.SYSTEM:
            return ChatMessageSystem(content=one.text)
        case Role.USER:
            return ChatMessageUser(content=one.text)
        case Role.TOOL:
            return ChatMessageTool(content=one.text, tool_call_id=one.call, function=one.name)
        case _:
            calls = [InspectCall(id=c.id, function=c.name, arguments=_arguments(c)) for c in one.calls]
            return ChatMessageAssistant(content=one.text, tool_calls=calls or None)


def _arguments(call: ToolCall) -> dict[str, Any]:
    try:
        found: Any = json.loads(call.arguments or "{}")
    except ValueError:
        return {"malformed": call.arguments}
    return cast(dict[str, Any], found) if isinstance(found, dict) else {"malformed": call.arguments}


def _parameters(tool: ToolSpec) -> ToolParams:
    return ToolParams.model_validate({**tool.parameters, "additionalProperties": False})
