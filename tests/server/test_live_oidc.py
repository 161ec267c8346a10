"""Signing in through an identity provider: a real one on loopback, and one that lies in each way it can."""

import base64
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from yarl import URL

from people_page import Browser, Running, S, add_person, browser, plant, running, started
from veilig.core.errors import UsageError
from veilig.server.oidc import Provider

pytestmark = pytest.mark.outside_gate
CLIENT = "veilig-page"
PORT_FILE = "issuer"


@dataclass
class Issuer:
    """An identity provider; `claims` and `key` say how it lies."""

    url: str = ""
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    known: ec.EllipticCurvePrivateKey | None = None
    claims: dict[str, Any] = field(default_factory=dict[str, Any])
    algorithm: str = "ES256"
    codes: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])

    def authorize(self, place: str) -> str:
        """What the provider does when somebody has signed in there: the address it sends the browser to."""
        asked = {k: v[0] for k, v in parse_qs(urlsplit(place).query).items()}
        assert asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256"
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?state={asked['state']}&code={code}&iss={self.url}"

    async def described(self, request: web.Request) -> web.Response:
        del request
        found = {"issuer": self.url, "authorization_endpoint": f"{self.url}/authorize",
                 "token_endpoint": f"{self.url}/token", "jwks_uri": f"{self.url}/keys"}  # fmt: skip
        return web.json_response(found)

    async def keys(self, request: web.Request) -> web.Response:
        del request
        public = json.loads(ECAlgorithm.to_jwk((self.known or self.key).public_key()))
        return web.json_response({"keys": [{**public, "kid": "k1", "use": "sig", "alg": "ES256"}]})

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        asked = self.codes.pop(str(form["code"]), None)
        digest = hashlib.sha256(str(form["code_verifier"]).encode()).digest()
        if asked is None or base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != asked["code_challenge"]:
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(time.time())
        claims = {"iss": self.url, "sub": "4711", "aud": CLIENT, "iat": now, "exp": now + 60,
                  "nonce": asked["nonce"], "preferred_username": "olga", "name": "Olga"}  # fmt: skip
        claims = {k: v for k, v in (claims | self.claims).items() if v is not None}
        key: Any = self.key if self.algorithm == "ES256" else None if self.algorithm == "none" else "k" * 32
        token = jwt.encode(claims, key, algorithm=self.algorithm, headers={"kid": "k1"})
        return web.json_response({"id_token": token, "token_type": "Bearer", "access_token": "unused"})


@contextlib.asynccontextmanager
async def issuing(port: int) -> AsyncGenerator[Issuer]:
    issuer = Issuer()
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", issuer.described)
    app.router.add_get("/keys", issuer.keys)
    app.router.add_post("/token", issuer.token)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    issuer.url = f"http://127.0.0.1:{port}"
    yield issuer
    await runner.cleanup()


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Both:
    server: Running
    port: int


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    home: Path = tmp_path_factory.mktemp("home")
    plant(home, S, [started()])
    add_person(home, "own", "owner")
    port = free_port()
    flags = ("--oidc-issuer", f"http://127.0.0.1:{port}", "--oidc-client", CLIENT)
    with running(home, [tmp_path_factory.mktemp("empty")], *flags) as server:
        yield Both(server, port)


async def sign_in(who: Browser, issuer: Issuer) -> tuple[int, Any]:
    """The whole way of a browser: to the provider, back, and to the page."""
    async with who.http.get(f"{who.url}/api/v1/auth/oidc/start", allow_redirects=False) as answer:
        assert answer.status == 302, await answer.text()
        back = issuer.authorize(answer.headers["Location"])
    headers = {"Sec-Fetch-Site": "cross-site"}
    async with who.http.get(URL(back, encoded=True), allow_redirects=False, headers=headers) as answer:
        return answer.status, await answer.json() if answer.status != 302 else answer.headers["Location"]


async def test_who_the_provider_knows_signs_in_and_has_no_role_until_an_owner_gives_one(both: Both) -> None:
    async with issuing(both.port) as issuer, browser(both.server.url) as olga:
        assert (await olga.get("/auth/providers"))[1]["providers"][1]["id"] == "oidc"
        assert await sign_in(olga, issuer) == (302, "/")
        me = await olga.me()
        assert me["person"] == {"id": "olga", "name": "Olga", "role": ""}
        assert (await olga.get("/sessions"))[1]["sessions"] == []
        async with browser(both.server.url, "own") as own:
            assert (await own.post(f"/sessions/{S}/people/olga", {"role": "viewer"}))[0] == 200
        assert [s["id"] for s in (await olga.get("/sessions"))[1]["sessions"]] == [S]
        async with browser(both.server.url) as again:
            assert (await sign_in(again, issuer))[0] == 302
            assert (await again.me())["person"]["id"] == "olga", "the same subject is the same person"
        issuer.claims = {"sub": "other", "preferred_username": "own"}
        async with browser(both.server.url) as other:
            assert (await sign_in(other, issuer))[0] == 302
            assert (await other.me())["person"]["id"].startswith("oidc-"), "a name proves nothing"


@pytest.mark.parametrize(
    ("claims", "algorithm"),
    [
        ({"nonce": "another"}, "ES256"), ({"aud": "somebody-else"}, "ES256"),
        ({"iss": "http://127.0.0.1:1"}, "ES256"),
        ({"exp": 1}, "ES256"), ({"exp": None}, "ES256"), ({"sub": None}, "ES256"),
        ({"aud": [CLIENT, "another"]}, "ES256"), ({}, "none"), ({}, "HS256"), ({}, "stranger"),
    ],
)  # fmt: skip
async def test_a_token_that_is_not_for_us_now_and_from_them_signs_nobody_in(
    both: Both, claims: dict[str, Any], algorithm: str
) -> None:
    async with issuing(both.port) as issuer, browser(both.server.url) as eve:
        issuer.claims = claims
        issuer.algorithm = algorithm if algorithm != "stranger" else "ES256"
        if algorithm == "stranger":
            issuer.known = ec.generate_private_key(ec.SECP256R1())
        status, found = await sign_in(eve, issuer)
        assert status == 502, found
        assert (await eve.get("/me"))[0] == 401


async def test_an_answer_that_was_not_asked_for_here_signs_nobody_in(both: Both) -> None:
    async with issuing(both.port) as issuer, browser(both.server.url) as ann, browser(both.server.url) as eve:
        async with eve.http.get(f"{eve.url}/api/v1/auth/oidc/start", allow_redirects=False) as answer:
            back = issuer.authorize(answer.headers["Location"])
        # Eve's answer in Ann's browser: Ann would be signed in as Eve.
        async with ann.http.get(URL(back, encoded=True), allow_redirects=False) as answer:
            assert answer.status == 400
        # And it was spent by that.
        async with eve.http.get(URL(back, encoded=True), allow_redirects=False) as answer:
            assert answer.status == 400
        async with eve.http.get(f"{eve.url}/api/v1/auth/oidc/callback?state=x&code=y") as answer:
            assert answer.status == 400
    async with browser(both.server.url) as late:  # the provider is gone now, but was known
        status, _ = await late.get("/auth/providers")
        assert status == 200


@pytest.mark.parametrize("issuer", ["http://id.example.org", "ftp://x", "", "id.example.org"])
def test_a_provider_that_is_not_reached_by_https_is_refused(issuer: str) -> None:
    with pytest.raises(UsageError):
        Provider(issuer, CLIENT)
    assert Provider("https://id.example.org", CLIENT).client == CLIENT
