"""How does a terminal watch a session on another machine? As a browser does: sign in, one socket, resume."""

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final, Self, cast

import aiohttp

from veilig.core.errors import SessionError, UsageError

AGAIN_S: Final = 2.0
TRIES: Final = 30  # a minute without an answer: the server is gone
_PLACE = re.compile(r"(https?://[^/\s]+)/?(?:#/(?:sessions/([a-z0-9.\-]+)|join/([A-Za-z0-9_\-]+)))?")


@dataclass(frozen=True, slots=True)
class Place:
    """A page's address: the server, and a session or an invitation."""

    server: str
    session: str
    token: str


def place_of(address: str) -> Place:
    """Raises UsageError for what is no address of a session."""
    found = _PLACE.fullmatch(address)
    if found is None or not (found[2] or found[3]):
        raise UsageError(
            f"{address!r} is no address of a session",
            fix="copy it from the page: http://HOST/#/sessions/ID, or an invitation",
        )
    return Place(found[1], found[2] or "", found[3] or "")


class Far:
    """Somebody signed in on another machine."""

    def __init__(self, place: Place, person: str, password: str) -> None:
        self._place = place
        self._person = person
        self._password = password
        self._session = place.session
        # Servers are often reached by a number, in tests and at home: cookies of those count, too.
        self._http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def __aenter__(self) -> Self:
        try:
            if self._place.token:
                body = {"token": self._place.token, "name": self._person}
                self._session = (await self._post("invites/accept", body))["session"]
            else:
                await self._post("auth/sign-in", {"name": self._person, "password": self._password})
        except BaseException:
            await self._http.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def _post(self, path: str, body: dict[str, str]) -> dict[str, Any]:
        try:
            async with self._http.post(f"{self._place.server}/api/v1/{path}", json=body) as answer:
                value = cast("dict[str, Any]", await answer.json())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise SessionError(f"{self._place.server} does not answer", why=str(error)) from error
        if "error" in value:
            said = value["error"]
            raise SessionError(str(said["what"]), why=str(said["why"]), fix=str(said["fix"]))
        return value

    async def messages(self, after: int) -> AsyncGenerator[dict[str, Any]]:
        """Every message, over as many connections as it takes; no event twice, none left out."""
        if not self._session:
            raise UsageError("this link opens the whole server", fix="watch one session: /#/sessions/ID")
        tries = 0
        while True:
            try:
                async with self._http.ws_connect(self._url(f"live?after={after}")) as socket:
                    tries = 0
                    async for frame in socket:
                        message: dict[str, Any] = frame.json()
                        if message["t"] == "resync":
                            async for event in self._missed(after):
                                after = event["seq"]
                                yield {"t": "event", "e": event}
                        elif message["t"] != "event":
                            yield message
                        elif message["e"]["seq"] > after:
                            after = message["e"]["seq"]
                            yield message
            except aiohttp.WSServerHandshakeError as error:
                raise SessionError("you may not watch this session", why=f"HTTP {error.status}") from error
            except (aiohttp.ClientError, TimeoutError) as error:
                tries += 1
                if tries > TRIES:
                    raise SessionError(f"{self._place.server} does not answer", why=str(error)) from error
            await asyncio.sleep(AGAIN_S)

    async def _missed(self, after: int) -> AsyncGenerator[dict[str, Any]]:
        more = True
        while more:
            async with self._http.get(self._url(f"events?after={after}&limit=1000")) as answer:
                page = cast("dict[str, Any]", await answer.json())
            for event in page.get("events", []):
                yield event
            after, more = int(page.get("last", after)), bool(page.get("more"))

    def _url(self, path: str) -> str:
        return f"{self._place.server}/api/v1/sessions/{self._session}/{path}"
