"""`veilig acp` with the protocol's own client on the other side, a scripted model and a real wall."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from acp import PROTOCOL_VERSION, spawn_agent_process, text_block
from acp.schema import AllowedOutcome, DeniedOutcome, RequestPermissionResponse

from replay_server import Server, call, refuse, replay
from talk import talk
from terminal import Terminal

CART = "def total(items):\n    return sum(i.price for i in items[1:])\n"
TEST = (
    "from types import SimpleNamespace as S\nfrom cart import total\n\n\n"
    "def test_total():\n    assert total([S(price=2), S(price=3)]) == 5\n"
)
MEND = [
    call("plan", steps=[{"step": "look", "done": True}, {"step": "mend"}]),
    call("shell", command="python -m pytest -q"),
    call("edit", path="cart.py", old="items[1:]", new="items"),
    call("finish", summary="The first item was left out."),
]


@pytest.fixture
def shop(veilig: Terminal) -> Path:
    return veilig.project("shop", cart=CART, **{"tests/test_cart.py": TEST, "conftest.py": ""})


class Editor:
    """A client: keeps what it is told, and answers questions as its user would."""

    def __init__(self, answer: str, on_update: Callable[[Any], None] | None = None) -> None:
        self.answer = answer
        self.on_update = on_update
        self.updates: list[Any] = []
        self.questions: list[Any] = []

    def on_connect(self, conn: Any) -> None:
        """Nothing to do."""

    async def session_update(self, session_id: str, update: Any, **rest: Any) -> None:
        self.updates.append(update)
        if self.on_update:
            self.on_update(update)

    async def request_permission(
        self, session_id: str, tool_call: Any, options: Any, **rest: Any
    ) -> RequestPermissionResponse:
        self.questions.append((tool_call, [option.option_id for option in options]))
        if self.answer == "cancelled":
            return RequestPermissionResponse(outcome=DeniedOutcome(outcome="cancelled"))
        chosen = AllowedOutcome(outcome="selected", option_id=self.answer)
        return RequestPermissionResponse(outcome=chosen)

    def of(self, kind: str) -> list[Any]:
        return [update for update in self.updates if update.session_update == kind]

    @property
    def said(self) -> str:
        return "".join(update.content.text for update in self.of("agent_message_chunk"))


@asynccontextmanager
async def agent(veilig: Terminal, editor: Editor, server: Server | None, *words: str) -> AsyncGenerator[Any]:
    model = ("--model", "scripted", "--model-url", server.url) if server else ()
    command, *args = veilig.argv("acp", *model, *words)
    async with spawn_agent_process(
        editor,  # type: ignore[arg-type]  # the optional parts of the Protocol are not wanted
        command,
        *args,
        env=veilig.environment(),
        cwd=veilig.folder,
    ) as (connection, _):
        begun = await connection.initialize(protocol_version=PROTOCOL_VERSION)
        assert begun.protocol_version == 1
        yield connection


async def prompt(connection: Any, session: str, text: str) -> str:
    answer = await connection.prompt(session_id=session, prompt=[text_block(text)])
    return str(answer.stop_reason)


async def test_an_accepted_change_is_proven_and_then_written(veilig: Terminal, shop: Path) -> None:
    editor = Editor("allow")
    with replay(MEND) as server:
        async with agent(veilig, editor, server) as connection:
            session = (await connection.new_session(cwd=str(shop), mcp_servers=[])).session_id
            assert await prompt(connection, session, "make the test pass") == "end_turn"
    assert (shop / "cart.py").read_text() == CART.replace("items[1:]", "items")
    assert len(editor.questions) == 1
    asked, offered = editor.questions[0]
    assert offered == ["allow", "reject"], "a delivery is never allowed for longer than once"
    assert "+    return sum(i.price for i in items)" in asked.content[0].content.text
    kinds = {update.kind for update in editor.of("tool_call")}
    assert kinds >= {"execute", "edit", "read"}
    ends = {update.tool_call_id: update.status for update in editor.of("tool_call_update")}
    assert set(ends) == {update.tool_call_id for update in editor.of("tool_call")}
    assert [entry.status for entry in editor.of("plan")[0].entries] == ["completed", "pending"]
    assert "The first item was left out." in editor.said
    assert "1 tests pass" in editor.said


@pytest.mark.parametrize("answer", ["reject", "cancelled", "a word that was not offered"])
async def test_without_a_yes_nothing_is_written(veilig: Terminal, shop: Path, answer: str) -> None:
    editor = Editor(answer)
    with replay(MEND) as server:
        async with agent(veilig, editor, server) as connection:
            session = (await connection.new_session(cwd=str(shop), mcp_servers=[])).session_id
            assert await prompt(connection, session, "make the test pass") == "end_turn"
    assert len(editor.questions) == 1
    assert (shop / "cart.py").read_text() == CART
    assert ("veilig approvals show" in editor.said) == (answer != "reject")


async def test_with_no_ask_the_question_waits_for_people_elsewhere(veilig: Terminal, shop: Path) -> None:
    editor = Editor("allow")
    with replay(MEND) as server:
        async with agent(veilig, editor, server, "--no-ask") as connection:
            session = (await connection.new_session(cwd=str(shop), mcp_servers=[])).session_id
            await prompt(connection, session, "make the test pass")
    assert not editor.questions
    assert (shop / "cart.py").read_text() == CART
    waiting = veilig("approvals", "--json").json
    assert [one["state"] for one in waiting] == ["open"]


async def test_a_second_prompt_knows_the_first_and_sees_what_the_user_changed(
    veilig: Terminal, shop: Path
) -> None:
    script = [*MEND, call("read", path="cart.py"), call("finish", summary="It is there.")]
    editor = Editor("allow")
    with replay(script) as server:
        async with agent(veilig, editor, server) as connection:
            session = (await connection.new_session(cwd=str(shop), mcp_servers=[])).session_id
            await prompt(connection, session, "make the test pass")
            with (shop / "cart.py").open("a") as file:
                file.write("# typed by hand\n")
            assert await prompt(connection, session, "is my comment there?") == "end_turn"
        told = str(server.requests[len(MEND)].body)
        read = server.requests[-1].results[-1][1]
    assert "make the test pass" in told
    assert "The first item was left out." in told
    assert "# typed by hand" in read


async def test_a_prompt_can_be_cancelled_and_the_next_one_is_answered(veilig: Terminal, shop: Path) -> None:
    works = asyncio.Event()
    editor = Editor("allow", lambda update: works.set() if getattr(update, "kind", "") == "execute" else None)
    script = [call("shell", command="sleep 60"), call("finish", summary="Nothing to do.")]
    with replay(script) as server:
        async with agent(veilig, editor, server) as connection:
            session = (await connection.new_session(cwd=str(shop), mcp_servers=[])).session_id
            running = asyncio.create_task(prompt(connection, session, "wait"))
            await works.wait()
            await connection.cancel(session_id=session)
            assert await asyncio.wait_for(running, 30) == "cancelled"
            assert await prompt(connection, session, "and now?") == "end_turn"


async def test_a_refusing_model_ends_the_turn_as_one(veilig: Terminal, shop: Path) -> None:
    editor = Editor("allow")
    with replay([refuse()]) as server:
        async with agent(veilig, editor, server) as connection:
            session = (await connection.new_session(cwd=str(shop), mcp_servers=[])).session_id
            assert await prompt(connection, session, "do harm") == "refusal"


async def test_without_a_model_the_embedded_planner_works_or_says_what_needs_one(
    veilig: Terminal, shop: Path
) -> None:
    editor = Editor("allow")
    async with agent(veilig, editor, None) as connection:
        session = (await connection.new_session(cwd=str(shop), mcp_servers=[])).session_id
        assert await prompt(connection, session, "write a web shop") == "end_turn"
        assert "needs a model" in editor.said
        assert await prompt(connection, session, "make the failing tests pass") == "end_turn"
    assert (shop / "cart.py").read_text() != CART
    assert "fixed" in editor.said


def test_what_no_editor_should_send_is_refused(veilig: Terminal, shop: Path) -> None:
    with talk(veilig, "acp") as said:
        assert said.ask("initialize", {"protocolVersion": 99})["result"]["protocolVersion"] == 1
        assert "error" in said.ask("session/new", {"cwd": "shop", "mcpServers": []})
        assert "error" in said.ask("session/new", {"cwd": str(shop / "none"), "mcpServers": []})
        assert "error" in said.ask("session/new", {"cwd": str(shop), "additionalDirectories": ["/etc"]})
        assert "error" in said.ask("session/prompt", {"sessionId": "acp-0", "prompt": []})
        made = said.ask("session/new", {"cwd": str(shop), "mcpServers": []})["result"]["sessionId"]
        for prompt in ([], [{"type": "image", "data": "", "mimeType": "x"}], "text", [7]):
            assert (
                said.ask("session/prompt", {"sessionId": made, "prompt": prompt})["error"]["code"] == -32602
            )
        assert said.ask("terminal/create")["error"]["code"] == -32601
        said.send("session/cancel", {"sessionId": made})
        assert said.close() == (0, "")
