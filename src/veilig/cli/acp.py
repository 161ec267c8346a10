"""`veilig acp`: work on a task from inside an editor, over the Agent Client Protocol.

An agent over standard input and output, as Zed, JetBrains and neovim start one. Each prompt is a session
with everything around it: copy, wall, gate, ledger, proof. What the policy asks about is asked in the editor,
and the answer is the vote of the person at this machine; nothing reaches the project before that.
Source: agentclientprotocol.com, protocol version 1.
"""

import argparse
import asyncio
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from veilig.cli.models import model_options, named, setting_of
from veilig.cli.peer import Peer, serve_stdio
from veilig.core.jsonrpc import INVALID_PARAMS, NO_SUCH_METHOD, Call, Notice, RpcError, members

if TYPE_CHECKING:
    from veilig.agent.run_state import RunOptions
    from veilig.app import Ended, Setting
    from veilig.cli.acp_view import EditorView

VERSION = 1
EARLIER_CHARS = 6000  # of what was said before, told again to a new session
SESSIONS_MAX = 64  # an editor keeps a few; a client that keeps opening them is broken


def options(parser: argparse.ArgumentParser) -> None:
    """What `acp` takes."""
    parser.description = (
        "Serve an editor over the Agent Client Protocol (standard input and output). Work happens in a copy "
        "behind the wall; a proven change is offered in the editor and written only when you accept it there."
    )
    model_options(parser)
    parser.add_argument("--test", metavar="CMD", help="the command that tests the project")
    parser.add_argument(
        "--check", metavar="CMD", help="the task is done when this command, too, exits with 0"
    )
    parser.add_argument(
        "--no-ask", action="store_true", help="never ask in the editor: questions wait for `veilig approvals`"
    )
    parser.add_argument("--python", metavar="EXE", help="the project's interpreter")
    parser.add_argument("--policy", metavar="FILE", help="the operator's policy (default: see the reference)")
    parser.add_argument("--hide-wall", action="append", default=[], metavar="NAME", help=argparse.SUPPRESS)
    parser.set_defaults(patience=0.0)


def run(given: argparse.Namespace) -> int:
    """Exit code 0 when the editor has closed."""
    return serve_stdio(AcpAgent(given), "`veilig acp`")


@dataclass(slots=True)
class Talk:
    """One conversation in the editor. `last`: the session whose work waits in its copy, if any."""

    id: str
    folder: Path
    unused: int = 0  # MCP servers that the editor named and this agent does not use
    said: list[str] = field(default_factory=list[str])
    last: str = ""
    work: "asyncio.Task[Mapping[str, Any]] | None" = None
    cancelled: bool = False


