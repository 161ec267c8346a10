"""Which client asks a route? One per route, with one connection pool, built at the first ask.

OpenAI's own client walks a request against its declared types before sending it. CPU per ask, measured with
pydantic-ai 2.68 and openai 3.54 on a fake server and a quiet machine: Chat 7 ms at turn 20 and 190 ms at turn
400, Responses 21 and 560 ms; without that walk 2 and 10, 4 and 15 ms. What the adapter hands over is in the
form the API wants already, so `_send_plain` posts it as it stands. (Anthropic's client does not walk;
Google's does, at 0.5 ms per turn of the conversation.)
"""

import ssl
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.abc import MetaPathFinder
from typing import TYPE_CHECKING, Any, cast

from veilig.core.errors import ProviderError
from veilig.providers.models.endpoint import Form, Route
from veilig.providers.models.usage import read_usage_without_prices

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI
    from pydantic_ai.models import Model
    from pydantic_ai.profiles.openai import OpenAIModelProfile

CONNECT_TIMEOUT_S = 10.0  # a host that does not even shake hands by then is not there
SILENCE_TIMEOUT_S = 120.0  # a model that reasons may be silent this long before its first word

UNUSED = ("aiohttp", "click", "pygments", "rich")

_INSTALL = "pip install 'veilig[llm]'   (in a checkout: VEILIG_BOOTSTRAP=dev ./veilig)"


@dataclass(frozen=True, slots=True)
class Client:
    """A model that can be asked, its settings, and what to close."""

    model: "Model[Any]"
    settings: dict[str, Any]
    http: "httpx2.AsyncClient"


def connect(route: Route) -> Client:
    """The client of `route`; nothing is sent yet. Raises ProviderError when the extra is not installed."""
    try:
        with _needed_only():
            return _connected(route)
    except ImportError as error:
        raise ProviderError(
            "no model can be asked: the libraries for it are not installed",
            why=f"{error.name or error} is missing",
            fix=f"install veilig[llm]: {_INSTALL}",
        ) from error


