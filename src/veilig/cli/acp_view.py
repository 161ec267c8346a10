"""What does an editor see of a session, and how is its user asked? Updates and permissions of ACP."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from veilig.app import Setting, operator_policy
from veilig.cli.peer import Peer
from veilig.cli.run_view import NAMES, what_of
from veilig.core.action import Action, ApplyPatch, AskModel, CommitBranch, RunCommand
from veilig.core.action_json import to_json
from veilig.core.jsonrpc import RpcError, members
from veilig.core.message import Stop
from veilig.core.provider import Outcome, Request, Vote

TEXT_CHARS = 8000  # of one act's output: an editor shows a panel of it
DIFF_CHARS = 200_000
TITLE_CHARS = 200
_KINDS: Mapping[str, str] = {
    "file.read": "read",
    "file.view": "read",
    "output.read": "read",
    "workspace.open": "read",
    "workspace.diff": "read",
    "history.read": "read",
    "audit.scan": "search",
    "repair.propose": "think",
    "repair.search": "execute",
    "command.run": "execute",
    "tests.run": "execute",
    "file.write": "edit",
    "file.patch": "edit",
    "file.delete": "delete",
    "workspace.apply": "edit",
}


class EditorView:
    """Tells the editor what a session does, as it happens."""

    def __init__(self, peer: Peer, talk: str, folder: Path) -> None:
        self._peer = peer
        self._talk = talk
        self._folder = folder
        self._number = 0
        self.session = ""
        self.refused = False

    @property
    def act(self) -> str:
        """The id of the act that is under way; one session acts one by one."""
        return f"{self.session}/{self._number}"

    def began(self, session: str, law: str) -> None:
        """The session has an id and a law."""
        self.session = session
        self._update("agent_thought_chunk", content=_text(f"session {session}, law: {law}\n"))

    def wall(self, wall: object) -> None:
        """A wall stands."""
        missing = [str(feature) for feature, _ in getattr(wall, "missing", ())]
        lacks = f", not held: {', '.join(missing)}" if missing else ""
        said = f"wall: {getattr(wall, 'name', '')}, no network{lacks}\n"
        self._update("agent_thought_chunk", content=_text(said))

    def proposed(self, action: Action) -> None:
        """An act is on its way."""
        if isinstance(action, AskModel):
            return
        self._number += 1
        self._update(
            "tool_call",
            toolCallId=self.act,
            title=title_of(action),
            kind=_KINDS.get(action.kind, "other"),
            status="pending",
            locations=self._places(action),
        )

    def observed(self, action: Action, outcome: Outcome) -> None:
        """An act came to an end."""
        if isinstance(action, AskModel):
            self._answered(outcome)
            return
        said = outcome.detail[:TEXT_CHARS]
        if isinstance(action, RunCommand) and (error := str(outcome.data.get("stderr", "")).strip()):
            said = f"{said}\n{error[:TEXT_CHARS]}"
        self._update(
            "tool_call_update",
            toolCallId=self.act,
            status="completed" if outcome.ok else "failed",
            content=[{"type": "content", "content": _text(said)}] if said.strip() else [],
        )

    def says(self, text: str) -> None:
        """Words of the agent itself."""
        if text.strip():
            self._update("agent_message_chunk", content=_text(text))

    def _answered(self, outcome: Outcome) -> None:
        self.refused = outcome.ok and outcome.data.get("stop") == Stop.REFUSAL
        if not outcome.ok:
            if not outcome.data.get("unknown_thread"):
                self._update("agent_thought_chunk", content=_text(f"no answer: {outcome.detail}\n"))
            return
        message = members(outcome.data.get("message")) or {}
        self.says(f"{message.get('text', '')}\n\n" if message.get("text") else "")
        for call in cast(list[Any], message.get("calls") or []):
            if call.get("name") == "plan":
                self._plan(str(call.get("arguments", "")))

    def _plan(self, arguments: str) -> None:
        try:
            given = members(json.loads(arguments)) or {}
        except ValueError:
            return  # the model is told so by the planner
        steps = cast(list[Any], given.get("steps")) if isinstance(given.get("steps"), list) else []
        entries = [
            {
                "content": str(step.get("step", "")),
                "priority": "medium",
                "status": "completed" if step.get("done") is True else "pending",
            }
            for step in (members(one) for one in steps)
            if step
        ]
        self._update("plan", entries=entries)

    def _places(self, action: Action) -> list[dict[str, Any]]:
        path: Any = getattr(action, "path", "")
        return [{"path": str(self._folder / path)}] if path else []

    def _update(self, update: str, **what: Any) -> None:
        body = {"sessionId": self._talk, "update": {"sessionUpdate": update, **what}}
        self._peer.notify("session/update", body)

    def question(self, request: Request) -> dict[str, Any]:
        """What the editor's user is asked: exactly this act, once; or commands of this shape for an hour."""
        action = request.action
        shown = action.diff if isinstance(action, ApplyPatch | CommitBranch) else request.preview
        form = "diff" if isinstance(action, ApplyPatch | CommitBranch) else ""
        left = max(0, len(shown) - DIFF_CHARS)
        rest = f"\n[{left} characters more: veilig approvals show {request.approval}]" if left else ""
        why = "\n".join(request.why)
        text = f"{why}\n\n```{form}\n{shown[:DIFF_CHARS]}\n```{rest}"
        options = [
            {"optionId": "allow", "name": "Allow exactly this", "kind": "allow_once"},
            {"optionId": "reject", "name": "Refuse", "kind": "reject_once"},
        ]
        if isinstance(action, RunCommand):
            name = "Allow commands of this shape for an hour"
            options.insert(1, {"optionId": "always", "name": name, "kind": "allow_always"})
        return {
            "sessionId": self._talk,
            "toolCall": {
                "toolCallId": self.act,
                "title": title_of(action),
                "kind": _KINDS.get(action.kind, "other"),
                "status": "pending",
                "content": [{"type": "content", "content": _text(text)}],
            },
            "options": options,
        }


class EditorApprover:
    """Asks the person at the editor; their answer is the vote of this machine's user."""

    def __init__(self, peer: Peer, view: EditorView, setting: Setting) -> None:
        self._peer = peer
        self._view = view
        self._setting = setting

    async def ask(self, request: Request) -> Vote | None:
        """The vote; None when nobody answered: the question then waits in the ledger."""
        from veilig.cli.asking import remember
        from veilig.home import find_home, local_person

        question = self._view.question(request)
        try:
            async with asyncio.timeout(max(1.0, request.expires_s - 5)):
                answer = members(await self._peer.call("session/request_permission", question)) or {}
        except (RpcError, TimeoutError):
            return None
        outcome = members(answer.get("outcome")) or {}
        chosen = outcome.get("optionId") if outcome.get("outcome") == "selected" else None
        offered = {option["optionId"] for option in question["options"]}
        if chosen not in offered:  # cancelled, or a word that was not offered: no vote
            return None
        if chosen == "always":
            await remember(request, self._view.session, self._setting)
        law = operator_policy(find_home(self._setting.environment), self._setting)
        return Vote(local_person(law), chosen != "reject", "editor")


def title_of(action: Action) -> str:
    """One line for an act."""
    title = f"{NAMES.get(action.kind, action.kind)} {what_of(action)}"
    if isinstance(action, ApplyPatch | CommitBranch):
        title = f"{NAMES[action.kind]} {len(action.base)} changed files"
    one = " ".join(title.split()) or json.dumps(to_json(action))
    return one if len(one) <= TITLE_CHARS else f"{one[: TITLE_CHARS - 1]}…"


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
