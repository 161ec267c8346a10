"""An MCP server over HTTP, without a session around it: one that hangs is let go, and asked again later."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import pytest

from veilig.core.action import CallTool
from veilig.core.action_json import digest
from veilig.core.clock import SystemClock
from veilig.core.errors import ProviderError
from veilig.core.gate import ACTING
from veilig.core.policy_model import McpServer
from veilig.core.provider import Permit
from veilig.core.redact import Redactor
from veilig.providers.mcp import McpProvider

FAR = Path(__file__).parent.parent / "support" / "mcp_far.py"
pytestmark = pytest.mark.outside_gate


async def test_a_tool_that_hangs_is_given_up_in_time_and_the_next_call_works() -> None:
    argv = [sys.executable, str(FAR), "a-token-of-ours"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    port = await asyncio.to_thread(process.stdout.readline)
    url = f"http://127.0.0.1:{port.strip()}/mcp"
    headers = (("Authorization", "Bearer ${FAR}"),)
    server = McpServer("", "far", (), frozenset(), frozenset(), url, headers)
    redactor = Redactor(b"k" * 32)
    clock = SystemClock()
    mcp = McpProvider(cast(Any, None), clock, (server,), None, {"FAR": "a-token-of-ours"}, redactor.mark)

    def permit(action: CallTool) -> Permit:
        until = clock.boottime_s() + 60
        return Permit("r", digest(action), until, "p", "s", str, redactor.seal, lambda _s, _d: None)

    ACTING.set(True)
    try:
        slow = CallTool("far", "wait", timeout_s=2.0)
        begun_s = time.monotonic()
        with pytest.raises(ProviderError, match="did not answer within 2 s"):
            await mcp.perform(slow, permit(slow))
        assert time.monotonic() - begun_s < 20
        quick = CallTool("far", "add", '{"left": 1, "right": 2}')
        assert (await mcp.perform(quick, permit(quick))).detail == "3"
        assert "a-token-of-ours" not in redactor.seal("the token is a-token-of-ours")
    finally:
        await mcp.close()
        process.kill()
        process.communicate()
