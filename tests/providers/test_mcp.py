"""An MCP server in the box: started once, stopped when it hangs, given only the secrets it may have."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from veilig.core.action import CallTool, ListTools, RunCommand
from veilig.core.action_json import digest
from veilig.core.clock import SystemClock
from veilig.core.errors import ProviderError, SandboxUnavailable, SecretRefused
from veilig.core.policy_model import McpServer
from veilig.core.provider import Found, Outcome, Permit
from veilig.core.redact import Redactor
from veilig.providers.box import Box, Terms
from veilig.providers.copying import copy_tree
from veilig.providers.mcp import McpProvider
from veilig.providers.sandbox.wall import Bounds, Wall
from veilig.providers.workspace import Workspace

SERVER = """
import json, os, sys, time
def send(**body): print(json.dumps({"jsonrpc": "2.0", **body}), flush=True)
for line in sys.stdin:
    got = json.loads(line)
    method, params = got.get("method"), got.get("params", {})
    if method == "initialize":
        send(id=got["id"], result={"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {}})
    elif method == "tools/list" and params.get("cursor") == "2":
        send(id=got["id"], result={"tools": [{"name": "second"}]})
    elif method == "tools/list":
        send(id=got["id"], result={"tools": [{"name": "first"}, 7], "nextCursor": "2"})
    elif method == "tools/call" and params["name"] == "wait":
        time.sleep(600)
    elif method == "tools/call" and params["name"] == "refuse":
        send(id=got["id"], error={"code": -1, "message": "not today"})
    elif method == "tools/call":
        text = f"{os.getpid()} {json.dumps(params['arguments'])}"
        if params["name"] == "long":
            text = "x" * 3_000_000
        send(id=got["id"], result={"content": [{"type": "text", "text": text}]})
"""
SECRET = "correct-horse-" + "battery-staple-7"


class Bench:
    """A copy with a wall around it, and three servers."""

    def __init__(self, folder: Path) -> None:
        source = folder / "project"
        source.mkdir()
        (source / "server.py").write_text(SERVER)
        workspace = Workspace(folder / "session", source)
        copy_tree(source, workspace.tree.root)
        terms = Terms(("bubblewrap", "landlock"), frozenset(), Bounds())
        self.box = Box(workspace, Path(sys.executable), terms, self.stood)
        argvs = {"good": (sys.executable, "server.py"), "none": ("/nowhere/server",), "ends": ("/bin/true",)}
        servers = tuple(McpServer("", n, argv, frozenset(), frozenset()) for n, argv in argvs.items())
        self.mcp = McpProvider(self.box, SystemClock(), servers, None)
        self.redactor = Redactor(b"k" * 32)
        self.allowed = True

    async def stood(self, wall: Wall) -> None:
        """Nothing to do."""

    async def do(self, action: CallTool | ListTools) -> Outcome:
        permit = Permit(
            "r", digest(action), SystemClock().boottime_s() + 60, "p", "s",
            lambda text: self.redactor.expand(text, lambda _: self.allowed), self.redactor.seal,
            lambda stream, data: None,
        )  # fmt: skip
        return await self.mcp.verify(action, await self.mcp.perform(action, permit), permit)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    try:
        await bench.box.run(["true"], timeout_s=20)
    except SandboxUnavailable as error:
        pytest.skip(f"no wall stands here: {error.what}")
    yield bench
    await bench.mcp.close()
    await bench.box.close()


async def test_one_server_answers_every_call_and_all_pages_are_read(bench: Bench) -> None:
    listed = await bench.do(ListTools("good"))
    assert [tool["name"] for tool in listed.data["tools"]] == ["first", "second"]  # type: ignore[index,union-attr]
    first = await bench.do(CallTool("good", "first", '{"n": 1}'))
    second = await bench.do(CallTool("good", "first", '{"n": 2}'))
    assert first.detail.split(" ", 1)[1] == '{"n": 1}'
    assert first.detail.split()[0] == second.detail.split()[0], "the same process"


async def test_a_tool_that_hangs_is_stopped_and_the_next_call_finds_a_new_server(bench: Bench) -> None:
    before = (await bench.do(CallTool("good", "first"))).detail.split()[0]
    with pytest.raises(ProviderError, match="did not answer"):
        await bench.do(CallTool("good", "wait", timeout_s=0.5))
    after = (await bench.do(CallTool("good", "first"))).detail.split()[0]
    assert after != before


@pytest.mark.parametrize(
    ("action", "why"),
    [
        pytest.param(CallTool("good", "refuse"), "not today", id="an error of the server"),
        pytest.param(CallTool("none", "x"), "is not there", id="a program that is not there"),
        pytest.param(CallTool("ends", "x"), "ended with 0", id="a program that ends"),
        pytest.param(CallTool("other", "x"), "does not know", id="a server that nobody named"),
        pytest.param(CallTool("good", "x", "[1]"), "no JSON object", id="a list as arguments"),
        pytest.param(CallTool("good", "x", "{"), "no JSON", id="arguments that are cut"),
    ],
)
async def test_trouble_is_an_error_of_ours_that_says_why(bench: Bench, action: CallTool, why: str) -> None:
    with pytest.raises(ProviderError) as caught:
        await bench.do(action)
    assert why in str(caught.value)


async def test_a_secret_goes_to_a_tool_only_where_a_rule_lets_it(bench: Bench) -> None:
    bench.redactor.learn_environment({"DB_PASSWORD": SECRET})
    handle = bench.redactor.seal(SECRET)
    assert SECRET not in handle
    arguments = f'{{"deep": [{{"password": "{handle}"}}]}}'
    assert SECRET in (await bench.do(CallTool("good", "first", arguments))).detail
    bench.allowed = False
    with pytest.raises(SecretRefused):
        await bench.do(CallTool("good", "first", arguments))


async def test_a_long_answer_is_cut_and_said(bench: Bench) -> None:
    outcome = await bench.do(CallTool("good", "long"))
    assert outcome.data["left_out"] == [f"{3_000_000 - (1 << 20)} characters"]
    assert len(outcome.detail) < (1 << 20) + 100


async def test_after_a_crash_a_call_is_in_doubt_and_a_list_is_not(bench: Bench) -> None:
    assert await bench.mcp.inspect(CallTool("good", "first")) is Found.UNKNOWN
    assert await bench.mcp.inspect(ListTools("good")) is Found.NOT_DONE
    with pytest.raises(ProviderError, match="wired wrongly"):
        action = RunCommand(("true",))
        await bench.do(action)  # type: ignore[arg-type]  # on purpose
