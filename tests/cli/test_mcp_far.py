"""A model uses the tools of an MCP server that is elsewhere: streamable HTTP, the official SDK there."""

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from replay_server import Answer, call, replay
from terminal import Said, Terminal

FAR = Path(__file__).parent.parent / "support" / "mcp_far.py"
TOKEN = "far-" + "b4tt3ry-st4ple-" + "h0rse"
DONE = call("finish", summary="done")


@contextmanager
def far(*words: str) -> Generator[str]:
    process = subprocess.Popen(
        [sys.executable, str(FAR), TOKEN, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/mcp"
    finally:
        process.kill()
        process.communicate()


def work(
    veilig: Terminal, url: str, script: list[Answer], *, token: str = TOKEN, **law: Any
) -> tuple[Said, dict[str, Any], list[str], list[str]]:
    """What the command said, its result, what the model was told, and the tools it was told of."""
    veilig.project("shop", cart="x = 1\n")
    server = {"name": "far", "url": url, "headers": {"Authorization": "Bearer ${FAR_TOKEN}"}}
    server["tools"] = law.pop("tools", {"allow": ["add", "leak", "wait", "fail"]})
    policy = {"models": {"allowed": ["scripted"]}, "mcp": {"servers": [server]}, **law}
    file = veilig.folder / "operator.yaml"
    file.write_text(json.dumps(policy))
    with replay(script) as model:
        words = ("--model", "scripted", "--model-url", model.url, "--policy", str(file), "--no-verify")
        said = veilig("run", "use the tools", "shop", *words, "--json", FAR_TOKEN=token)
        result = json.loads(said.out.splitlines()[-1])
        told = [text for request in model.requests for _, text in request.results]
        first = model.requests[0].body.get("tools", []) if model.requests else []
    return said, result, told, [tool["function"]["name"] for tool in first]


@pytest.mark.parametrize("words", [(), ("--json",)], ids=["as events", "as JSON"])
def test_a_tool_elsewhere_is_used_and_the_token_is_never_shown(
    veilig: Terminal, words: tuple[str, ...]
) -> None:
    with far(*words) as url:
        script = [call("far__add", left=40, right=2), call("far__leak"), call("far__fail"), DONE]
        said, result, told, tools = work(veilig, url, script)
    assert said.code == 0, said.out[-1500:] + said.err
    assert {"far__add", "far__leak"} <= set(tools), result["mcp_left"]
    assert told[0] == "42"
    assert "\u2039secret:FAR_TOKEN" in json.dumps(told, ensure_ascii=False)
    assert told[-1] == "error: Error executing tool fail"
    everything = b"".join(p.read_bytes() for p in veilig.home.glob("ledger.db*")) + said.out.encode()
    assert TOKEN.encode() not in everything


@pytest.mark.parametrize(
    ("path", "token", "why"),
    [
        pytest.param("/mcp", "wrong-token-of-somebody", "HTTP 401", id="a wrong token"),
        pytest.param("/mcp", "", "FAR_TOKEN is not set", id="no token"),
        pytest.param("/moved", TOKEN, "HTTP 307", id="a redirect is not followed"),
        pytest.param("/nothing", TOKEN, "HTTP 404", id="another place"),
    ],
)
def test_a_server_that_does_not_answer_is_left_out_and_named(
    veilig: Terminal, path: str, token: str, why: str
) -> None:
    with far() as url:
        said, result, _, tools = work(veilig, url.replace("/mcp", path), [DONE], token=token)
    assert said.code == 0, said.err
    assert not any(name.startswith("far__") for name in tools)
    assert why in result["mcp_left"][0], result["mcp_left"]


def test_a_server_that_is_gone_is_left_out(veilig: Terminal) -> None:
    with far() as url:
        pass
    said, result, _, _ = work(veilig, url, [DONE])
    assert said.code == 0
    assert "cannot be reached" in result["mcp_left"][0]


def test_a_tool_elsewhere_that_nobody_named_waits_for_people(veilig: Terminal) -> None:
    with far() as url:
        said, result, _, _ = work(veilig, url, [call("far__add", left=1, right=1), DONE], tools={})
    assert said.code != 0
    assert result["approval"]


def test_in_mode_observe_nothing_acts_elsewhere(veilig: Terminal) -> None:
    with far() as url:
        _, _, told, _ = work(veilig, url, [call("far__add", left=1, right=1), DONE], mode="observe")
    assert "acts outside the copy" in told[0]
