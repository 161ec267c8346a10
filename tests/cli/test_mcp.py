"""`veilig mcp` with the official client on the other side, and with lines that no client would send."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client

from talk import Talk, talk
from terminal import Terminal

CART = "def total(items):\n    return sum(i.price for i in items[1:])\n"
TEST = (
    "from types import SimpleNamespace as S\nfrom cart import total\n\n\n"
    "def test_total():\n    assert total([S(price=2), S(price=3)]) == 5\n"
)
WEAK = "import os\nfrom flask import request\n\n\ndef ping():\n    os.system('ping ' + request.args['h'])\n"


@pytest.fixture
def shop(veilig: Terminal) -> Path:
    return veilig.project("shop", cart=CART, **{"tests/test_cart.py": TEST, "conftest.py": ""})


def server(veilig: Terminal, *words: str) -> Any:
    command, *args = veilig.argv("mcp", *words)
    return stdio_client(
        StdioServerParameters(command=command, args=args, env=veilig.environment(), cwd=veilig.folder)
    )


def body(result: Any) -> dict[str, Any]:
    assert not result.is_error, result.content[0].text
    found: dict[str, Any] = json.loads(result.content[0].text)
    assert found == result.structured_content
    return found


async def test_another_agent_gets_a_proven_diff_and_the_users_file_stays(
    veilig: Terminal, shop: Path
) -> None:
    heard: list[str] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        heard.append(str(message))

    async with Client(server(veilig, "shop")) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == [
            *("fix", "audit", "approvals", "session")
        ]
        asked = {"path": ".", "only": "tests"}
        fixed = body(await client.call_tool("fix", asked, progress_callback=note))
        shown = body(await client.call_tool("session", {"id": fixed["session"]}))
    assert fixed["tests"]["passed"] == 1
    assert "-    return sum(i.price for i in items[1:])" in fixed["diff"]
    assert [p["status"] for p in fixed["problems"]] == ["fixed"]
    assert "--apply" in fixed["next"]
    assert (shop / "cart.py").read_text() == CART
    assert "running the tests" in heard
    assert (shown["kind"], shown["state"]) == ("fix", "done")
    assert {line["kind"] for line in shown["timeline"]} >= {"workspace.open", "tests.run"}
    assert not any(line["kind"] == "workspace.apply" for line in shown["timeline"])


async def test_an_audit_names_each_weakness(veilig: Terminal) -> None:
    veilig.project("net", ping=WEAK)
    async with Client(server(veilig, "net")) as client:
        found = body(await client.call_tool("audit", {"path": str(veilig.folder / "net")}))
    assert [f["cwe"] for f in found["report"]["findings"]] == [78]
    assert found["exit_code"] == 1


@pytest.mark.parametrize(
    ("tool", "arguments", "why"),
    [
        pytest.param("audit", {"path": "/etc"}, "not among the folders", id="a foreign folder"),
        pytest.param("audit", {"path": ".."}, "not among the folders", id="the parent"),
        pytest.param("audit", {"path": "link"}, "not among the folders", id="a link that leads out"),
        pytest.param("audit", {"path": "nothing"}, "is not a folder", id="no folder"),
        pytest.param("audit", {}, "needs path", id="no path"),
        pytest.param("fix", {"path": ".", "apply": True}, "takes no 'apply'", id="an unknown word"),
        pytest.param("fix", {"path": ".", "only": "all"}, "is one of tests", id="an unknown choice"),
        pytest.param("fix", {"path": ".", "budget_s": 0.5}, "is not within 1", id="too small a budget"),
        pytest.param("fix", {"path": ".", "budget_s": "60"}, "no number", id="a text as number"),
        pytest.param("session", {"id": "fix-"}, "no session has run", id="no session"),
    ],
)
def test_what_is_not_served_is_refused_and_said(
    veilig: Terminal, shop: Path, tool: str, arguments: dict[str, Any], why: str
) -> None:
    (shop / "link").symlink_to("/etc")
    with opened(veilig) as said:
        result = said.ask("tools/call", {"name": tool, "arguments": arguments})["result"]
        assert result["isError"]
        assert why in result["content"][0]["text"]
        assert said.ask("ping")["result"] == {}, "it goes on"


def test_sessions_about_other_folders_are_not_shown(veilig: Terminal, shop: Path) -> None:
    veilig.project("net", ping=WEAK)
    assert veilig("audit", "net", "--format", "json").code == 1
    with opened(veilig) as said:
        result = said.ask("tools/call", {"name": "session", "arguments": {"id": "audit-"}})["result"]
    assert result["isError"]
    assert "net" not in result["content"][0]["text"].replace("none", "")


def test_lines_that_are_no_messages_are_answered_and_the_talk_goes_on(veilig: Terminal, shop: Path) -> None:
    with opened(veilig) as said:
        said.raw(b"{nonsense\n")
        assert said.answer(None)["error"]["code"] == -32700
        said.raw(b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]\n')
        assert said.answer(None)["error"]["code"] == -32600
        assert said.ask("resources/list")["error"]["code"] == -32601
        assert said.ask("tools/call", {"name": "apply"})["error"]["code"] == -32602
        assert said.ask("tools/call", {"name": "fix", "arguments": [1]})["error"]["code"] == -32602
        said.send("notifications/cancelled", {"requestId": [1]})
        said.send("notifications/unknown")
        assert said.ask("ping")["result"] == {}
        code, err = said.close()
    assert (code, err) == (0, "")


def test_no_tool_is_served_before_the_greeting(veilig: Terminal, shop: Path) -> None:
    with talk(veilig, "mcp", "shop") as said:
        assert said.ask("tools/list")["error"]["code"] == -32600
        assert said.ask("initialize", {"protocolVersion": "1999-01-01"})["result"]["protocolVersion"] == (
            "2025-11-25"
        )
        assert said.ask("tools/list")["result"]["tools"]


def test_a_call_that_is_cancelled_is_not_answered_and_the_next_one_is(veilig: Terminal, shop: Path) -> None:
    with opened(veilig) as said:
        said.send("tools/call", {"name": "fix", "arguments": {"path": "."}, "_meta": {"progressToken": 9}}, 7)
        while "session" in (told := said.next()["params"])["message"]:
            assert told["progressToken"] == 9  # its first act is on the way: the ledger knows the session
        said.send("notifications/cancelled", {"requestId": 7})
        said.send("ping", id=8)
        while (told := said.next()).get("method") == "notifications/progress":
            pass
        assert told == {"jsonrpc": "2.0", "id": 8, "result": {}}
        asked = {"name": "session", "arguments": {"id": "fix-"}}
        shown = said.ask("tools/call", asked, 9)["result"]["structuredContent"]
        assert shown["state"] in ("open", "running")
        assert said.close()[0] == 0


def test_the_end_of_input_stops_what_runs(veilig: Terminal, shop: Path) -> None:
    with opened(veilig) as said:
        said.send("tools/call", {"name": "fix", "arguments": {"path": "."}, "_meta": {"progressToken": 9}}, 7)
        assert "session" in said.next()["params"]["message"]
        code, err = said.close()
    assert code == 0
    assert "Traceback" not in err


def test_a_terminal_is_told_that_another_program_is_wanted(veilig: Terminal) -> None:
    said = veilig("mcp", "nowhere")
    assert said.code == 2
    assert "not a folder" in said.err


@contextmanager
def opened(veilig: Terminal) -> Generator[Talk]:
    """A talk after its greeting."""
    with talk(veilig, "mcp", "shop") as said:
        greeting = said.ask("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}})
        assert greeting["result"]["protocolVersion"] == "2025-06-18"
        said.send("notifications/initialized")
        yield said
