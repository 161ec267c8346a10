"""Which host is asked for which model, in which form, and with which key? Decided before anything is sent."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal
from urllib.parse import urlsplit

from veilig.core.errors import ProviderError


class Form(StrEnum):
    """The form of the requests: four APIs that between them every vendor and local server speaks."""

    RESPONSES = "responses"  # OpenAI /v1/responses
    CHAT = "chat"  # OpenAI /v1/chat/completions; vLLM, llama.cpp, Ollama and most gateways
    ANTHROPIC = "anthropic"  # /v1/messages
    GOOGLE = "google"  # /v1beta/models/NAME:streamGenerateContent


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What the operator configured.

    base_url: another server than the vendor's, up to and with `/v1`; empty: the vendor's own. api: which of
    OpenAI's two forms that server speaks (auto: Chat). environment: where keys, the proxy and SSL_CERT_FILE
    are looked up, and nowhere else.
    """

    base_url: str = ""
    api: Literal["auto", "responses", "chat"] = "auto"
    environment: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)


@dataclass(frozen=True, slots=True)
class Route:
    """Everything a client needs. `host` is what people are told; `key` is shown nowhere.

    authorities: a file of certificates to trust instead of the system's; empty: the system's.
    """

    form: Form
    name: str
    base_url: str
    host: str
    vendor: bool  # the vendor's own server: it may be told of caching and of what it must not keep
    authorities: str = ""
    proxy: str = field(default="", repr=False)
    key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class _Vendor:
    """One prefix of a model's name."""

    form: Form
    base_url: str
    keys: tuple[str, ...]


_OPENAI_URL = "https://api.openai.com/v1"
_OPENAI_KEYS = ("OPENAI_API_KEY",)
_VENDORS = {
    "openai": _Vendor(Form.RESPONSES, _OPENAI_URL, _OPENAI_KEYS),
    "openai-chat": _Vendor(Form.CHAT, _OPENAI_URL, _OPENAI_KEYS),
    "anthropic": _Vendor(Form.ANTHROPIC, "https://api.anthropic.com", ("ANTHROPIC_API_KEY",)),
    "google": _Vendor(
        Form.GOOGLE, "https://generativelanguage.googleapis.com", ("GOOGLE_API_KEY", "GEMINI_API_KEY")
    ),
}
_NO_KEY = "none"  # the clients insist on some text; a server that needs no key does not look at it


def route(model: str, endpoint: Endpoint) -> Route:
    """Where `model` (`vendor:name`, or any name with a base_url) is asked.

    Raises ProviderError for an unknown vendor, a missing key (saying which variable) or a wrong address.
    """
    prefix, colon, rest = model.partition(":")
    vendor = _VENDORS.get(prefix) if colon else None
    name = rest if vendor else model
    if not name:
        raise ProviderError(f"model {model!r} has no name", fix="write it as openai:gpt-5.5")
    if not endpoint.base_url:
        if vendor is None:
            raise ProviderError(
                f"nobody is known to serve model {model!r}",
                why=f"a model is named vendor:name, and the vendors are {', '.join(_VENDORS)}",
                fix="write it as openai:gpt-5.5, or configure the base URL of a server that serves it",
            )
        return _at(vendor.form, name, vendor.base_url, endpoint, vendor.keys, vendor=True)
    vendor = vendor or _VENDORS["openai-chat"]
    form = vendor.form
    if form in (Form.RESPONSES, Form.CHAT):
        form = Form.RESPONSES if endpoint.api == "responses" else Form.CHAT
    return _at(form, name, endpoint.base_url.rstrip("/"), endpoint, vendor.keys, vendor=False)


def _at(
    form: Form, name: str, base_url: str, endpoint: Endpoint, keys: tuple[str, ...], *, vendor: bool
) -> Route:
    host, plain, near = _address(base_url)
    environment = endpoint.environment
    variable = next((key for key in keys if environment.get(key)), "")
    if not variable and not near and not plain:
        raise ProviderError(
            f"no key for {host}",
            why=f"the environment has no {' or '.join(keys)}",
            fix=f"export {keys[0]}=..., or ask a model on this machine through its base URL",
        )
    # A key never travels where everybody on the way can read it.
    key = environment[variable] if variable and (near or not plain) else _NO_KEY
    proxy = "" if near else proxy_of(environment, host, plain=plain)
    shown = f"{host} through the proxy {urlsplit(proxy).hostname}" if proxy else host
    return Route(form, name, base_url, shown, vendor, environment.get("SSL_CERT_FILE", ""), proxy, key)


def _address(base_url: str) -> tuple[str, bool, bool]:
    """(host and port, whether unencrypted, whether on this machine). Raises ProviderError."""
    try:
        parts = urlsplit(base_url)
        name, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise _no_address(base_url) from error
    if parts.scheme not in ("http", "https") or not name or parts.username or parts.query or parts.fragment:
        raise _no_address(base_url)
    shown = f"[{name}]" if ":" in name else name
    return f"{shown}:{port}" if port else shown, parts.scheme == "http", _is_near(name)


def _is_near(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _no_address(base_url: str) -> ProviderError:
    shown = base_url if "@" not in base_url else "(an address with a name or password in it)"
    return ProviderError(
        f"{shown!r} is no base URL",
        why="it must be http(s)://host[:port]/path, without user, query or fragment",
        fix="for a local server try http://127.0.0.1:8000/v1",
    )


def proxy_of(environment: Mapping[str, str], host: str, *, plain: bool) -> str:
    """The proxy that the environment names for `host`; empty: none."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    for exempt in (environment.get("NO_PROXY") or environment.get("no_proxy") or "").split(","):
        exempt = exempt.strip().lstrip(".")
        if exempt == "*" or (exempt and (name == exempt or name.endswith("." + exempt))):
            return ""
    scheme = "http" if plain else "https"
    for variable in (f"{scheme.upper()}_PROXY", f"{scheme}_proxy", "ALL_PROXY", "all_proxy"):
        if found := environment.get(variable):
            return found
    return ""
