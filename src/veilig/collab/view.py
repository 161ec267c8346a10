"""What may this role see of this event? The one place through which everything of a session leaves.

`view` makes the line of a timeline from one ledger event; `shown` is for text that is no event (a diff, a
preview, a finding). Known secrets are handles in the ledger already. What is only suspected is masked for who
watches, marked for who works, and left alone for the owner. Both are pure: called per role, never per viewer.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from veilig.collab.roles import Role
from veilig.collab.room import Recorded
from veilig.collab.rows import rendered
from veilig.core.redact import find
from veilig.core.redact_guess import guesses
from veilig.core.redact_patterns import Span

TEXT_CHARS_MAX: Final = 64_000  # of one text in one event; the rest is counted, and stands in the ledger
TITLE_CHARS_MAX: Final = 160
_HANDLE: Final = re.compile(r"‹secret:[A-Za-z0-9_.\-]{1,64}#[0-9a-f]{6,64}(?:~[a-z0-9]{1,16})?›")
MASK: Final = "‹masked›"
ITEMS_MAX: Final = 2000  # of one list in one event
DEPTH_MAX: Final = 12
KEYS_MAX: Final = 500

type Json = dict[str, Any]


def view(event: Recorded, role: Role) -> Json:
    """The event for one role: {seq, at, kind, who, title, ...}; new dicts throughout."""
    body = event.body
    made: Json = {"seq": event.seq, "at": event.wall_ms, "kind": event.name}
    made["who"] = {key: shown(value, role) for key, value in _who(body).items()}
    title, more = _told(event.name, body)
    made["title"] = shown(_line(title), role)
    made["refs"] = []
    if ref := body.get("ref"):
        made["ref"] = shown(str(ref), role)
    if isinstance(anchor := body.get("anchor"), int) and anchor > 0:
        made["anchor"] = anchor
        made["refs"] = [anchor]
    made.update({key: shown_value(value, role) for key, value in more.items()})
    return made


def shown(text: str, role: Role) -> str:
    """`text` as this role may see it: rendered rows, no escapes; secrets by shape are handles for all."""
    text = rendered(text)
    if role is Role.OWNER:
        return _handled(text)
    text = _handled(text)
    spans = _outside_handles(guesses(text), text)
    if not spans:
        return text
    hide = role in (Role.VIEWER, Role.COMMENTER)
    pieces: list[str] = []
    at = 0
    for span in spans:
        pieces.append(text[at : span.start])
        pieces.append(MASK if hide else f"‹suspect:{text[span.start : span.end]}›")
        at = span.end
    return "".join([*pieces, text[at:]])


def shown_value(value: Any, role: Role, depth: int = 0) -> Any:
    """`shown` for every text in a JSON value; what is too deep, long or many is cut, and says so."""
    if isinstance(value, str):
        if len(value) > TEXT_CHARS_MAX:
            left = len(value) - TEXT_CHARS_MAX
            return f"{shown(value[:TEXT_CHARS_MAX], role)}\n[{left} more characters stand in the ledger]"
        return shown(value, role)
    if isinstance(value, Mapping):
        if depth >= DEPTH_MAX:
            return "[deeper values stand in the ledger]"
        items = list(cast("Mapping[str, Any]", value).items())
        made = {shown(str(k), role): shown_value(v, role, depth + 1) for k, v in items[:KEYS_MAX]}
        if len(items) > KEYS_MAX:
            made["..."] = f"{len(items) - KEYS_MAX} more fields stand in the ledger"
        return made
    if isinstance(value, list | tuple):
        if depth >= DEPTH_MAX:
            return "[deeper values stand in the ledger]"
        many = cast("list[Any]", value)
        more = [f"[{len(many) - ITEMS_MAX} more stand in the ledger]"] if len(many) > ITEMS_MAX else []
        return [*(shown_value(item, role, depth + 1) for item in many[:ITEMS_MAX]), *more]
    return value


def _handled(text: str) -> str:
    """Secrets that the text gives away by its shape; the gate has taken them out of all that passed it."""
    spans = find(text)
    if any(span.kind == "assignment" for span in spans):  # `secret:` in a handle is no assignment
        kept = _outside_handles(spans, text)
        spans = [span for span in spans if span.kind != "assignment" or span in kept]
    if not spans:
        return text
    pieces: list[str] = []
    at = 0
    for span in spans:
        pieces += (text[at : span.start], f"‹secret:{span.kind}›")
        at = span.end
    return "".join([*pieces, text[at:]])


def _outside_handles(spans: list[Span], text: str) -> list[Span]:
    """The spans that are not parts of a handle."""
    handles = [m.span() for m in _HANDLE.finditer(text)] if spans else []
    return [s for s in spans if not any(begin <= s.start and s.end <= end for begin, end in handles)]


# --- what an event says ---------------------------------------------------------------------------------


def _who(body: Mapping[str, Any]) -> dict[str, str]:
    actor = body.get("actor") or body.get("person") or ""
    name = str(actor)
    kind = "agent" if name.startswith("agent:") else "human" if name else "veilig"
    return {
        "id": name,
        "name": str(body.get("name") or name.removeprefix("agent:")) or "veilig",
        "kind": kind,
    }


def _line(text: str) -> str:
    first = text.strip().partition("\n")[0]
    return first if len(first) <= TITLE_CHARS_MAX else f"{first[: TITLE_CHARS_MAX - 1]}…"


def _told(name: str, body: Mapping[str, Any]) -> tuple[str, Json]:
    """The title of an event, and the parts of its view that are its own."""
    made = _TOLD.get(name)
    if made is not None:
        return made(body)
    if name.startswith(("room.", "control.", "person.")):
        return _people(name, body), {"facts": _without(body, "hash")}
    return name.replace(".", " "), {"facts": dict(body)}


def _without(body: Mapping[str, Any], *names: str) -> Json:
    return {k: v for k, v in body.items() if k not in names}


def _action(body: Mapping[str, Any]) -> tuple[str, Json]:
    action = cast(Json, body.get("action") or {})
    kind = str(action.get("kind", ""))
    args = _without(action, "kind")
    summary = _summary(kind, args)
    return summary, {
        "action": {"kind": kind, "digest": body.get("digest", ""), "summary": summary, "args": args}
    }


def _summary(kind: str, args: Json) -> str:
    argv = args.get("argv")
    if isinstance(argv, list | tuple):
        return f"{kind} {' '.join(str(word) for word in cast('list[Any]', argv))}"
    names = ("path", "target", "service", "source", "name", "model", "server", "ref", "task", "tree")
    target = next((args[n] for n in names if isinstance(args.get(n), str) and args[n]), "")
    return f"{kind} {target}".strip()


def _decided(body: Mapping[str, Any]) -> tuple[str, Json]:
    reasons = "; ".join(str(r) for r in cast("list[Any]", body.get("reasons") or []))
    title = f"{body['verdict']}: {body['rule']}"
    return title, {"verdict": body["verdict"], "rule": body["rule"], "reason": reasons}


def _ended(ok: bool) -> Callable[[Mapping[str, Any]], tuple[str, Json]]:
    def told(body: Mapping[str, Any]) -> tuple[str, Json]:
        detail = str(body.get("detail", ""))
        outcome = {
            "ok": ok, "status": body.get("status", ""), "summary": _line(detail),
            "text": detail[:TEXT_CHARS_MAX],
            "truncated": len(detail) > TEXT_CHARS_MAX, "wall_ms": body.get("wall_ms", 0),
            "data": dict(body.get("data") or {}),
        }  # fmt: skip
        return _line(detail) or ("done" if ok else "failed"), {"outcome": outcome}

    return told


def _refused(body: Mapping[str, Any]) -> tuple[str, Json]:
    why = str(body["why"])
    outcome = {"ok": False, "summary": why, "status": "refused"}
    return f"refused: {why}", {
        "verdict": "deny",
        "rule": body["rule"],
        "reason": why,
        "outcome": outcome,
    }


def _output(body: Mapping[str, Any]) -> tuple[str, Json]:
    text = str(body["text"])
    dropped = int(body.get("dropped_bytes") or 0)
    out = {
        "ok": True, "summary": _line(rendered(text)), "text": text[:TEXT_CHARS_MAX], "stream": body["stream"],
        "truncated": len(text) > TEXT_CHARS_MAX or dropped > 0, "dropped_bytes": dropped,
    }  # fmt: skip
    return f"{body['stream']}: {_line(rendered(text))}", {"outcome": out}


def _asked(body: Mapping[str, Any]) -> tuple[str, Json]:
    preview = str(body.get("preview", ""))
    reasons = [str(r) for r in cast("list[Any]", body.get("why") or [])]
    return f"asks: {_line(preview)}", {
        "verdict": "ask", "approval": body["approval"], "preview": preview, "reason": "; ".join(reasons),
        "needs": body.get("needs", []), "action": {"digest": body.get("digest", "")},
    }  # fmt: skip


def _voted(body: Mapping[str, Any]) -> tuple[str, Json]:
    said = f"{body['vote']}: {body.get('reason') or 'no reason given'}"
    return said, {"approval": body["approval"], "vote": body["vote"], "reason": body.get("reason", "")}


def _text(word: str) -> Callable[[Mapping[str, Any]], tuple[str, Json]]:
    def told(body: Mapping[str, Any]) -> tuple[str, Json]:
        text = str(body.get("text", ""))
        return f"{word}: {_line(text)}" if word else _line(text), {"text": text}

    return told


def _noted(body: Mapping[str, Any]) -> tuple[str, Json]:
    """The planner's own state: large, and told by the events around it."""
    delta = body.get("delta")
    keys = sorted(str(k) for k in cast(Json, delta)) if isinstance(delta, dict) else []
    return f"noted {', '.join(keys)}"[:TITLE_CHARS_MAX], {"facts": {"changed": keys}}


