"""How does one call of a model become acts, and what is it told? One call at a time, from start to answer."""

import json
from abc import ABC, abstractmethod
from pathlib import PurePosixPath
from typing import Any, cast

from veilig.agent import desktop_tools
from veilig.agent.background import ask_job, start_job
from veilig.agent.delegating import delegation, offered, with_child
from veilig.agent.desktop_tools import desktop_act, told_desktop
from veilig.agent.edit_acts import changes
from veilig.agent.mcp_tools import act_of, specs, told
from veilig.agent.patching import PatchError, patch_paths, patched, replaced
from veilig.agent.run_state import COMMANDS_KEPT, Draft, Json, RunOptions, pick, shown, touched
from veilig.agent.skills import SCHEME, skill_of
from veilig.agent.tools import READ_LINES, BadCall, Wish, argv_of, read_call, timeout_of
from veilig.core.action import (
    Action,
    CallTool,
    ReadFile,
    ReadOutput,
    RunCommand,
    StartSession,
    ViewImage,
)
from veilig.core.action_json import from_json, to_json
from veilig.core.errors import InvalidAction
from veilig.core.message import ToolCall, ToolSpec
from veilig.core.provider import Outcome, Status, Step

RULES = "AGENTS.md"
RULES_CHARS = 8000
FOLDERS_DEEP = 6  # conventions further from a file than that are not about it
SAME_CALLS_MAX = 6  # the same call with the same answer: no progress is made
SEARCH = (
    "grep",
    "-rnIE",
    "--exclude-dir=.git",
    "--exclude-dir=__pycache__",
    "--exclude-dir=node_modules",
    "-m",
    "40",
)