class AcpAgent:
    """Answers one editor."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._talks: dict[str, Talk] = {}

    async def handle(self, peer: Peer, call: Call) -> Mapping[str, Any]:
        """One request. Raises RpcError for what this agent does not do."""
        match call.method:
            case "initialize":
                return self._initialize()
            case "authenticate":
                return {}
            case "session/new":
                return self._new(call.params)
            case "session/prompt":
                return await self._prompt(peer, call.params)
            case _:
                raise RpcError(f"there is no method {call.method!r:.80}", code=NO_SUCH_METHOD)

    def notice(self, peer: Peer, notice: Notice) -> None:  # noqa: ARG002  # as the Protocol has it
        """Only a cancellation asks for anything."""
        talk = self._talks.get(str(notice.params.get("sessionId")))
        if notice.method == "session/cancel" and talk is not None and talk.work is not None:
            talk.cancelled = True
            talk.work.cancel()

    def _initialize(self) -> Mapping[str, Any]:
        from veilig import __version__

        prompts = {"image": False, "audio": False, "embeddedContext": True}
        return {
            "protocolVersion": VERSION,
            "agentCapabilities": {
                "loadSession": False,
                "promptCapabilities": prompts,
                "mcpCapabilities": {"http": False, "sse": False},
            },
            "agentInfo": {"name": "veilig", "title": "veilig", "version": __version__},
            "authMethods": [],
        }

    def _new(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        folder = Path(str(params.get("cwd", "")))
        if not folder.is_absolute() or not folder.is_dir():
            raise RpcError(f"{str(folder)!r} is no absolute path of a folder", code=INVALID_PARAMS)
        if params.get("additionalDirectories"):
            raise RpcError("a session works on one folder", code=INVALID_PARAMS, fix="open one for each")
        if len(self._talks) >= SESSIONS_MAX:
            raise RpcError(f"{SESSIONS_MAX} sessions are open here", fix="start the agent again")
        servers: Any = params.get("mcpServers") or ()
        talk = Talk(f"acp-{os.urandom(4).hex()}", folder.resolve(), len(servers))
        self._talks[talk.id] = talk
        return {"sessionId": talk.id}

    async def _prompt(self, peer: Peer, params: Mapping[str, Any]) -> Mapping[str, Any]:
        talk = self._talks.get(str(params.get("sessionId")))
        if talk is None:
            raise RpcError("there is no such session", code=INVALID_PARAMS, fix="call session/new")
        if talk.work is not None:
            raise RpcError("this session is at work", fix="wait for its answer, or send session/cancel")
        task = task_of(params.get("prompt"))
        talk.cancelled = False
        talk.work = asyncio.create_task(self._work(peer, talk, task))
        try:
            return await talk.work
        except asyncio.CancelledError:
            if not talk.cancelled:
                raise
            return {"stopReason": "cancelled"}
        finally:
            talk.work = None

    async def _work(self, peer: Peer, talk: Talk, task: str) -> Mapping[str, Any]:
        from veilig.cli.acp_view import EditorApprover, EditorView

        given = self._given
        view, setting = EditorView(peer, talk.id, talk.folder), setting_of(given)
        if talk.unused:
            names = "the MCP servers that the editor named are not used: only the operator's policy names any"
            view.says(f"{names}\n\n")
            talk.unused = 0
        approver = None if given.no_ask else EditorApprover(peer, view, setting)
        if given.model or given.model_url:
            ended = await self._with_model(talk, task, setting, view, approver)
            text = _told(ended)
        else:
            ended, text = await self._without(talk, task, setting, view, approver)
        talk.said += [f"The user said: {task}", f"You ended with: {text}"]
        view.says(text)
        waits = ended is not None and bool(ended.finish.data.get("diff")) and not _delivered(ended)
        talk.last = ended.session if ended is not None and waits else ""
        known = {"session": ended.session, "ok": ended.finish.ok} if ended else {}
        return {"stopReason": "refusal" if view.refused else "end_turn", "_meta": {"veilig": known}}

    async def _with_model(
        self, talk: Talk, task: str, setting: "Setting", view: "EditorView", approver: Any
    ) -> "Ended":
        """Go on in the copy that still holds work; else a fresh copy, for the user edits between prompts."""
        from veilig.app import run_task, say

        if talk.last:
            return await say(talk.last, task, setting, view, approver)
        return await run_task(self._options(talk, task), setting, view, approver)

    def _options(self, talk: Talk, task: str) -> "RunOptions":
        from veilig.agent.run_state import RunOptions

        given = self._given
        before = "\n".join(talk.said)[-EARLIER_CHARS:]
        whole = f"{task}\n\nEarlier in this conversation (for context):\n{before}" if before else task
        test, check = tuple(shlex.split(given.test or "")), tuple(shlex.split(given.check or ""))
        return RunOptions(str(talk.folder), whole, named(given), test, check, "apply")

    async def _without(
        self, talk: Talk, task: str, setting: "Setting", view: "EditorView", approver: Any
    ) -> "tuple[Ended | None, str]":
        """What the planner without a model can do of it; otherwise what needs one, in words."""
        from veilig.agent.fix_state import FixOptions
        from veilig.agent.intent import intent
        from veilig.app import run_fix

        meant = intent(task)
        if meant is None:
            return None, (
                "This task needs a model, and none is named. Without one, veilig makes failing tests pass, "
                "mends configuration, fixes weaknesses and vulnerable pins, and finds the change that broke "
                "the tests. Start it with --model, or set VEILIG_MODEL."
            )
        view.says(f"No model: the embedded planner {meant.says}.\n\n")
        test = tuple(shlex.split(self._given.test or ""))
        wanted = FixOptions(str(talk.folder), test, meant.only, deliver="apply")
        ended = await run_fix(wanted, setting, view, approver)
        return ended, _fixed(ended)


def task_of(prompt: object) -> str:
    """The text of a prompt; what it embeds is marked as what it is. Raises RpcError for other content."""
    blocks = cast(list[Any], prompt) if isinstance(prompt, list) else []
    parts: list[str] = []
    for block in blocks:
        given = members(block) or {}
        kind = given.get("type")
        if kind == "text":
            parts.append(str(given.get("text", "")))
        elif kind == "resource_link":
            parts.append(f"[{given.get('name', 'file')}: {given.get('uri', '')}]")
        elif kind == "resource" and "text" in (inner := members(given.get("resource")) or {}):
            parts.append(f"\nFrom {inner.get('uri', '')} (data):\n{inner['text']}\n")
        else:
            raise RpcError(f"a prompt with {kind!r:.40} is not understood", code=INVALID_PARAMS)
    text = "".join(parts).strip()
    if not text:
        raise RpcError("the prompt is empty", code=INVALID_PARAMS)
    return text


def _delivered(ended: "Ended") -> bool:
    return bool(ended.finish.ok and ended.finish.data.get("applied"))


def _told(ended: "Ended") -> str:
    """The end of a session with a model, in words."""
    data = ended.finish.data
    lines = [ended.finish.summary.strip()]
    wrong: Any = data.get("wrong") or []
    proof: Any = data.get("proof") or []
    left: Any = data.get("mcp_left") or []
    lines += [f"- not proven: {one}" for one in wrong]
    lines += [f"- a tool was not offered: {one}" for one in left]
    if proof:
        lines.append(f"Proof: {'; '.join(proof)}.")
    if _delivered(ended):
        lines.append(f"{data['applied']}.")
    elif data.get("approval"):
        lines.append(
            f"A question waits: `veilig approvals show {data['approval']}`, then "
            f"`veilig resume {ended.session}`."
        )
    elif data.get("diff"):
        lines.append(f"Nothing was written; the diff: `veilig resume {ended.session} --diff`.")
    return "\n\n".join(line for line in lines if line)


def _fixed(ended: "Ended") -> str:
    """The end of a fix, problem by problem."""
    data = ended.finish.data
    problems: Any = data.get("problems") or []
    lines = [
        f"- {p['title']} ({p['path']}:{p['line']}): {p['status']}. {p['fix'] or p['why']}".rstrip()
        for p in problems
    ]
    return "\n".join([ended.finish.summary, "", *lines, "", str(data.get("applied") or "")]).strip()