def _session_ended(body: Mapping[str, Any]) -> tuple[str, Json]:
    result = cast(Json, body.get("result") or {})
    facts = {"state": body["state"], "summary": body["summary"], "parts": sorted(result)}
    return f"{body['state']}: {body['summary']}", {"facts": facts}


def _started(body: Mapping[str, Any]) -> tuple[str, Json]:
    return f"{body['kind']} {body['source']}", {"facts": dict(body)}


def _held(body: Mapping[str, Any]) -> tuple[str, Json]:
    return f"waits for {body['why']}", {"approval": body["approval"], "reason": body["why"], "verdict": "ask"}


def _tightened(body: Mapping[str, Any]) -> tuple[str, Json]:
    return f"{body['guard']}: {body['why']}", {
        "verdict": body["verdict"],
        "rule": body["guard"],
        "reason": body["why"],
    }


def _revealed(body: Mapping[str, Any]) -> tuple[str, Json]:
    return f"was shown {body['handle']}: {body['reason']}", {
        "handle": body["handle"],
        "reason": body["reason"],
    }


def _people(name: str, body: Mapping[str, Any]) -> str:
    who = body.get("name") or body.get("person") or body.get("to") or body.get("actor") or ""
    role = f" as {body['role']}" if body.get("role") else ""
    match name:
        case "control.passed":
            return f"control: {body['holder'] or 'nobody'} ({body['how']})"
        case "control.offered":
            return f"offers control to {body['to']}"
        case "control.declined":
            return f"declines control for {body['to']}"
        case "room.assigned" if not body.get("role"):
            return f"{who} was put out of the room"
        case _:
            return f"{name.replace('.', ' ')} {who}{role}".strip()


_TOLD: Final[Mapping[str, Callable[[Mapping[str, Any]], tuple[str, Json]]]] = {
    "session.started": _started,
    "session.noted": _noted,
    "session.ended": _session_ended,
    "session.told": _text(""),
    "comment.added": _text(""),
    "action.proposed": _action,
    "action.decided": _decided,
    "guard.tightened": _tightened,
    "action.output": _output,
    "action.verified": _ended(ok=True),
    "action.failed": _ended(ok=False),
    "action.refused": _refused,
    "action.held": _held,
    "approval.asked": _asked,
    "approval.voted": _voted,
    "secret.revealed": _revealed,
}
