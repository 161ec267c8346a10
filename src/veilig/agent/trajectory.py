"""How is a model's session told as an ATIF trajectory, which evaluations and viewers read?

Source: Harbor's Agent Trajectory Interchange Format, ATIF-v1.8. Answers that a person took back are left out.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from veilig.core.canonical import JSON
from veilig.core.delta import apply
from veilig.core.errors import SessionError
from veilig.core.ledger_event import Event

VERSION = "ATIF-v1.8"

type Json = dict[str, JSON]


@dataclass(slots=True)
class _Telling:
    """The steps so far; `seqs` says which event each came from."""

    steps: list[Json] = field(default_factory=list[Json])
    seqs: list[int] = field(default_factory=list[int])
    state: Json = field(default_factory=dict[str, JSON])
    asked: dict[str, str] = field(default_factory=dict[str, str])  # ref of a question -> the model
    calls: dict[str, Json] = field(default_factory=dict[str, Json])  # call -> its step
    heard: set[str] = field(default_factory=set[str])
    notes: int = 0

    def add(self, event: Event, step: Json) -> Json:
        at = datetime.fromtimestamp(event.wall_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
        self.steps.append({"timestamp": at, **step})
        self.seqs.append(event.seq)
        return self.steps[-1]

    def noted(self, event: Event) -> None:
        """What the planner has put into the conversation: results for the model, words of people."""
        before = cast(Json, self.state.get("messages") or {})
        self.state = apply(self.state, cast(Json, event.body["delta"]))
        after = cast(dict[str, Mapping[str, Any]], self.state.get("messages") or {})
        for key in sorted(after):
            message = after[key]
            if before.get(key) is message:
                continue
            text = str(message.get("text", ""))
            if message["role"] == "tool":
                self._result(str(message.get("call", "")), text)
            elif message["role"] in ("user", "system") and text not in self.heard:
                self.heard.add(text)
                self.add(event, {"source": str(message["role"]), "message": text})

    def _result(self, call: str, text: str) -> None:
        step = self.calls.pop(call, None)
        if step is None:
            return  # said again after a compaction
        seen = cast(Json, step.setdefault("observation", {"results": []}))
        cast(list[JSON], seen["results"]).append({"source_call_id": call, "content": text})

    def answered(self, event: Event, model: str) -> None:
        """One answer of the model."""
        data = cast(Mapping[str, Any], event.body["data"])
        message = cast(Mapping[str, Any], data.get("message") or {})
        calls = [_call(call) for call in message.get("calls") or ()]
        step: Json = {
            "source": "agent",
            "model_name": str(data.get("model") or model),
            "message": str(message.get("text", "")),
            "metrics": _metrics(data),
            "llm_call_count": 1,
        }
        if calls:
            step["tool_calls"] = [*calls]
        made = self.add(event, step)
        for call in calls:
            self.calls[str(call["tool_call_id"])] = made

    def rewound(self, to: int) -> None:
        """A person brought the session back to before event `to`."""
        kept = [place for place, seq in enumerate(self.seqs) if seq < to]
        self.notes += len(self.steps) - len(kept)
        self.steps, self.seqs = [self.steps[i] for i in kept], [self.seqs[i] for i in kept]
        self.calls.clear()
        self.heard = {str(step["message"]) for step in self.steps if step["source"] != "agent"}


def trajectory(session: str, events: Iterable[Event]) -> Json:
    """The trajectory of a session with a model. Raises SessionError for one that never asked any."""
    telling = _Telling()
    started: Mapping[str, Any] = {}
    ended: Mapping[str, Any] = {}
    for event in events:
        body = cast(dict[str, Any], event.body)
        match event.name:
            case "session.started":
                started = body
            case "session.ended":
                ended = body
            case "session.noted":
                telling.noted(event)
            case "session.rewound":
                telling.rewound(int(body["to"]))
            case "action.proposed" if body["action"].get("kind") == "model.ask":
                telling.asked[str(body["ref"])] = str(body["action"].get("model", ""))
            case "action.verified" if str(body["ref"]) in telling.asked:
                telling.answered(event, telling.asked[str(body["ref"])])
            case _:
                pass
    if not telling.steps:
        raise SessionError(f"session {session!r} asked no model", why="a trajectory tells what a model did")
    steps: list[JSON] = [{"step_id": number, **step} for number, step in enumerate(telling.steps, 1)]
    model = str(cast(Mapping[str, Any], started["options"]).get("model", ""))
    state: Json = {"state": str(ended.get("state") or "open"), "policy": str(started["policy"])}
    found: Json = {
        "schema_version": VERSION,
        "session_id": session,
        "trajectory_id": session,
        "agent": {"name": "veilig", "version": str(started["veilig"]), "model_name": model},
        "steps": steps,
        "final_metrics": _final(telling.steps),
        "extra": state,
    }
    if telling.notes:
        found["notes"] = f"{telling.notes} steps that a person took back are left out"
    return found


def _call(call: Mapping[str, Any]) -> Json:
    try:
        arguments: object = json.loads(str(call["arguments"]) or "{}")
    except ValueError:
        arguments = None
    known: Json = {"malformed": str(call["arguments"])}
    if isinstance(arguments, dict):
        known = cast(Json, arguments)
    return {"tool_call_id": str(call["id"]), "function_name": str(call["name"]), "arguments": known}


def _metrics(data: Mapping[str, Any]) -> Json:
    names = {
        "prompt_tokens": "tokens_in",
        "completion_tokens": "tokens_out",
        "cached_tokens": "tokens_cached",
    }
    found: Json = {name: int(data.get(ours) or 0) for name, ours in names.items()}
    return found | ({"cost_usd": float(data.get("cost_usd") or 0.0)} if data.get("price_known") else {})


def _final(steps: list[Json]) -> Json:
    metrics = [cast(Json, step["metrics"]) for step in steps if "metrics" in step]
    final: Json = {"total_steps": len(steps)}
    for name in ("prompt_tokens", "completion_tokens", "cached_tokens"):
        final[f"total_{name}"] = sum(cast(int, one[name]) for one in metrics)
    if metrics and all("cost_usd" in one for one in metrics):
        final["total_cost_usd"] = sum(cast(float, one["cost_usd"]) for one in metrics)
    return final