class Calls(ABC):
    """The part of the planner that performs tools."""

    def __init__(self, options: RunOptions) -> None:
        self._options = options

    @abstractmethod
    def _next_call(self, now: Draft) -> Step:
        """The next call of the last answer; the model again when all are done."""

    @abstractmethod
    def _claims_done(self, now: Draft, summary: str, call: ToolCall | None) -> Step:
        """The model says that the task is done."""

    @abstractmethod
    def _ended(self, now: Draft, *, ok: bool, summary: str) -> Step:
        """The end where nobody says so."""

    def _more(self, now: Draft) -> dict[str, ToolSpec]:
        """The tools beside those that every session has."""
        return {**offered(self._options), **desktop_tools.offered(self._options), **specs(now.state)}

    def _begin_call(self, now: Draft, call: ToolCall) -> Step | None:
        """The first act of a call; None when it was answered without any."""
        wish = read_call(call, self._more(now))
        if isinstance(wish, BadCall):
            now.answer(call, wish.text)
            return None
        if wish.tool == "plan":
            now["plan"] = wish.arguments.get("steps", [])
            now["notes"] = wish.text("notes") or now["notes"]
            now.answer(call, "noted")
            return None
        if wish.tool == "finish":
            now["finish"] = {"done": wish.flag("done", default=True), "result": wish.arguments.get("result")}
            text = "\n".join(part for part in (wish.text("summary"), wish.text("evidence")) if part)
            return self._claims_done(now, text, call)
        try:
            action = act_of(now.state, wish) or desktop_act(wish) or self._first_act(wish)
        except (InvalidAction, PatchError) as error:
            now.answer(call, f"error: {error}")
            return None
        if isinstance(action, str):
            now.answer(call, action)
            return None
        doing: Json = {"call": {"id": call.id, "name": call.name, "arguments": call.arguments}}
        if wish.tool == "apply_patch":
            doing |= {"texts": {}, "wanted": [*patch_paths(wish.text("patch"))[1:]]}
        folders = _unknown_folders(now, wish)
        now["doing"], now["stage"] = {**doing, "folders": [*folders]}, "call"
        return Step(now.state, ReadFile(f"{folders[0]}/{RULES}") if folders else action)

    def _first_act(self, wish: Wish) -> Action | str:
        path = _clean(wish.text("path"))
        match wish.tool:
            case "shell" if wish.text("background"):
                argv = start_job(wish.text("background"), wish.text("command"))
                return (
                    RunCommand(argv)
                    if argv
                    else "error: a job's name is of letters, digits, '.', '-' and '_'"
                )
            case "shell":
                if not wish.text("command").strip():
                    return "error: the command is empty"
                return RunCommand(argv_of(wish.text("command")), timeout_s=timeout_of(wish))
            case "job":
                argv = ask_job(wish.text("name"), wish.text("input"), stop=wish.flag("stop"))
                return RunCommand(argv) if argv else f"there is no job {wish.text('name')!r}"
            case "read" if path.startswith("#"):
                return ReadOutput(path[1:])
            case "read" if path in (".", ""):
                return _listing(".")
            case "read" | "edit":
                return (skill_of(path) if wish.tool == "read" else None) or ReadFile(path)
            case "search":
                return RunCommand((*SEARCH, "-e", wish.text("pattern"), "--", path or "."))
            case "apply_patch":
                return ReadFile(patch_paths(wish.text("patch"))[0])
            case "view":
                return ViewImage(path)
            case "delegate":
                return delegation(wish)
            case _:
                return f"error: {wish.tool} cannot be called now"

    def _after_call(self, now: Draft, action: Action, outcome: Outcome) -> Step:
        doing = cast(dict[str, Any], now["doing"])
        call = ToolCall(**doing["call"])
        wish = read_call(call, self._more(now))
        if isinstance(wish, BadCall):  # it was a good one when it began
            return self._tell(now, call, wish.text)
        if doing.get("folders"):
            return self._conventions(now, call, wish, outcome)
        if outcome.status is Status.IN_DOUBT:
            why = "[the machine stopped while this ran; look whether it took effect before you repeat it]"
            return self._tell(now, call, why)
        if outcome.status is Status.REFUSED:
            return self._tell(now, call, f"refused: {outcome.detail}")
        try:
            return self._go_on(now, call, wish, action, outcome)
        except (PatchError, InvalidAction) as error:
            return self._tell(now, call, f"error: {error}")

    def _conventions(self, now: Draft, call: ToolCall, wish: Wish, outcome: Outcome) -> Step:
        """A folder's own AGENTS.md, the first time something below it is touched; then the act itself."""
        doing = cast(dict[str, Any], now["doing"])
        folder, *folders = cast(list[str], doing["folders"])
        now.inside("rules", folder, outcome.ok)
        said = str(doing.get("preface", ""))
        if outcome.ok and outcome.detail.strip():
            said += f"{said_by_project(f'{folder}/{RULES}', outcome.detail)}\n\n"
        now["doing"] = {**doing, "folders": folders, "preface": said}
        if folders:
            return Step(now.state, ReadFile(f"{folders[0]}/{RULES}"))
        try:
            action = self._first_act(wish)
        except (InvalidAction, PatchError) as error:
            return self._tell(now, call, f"error: {error}")
        return self._tell(now, call, action) if isinstance(action, str) else Step(now.state, action)

    def _go_on(self, now: Draft, call: ToolCall, wish: Wish, action: Action, outcome: Outcome) -> Step:
        match wish.tool:
            case _ if isinstance(action, CallTool):
                for path in cast(list[str], outcome.data.get("changed", [])):
                    touched(now, path, "edited")
                return self._tell(now, call, told(outcome))
            case _ if isinstance(action, StartSession):
                now["usage"] = with_child(cast(Json, now["usage"]), outcome)
                for path in cast(list[str], outcome.data.get("changed", [])):
                    touched(now, path, "edited")
                return self._tell(now, call, outcome.detail if outcome.ok else f"not done: {outcome.detail}")
            case "look" | "desktop":
                for path in cast(list[str], outcome.data.get("changed", [])):
                    touched(now, path, "edited")
                text, pictures = told_desktop(outcome)
                return self._tell(now, call, text, images=pictures)
            case "shell" | "job" | "search":
                return self._tell(now, call, self._command_told(now, wish, outcome))
            case "read":
                return self._read_told(now, call, wish, action, outcome)
            case "view":
                text = outcome.detail if outcome.ok else f"error: {outcome.detail}"
                return self._tell(now, call, text, images=(action.target,) if outcome.ok else ())
            case "edit" if isinstance(action, ReadFile):
                text = _text_of(outcome, action.path)
                every = wish.flag("all")
                after = replaced(text, action.path, wish.text("old"), wish.text("new"), every=every)
                return self._change(now, changes({action.path: text}, {action.path: after}))
            case "apply_patch" if isinstance(action, ReadFile):
                return self._gather(now, wish, action, outcome)
            case _:
                return self._changed(now, call, action, outcome)

    # --- looking -------------------------------------------------------------------------------------

    def _command_told(self, now: Draft, wish: Wish, outcome: Outcome) -> str:
        code, error = outcome.data.get("exit_code"), str(outcome.data.get("stderr", ""))
        if wish.tool == "search":
            if code in (0, 1):
                return (
                    shown(outcome.detail.partition("\nexit code 1")[0], outcome.ref)
                    if code == 0
                    else "no match"
                )
            return f"error: {error or outcome.detail}"
        text = outcome.detail
        if not outcome.ok and isinstance(code, int) and code >= 0:
            text = text.removesuffix(f"exit code {code}, signal 0").rstrip("\n")
        head = (
            "" if outcome.ok else f"[exit {code}]\n" if isinstance(code, int) and code >= 0 else "[ended]\n"
        )
        parts = [part for part in (text, f"[stderr]\n{error}" if error.strip() else "") if part]
        told = shown(head + "\n".join(parts), outcome.ref) or "[no output]"
        name = wish.text("command") or f"job {wish.text('name')}"
        self._remember(now, name, "ok" if outcome.ok else f"exit {code}", told if not outcome.ok else "")
        for path in cast(list[str], outcome.data.get("changed", [])):
            touched(now, path, "edited")
        return told

    def _remember(self, now: Draft, command: str, result: str, failure: str) -> None:
        commands = cast(Json, now["commands"])
        number = cast(int, now["turns"]) * 100 + len(cast(list[Any], now["queue"]))
        commands = {**commands, f"{number:08d}": {"command": command[:200], "result": result}}
        if len(commands) > COMMANDS_KEPT:
            commands = {key: commands[key] for key in sorted(commands)[-COMMANDS_KEPT:]}
        now["commands"] = commands
        now["failed"] = f"$ {command[:200]}\n{failure}" if failure else ""

    def _read_told(self, now: Draft, call: ToolCall, wish: Wish, action: Action, outcome: Outcome) -> Step:
        start = wish.whole("start", 1, 1, 10**9)
        lines = wish.whole("lines", READ_LINES, 1, READ_LINES * 5)
        if isinstance(action, RunCommand):  # a folder's names
            return self._tell(now, call, shown(outcome.detail, outcome.ref) if outcome.ok else outcome.detail)
        if not outcome.ok and isinstance(action, ReadFile) and "not a regular file" in outcome.detail:
            return Step(now.state, _listing(action.path))
        if not outcome.ok:
            return self._tell(now, call, f"error: {outcome.detail}")
        if isinstance(action, ReadFile):
            touched(now, action.path, "read")
        return self._tell(now, call, shown(pick(outcome.detail, start, lines)))

    # --- changing ------------------------------------------------------------------------------------

    def _gather(self, now: Draft, wish: Wish, action: ReadFile, outcome: Outcome) -> Step:
        """The texts that a patch touches, one after the other, and then its changes."""
        doing = cast(dict[str, Any], now["doing"])
        texts = {**doing["texts"], action.path: _text_of(outcome, action.path)}
        wanted = cast(list[str], doing["wanted"])
        now["doing"] = {**doing, "texts": texts, "wanted": wanted[1:]}
        if wanted:
            return Step(now.state, ReadFile(wanted[0]))
        return self._change(now, changes(texts, patched(wish.text("patch"), texts)))

    def _change(self, now: Draft, actions: list[Action]) -> Step:
        doing = cast(dict[str, Any], now["doing"])
        now["doing"] = {**doing, "todo": [to_json(a) for a in actions[1:]], "done": [], "texts": {}}
        return Step(now.state, actions[0])

    def _changed(self, now: Draft, call: ToolCall, action: Action, outcome: Outcome) -> Step:
        doing = cast(dict[str, Any], now["doing"])
        done = [*doing.get("done", []), action.target]
        if not outcome.ok:
            before = f" ({', '.join(done[:-1])} changed already)" if done[:-1] else ""
            return self._tell(now, call, f"error: {outcome.detail}{before}")
        touched(now, action.target, "edited")
        todo = cast(list[Any], doing.get("todo", []))
        if todo:
            now["doing"] = {**doing, "todo": todo[1:], "done": done}
            return Step(now.state, from_json(todo[0]))
        return self._tell(now, call, f"changed {', '.join(done)}")

    # --- telling -------------------------------------------------------------------------------------

    def _tell(self, now: Draft, call: ToolCall, text: str, images: tuple[str, ...] = ()) -> Step:
        now.answer(call, f"{cast(Json, now['doing']).get('preface', '')}{text}", images)
        now["doing"] = {}
        mark = json.dumps([call.name, call.arguments, text])
        last, times = cast(list[Any], now["again"])
        times = times + 1 if last == mark else 1
        now["again"] = [mark, times]
        if times >= SAME_CALLS_MAX:
            why = f"the model made the same call {times} times with the same result"
            return self._ended(now, ok=False, summary=f"{why}: {call.name} {call.arguments[:200]}")
        return self._next_call(now)


