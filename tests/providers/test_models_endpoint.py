"""Is the right host asked, with the right key, and is everything else refused before anything is sent?"""

import dataclasses
import datetime as dt
import ipaddress
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from model_asking import FORMS, HELLO, SHELL, SYSTEM, Asking
from replay_server import replay
from veilig.core.errors import ProviderError
from veilig.providers.models import endpoint as endpoints
from veilig.providers.models.endpoint import Endpoint, Form, Route, route

KEY = "sk-" + "k" * 20
OPENAI = {"OPENAI_API_KEY": KEY}
LOCAL = "http://127.0.0.1:8000/v1"


def at(model: str, base_url: str = "", api: str = "auto", **environment: str) -> Route:
    return route(model, Endpoint(base_url, api, environment))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "environment", "form", "name", "host"),
    [
        ("openai:gpt-5.5", OPENAI, Form.RESPONSES, "gpt-5.5", "api.openai.com"),
        ("openai-chat:gpt-5.5", OPENAI, Form.CHAT, "gpt-5.5", "api.openai.com"),
        (
            "anthropic:claude-opus-5",
            {"ANTHROPIC_API_KEY": KEY},
            Form.ANTHROPIC,
            "claude-opus-5",
            "api.anthropic.com",
        ),
        ("google:g-3", {"GOOGLE_API_KEY": KEY}, Form.GOOGLE, "g-3", "generativelanguage.googleapis.com"),
        ("google:g-3", {"GEMINI_API_KEY": KEY}, Form.GOOGLE, "g-3", "generativelanguage.googleapis.com"),
    ],
)
def test_a_vendor_is_asked_at_its_own_host_with_its_own_key(
    model: str, environment: dict[str, str], form: Form, name: str, host: str
) -> None:
    found = at(model, **environment)
    assert (found.form, found.name, found.host, found.key, found.vendor) == (form, name, host, KEY, True)


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("openai:x", "OPENAI_API_KEY"),
        ("anthropic:x", "ANTHROPIC_API_KEY"),
        ("google:x", "GOOGLE_API_KEY"),
    ],
)
def test_a_missing_key_names_its_variable(model: str, variable: str) -> None:
    with pytest.raises(ProviderError) as caught:
        at(model, OTHER_KEY="x")
    assert variable in caught.value.why
    assert variable in caught.value.fix


def test_a_key_of_the_process_that_was_not_given_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with pytest.raises(ProviderError, match="no key"):
        at("openai:x")


@pytest.mark.parametrize(
    ("model", "api", "form", "name"),
    [
        ("qwen3:8b", "auto", Form.CHAT, "qwen3:8b"),
        ("openai:gpt-oss", "auto", Form.CHAT, "gpt-oss"),
        ("openai:gpt-oss", "responses", Form.RESPONSES, "gpt-oss"),
        ("openai-chat:m", "responses", Form.RESPONSES, "m"),
        ("anthropic:m", "responses", Form.ANTHROPIC, "m"),
    ],
)
def test_a_base_url_speaks_chat_unless_told(model: str, api: str, form: Form, name: str) -> None:
    found = at(model, LOCAL, api)
    assert (found.form, found.name, found.host, found.vendor) == (form, name, "127.0.0.1:8000", False)


@pytest.mark.parametrize("model", ["gpt-5.5", "mistral:x", "openai:", ":x"])
def test_a_model_that_nobody_serves_is_refused(model: str) -> None:
    with pytest.raises(ProviderError):
        at(model, **OPENAI)


@pytest.mark.parametrize(
    "base_url",
    [
        "127.0.0.1:8000",
        "ftp://host/v1",
        "http://",
        "http://host:port/v1",
        "https://me:pass@host/v1",
        "https://host/v1?key=x",
        "https://host/v1#x",
        "http://[::1/v1",
    ],
)
def test_an_address_that_is_none_is_refused_without_repeating_a_password(base_url: str) -> None:
    with pytest.raises(ProviderError) as caught:
        at("m", base_url, **OPENAI)
    assert "pass" not in caught.value.what.replace("password", "")


@pytest.mark.parametrize(
    ("base_url", "key"),
    [
        ("http://127.0.0.1:1/v1", KEY),
        ("http://localhost/v1", KEY),
        ("http://[::1]:1/v1", KEY),
        ("https://example.com/v1", KEY),
        ("http://example.com/v1", "none"),
        ("http://127.0.0.1.example.com/v1", "none"),
        ("http://10.0.0.1/v1", "none"),
    ],
)
def test_a_key_travels_encrypted_or_not_at_all(base_url: str, key: str) -> None:
    assert at("m", base_url, **OPENAI).key == key


def test_a_far_server_needs_a_key_and_a_near_one_does_not() -> None:
    assert at("m", LOCAL).key == "none"
    with pytest.raises(ProviderError, match="no key for example"):
        at("m", "https://example.com/v1")


@pytest.mark.parametrize(
    ("environment", "base_url", "proxy"),
    [
        ({"HTTPS_PROXY": "http://proxy:1"}, "", "http://proxy:1"),
        ({"https_proxy": "http://proxy:1"}, "", "http://proxy:1"),
        ({"ALL_PROXY": "http://proxy:1"}, "", "http://proxy:1"),
        ({"HTTP_PROXY": "http://proxy:1"}, "", ""),
        ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "x.org, openai.com"}, "", ""),
        ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "notopenai.com"}, "", "http://proxy:1"),
        ({"HTTPS_PROXY": "http://proxy:1", "NO_PROXY": "*"}, "", ""),
        ({"HTTP_PROXY": "http://proxy:1", "ALL_PROXY": "http://proxy:1"}, LOCAL, ""),
    ],
)
def test_a_proxy_is_used_where_the_environment_names_one_and_said(
    environment: dict[str, str], base_url: str, proxy: str
) -> None:
    found = at("openai:m", base_url, **OPENAI, **environment)
    assert found.proxy == proxy
    assert ("through the proxy proxy" in found.host) == bool(proxy)


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_gives_a_route_or_our_error(model: str, base_url: str) -> None:
    try:
        found = at(model, base_url, **OPENAI)
    except ProviderError:
        return
    assert found.host


