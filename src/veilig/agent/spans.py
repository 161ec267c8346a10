"""Which spans tell of a session? Its events, in the words of OpenTelemetry's GenAI conventions.

A session is `invoke_agent`, a question to a model `chat`, every other act `execute_tool`, below the turn that
wanted it. What is said and done is left out unless `content` is wanted; secrets are handles either way.
Source: opentelemetry.io, semantic conventions for generative AI (status: development, read November 2026).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from veilig.core.canonical import JSON
from veilig.core.event import CLOSING
from veilig.core.ledger_event import Event

type Value = str | int | float | bool | list[str]

CONTENT_CHARS = 20_000  # of one attribute

# The table: attribute -> where the events say it, by kind of span. "action.", "data." and "body." name the
# proposed action, the outcome's data and the closing event's body; "options." those of the session.
CHAT: Mapping[str, str] = {
    "gen_ai.request.model": "action.model",
    "gen_ai.request.max_tokens": "action.tokens_max",
    "gen_ai.response.model": "data.model",
    "gen_ai.usage.input_tokens": "data.tokens_in",
    "gen_ai.usage.cache_read.input_tokens": "data.tokens_cached",
    "gen_ai.usage.output_tokens": "data.tokens_out",
    "server.address": "data.host",
    "veilig.cost_usd": "data.cost_usd",
    "veilig.attempts": "data.attempts",
}
TOOL: Mapping[str, str] = {
    "gen_ai.tool.name": "action.kind",
    "gen_ai.tool.call.id": "body.ref",
    "process.exit.code": "data.exit_code",
}
DECIDED: Mapping[str, str] = {
    "veilig.verdict": "decided.verdict",
    "veilig.rule": "decided.rule",
    "veilig.policy": "decided.policy",
    "veilig.approval": "started.approval",
    "veilig.status": "body.status",
}
SESSION: Mapping[str, str] = {
    "gen_ai.agent.version": "body.veilig",
    "gen_ai.request.model": "options.model",
    "veilig.kind": "body.kind",
    "veilig.policy": "body.policy",
}
PROVIDERS: Mapping[str, str] = {  # a vendor as models are named here -> as the conventions call it
    "openai": "openai",
    "anthropic": "anthropic",
    "google": "gcp.gemini",
}
FINISH: Mapping[str, str] = {
    "done": "stop",
    "calls": "tool_calls",
    "length": "length",
    "refusal": "content_filter",
}
MOMENTS = frozenset({"approval.asked", "approval.voted", "action.started", "guard.tightened"})


@dataclass(frozen=True, slots=True)
class Span:
    """One span. trace, id, parent: hex, the same whenever it is exported. moments: (name, wall ms)."""

    name: str
    trace: str
    id: str
    parent: str
    start_ms: int
    end_ms: int
    client: bool = False
    error: str = ""
    attributes: Mapping[str, Value] = field(default_factory=dict[str, Value])
    moments: tuple[tuple[str, int], ...] = ()


@dataclass(slots=True)
class _Open:
    """An act without an end so far."""

    span: Span
    known: dict[str, Mapping[str, Any]]


class Spans:
    """Takes the events of one session in their order, and gives each span when it has ended."""

    def __init__(self, session: str, *, content: bool = False) -> None:
        self._session = session
        self._content = content
        self._trace = hashlib.sha256(f"veilig.trace {session}".encode()).hexdigest()[:32]
        self._root: Span | None = None
        self._turn: Span | None = None
        self._turns = self._runs = 0
        self._started: dict[str, Any] = {}
        self._acts: dict[str, _Open] = {}
        self._used: dict[str, int] = {"gen_ai.usage.input_tokens": 0, "gen_ai.usage.output_tokens": 0}

    def take(self, event: Event) -> list[Span]:
        """The spans that end with this event."""
        body: dict[str, Any] = event.body
        match event.name:
            case "session.started":
                self._started = body
                self._root = self._begun(event, body)
            case "session.resumed" if self._root is None and self._started:
                self._root = self._begun(event, {**self._started, **body})  # it had ended: a run of its own
            case "action.proposed":
                return self._proposed(event, body)
            case "action.decided":
                self._know(body, "decided")
            case "session.ended" if self._root is not None:
                return self._ended(event, body)
            case _ if event.name in CLOSING:
                return self._closed(event, body)
            case _ if event.name in MOMENTS:
                if event.name == "action.started":
                    self._know(body, "started")
                self._moment(event, body)
            case _:
                pass
        return []

    def _id(self, what: str) -> str:
        return hashlib.sha256(f"veilig.span {self._session} {what}".encode()).hexdigest()[:16]

    def _begun(self, event: Event, body: dict[str, Any]) -> Span:
        attributes: dict[str, Value] = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": "veilig",
            "gen_ai.conversation.id": self._session,
            **_picked(SESSION, {"body": body, "options": body["options"]}),
        }
        self._runs += 1
        at, own = event.wall_ms, self._id(f"run {self._runs}")
        return Span("invoke_agent veilig", self._trace, own, "", at, at, attributes=attributes)

    def _proposed(self, event: Event, body: dict[str, Any]) -> list[Span]:
        action = cast(Mapping[str, Any], body["action"])
        kind = str(action.get("kind"))
        chat = kind == "model.ask"
        done = self._new_turn(event) if chat else []
        name = f"chat {action.get('model', '')}" if chat else f"execute_tool {kind}"
        above = self._turn or self._root
        ref = str(body["ref"])
        span = Span(
            name,
            self._trace,
            self._id(ref),
            above.id if above else "",
            event.wall_ms,
            event.wall_ms,
            client=chat,
            attributes={
                "gen_ai.operation.name": name.split(maxsplit=1)[0],
                "gen_ai.conversation.id": self._session,
            },
        )
        self._acts[ref] = _Open(span, {"action": action})
        return done

    def _new_turn(self, event: Event) -> list[Span]:
        """A model's answer and what it wanted done are one turn: the next question ends it."""
        done = self._turn_ended(event)
        self._turns += 1
        attributes: dict[str, Value] = {"gen_ai.conversation.id": self._session, "veilig.turn": self._turns}
        root = self._root.id if self._root else ""
        at, name = event.wall_ms, f"turn {self._turns}"
        self._turn = Span(name, self._trace, self._id(name), root, at, at, attributes=attributes)
        return done

    def _turn_ended(self, event: Event) -> list[Span]:
        turn, self._turn = self._turn, None
        return [replace(turn, end_ms=event.wall_ms)] if turn else []

    def _know(self, body: dict[str, Any], what: str) -> None:
        if (act := self._acts.get(str(body.get("ref", "")))) is not None:
            act.known[what] = body

    def _moment(self, event: Event, body: dict[str, Any]) -> None:
        ref, approval = str(body.get("ref", "")), body.get("approval")
        for key, act in self._acts.items():
            asked = act.known.get("asked", {})
            if key == ref or (approval and asked.get("approval") == approval):
                if event.name == "approval.asked":
                    act.known["asked"] = body
                act.span = replace(act.span, moments=(*act.span.moments, (event.name, event.wall_ms)))

    def _closed(self, event: Event, body: dict[str, Any]) -> list[Span]:
        act = self._acts.pop(str(body.get("ref", "")), None)
        if act is None:
            return []
        data = cast(Mapping[str, Any], body.get("data") or {})
        known = {**act.known, "body": body, "data": data}
        chat = act.span.client
        attributes = {
            **act.span.attributes,
            **_picked(CHAT if chat else TOOL, known),
            **_picked(DECIDED, known),
        }
        if chat:
            vendor = str(known["action"].get("model", "")).partition(":")[0]
            attributes["gen_ai.provider.name"] = PROVIDERS.get(vendor, "_OTHER")
            if stop := data.get("stop"):
                attributes["gen_ai.response.finish_reasons"] = [FINISH.get(str(stop), str(stop))]
            for name in self._used:
                used = attributes.get(name, 0)
                self._used[name] += used if isinstance(used, int) else 0
        if self._content:
            attributes |= _content(known, chat=chat)
        ended = event.name.partition(".")[2]
        error = "" if ended == "verified" else str(body.get("status") or ended)
        if error:
            attributes["error.type"] = error
        return [replace(act.span, end_ms=event.wall_ms, attributes=attributes, error=error)]

    def _ended(self, event: Event, body: dict[str, Any]) -> list[Span]:
        root, self._root = self._root, None
        assert root is not None
        state = str(body["state"])
        more: dict[str, Value] = {"veilig.state": state, "veilig.turns": self._turns, **self._used}
        attributes = {**root.attributes, **more}
        error = "" if state == "done" else state
        whole = replace(root, end_ms=event.wall_ms, attributes=attributes, error=error)
        return [*self._turn_ended(event), whole]

    def rest(self, event: Event) -> list[Span]:
        """The turn and the session as they stand at `event`, when the session has not ended."""
        root, self._root = self._root, None
        if root is None:
            return []
        attributes: dict[str, Value] = {**root.attributes, "veilig.state": "open", **self._used}
        return [*self._turn_ended(event), replace(root, end_ms=event.wall_ms, attributes=attributes)]


