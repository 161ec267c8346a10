"""How do we say no, and what else do our answers carry? The shapes of the public API, with our explanation.

What clients show was tried with real ones (tests/server): a 400 or 403 with a message is shown and not
retried, a 429 loses its message, and only the header `openai-model` makes a change of model visible.
"""

from dataclasses import dataclass, field
from typing import Final

import orjson

from veilig.access.rules import No
from veilig.core.errors import LedgerError
from veilig.monitor.ladder import Case, Level, Standing

JSON_TYPE: Final = (b"content-type", b"application/json")
KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    408: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}

MESSAGES_KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer of ours."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    code: str = ""


@dataclass(frozen=True, slots=True)
class Appeals:
    """Where somebody who was stopped can object."""

    url: str = ""

    def link(self, case: str) -> str:
        """What to do, in words that fit into a message."""
        if not case:
            return ""
        here = f"POST /v1/safety/cases/{case}/appeal with a reason, or `veilig cases appeal {case}`"
        place = f"{self.url.rstrip('/')}/{case}" if self.url else here
        return f"Case {case}; appeal: {place}"


@dataclass(slots=True)
class Told:
    """What a request's answer has to say beside its body."""

    model: str = ""
    warning: str = ""
    case: str = ""
    request: str = ""
    more: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])

    def headers(self) -> list[tuple[bytes, bytes]]:
        """As ASGI wants them."""
        found = [(b"x-request-id", self.request.encode()), *self.more]
        if self.model:
            found.append((b"openai-model", self.model.encode("utf-8", "replace")))
        if self.warning:
            found.append((b"x-veilig-warning", " ".join(self.warning.split()).encode("ascii", "replace")))
        if self.case:
            found.append((b"x-veilig-case", self.case.encode()))
        return found


def for_messages(answer: Answer) -> Answer:
    """The same refusal in the shape of the Messages API."""
    try:
        given = orjson.loads(answer.body)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return answer
    kind = MESSAGES_KINDS.get(answer.status, "api_error")
    value = {"type": "error", "error": {"type": kind, "message": given["message"], "code": given["code"]}}
    return Answer(answer.status, orjson.dumps(value), answer.headers, answer.code)


def refuse(no: No, *, retry_after_s: float = 0.0) -> Answer:
    """A refusal: what happened, why, what to do, in the API's shape."""
    message = f"{no.what}: {no.why}. {no.fix}" if no.why else no.what
    headers: tuple[tuple[bytes, bytes], ...] = (JSON_TYPE,)
    if retry_after_s > 0:
        headers = (JSON_TYPE, (b"retry-after", str(max(1, round(retry_after_s + 0.5))).encode()))
    return error(no.status, no.code, message[:1].upper() + message[1:], headers)


def error(
    status: int, code: str, message: str, headers: tuple[tuple[bytes, bytes], ...] = (JSON_TYPE,)
) -> Answer:
    """{"error": {message, type, param, code}}."""
    kind = "invalid_request" if code == "cyber_policy" else KINDS.get(status, "server_error")
    value = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return Answer(status, orjson.dumps(value), headers, code)


def unrecorded(failed: LedgerError) -> Answer:
    """Without the record nobody knows who may do what, so nobody may: 503."""
    message = f"The gateway cannot use its record: {failed.what}. Nothing was sent or charged; try again"
    wait = str(max(1, round(failed.retry_after_s or 1.0))).encode()
    return error(503, "ledger_unavailable", message, (JSON_TYPE, (b"retry-after", wait)))


def suspended(standing: Standing, appeals: Appeals) -> Answer:
    """At level suspend: 403, which clients show and do not retry."""
    message = (
        f"Access is suspended until a person has looked at it. Reason: {standing.reason}. "
        f"{appeals.link(standing.case)}"
    )
    return error(403, "account_suspended", message)


def stopped(reason: str, case: str, appeals: Appeals) -> str:
    """The message of an answer or a request that the policy ended."""
    return f"Stopped by policy: {reason}. {appeals.link(case)}"


def notice(standing: Standing, appeals: Appeals) -> str:
    """What somebody on a rung is told with every answer; "" at observe."""
    if standing.level is Level.OBSERVE:
        return ""
    return f"{standing.level}: {standing.reason}. {appeals.link(standing.case)}".strip()


def case_object(case: Case, standing: Standing) -> dict[str, object]:
    """The shape of the public SDK's `safety.case`; reasons and evidence classes, no prompt."""
    severe = standing.case == case.id and standing.level in (Level.SUSPEND, Level.REROUTE)
    return {
        "id": case.id,
        "object": "safety.case",
        "created_at": case.opened_wall_s,
        "entity_identifier": case.subject,
        "reason": case.moves[-1] if case.moves else "an answer was stopped",
        "notice": {"type": "deactivation" if severe else "warning"},
        "level": str(standing.level),
        "history": list(case.moves),
        "appeal": case.decided or ("open" if case.appeal else "none"),
        "decision": case.decision,
    }