def test_a_route_shows_no_key() -> None:
    found = at("openai:m", HTTPS_PROXY="http://me:pw@proxy:1", **OPENAI)
    assert KEY not in repr(found)
    assert "pw" not in repr(found)
    assert KEY not in repr(Endpoint(environment=OPENAI))


VENDORS = {
    "openai:gpt-5.5": ("OPENAI_API_KEY", "/v1"),
    "openai-chat:gpt-5.5": ("OPENAI_API_KEY", "/v1"),
    "anthropic:claude-opus-5": ("ANTHROPIC_API_KEY", ""),
    "google:gemini-3.5-flash": ("GOOGLE_API_KEY", ""),
}


@pytest.mark.parametrize("model", VENDORS)
async def test_a_vendor_gets_its_key_its_cache_hint_and_keeps_nothing(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable, path = VENDORS[model]
    with replay(["Hi."]) as server:
        prefix = model.split(":", maxsplit=1)[0]
        here = dataclasses.replace(endpoints._VENDORS[prefix], base_url=server.root + path)
        monkeypatch.setitem(endpoints._VENDORS, prefix, here)
        async with Asking(server, base_url="", environment={variable: KEY}) as asking:
            outcome = await asking.ask(SYSTEM, HELLO, model=model)
    request = server.requests[0]
    assert KEY in " ".join(request.headers.values())
    assert outcome.data["price_known"] is True
    assert float(str(outcome.data["cost_usd"])) > 0
    if prefix.startswith("openai"):
        assert request.body["store"] is False
        assert request.body["prompt_cache_key"] == "s1"
    elif prefix == "anthropic":
        assert "cache_control" in request.text
        assert request.body["max_tokens"] == 500


async def test_a_local_server_gets_nothing_that_only_a_vendor_knows() -> None:
    with replay(["Hi."]) as server:
        async with Asking(server) as asking:
            await asking.ask(SYSTEM, HELLO)
    assert set(server.requests[0].body) == {
        "model",
        "messages",
        "max_tokens",
        "stream",
        "stream_options",
        "tools",
        "tool_choice",
    }


async def test_a_redirect_is_not_followed_with_the_key() -> None:
    with replay(["Hi."]) as other:
        from replay_server import Answer

        away = Answer(status=307, error="moved", headers={"Location": other.url + "/chat/completions"})
        with replay(lambda _: away) as server:
            async with Asking(server, environment=OPENAI) as asking:
                with pytest.raises(ProviderError):
                    await asking.ask(HELLO)
    assert other.requests == []


HEAVY = ("pydantic", "pydantic_ai", "openai", "anthropic", "google.genai", "httpx", "httpx2")


def test_the_libraries_load_with_the_first_ask_and_their_absence_is_said() -> None:
    # A fresh interpreter: this one has imported them long ago.
    code = f"""
import asyncio, json, sys
from veilig.core.action import AskModel
from veilig.core.action_json import digest
from veilig.core.clock import SystemClock
from veilig.core.errors import ProviderError
from veilig.core.provider import Permit
from veilig.providers.models.endpoint import Endpoint
from veilig.providers.models.provider import ModelsProvider
provider = ModelsProvider(SystemClock(), Endpoint({LOCAL!r}), str.encode)
print(sorted(set({HEAVY!r}) & set(sys.modules)))
sys.modules["pydantic_ai"] = None
action = AskModel("m", json.dumps([{json.dumps(HELLO.to_json())}]), 5, "", json.dumps([{SHELL.to_json()!r}]))
permit = Permit("r", digest(action), 1e12, "p", "s", str, str, print)
try:
    asyncio.run(provider.perform(action, permit))
except ProviderError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, _, rest = done.stdout.partition("\n")
    assert first == "[]"
    assert "not installed" in rest
    assert "pip install 'veilig[llm]'" in rest


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1 that no system trusts, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(here, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = tmp_path / "server.pem"
    file.write_bytes(made.public_bytes(pem) + private)
    return file


@pytest.mark.parametrize("form", FORMS)
async def test_a_certificate_is_trusted_where_the_environment_says_so_and_nowhere_else(
    form: str, certificate: Path
) -> None:
    with replay(["Hi."], certificate) as server:
        async with Asking(server, form) as stranger:
            with pytest.raises(ProviderError, match="is not to be trusted"):
                await stranger.ask(HELLO)
        assert server.requests == []
        async with Asking(server, form, environment={"SSL_CERT_FILE": str(certificate)}) as asking:
            assert (await asking.ask(HELLO)).detail == "Hi."


async def test_a_file_of_certificates_that_is_none_is_said(tmp_path: Path) -> None:
    with replay(["Hi."]) as server:
        async with Asking(server, environment={"SSL_CERT_FILE": str(tmp_path / "none.pem")}) as asking:
            with pytest.raises(ProviderError, match="cannot be read"):
                await asking.ask(HELLO)
