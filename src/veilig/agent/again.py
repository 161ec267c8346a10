"""How does a person go on with a session that has ended, or go back in it? One step each, from its events."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from veilig.agent.run import RunPlanner
from veilig.agent.run_state import Draft, Json, RunOptions
from veilig.core.action import RestoreTree
from veilig.core.action_json import JSON
from veilig.core.errors import SessionError
from veilig.core.ledger_event import Event
from veilig.core.message import Message, Role, ToolCall
from veilig.core.provider import Step
from veilig.core.session import View, fold

AT_WORK = frozenset(
    {"open", "rules", "skills", "servers", "hook", "ask", "call", "rewind"}
)  # else a "done" is being checked


@dataclass(frozen=True, slots=True)
class Point:
    """A moment that can be come back to: just before the model's answer `number` (from 1).

    seq: the event that proposed to ask. tree: the state of the copy then. answer: what the model did next.
    """

    number: int
    seq: int
    tree: str
    answer: str = ""


def points(events: Iterable[Event]) -> list[Point]:
    """The moments of a session, oldest first; a rewind forgets those that it took back."""
    found: list[Point] = []
    tree, ref = "", ""
    for event in events:
        body = cast(dict[str, Any], event.body)
        if event.name == "action.proposed" and body["action"].get("kind") == "model.ask":
            ref = str(body["ref"])
            found.append(Point(len(found) + 1, event.seq, tree))
        elif event.name == "session.rewound":
            found = [point for point in found if point.seq < int(body["to"])]
        elif event.name in ("action.verified", "action.failed"):
            tree = str(body["data"].get("tree") or tree)
            if body["ref"] == ref and found:
                last = found[-1]
                found[-1] = Point(last.number, last.seq, last.tree, _answer(body))
    return found


def _answer(body: dict[str, Any]) -> str:
    """What a model said or did, on one line."""
    message = body["data"].get("message")
    if message is None:
        return str(body.get("detail", ""))[:100]
    said = Message.from_json(message)
    calls = ", ".join(f"{call.name} {call.arguments}" for call in said.calls)
    return " ".join(f"{said.text} {calls}".split())[:200]


def rewound(session: str, events: list[Event], point: Point, say: str) -> Step:
    """The step that brings files and conversation back to a moment; `say` goes to the model then."""
    view = fold(session, (event for event in events if event.seq < point.seq))
    now = Draft(view.state)
    now["stage"], now["sent"], now["thread"], now["context"] = "rewind", 0, "", 0
    now["halt"], now["told"] = not say, []
    now["heard"] = max((event.seq for event in events), default=0)  # later words are taken back
    if say:
        _say(now, say)
    return Step(now.state, RestoreTree(point.tree))


def spoken_to(options: RunOptions, state: Json, text: str) -> Step:
    """The step of a session that had ended when its user says something more. Raises SessionError."""
    now = Draft(state)
    if not state.get("messages"):
        raise SessionError("this session never came to its first question", fix="start a new one")
    for left in cast(list[dict[str, Any]], now["queue"]):
        now.answer(ToolCall(**left), "not done: the user stepped in")
    doing = cast(dict[str, Any], now["doing"])
    if doing.get("call"):
        now.answer(ToolCall(**doing["call"]), "not done: the user stepped in")
    claim = cast(dict[str, Any], now["claim"])
    if claim.get("call") and now["stage"] not in AT_WORK:
        now.answer(ToolCall(**claim["call"]), "taken note of")
    now["queue"], now["doing"], now["claim"], now["tries"] = [], {}, {}, 0
    _say(now, text)
    return RunPlanner(options).ask(now)


def gone_on(options: RunOptions, state: Json) -> Step:
    """The step of a session that a person brought back to a moment, and that goes on from there."""
    return RunPlanner(options).ask(Draft({**state, "halt": False}))


def brought_back(options: RunOptions, view: View) -> Step:
    """The step that delivers the proven diff of a session that has ended well. Raises SessionError."""
    # What was found out after the last act stands in the result only.
    names = ("diff", "base", "wrong", "claim") if view.ended else ()
    state = {**view.state, **{name: view.result[name] for name in names if name in view.result}}
    if not state.get("diff"):
        raise SessionError("this session changed nothing that could be brought back")
    if state.get("wrong"):
        wrong = cast(list[JSON], state["wrong"])
        raise SessionError(
            "what this session made was not proven",
            why=str(wrong[0])[:300],
            fix="go on with `veilig resume SESSION --say TEXT`, or take the diff by hand (--json)",
        )
    return RunPlanner(options).deliver(Draft(state))


def _say(now: Draft, text: str) -> None:
    now.say(Message(Role.USER, text))
