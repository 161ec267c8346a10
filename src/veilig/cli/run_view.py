"""What does a person see while a model works, and at its end? One line per act; then what was proven."""

import json
import time
from collections.abc import Mapping
from typing import Any, TextIO, cast

from veilig.cli.style import Style, cut, printable
from veilig.core.action import Action, AskModel, ReadFile, RunCommand
from veilig.core.action_json import to_json
from veilig.core.provider import Outcome, Status

WIDTH = 76
NAMES = {
    "command.run": "runs",
    "file.read": "reads",
    "file.view": "looks at",
    "file.write": "makes",
    "file.patch": "edits",
    "file.delete": "removes",
    "output.read": "reads",
    "tests.run": "tests",
    "audit.scan": "audits",
    "workspace.diff": "compares",
    "workspace.restore": "goes back",
    "workspace.apply": "applies",
    "git.branch": "commits",
    "mcp.list": "asks",
    "mcp.call": "calls",
    "session.start": "delegated",
}


class RunView:
    """Prints acts as they end; with `events`, as JSON lines instead."""

    def __init__(self, stream: TextIO, *, quiet: bool = False, events: bool = False) -> None:
        self.stream = stream
        self.style = Style(stream)
        self.law = ""
        self.session = ""
        self.used: dict[str, float] = {}
        self._quiet = quiet
        self._events = events
        self._turn = 0
        self._inside = ""  # the number of a child among its siblings, before each of its lines
        self._begun_s = time.monotonic()

    def began(self, session: str, law: str) -> None:
        """The session has an id and a law."""
        self.session, self.law = session, law
        self._emit("session", {"session": session, "law": law})
        self._line(f"session {session}      law  {law}")

    def wall(self, wall: object) -> None:
        """A wall stands."""
        name = str(getattr(wall, "name", ""))
        missing = [str(feature) for feature, _ in getattr(wall, "missing", ())]
        self._emit("wall", {"wall": name, "missing": missing})
        lacks = f", not held: {', '.join(missing)}" if missing else ""
        self._line(f"wall    {name}, no network{lacks}")

    def proposed(self, action: Action) -> None:
        """An act is on its way."""
        self._begun_s = time.monotonic()
        if self._events and not isinstance(action, AskModel):
            self._emit("proposed", {"action": to_json(action)})

    def observed(self, action: Action, outcome: Outcome) -> None:
        """An act came to an end."""
        seconds = time.monotonic() - self._begun_s
        if isinstance(action, AskModel):
            self._answered(outcome)
            return
        body = {
            "kind": action.kind,
            "target": action.target,
            "ok": outcome.ok,
            "status": outcome.status.value,
        }
        self._emit("outcome", {**body, "detail": outcome.detail[:4000], "ref": outcome.ref})
        if action.kind == "workspace.open" and outcome.ok:
            return
        if isinstance(action, ReadFile) and not outcome.ok and action.path.endswith("AGENTS.md"):
            return  # a project without conventions of its own: nothing failed
        name, what = NAMES.get(action.kind, action.kind), cut(printable(what_of(action)), WIDTH)
        word = self._word(action, outcome)
        self._line(f"{self._turn:4}  {name:9} {what:{WIDTH}} {word}  {seconds:.1f} s")

    def _word(self, action: Action, outcome: Outcome) -> str:
        if outcome.status is Status.REFUSED:
            return self.style("bad", "refused")
        if outcome.status is Status.HELD:
            return self.style("warn", "waits")
        if isinstance(action, RunCommand) and "exit_code" in outcome.data:
            code = outcome.data["exit_code"]
            return f"exit {code}" if code == 0 else self.style("warn", f"exit {code}")
        return "ok" if outcome.ok else self.style("warn", "failed")

    def _answered(self, outcome: Outcome) -> None:
        self._turn += 1
        message = outcome.data.get("message")
        text = str(cast(Mapping[str, Any], message).get("text", "")) if isinstance(message, dict) else ""
        told = {
            k: outcome.data.get(k) for k in ("message", "stop", "tokens_in", "tokens_out", "cost_usd", "host")
        }
        self._emit("answer", told if outcome.ok else {"error": outcome.detail})
        if text.strip():
            self._line(f"{self._turn:4}  says      {cut(printable(text), 4 * WIDTH)}")
        if not outcome.ok and not outcome.data.get("unknown_thread"):
            self._line(f"{self._turn:4}  {self.style('bad', 'no answer')}  {printable(outcome.detail)}")

    def heard(self, actor: str, text: str) -> None:
        """A person spoke to the model while it works."""
        self._emit("told", {"actor": actor, "text": text})
        self._line(f"{self._turn:4}  hears     {printable(actor)}: {cut(printable(text), 4 * WIDTH)}")

    def noticed(self, text: str) -> None:
        """What the enforcement ladder says of this person and model."""
        self._emit("ladder", {"text": text})
        self._line(f"{self._turn:4}  ladder    {printable(text)}")

    def child(self, session: str, task: str) -> "RunView":
        """The view of a session that this one started: the same lines, set in, or events that name it."""
        view = RunView(self.stream, quiet=self._quiet, events=self._events)
        view.session, view.law = session, self.law
        view._inside = f"  .{session.partition('.')[2]}"
        self._emit("child", {"child": session, "task": task})
        self._line(f"{self._turn:4}  delegates {cut(printable(task), WIDTH)} to {session}")
        return view

    def _emit(self, name: str, body: Mapping[str, Any]) -> None:
        if self._events:
            inside = {"child": self.session} if self._inside else {}
            body = {**inside, **body}
            print(json.dumps({"event": name, **body}, ensure_ascii=False), file=self.stream, flush=True)

    def _line(self, text: str) -> None:
        if not self._quiet and not self._events:
            text = f"{self._inside}{text}" if self._inside else text
            print(text, file=self.stream, flush=True)


