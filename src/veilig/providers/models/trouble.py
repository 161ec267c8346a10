"""What does a vendor's error mean: ask again, ask otherwise, or tell the person?"""

import ssl
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

from veilig.core.errors import ProviderError
from veilig.providers.models.endpoint import Form, Route

MESSAGE_CHARS = 300  # of a vendor's own words: enough to search for


class Next(StrEnum):
    """What can be done about it."""

    AGAIN = "again"  # the same request may succeed later
    SHORTER = "shorter"  # the conversation does not fit the model's window
    REFUSED = "refused"  # the vendor's filter would not have it
    PERSON = "person"  # somebody must change something


@dataclass(frozen=True, slots=True)
class Trouble:
    """One error of one attempt. paid: the vendor may have counted tokens of an answer that never arrived."""

    next: Next
    what: str
    why: str = ""
    fix: str = ""
    retry_after_s: float | None = None
    paid: bool = False

    def error(self) -> ProviderError:
        """As the caller hears of it."""
        return ProviderError(self.what, why=self.why, fix=self.fix, retry_after_s=self.retry_after_s)


class CutStream(Exception):
    """The answer ended without its last word."""


_KEYS = {
    Form.RESPONSES: "OPENAI_API_KEY",
    Form.CHAT: "OPENAI_API_KEY",
    Form.ANTHROPIC: "ANTHROPIC_API_KEY",
    Form.GOOGLE: "GOOGLE_API_KEY",
}
_FILTERED = frozenset(
    {"content_filter", "content_policy_violation", "invalid_prompt", "cyber_policy_violation"}
)
_NO_KEY = ("api key not valid", "api key expired")  # Google says so with status 400
_TOO_LONG = (
    "context length",
    "context window",
    "context size",
    "prompt is too long",
    "input is too long",
    "number of tokens allowed",
)


def explain(error: Exception, route: Route) -> Trouble:
    """What `error` of the model library means. An assertion is our own bug and raised again."""
    from pydantic_ai import exceptions as found

    host, said = route.host, _said(error, route)
    match error:
        case found.ModelContextWindowExceededError():
            return Trouble(Next.SHORTER, f"the conversation does not fit {route.name}", said)
        case found.ModelRateLimitError():
            wait = error.retry_after
            fix = "wait, or ask for a higher limit"
            return Trouble(Next.AGAIN, f"{host} limits how often it is asked", said, fix, wait or 1.0)
        case found.ModelQuotaExceededError():
            return Trouble(Next.PERSON, f"the account at {host} has nothing left to spend", said, "top it up")
        case found.ModelUnavailableError() | found.ModelServerError():
            wait = error.retry_after
            return Trouble(Next.AGAIN, f"{host} has trouble", said, "try again later", wait or 1.0)
        case found.ModelTimeoutError() | TimeoutError():
            return _lost(f"{host} did not answer in time", said)
        case found.ModelConnectionError():
            return _unreached(error, error.phase, host, said)
        case CutStream() | found.UnexpectedModelBehavior():
            return _lost(f"the answer of {host} was cut or is no model's answer", said)
        case found.ModelAPIError() if "without a `finish_reason`" in str(error):
            return _lost(f"the answer of {host} was cut", "the stream ended early")
        case found.ModelRequestRejectedError():
            return _rejected(error, route, said)
        case found.ModelAPIError() if error.in_stream:
            return _lost(f"{host} broke off its answer", said)
        case found.ModelAPIError():
            return _rejected(error, route, said)
        case AssertionError():
            raise error
        case _:
            return _foreign(error, route, said)


def _lost(what: str, why: str) -> Trouble:
    """The request was sent and no answer came back whole."""
    return Trouble(Next.AGAIN, what, why, "try again later", 1.0, paid=True)


def _foreign(error: Exception, route: Route, said: str) -> Trouble:
    """What the vendor's client let through as it came: a broken connection, or something it cannot handle."""
    import httpx2

    if isinstance(error, httpx2.TransportError):
        return _lost(f"the connection to {route.host} broke", said)
    what = f"the request to {route.host} could not be made or its answer not be read"
    return Trouble(Next.PERSON, what, f"{type(error).__name__}: {said}", "please report this")


def _unreached(error: BaseException, phase: str | None, host: str, said: str) -> Trouble:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            fix = "if its authority is to be trusted, name it in SSL_CERT_FILE"
            return Trouble(Next.PERSON, f"the certificate of {host} is not to be trusted", str(cause), fix)
        cause = cause.__cause__ or cause.__context__
    if phase in ("connect", "pool"):
        fix = "is the server up, and the address right?"
        return Trouble(Next.AGAIN, f"{host} cannot be reached", said, fix, 1.0)
    return _lost(f"the connection to {host} broke", said)


def _rejected(error: Any, route: Route, said: str) -> Trouble:
    from pydantic_ai import exceptions as found

    host, key = route.host, _KEYS[route.form]
    code, status = str(error.provider_error_code or ""), getattr(error, "status_code", 0)
    if code in _FILTERED:
        return Trouble(Next.REFUSED, f"{host} will not answer this", said)
    if any(words in said.lower() for words in _TOO_LONG):
        return Trouble(Next.SHORTER, f"the conversation does not fit {route.name}", said)
    if isinstance(error, found.ModelAuthenticationError) or any(words in said.lower() for words in _NO_KEY):
        what = f"{host} does not allow this" if status == 403 else f"{host} does not accept the key"
        return Trouble(Next.PERSON, what, said, f"check {key} and what its account may use")
    if isinstance(error, found.ModelNotFoundError):
        fix = "check the model's name (and the base URL, when one is configured)"
        return Trouble(Next.PERSON, f"{host} knows no model {route.name!r}", said, fix)
    return Trouble(
        Next.PERSON, f"{host} refused the request", said, "this is in the request, not in the network"
    )


def _said(error: Exception, route: Route) -> str:
    """The vendor's own words, short, and without our key."""
    body = getattr(error, "body", None)
    text = ""
    if isinstance(body, dict):
        inner = cast(dict[str, Any], body).get("error", cast(dict[str, Any], body))
        if isinstance(inner, dict):
            text = str(cast(dict[str, Any], inner).get("message", ""))
        elif isinstance(inner, str):
            text = inner
    status = getattr(error, "status_code", 0)
    text = " ".join((text or str(error) or type(error).__name__).split())[:MESSAGE_CHARS]
    if len(route.key) >= 8:
        text = text.replace(route.key, "(the key)")
    return f"HTTP {status}: {text}" if status else text
