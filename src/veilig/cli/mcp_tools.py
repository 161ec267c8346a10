"""What can another agent ask for over MCP? Four tools: fix, audit, approvals, session. None decides."""

import argparse
import asyncio
import json
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from veilig.app import Setting, find_session, run_audit, run_fix
from veilig.cli.progress import WORDS
from veilig.cli.record import Places, find_places, ledger_stands, opened
from veilig.core.action import Action
from veilig.core.canonical import JSON
from veilig.core.errors import LedgerError, SessionError, UsageError
from veilig.core.message import ToolSpec
from veilig.core.provider import Outcome

BUDGET_S_MAX = 3600.0
TIMELINE_MAX = 200  # the newest acts of a session: more fills the caller's window
DIFF_CHARS_MAX = 400_000
_LOOKS: Mapping[str, JSON] = {"readOnlyHint": True, "openWorldHint": False}


class ServedTool(ToolSpec):
    """A tool with MCP's hints: none of them changes the user's files."""

    __slots__ = ()

    def to_json(self) -> dict[str, JSON]:
        """As `tools/list` tells it."""
        return {
            "name": self.name,
            "description": self.description,
            "inputSchema": {"type": "object", "additionalProperties": False, **self.parameters},
            "annotations": dict(_LOOKS),
        }


TOOLS = (
    ServedTool(
        "fix",
        "Find what is broken or unsafe in a project (failing tests, syntax, configuration, weaknesses, "
        "vulnerable pins), repair it in a private copy, prove it with the tests, and return the problems and "
        "the diff. The user's files stay as they are. Takes from seconds to the budget.",
        {
            "properties": {
                "path": {"type": "string", "description": "the project's folder"},
                "only": {"enum": ["tests", "audit", "config"], "description": "work on these problems only"},
                "budget_s": {"type": "number", "minimum": 1, "maximum": BUDGET_S_MAX, "default": 300},
                "test_command": {"type": "string", "description": "how to test, if it is not found"},
            },
            "required": ["path"],
        },
    ),
    ServedTool(
        "audit",
        "Report weaknesses in a project's code and vulnerable pinned dependencies, with the flow that proves "
        "each. Nothing of it is run or changed.",
        {
            "properties": {
                "path": {"type": "string", "description": "the project's folder"},
                "pattern": {"type": "boolean", "description": "also what only looks like a weakness"},
            },
            "required": ["path"],
        },
    ),
    ServedTool(
        "approvals",
        "What waits for people now: the act, why, who must say yes, how long the question stands. Only "
        "people answer, in their own terminal.",
        {"properties": {}},
    ),
    ServedTool(
        "session",
        "What one session did: every act with its verdict, rule and outcome.",
        {
            "properties": {"id": {"type": "string", "description": "its id, or the beginning of it"}},
            "required": ["id"],
        },
    ),
)

type Tell = Callable[[str], None]


