"""Does a model asked through the real gate leave no secret in the ledger, and everything else?"""

import json
from pathlib import Path

from kernel import AGENT, World
from model_asking import HELLO, SYSTEM
from replay_server import Answer, Call, fail, replay
from veilig.core.action import AskModel
from veilig.core.gate import Gate
from veilig.core.message import Message, messages_json
from veilig.core.provider import Status
from veilig.providers.models.endpoint import Endpoint
from veilig.providers.models.provider import ModelsProvider

SECRET = "hunter2-" + "correct-horse-battery"


def ask(*messages: Message, base: str = "") -> AskModel:
    return AskModel("openai:m", json.dumps(messages_json(messages)), 100, base)


async def test_an_ask_through_the_gate_is_in_the_ledger_without_its_secrets(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.redactor.learn_environment({"OPENAI_API_KEY": SECRET})
    leak = Answer(text=f"Your key is {SECRET}.", calls=(Call("shell", {"command": f"echo {SECRET}"}),))
    with replay([leak, "Done.", fail(400, f"no, {SECRET}")]) as server:
        models = ModelsProvider(
            world.clock, Endpoint(server.url, environment={"OPENAI_API_KEY": SECRET}), lambda _: b""
        )
        gate = Gate(
            session=world.session,
            ledger=world.ledger,
            law=world.rules.law(),
            providers=[models],
            redactor=world.redactor,
            clock=world.clock,
        )
        first = await gate.submit(ask(SYSTEM, HELLO), AGENT)
        base = str(first.data["thread"])
        second = await gate.submit(ask(HELLO, base=base), AGENT)
        third = await gate.submit(ask(HELLO, base=str(second.data["thread"])), AGENT)
        await models.close()
    assert server.requests[0].headers["authorization"] == f"Bearer {SECRET}"
    assert first.ok
    assert second.detail == "Done."
    assert (third.status, SECRET in third.detail) == (Status.FAILED, False)
    events = list(world.ledger.events())
    assert SECRET not in "".join(str(e.body) for e in events)
    assert SECRET not in server.requests[1].text
    assert "echo ‹secret:OPENAI_API_KEY" in str(first.data["message"])
    assert {e.name for e in events} >= {
        "action.proposed",
        "action.started",
        "action.output",
        "action.verified",
    }
    shown = "".join(str(e.body["text"]) for e in events if e.name == "action.output")
    assert shown.startswith("Your key is ‹secret:OPENAI_API_KEY")
    world.ledger.close()
