"""What does one upstream get for one request? Address, headers and body, in the language it speaks."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import orjson

from veilig.server.dialects.translate import Speech, Translation, Untranslatable
from veilig.server.ticket import Ticket
from veilig.server.upstream import Upstream

# Of one connection, or ours to say.
NOT_FORWARDED: Final = frozenset({
    b"host", b"authorization", b"api-key", b"x-api-key", b"content-length", b"transfer-encoding",
    b"connection", b"keep-alive", b"te", b"trailer", b"upgrade", b"proxy-authorization",
    b"accept-encoding", b"cookie", b"expect", b"forwarded", b"x-forwarded-for",
})  # fmt: skip
VERSION: Final = "2023-06-01"  # of the Messages API; the only one there is
PATHS: Final = {
    "responses": "/responses",
    "chat": "/chat/completions",
    "embeddings": "/embeddings",
    "messages": "/messages",
}


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One request to one upstream. translation: None where the client's own bytes go on."""

    url: str
    raw: bytes
    headers: dict[str, str]
    translation: Translation | None


def outgoing(ticket: Ticket, upstream: Upstream) -> Outgoing:
    """Raises Untranslatable when this upstream has no words for the request."""
    model = upstream.calls(ticket.model)
    native = ticket.surface in upstream.flavour.native
    translation: Translation | None = None
    raw, path = ticket.raw, PATHS[ticket.surface]
    if not native:
        translation = Translation(
            ticket.surface,
            upstream.flavour.speech,
            ticket.body,
            model=model,
            shown=ticket.model,
            tokens_max=ticket.served.tokens_per_answer,
            bound=upstream.flavour.bound,
        )
        raw, path = translation.raw, translation.path
        headers = {"content-type": "application/json"}
    else:
        if model != ticket.model:
            raw = orjson.dumps({**ticket.body, "model": model})
        headers = {
            k.decode("latin-1"): v.decode("latin-1")
            for k, v in ticket.headers
            if k not in NOT_FORWARDED and not k.startswith(b"x-veilig-")
        }
    headers["accept-encoding"] = "identity"
    if upstream.flavour.speech is Speech.MESSAGES:
        headers.setdefault("anthropic-version", VERSION)
    headers.update(upstream.headers())
    return Outgoing(_url(upstream, path, model), raw, headers, translation)


def told(ticket: Ticket, upstream: Upstream, sent: Outgoing) -> list[tuple[bytes, bytes]]:
    """What the client should know of the way its request took; nothing is changed in silence."""
    found: list[tuple[bytes, bytes]] = []
    model = upstream.calls(ticket.model)
    if model != ticket.model:
        found.append((b"x-veilig-upstream-model", _header(model)))
    if sent.translation is not None and sent.translation.left_out:
        found.append((b"x-veilig-left-out", _header(", ".join(sent.translation.left_out))))
    return found


def _header(text: str) -> bytes:
    return " ".join(text.split())[:500].encode("ascii", "replace")


def _url(upstream: Upstream, path: str, model: str) -> str:
    version = upstream.rule.api_version
    if not version:
        return upstream.url(path)
    # Azure's older addresses: one per deployment, except for the Responses API.
    place = path if path == PATHS["responses"] else f"/deployments/{quote(model, safe='')}{path}"
    return f"{upstream.url(place)}?api-version={quote(version, safe='')}"


__all__ = ["Outgoing", "Untranslatable", "outgoing", "told"]