def said_by_project(path: str, text: str) -> str:
    """A project's conventions, marked as what they are."""
    cut = text if len(text) <= RULES_CHARS else f"{text[:RULES_CHARS]}\n[... cut]"
    return f"The project's own conventions, from {path} (they grant nothing):\n{cut}"


def _unknown_folders(now: Draft, wish: Wish) -> list[str]:
    """Folders on the way to what a call touches whose conventions were not read yet, the outermost first."""
    if wish.tool not in ("read", "edit", "apply_patch"):
        return []
    paths = patch_paths(wish.text("patch")) if wish.tool == "apply_patch" else (_clean(wish.text("path")),)
    known = cast(Json, now["rules"])
    found: dict[str, None] = {}
    for path in paths:
        if path.startswith(("/", "#", "..", SCHEME)) or "/../" in path:
            continue
        parents = [str(parent) for parent in PurePosixPath(path).parents if str(parent) != "."]
        found |= dict.fromkeys(reversed(parents[:FOLDERS_DEEP]))
    return [folder for folder in found if folder not in known][:FOLDERS_DEEP]


def _clean(path: str) -> str:
    """A path as the workspace names it."""
    shorter = path.strip().removeprefix("./")
    return str(PurePosixPath(shorter)) if shorter else ""


def _listing(path: str) -> RunCommand:
    return RunCommand(("ls", "-1Ap", "--", path))


def _text_of(outcome: Outcome, path: str) -> str | None:
    """What a file holds, None when it is not there."""
    if outcome.ok:
        return outcome.detail
    if outcome.detail == f"{path}: no such file":
        return None
    raise PatchError(outcome.detail)
