"""How is a session without a model told as an ATIF trajectory? Each act is one step that no model took.

Source: Harbor's Agent Trajectory Interchange Format, ATIF-v1.8: `llm_call_count` 0 marks such a step.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from veilig.agent.trajectory import VERSION
from veilig.core.canonical import JSON
from veilig.core.event import CLOSING
from veilig.core.ledger_event import Event

DETAIL_CHARS = 4000  # of what an act said; all of it stands in the ledger

type Json = dict[str, JSON]


def acts_trajectory(session: str, events: Iterable[Event], task: str) -> Json:
    """The trajectory of a session that asked no model; `task` is its first step."""
    steps: list[Json] = []
    by_ref: dict[str, Json] = {}
    started: Mapping[str, Any] = {}
    ended: Mapping[str, Any] = {}
    for event in events:
        body = cast(dict[str, Any], event.body)
        if event.name == "session.started":
            started = body
            steps.append({"timestamp": _at(event), "source": "user", "message": task})
        elif event.name == "session.ended":
            ended = body
        elif event.name == "action.proposed":
            by_ref[str(body["ref"])] = step = _step(event, body)
            steps.append(step)
        elif event.name in CLOSING and str(body["ref"]) in by_ref:
            said = str(body.get("detail") or body.get("why") or body.get("status") or "")
            result: Json = {"source_call_id": str(body["ref"]), "content": said[:DETAIL_CHARS]}
            by_ref[str(body["ref"])]["observation"] = {"results": [result]}
    if summary := str(ended.get("summary") or ""):
        steps.append({"source": "agent", "message": summary, "llm_call_count": 0})
    numbered: list[JSON] = [{"step_id": number, **step} for number, step in enumerate(steps, 1)]
    return {
        "schema_version": VERSION,
        "session_id": session,
        "trajectory_id": session,
        "agent": {"name": "veilig", "version": str(started.get("veilig", ""))},
        "steps": numbered,
        "final_metrics": {
            "total_prompt_tokens": 0,
            "total_completion_tokens": 0,
            "total_cached_tokens": 0,
            "total_steps": len(steps),
        },
        "extra": {"state": str(ended.get("state") or "open"), "policy": str(started.get("policy", ""))},
    }


def _step(event: Event, body: Mapping[str, Any]) -> Json:
    action = cast(Json, dict(body["action"]))
    kind = str(action.pop("kind", ""))
    call: Json = {"tool_call_id": str(body["ref"]), "function_name": kind, "arguments": action}
    return {
        "timestamp": _at(event),
        "source": "agent",
        "message": kind,
        "tool_calls": [call],
        "llm_call_count": 0,
    }


def _at(event: Event) -> str:
    return datetime.fromtimestamp(event.wall_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
