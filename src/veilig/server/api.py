"""What can the page (or a script) ask and tell? Every endpoint of /api/v1 with its schema, in one table.

The OpenAPI document is made of this table and the requests are checked against it, so neither can know
something that the other does not.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from veilig.server import api_acts as acts
from veilig.server import api_looks as looks
from veilig.server.asked import Asked, Schema
from veilig.server.live import Hub
from veilig.server.replies import Reply

type Handler = Callable[[Hub, Asked], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path. free: strangers may ask. raw: the body is bytes. cost: in requests' rates."""

    method: str
    path: str
    title: str
    handler: Handler
    body: Schema | None = None
    query: Mapping[str, Schema] = field(default_factory=dict[str, Schema])
    free: bool = False
    raw: bool = False
    cost: float = 1.0

    @property
    def changes(self) -> bool:
        """Whether it needs the token against forgery."""
        return self.method != "GET" and not self.free


def text(most: int, least: int = 0, **more: Any) -> Schema:
    """The schema of a text."""
    return {"type": "string", "minLength": least, "maxLength": most, **more}


def number(least: int, most: int) -> Schema:
    """The schema of a whole number."""
    return {"type": "integer", "minimum": least, "maximum": most}


def body(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    """The schema of a JSON object."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


ROLES: Final = ["owner", "driver", "approver", "commenter", "viewer"]
SEQ: Final = number(0, 1 << 53)
SOURCE: Final[Schema] = {
    "type": "object", "properties": {"path": text(4096), "upload": text(64)}, "additionalProperties": False
}  # fmt: skip
S: Final = "/sessions/{session}"

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint("GET", "/me", "who is signed in, the token for changes, what they may start", looks.me),
    Endpoint("GET", "/auth/providers", "how one can sign in", looks.providers, free=True),
    Endpoint(
        "POST", "/auth/sign-in", "sign in with a name and a password", acts.sign_in,
        body(("name", "password"), name=text(200, 1), password=text(2000, 1)), free=True, cost=10,
    ),
    Endpoint(
        "GET", "/auth/oidc/start", "to the identity provider", acts.oidc_start, free=True, cost=5
    ),
    Endpoint(
        "GET", "/auth/oidc/callback", "back from the identity provider", acts.oidc_callback,
        query={"state": text(200), "code": text(4000), "iss": text(400), "error": text(200)}, free=True,
        cost=5,
    ),
    Endpoint("POST", "/auth/sign-out", "end this sign-in, with its sockets", acts.sign_out),
    Endpoint(
        "POST", "/invites/accept", "come in through a link; a name is needed when nobody is signed in",
        acts.accept, body(("token",), token=text(200, 1), name=text(64)), free=True, cost=10,
    ),
    Endpoint(
        "GET", "/sessions", "the sessions that the asker may see, the newest first", looks.sessions,
        query={"q": text(200), "state": text(40)},
    ),
    Endpoint(
        "POST", "/sessions", "start a session", acts.start,
        body(
            ("kind", "source"), kind=text(10, enum=["audit", "fix", "run", "heal"]), task=text(200_000),
            source=SOURCE, model=text(200), deliver=text(200), once={"type": "boolean"},
        ), cost=20,
    ),
    Endpoint("POST", "/uploads", "a project as zip or tar.gz, raw", acts.upload, raw=True, cost=20),
    Endpoint("GET", "/repositories", "the projects that may be worked on", looks.repositories),
    Endpoint("GET", "/services", "the files of services that may be healed", looks.services),
    Endpoint("GET", S, "one session: people, control, plan, counts", looks.session),
    Endpoint(
        "GET", S + "/events", "events with seq > after, in order", looks.events,
        query={"after": SEQ, "limit": number(1, 1000)},
    ),
    Endpoint("GET", S + "/findings", "what was found, with data flows; as of an event", looks.findings,
        query={"upto": SEQ}),
    Endpoint("GET", S + "/diff", "a unified diff from the source to the copy; as of an event", looks.diff,
        query={"upto": SEQ}),
    Endpoint(
        "GET", S + "/export", "the record: html, json or asciinema", acts.export,
        query={"format": text(20, enum=["html", "json", "asciinema"])}, cost=20,
    ),
    Endpoint(
        "GET", S + "/proof", "that an event stands in the ledger (RFC 9162)", looks.proof,
        query={"seq": number(1, 1 << 53)}, cost=5,
    ),
    Endpoint(
        "GET", S + "/proofs", "that events with seq > after stand in the ledger, under one root",
        looks.proofs, query={"after": SEQ, "limit": number(1, 500)}, cost=10,
    ),
    Endpoint(
        "POST", S + "/say", "a word to the planner", acts.say,
        body(("text",), text=text(50_000, 1), anchor=SEQ),
    ),
    Endpoint(
        "POST", S + "/comments", "a remark to the others", acts.comment,
        body(("text",), text=text(50_000, 1), anchor=SEQ),
    ),
    Endpoint(
        "POST", S + "/control", "who drives", acts.control,
        body(
            ("act",), to=text(128),
            act=text(10, enum=["ask", "offer", "accept", "decline", "release", "take"]),
        ),
    ),
    Endpoint("POST", S + "/stop", "ask it to stop between two acts", acts.stop),
    Endpoint("POST", S + "/resume", "go on with a session that stopped", acts.resume),
    Endpoint(
        "POST", S + "/invites", "a link into this session; shown once", acts.invite,
        body(("role",), role=text(10, enum=ROLES), expires_s=number(1, 30 * 86400)),
    ),
    Endpoint("GET", S + "/invites", "its links", looks.invites),
    Endpoint("DELETE", S + "/invites/{invite}", "close a link; who came through it is out", acts.uninvite),
    Endpoint(
        "POST", S + "/people/{person}", "give a role in this session; none: out", acts.assign,
        body(("role",), role=text(10, enum=[*ROLES, "none"])),
    ),
    Endpoint(
        "POST", S + "/reveal", "the value behind a handle, for its owner; recorded", acts.reveal,
        body(("handle", "reason"), handle=text(300, 1), reason=text(2000, 1)), cost=10,
    ),
    Endpoint("GET", "/approvals", "the questions that wait", looks.approvals, query={"all": text(1)}),
    Endpoint("GET", "/approvals/{approval}", "one question with its evidence", looks.approval),
    Endpoint(
        "POST", "/approvals/{approval}", "vote", acts.vote,
        body(("verdict",), verdict=text(10, enum=["approve", "deny"]), reason=text(2000)),
    ),
)  # fmt: skip
