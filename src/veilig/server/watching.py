"""How does a terminal watch a session on another machine? As a browser does: sign in, one socket, resume."""

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, cast

import aiohttp
from yarl import URL

from veilig.core.errors import SessionError, UsageError
from veilig.server.doorway import COOKIE

AGAIN_S: Final = 2.0
TRIES: Final = 30  # a minute without an answer: the server is gone
_PLACE = re.compile(r"(https?://[^/\s]+)/?(?:#/(?:s(?:essions)?/([a-z0-9.\-]+)|join/([A-Za-z0-9_\-]+)))?")


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


class Kept:
    """The cookie by which a server knows a guest again, in a file that only this user can read.

    Without it each use of an invitation would make another guest.
    """

    def __init__(self, folder: Path, server: str, person: str) -> None:
        name = hashlib.sha256(f"{server}\n{person}".encode()).hexdigest()[:24]
        self._file = folder / "guests" / f"{name}.cookie"

    def read(self) -> str:
        """The cookie; empty when there is none that is this user's alone."""
        try:
            fd = os.open(self._file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return ""  # nothing was kept, or it cannot be used: one comes in anew
        with os.fdopen(fd) as file:
            mode = os.fstat(fd)
            return file.read(200).strip() if mode.st_uid == os.getuid() and not mode.st_mode & 0o077 else ""

    def forget(self) -> None:
        """Next time one comes in anew."""
        self._file.unlink(missing_ok=True)

    def write(self, cookie: str) -> None:
        """Keep it. Raises SessionError when it cannot be written."""
        draft = self._file.with_suffix(f".{os.getpid()}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft.unlink(missing_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(cookie)
            draft.replace(self._file)
        except OSError as error:
            raise SessionError(f"cannot write {self._file}", why=str(error)) from error


class Far:
    """Somebody signed in on another machine. kept: where a guest's cookie is, to be known again."""

    def __init__(self, place: Place, person: str, password: str, kept: Kept | None = None) -> None:
        self._kept = kept
        self._place = place
        self._person = person
        self._password = password
        self._session = place.session
        # Servers are often reached by a number, in tests and at home: cookies of those count, too.
        self._http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def __aenter__(self) -> Self:
        try:
            known = await self._known()
            if self._place.token:
                body = {"token": self._place.token, **({} if known else {"name": self._person})}
                self._session = (await self._post("invites/accept", body))["session"]
                self._keep()
            elif not known:
                await self._post("auth/sign-in", {"name": self._person, "password": self._password})
        except BaseException:
            await self._http.close()
            raise
        return self

    async def _known(self) -> bool:
        """Whether the server knows the cookie that was kept from the last time."""
        cookie = self._kept.read() if self._kept is not None else ""
        if not cookie:
            return False
        self._http.cookie_jar.update_cookies({COOKIE: cookie}, URL(self._place.server))
        try:
            async with self._http.get(f"{self._place.server}/api/v1/me") as answer:
                if answer.status == 200:
                    return True
        except (aiohttp.ClientError, TimeoutError) as error:
            raise SessionError(f"{self._place.server} does not answer", why=str(error)) from error
        self._http.cookie_jar.clear()
        if self._kept is not None:
            self._kept.forget()  # too old, or its account is gone
        return False

    def _keep(self) -> None:
        found = self._http.cookie_jar.filter_cookies(URL(self._place.server)).get(COOKIE)
        if self._kept is not None and found is not None:
            self._kept.write(found.value)

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
