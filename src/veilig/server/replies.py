"""What is answered over HTTP? Status, body, headers; errors say what happened, why, and what to do."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from veilig.collab.roles import Refused
from veilig.core.errors import (
    ApprovalError,
    InvalidAction,
    LedgerError,
    PolicyError,
    SessionError,
    UsageError,
    VeiligError,
)

JSON_TYPE: Final = b"application/json"
STATUS: Final[tuple[tuple[type[VeiligError], int], ...]] = (
    (ApprovalError, 409),
    (SessionError, 409),
    (UsageError, 400),
    (InvalidAction, 400),
    (PolicyError, 409),
    (LedgerError, 503),
)


@dataclass(slots=True)
class Reply:
    """One answer; `stream` instead of a body where it has no end."""

    status: int = 200
    body: bytes = b""
    kind: bytes = JSON_TYPE
    headers: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])
    stream: AsyncIterator[bytes] | None = None


def told(value: Any, status: int = 200) -> Reply:
    """JSON."""
    return Reply(status, orjson.dumps(value, default=str))


def refused(error: VeiligError) -> Reply:
    """An error in the one shape that all have."""
    if isinstance(error, Refused):
        status = error.status
    else:
        status = next((code for kind, code in STATUS if isinstance(error, kind)), 409)
    reply = told({"error": {"what": error.what, "why": error.why, "fix": error.fix}}, status)
    if error.retry_after_s:
        reply.headers.append((b"retry-after", str(max(1, round(error.retry_after_s))).encode()))
    return reply