class Heard:
    """Tells the other side what a session is doing."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self.law = ""

    def began(self, session: str, law: str) -> None:
        """The session has an id and a law."""
        self.law = law
        self._tell(f"session {session}")

    def wall(self, wall: object) -> None:
        """A wall stands."""
        self._tell(f"wall {getattr(wall, 'name', '')}, no network")

    def proposed(self, action: Action) -> None:
        """An act is on its way."""
        self._tell(WORDS.get(action.kind, action.kind))

    def observed(self, action: Action, outcome: Outcome) -> None:
        """An act came to an end; the next one will say so."""


class Desk:
    """The tools for some folders. One session at a time: each may use every core."""

    tools: Sequence[ServedTool] = TOOLS

    def __init__(self, roots: tuple[Path, ...], setting: Setting) -> None:
        self._roots = roots
        self._setting = setting
        self._turn = asyncio.Lock()

    async def call(self, name: str, arguments: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
        """The result of one tool. Raises VeiligError with what the caller can do about it."""
        spec = next(tool for tool in TOOLS if tool.name == name)
        wanted = _checked(spec, arguments)
        match name:
            case "fix":
                async with self._turn:
                    return await self._fix(wanted, tell)
            case "audit":
                async with self._turn:
                    return await self._audit(wanted, tell)
            case "approvals":
                return await asyncio.to_thread(self._approvals)
            case _:
                return await asyncio.to_thread(self._session, str(wanted["id"]))

    # --- work ----------------------------------------------------------------------------------------

    async def _fix(self, wanted: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
        from veilig.agent.fix_state import FixOptions

        folder, budget_s = self._folder(wanted), float(wanted.get("budget_s", 300.0))
        if not 1 <= budget_s <= BUDGET_S_MAX:
            raise UsageError(f"budget_s {budget_s:g} is not within 1 to {BUDGET_S_MAX:g} seconds")
        command = tuple(shlex.split(str(wanted.get("test_command", ""))))
        heard, begun_s = Heard(tell), time.monotonic()
        options = FixOptions(str(folder), command, str(wanted.get("only", "")), budget_s)
        ended = await run_fix(options, self._setting, heard, None)
        data = {
            "session": ended.session,
            "ok": ended.finish.ok,
            "summary": ended.finish.summary,
            "seconds": round(time.monotonic() - begun_s, 1),
            "wall": ended.wall.name if ended.wall else "",
            "law": heard.law,
        }
        return _fixed(data | dict(ended.finish.data), str(wanted["path"]))

    async def _audit(self, wanted: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
        from veilig.agent.audit_plan import AuditOptions
        from veilig.audit.finding import Severity
        from veilig.cli.audit_report import exit_code, render_json, root_of

        folder = self._folder(wanted)
        options = AuditOptions(str(folder), bool(wanted.get("pattern", False)))
        ended = await run_audit(options, self._setting, Heard(tell))
        if not ended.finish.ok:
            raise SessionError(
                f"{wanted['path']} was not audited: {ended.finish.summary}",
                fix=f"the tool `session` with id {ended.session} says what happened",
            )
        wall = ended.wall.name if ended.wall else ""
        root = root_of(".", ended.session, wall, dict(ended.finish.data))
        whole: dict[str, Any] = json.loads(render_json([root], exit_code([root], Severity.LOW)))
        found: dict[str, Any] = whole["roots"][0]
        return {**found, "path": str(wanted["path"]), "exit_code": whole["exit_code"]}

    def _folder(self, wanted: Mapping[str, Any]) -> Path:
        """The folder that was named, if it is one of ours. Raises UsageError."""
        path = Path(str(wanted["path"])).expanduser()
        folder = (path if path.is_absolute() else self._roots[0] / path).resolve()
        if not any(folder.is_relative_to(root) for root in self._roots):
            raise UsageError(
                f"{wanted['path']!r} is not among the folders that are served",
                why=f"this server was started for {', '.join(map(str, self._roots))}",
                fix="the person who runs it can start it with that folder",
            )
        if not folder.is_dir():
            raise UsageError(f"{wanted['path']!r} is not a folder", why="veilig works on a project's folder")
        return folder

    # --- looking -------------------------------------------------------------------------------------

    def _places(self) -> Places:
        return find_places(argparse.Namespace(policy=self._setting.policy))

    def _ours(self, source: str) -> bool:
        return any(Path(source).is_relative_to(root) for root in self._roots)

    def _approvals(self) -> dict[str, Any]:
        from veilig.cli.approvals import approval_json, known_approvals
        from veilig.cli.sessions import rows
        from veilig.core.approval import State

        places = self._places()
        if not ledger_stands(places):
            return {"approvals": [], "next": "nothing waits for people"}
        with opened(places) as ledger:
            known, why, now_ms, boot = known_approvals(ledger)
            ours = {r.id for r in rows(ledger.events(names=("session.started",))) if self._ours(r.source)}
        shown = [
            {**approval_json(asked, str(state), now_ms), "why": why[asked.id], "preview": asked.preview}
            for asked in known.values()
            if asked.session in ours and (state := asked.state(now_ms, boot)) in (State.OPEN, State.APPROVED)
        ]
        told = "people answer with `veilig approvals approve ID` or `deny ID`, in their own terminal"
        return {"approvals": shown, "next": told if shown else "nothing waits for people"}

    def _session(self, prefix: str) -> dict[str, Any]:
        from veilig.cli.sessions import line_json, row_json, rows, timeline, with_state

        places = self._places()
        if not ledger_stands(places):
            raise LedgerError("no session has run here yet", fix="call `fix` or `audit` first")
        view = find_session(places.home, prefix, self._setting)
        if not self._ours(view.source):  # as if it were not there: what it is about is not for this caller
            raise SessionError(f"no session starts with {prefix!r}", why="none about the served folders does")
        with opened(places) as ledger:
            events = list(ledger.events(session=view.id))
        row, lines = with_state(places, rows(events)[0]), timeline(events)
        shown = [line_json(line) for line in lines[-TIMELINE_MAX:]]
        return {**row_json(row), "timeline": shown, "timeline_left_out": len(lines) - len(shown)}


# --- parts ---------------------------------------------------------------------------------------------

_TYPES = {"string": str, "boolean": bool, "number": (int, float)}


def _checked(spec: ServedTool, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments, if the schema allows them. Raises UsageError that says what would be right."""
    properties: Any = spec.parameters["properties"]
    required: Any = spec.parameters.get("required", [])
    given = {name: value for name, value in arguments.items() if value is not None}
    for name, value in given.items():
        if name not in properties:
            raise UsageError(
                f"{spec.name} takes no {name!r:.60}", fix=f"it takes {', '.join(properties) or 'nothing'}"
            )
        wanted: Any = properties[name]
        if "enum" in wanted and value not in wanted["enum"]:
            raise UsageError(f"{spec.name}: {name} is one of {', '.join(wanted['enum'])}")
        kind = wanted.get("type", "string")
        if not isinstance(value, _TYPES[kind]) or (kind == "number" and isinstance(value, bool)):
            raise UsageError(f"{spec.name}: {name} is no {kind}")
    if missing := [name for name in required if not given.get(name)]:
        raise UsageError(f"{spec.name} needs {', '.join(missing)}")
    return given


_PROBLEM = ("id", "kind", "title", "path", "line", "rule", "cwe", "severity", "status", "fix", "why", "proof")


def _fixed(result: dict[str, Any], path: str) -> dict[str, Any]:
    """What another agent needs of a fix: the problems, the diff, what was proven and what was not."""
    from veilig.agent.fix_state import not_looked_at

    final: dict[str, Any] = result.get("final") or {}
    diff = str(result.get("diff", ""))
    found = {key: result[key] for key in ("session", "ok", "summary", "seconds", "wall", "law")}
    found["problems"] = [{k: p[k] for k in _PROBLEM if p.get(k)} for p in result.get("problems", [])]
    found["tests"] = {k: final[k] for k in ("total", "passed", "nonpassing", "exit_code") if k in final}
    found["not_looked_at"] = not_looked_at(result)
    found["notes"] = result.get("notes", [])
    found["diff"] = diff[:DIFF_CHARS_MAX]
    found["diff_left_out"] = max(0, len(diff) - DIFF_CHARS_MAX)
    found["approval"] = result.get("approval", "")
    if found["approval"]:
        found["next"] = f"a person answers: veilig approvals show {found['approval']}"
    elif diff:
        found["next"] = f"a person takes it: veilig fix {shlex.quote(path)} --apply"
    else:
        found["next"] = "there is nothing to bring back"
    return found