def spans_of(session: str, events: Iterable[Event], *, content: bool = False) -> list[Span]:
    """All spans of a session that have ended; of one that is open, its root comes last, as it stands."""
    folding = Spans(session, content=content)
    found: list[Span] = []
    last: Event | None = None
    for event in events:
        found += folding.take(event)
        last = event
    return found if last is None else found + folding.rest(last)


def otlp(spans: Iterable[Span], version: str) -> dict[str, JSON]:
    """The spans as OTLP writes them in JSON (an ExportTraceServiceRequest)."""
    resource: JSON = {"attributes": _pairs({"service.name": "veilig", "service.version": version})}
    scope: JSON = {"name": "veilig", "version": version}
    listed: list[JSON] = [_otlp(span) for span in spans]
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": listed}]}]}


def _otlp(span: Span) -> JSON:
    found: dict[str, JSON] = {
        "traceId": span.trace,
        "spanId": span.id,
        "name": span.name,
        "kind": 3 if span.client else 1,
        "startTimeUnixNano": str(span.start_ms * 1_000_000),
        "endTimeUnixNano": str(span.end_ms * 1_000_000),
        "attributes": _pairs(span.attributes),
        "events": [{"name": name, "timeUnixNano": str(at * 1_000_000)} for name, at in span.moments],
        "status": {"code": 2, "message": span.error} if span.error else {"code": 0},
    }
    return found | ({"parentSpanId": span.parent} if span.parent else {})