def what_of(action: Action) -> str:
    """What an act names, as a person would type it."""
    if not isinstance(action, RunCommand):
        return action.target
    script = action.argv[2:3] if action.argv[:2] == ("bash", "-c") else ()
    return (action.argv[-1] if len(action.argv) > 3 else script[0]) if script else " ".join(action.argv)


def render(result: Mapping[str, Any], style: Style) -> str:
    """The end of a run: what the model says, what was proven, what it cost, what to do next."""
    ok, session = bool(result["ok"]), str(result["session"])
    word = style("good", "done") if ok else style("warn", "left")
    lines = ["", f"{word}    {_block(str(result['summary']))}"]
    usage = cast(Mapping[str, Any], result.get("usage") or {})
    diff = str(result.get("diff") or "")
    plus = sum(line.startswith("+") and not line.startswith("+++") for line in diff.splitlines())
    minus = sum(line.startswith("-") and not line.startswith("---") for line in diff.splitlines())
    lines.append(f"files   {result.get('files_changed', 0)} changed, +{plus} -{minus}")
    lines += [f"wrong   {_block(str(one))}" for one in cast(list[str], result.get("wrong") or [])]
    lines += [f"missed  {_block(str(one))}" for one in cast(list[str], result.get("missed") or [])]
    lines += [f"unheard {_block(str(one))}" for one in cast(list[str], result.get("unheard") or [])]
    lines += [
        f"tools   not offered: {_block(str(one))}" for one in cast(list[str], result.get("mcp_left") or [])
    ]
    proof = "; ".join(cast(list[str], result.get("proof") or []))
    lines.append(f"proof   {proof or 'nothing was there to be checked'}")
    if usage:
        cost = f"{usage['cost_usd']:.4f} USD" if usage.get("price_known") else "price unknown"
        lines.append(
            f"cost    {result.get('turns', 0)} answers, {usage['tokens_in']} tokens in "
            f"({usage['tokens_cached']} cached), {usage['tokens_out']} out, {cost}, {result['seconds']} s"
        )
    lines.append(f"next    {_next(result, ok=ok, session=session, changed=bool(diff))}")
    return "\n".join(lines)


def _next(result: Mapping[str, Any], *, ok: bool, session: str, changed: bool) -> str:
    if result.get("applied"):
        return str(result["applied"])
    if result.get("approval"):
        return f"veilig approvals show {result['approval']}, then veilig resume {session}"
    if not result.get("turns"):
        return f"veilig resume {session}"
    if ok and changed:
        return f"veilig resume {session} --apply   or   --branch NAME   (the diff: --diff)"
    return f"veilig resume {session} --say TEXT   or   veilig undo {session}"


def _block(text: str) -> str:
    """Several lines, set in under their heading."""
    return "\n        ".join(printable(line) for line in text.strip().splitlines())
