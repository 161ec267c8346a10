"""How does somebody sign in whom an identity provider knows? OpenID Connect: authorization code with PKCE.

The provider says who it is; what they may do is said here: a first sign-in makes an account without a role.
Source: OpenID Connect Core 1.0, RFC 7636 (PKCE), RFC 9207 (issuer in the answer), RFC 9700.
"""

import asyncio
import base64
import hashlib
import secrets
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import urlencode, urlsplit

import orjson

from veilig.collab.accounts import Accounts, Person, must_be_name
from veilig.collab.roles import Refused
from veilig.core.errors import UsageError

ALGORITHMS: Final = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]  # none that shares a key
PENDING_S: Final = 600.0  # to type a password over there
TIMEOUT_S: Final = 15.0
ANSWER_BYTES_MAX: Final = 1 << 20
LEEWAY_S: Final = 60
COOKIE: Final = "veilig_oidc"

type Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Provider:
    """Whom we trust to say who somebody is. secret: empty for a public client."""

    issuer: str
    client: str
    secret: str = ""

    def __post_init__(self) -> None:
        parts = urlsplit(self.issuer)
        local = parts.hostname in ("127.0.0.1", "::1", "localhost")
        if not parts.netloc or not (parts.scheme == "https" or (parts.scheme == "http" and local)):
            raise UsageError(
                f"the issuer {self.issuer!r} is not reached by https", why="anybody on the way could sign in"
            )


@dataclass(frozen=True, slots=True)
class _Pending:
    nonce: str
    verifier: str
    browser: str


class Oidc:
    """Sign-ins, which may end at another server than they began.

    redirect: the address of our own callback, as the provider knows it.
    """

    def __init__(self, provider: Provider, accounts: Accounts, redirect: str) -> None:
        self._provider = provider
        self._accounts = accounts
        self.redirect = redirect
        self._known: Json = {}

    async def begin(self) -> tuple[str, str]:
        """Where to send the browser, and the value of its cookie. Raises Refused (502, 503)."""
        found = await self._discover()
        state, nonce, verifier, browser = (secrets.token_urlsafe(32) for _ in range(4))
        kept = orjson.dumps([nonce, verifier, browser]).decode()
        await self._accounts.read(lambda: self._accounts.give(f"oidc:{state}", kept, PENDING_S))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code", "client_id": self._provider.client, "redirect_uri": self.redirect,
            "scope": "openid profile", "state": state, "nonce": nonce,
            "code_challenge": challenge, "code_challenge_method": "S256",
        }  # fmt: skip
        place = str(found["authorization_endpoint"])
        return f"{place}{'&' if '?' in place else '?'}{urlencode(asked)}", browser

    async def end(self, state: str, code: str, issuer: str, browser: str) -> Person:
        """Who came back. Raises Refused: 400 for an answer that is not to our question, 502 for a bad one."""
        kept = await self._accounts.read(lambda: self._accounts.take(f"oidc:{state}"))
        if kept is None:
            raise Refused("this sign-in is not under way", status=400, why="it is old, or was not begun here")
        pending = _Pending(*orjson.loads(kept))
        if not browser or not secrets.compare_digest(browser, pending.browser):
            raise Refused("this sign-in was begun in another browser", status=400, fix="begin again here")
        if issuer and issuer != self._provider.issuer:
            raise Refused("another provider answered", status=400, why=issuer[:200])
        found = await self._discover()
        asked = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": self.redirect,
            "client_id": self._provider.client, "code_verifier": pending.verifier,
        }  # fmt: skip
        if self._provider.secret:
            asked["client_secret"] = self._provider.secret
        tokens = await self._ask(str(found["token_endpoint"]), asked)
        keys = await self._ask(str(found["jwks_uri"]))
        claims = await asyncio.to_thread(self._checked, str(tokens.get("id_token", "")), keys, pending.nonce)
        return await asyncio.to_thread(self._person, claims)

    def _checked(self, token: str, keys: Json, nonce: str) -> Json:
        import jwt

        try:
            head = jwt.get_unverified_header(token)
            known = jwt.PyJWKSet.from_dict(keys)
            fitting = [k for k in known.keys if head.get("kid") in (None, k.key_id)]
            if len(fitting) != 1 or head.get("alg") not in ALGORITHMS:
                raise Refused("the provider signed with an unknown key", status=502)
            claims: Json = jwt.decode(
                token,
                fitting[0].key,
                algorithms=[head["alg"]],
                audience=self._provider.client,
                issuer=self._provider.issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "sub", "aud", "iss"]},
            )
        except jwt.PyJWTError as error:
            raise Refused("the provider's answer is not valid", status=502, why=str(error)[:200]) from error
        if not secrets.compare_digest(str(claims.get("nonce", "")), nonce):
            raise Refused("the provider's answer is to another question", status=502)
        if isinstance(claims["aud"], list) and claims.get("azp") != self._provider.client:
            raise Refused("the provider's answer is for somebody else", status=502)
        return claims

    def _person(self, claims: Json) -> Person:
        subject = f"{self._provider.issuer}|{claims['sub']}"
        found = self._accounts.of_subject(subject)
        if found is not None:
            if not found.active:
                raise Refused("your account is blocked", fix="ask an owner of this server")
            return found
        wanted = str(claims.get("preferred_username") or "")
        name = str(claims.get("name") or wanted or "somebody")[:64]
        try:
            must_be_name(wanted)
            return self._accounts.add(wanted, name, None, subject=subject)
        except UsageError:  # not a name here, or somebody has it: a name proves nothing, the subject does
            ident = f"oidc-{hashlib.sha256(subject.encode()).hexdigest()[:12]}"
            return self._accounts.add(ident, name if name.isprintable() else ident, None, subject=subject)

    async def _discover(self) -> Json:
        if not self._known:
            place = f"{self._provider.issuer.rstrip('/')}/.well-known/openid-configuration"
            found = await self._ask(place)
            wanted = ("authorization_endpoint", "token_endpoint", "jwks_uri")
            said = all(isinstance(found.get(name), str) for name in wanted)
            if found.get("issuer") != self._provider.issuer or not said:
                raise Refused("the provider does not describe itself as it should", status=502)
            self._known = found
        return self._known

    async def _ask(self, place: str, form: dict[str, str] | None = None) -> Json:
        import aiohttp

        bound = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=bound) as http,
                http.request("POST" if form else "GET", place, data=form, allow_redirects=False) as answer,
            ):
                raw = await answer.content.read(ANSWER_BYTES_MAX)
                if answer.status != 200:
                    raise Refused("the identity provider refused", status=502, why=f"HTTP {answer.status}")
                value: object = orjson.loads(raw)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            why = type(error).__name__
            raise Refused("the identity provider does not answer", status=502, why=why) from error
        if not isinstance(value, dict):
            raise Refused("the identity provider answers nonsense", status=502)
        return cast(Json, value)