def _pairs(attributes: Mapping[str, Value]) -> list[JSON]:
    return [{"key": key, "value": _typed(value)} for key, value in attributes.items()]


def _typed(value: Value) -> JSON:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case _:
            return {"arrayValue": {"values": [{"stringValue": one} for one in value]}}


def _picked(table: Mapping[str, str], known: Mapping[str, Mapping[str, Any]]) -> dict[str, Value]:
    """What the table finds in the events; what is not there is left out."""
    found: dict[str, Value] = {}
    for attribute, place in table.items():
        where, _, name = place.partition(".")
        value = known.get(where, {}).get(name)
        if isinstance(value, str | int | float) and value != "":
            found[attribute] = value
    return found


def _content(known: Mapping[str, Mapping[str, Any]], *, chat: bool) -> dict[str, Value]:
    action, body = known["action"], known["body"]
    if not chat:
        arguments = json.dumps(dict(action), ensure_ascii=False)
        said = str(body.get("detail") or body.get("why") or "")
        return {
            "gen_ai.tool.call.arguments": arguments[:CONTENT_CHARS],
            "gen_ai.tool.call.result": said[:CONTENT_CHARS],
        }
    found: dict[str, Value] = {"gen_ai.input.messages": _messages(json.loads(str(action["prompt"])))}
    if message := known["data"].get("message"):
        found["gen_ai.output.messages"] = _messages([message])
    return found


def _messages(messages: Iterable[Mapping[str, Any]]) -> str:
    """Messages in the form of the conventions, as JSON text."""
    found: list[JSON] = []
    for message in messages:
        text, role = str(message.get("text", "")), str(message.get("role", "user"))
        parts: list[JSON] = []
        if role == "tool":
            parts.append({"type": "tool_call_response", "id": str(message.get("call", "")), "result": text})
        elif text:
            parts.append({"type": "text", "content": text})
        for call in message.get("calls") or ():
            parts.append(
                {"type": "tool_call", **{key: str(call[key]) for key in ("id", "name", "arguments")}}
            )
        found.append({"role": role, "parts": parts})
    return json.dumps(found, ensure_ascii=False)[:CONTENT_CHARS]