def _connected(route: Route) -> Client:
    import httpx2

    read_usage_without_prices()
    # A temperature that a model does not take is dropped: nothing that the person at the terminal can mend.
    warnings.filterwarnings("ignore", message="Sampling parameters", category=UserWarning)
    http = httpx2.AsyncClient(
        timeout=httpx2.Timeout(SILENCE_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
        verify=_trusted(route),
        trust_env=False,  # the route names the proxy, or there is none
        proxy=route.proxy or None,
        follow_redirects=False,  # a key goes to the host that was named
    )
    build = {
        Form.RESPONSES: _responses,
        Form.CHAT: _chat,
        Form.ANTHROPIC: _anthropic,
        Form.GOOGLE: _google,
    }[route.form]
    return Client(build(route, http), _settings(route), http)


class _Absent(MetaPathFinder):
    """Says of some packages that they are not installed."""

    def __init__(self, packages: frozenset[str]) -> None:
        self._packages = packages

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Raises ModuleNotFoundError for them; None, which asks the next finder, for everything else."""
        del path, target
        if fullname.partition(".")[0] in self._packages:
            raise ModuleNotFoundError(f"{fullname} is not needed here", name=fullname)


@contextmanager
def _needed_only() -> Generator[None]:
    """While it holds, the libraries do without what they load if it happens to be installed.

    httpx's command line (click, rich, pygments) and openai's other transport (aiohttp) take 14 of 106 MB for
    nothing. What is loaded already stays as it is.
    """
    finder = _Absent(frozenset(name for name in UNUSED if name not in sys.modules))
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def _trusted(route: Route) -> ssl.SSLContext | bool:
    """Whose certificates are believed: the system's, or the file's that the environment names."""
    if not route.authorities:
        return True
    try:
        return ssl.create_default_context(cafile=route.authorities)
    except OSError as error:  # ssl.SSLError is one
        raise ProviderError(
            f"the certificates to trust cannot be read from {route.authorities!r}",
            why=str(error),
            fix="correct SSL_CERT_FILE, or unset it",
        ) from error


def _settings(route: Route) -> dict[str, Any]:
    if not route.vendor:
        return {}
    if route.form in (Form.RESPONSES, Form.CHAT):
        return {"openai_store": False}  # the ledger keeps the conversation; the vendor need not
    return {"anthropic_cache": True} if route.form is Form.ANTHROPIC else {}


def _responses(route: Route, http: "httpx2.AsyncClient") -> "Model[Any]":
    from openai.types.responses import Response
    from pydantic_ai.models.openai import OpenAIResponsesModel

    from veilig.providers.models.events import ResponseEvent

    client = _openai(route, http)
    _send_plain(client, client.responses, "/responses", Response, ResponseEvent)
    return OpenAIResponsesModel(
        route.name, provider=_openai_provider(route, client), profile=_openai_profile(route)
    )


def _chat(route: Route, http: "httpx2.AsyncClient") -> "Model[Any]":
    from openai.types.chat import ChatCompletion, ChatCompletionChunk
    from pydantic_ai.models.openai import OpenAIChatModel

    client = _openai(route, http)
    _send_plain(client, client.chat.completions, "/chat/completions", ChatCompletion, ChatCompletionChunk)
    return OpenAIChatModel(
        route.name, provider=_openai_provider(route, client), profile=_openai_profile(route)
    )


def _openai(route: Route, http: "httpx2.AsyncClient") -> "AsyncOpenAI":
    from openai import AsyncOpenAI

    return AsyncOpenAI(api_key=route.key, base_url=route.base_url, http_client=http, max_retries=0)


def _openai_provider(route: Route, client: "AsyncOpenAI") -> Any:
    """Who keeps signed reasoning: OpenAI's own never goes to another server, nor the other way round."""
    from pydantic_ai.providers.openai import OpenAIProvider
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

    if route.vendor:
        return OpenAIProvider(openai_client=client)
    return OpenAICompatibleProvider(f"openai@{route.host}", openai_client=client)


def _openai_profile(route: Route) -> "OpenAIModelProfile":
    from pydantic_ai.profiles.openai import OpenAIModelProfile

    return OpenAIModelProfile(
        # A stream without its last word was cut: it must not pass for an answer.
        openai_chat_streaming_requires_finish_reason=True,
        # Older local servers know `max_tokens` only; the newer ones know both names.
        openai_chat_supports_max_completion_tokens=route.vendor,
        json_schema_transformer=None,  # a tool's schema stays as its author wrote it
    )


def _anthropic(route: Route, http: "httpx2.AsyncClient") -> "Model[Any]":
    from anthropic import AsyncAnthropic
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    client = AsyncAnthropic(api_key=route.key, base_url=route.base_url, http_client=http, max_retries=0)
    return AnthropicModel(route.name, provider=AnthropicProvider(anthropic_client=client))


def _google(route: Route, http: "httpx2.AsyncClient") -> "Model[Any]":
    from pydantic_ai.models.google import GoogleModel
    from pydantic_ai.providers.google import GoogleProvider

    provider = GoogleProvider(api_key=route.key, base_url=route.base_url, http_client=http)
    return GoogleModel(route.name, provider=provider)


def _send_plain(client: "AsyncOpenAI", resource: object, path: str, whole: type, chunk: object) -> None:
    """Let `resource.create` post what it is given, without walking it first (see the top of this file)."""
    # The public way to an endpoint the client has no method for: client.post.
    vars(resource)["create"] = partial(_create, client, path, whole, chunk)


async def _create(
    client: "AsyncOpenAI",
    path: str,
    whole: type,
    chunk: Any,
    *,
    stream: bool = False,
    extra_headers: Any = None,
    extra_body: Any = None,
    timeout: Any = None,  # noqa: ASYNC109  (the vendor's own parameter)
    **fields: Any,
) -> Any:
    from openai import AsyncStream, NotGiven, Omit

    body = {name: value for name, value in fields.items() if not isinstance(value, Omit | NotGiven)}
    options: dict[str, Any] = {"headers": extra_headers or {}}
    if extra_body:
        options["extra_json"] = extra_body
    if timeout is not None and not isinstance(timeout, NotGiven):
        options["timeout"] = timeout
    return await client.post(
        path,
        body=body | {"stream": stream},
        cast_to=whole,
        options=cast(Any, options),
        stream=stream,
        stream_cls=AsyncStream[chunk],
    )
