"""How is threat intelligence fetched? What is new in a collection of a TAXII 2.1 server, whole or not at all.

Pages are kept as they came, in the feed's folder, and the cursor (`added_after`) moves only when all of them
are there: a sync that breaks off is repeated, never half believed. No redirect is followed, since the policy
names one host and the header Authorization goes to no other.
"""

import asyncio
import json
import os
import shutil
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urljoin, urlsplit

from veilig.core.action import Action, FetchFeed
from veilig.core.action_json import JSON, digest
from veilig.core.clock import Clock
from veilig.core.errors import ProviderError
from veilig.core.provider import Found, Outcome, Permit, must_fit
from veilig.providers.fetching import alone
from veilig.providers.models.endpoint import proxy_of

MEDIA = "application/taxii+json;version=2.1"
PAGE_OBJECTS = 1000
PAGES_MAX = 5000
SILENCE_S = 30.0
ATTEMPTS_MAX = 3
WAIT_S_MAX = 20.0  # a server that wants more is asked another day
CHUNK_BYTES = 1 << 16
CURSOR = "cursor"  # not .json: the reader of feeds takes those for bundles


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses them all."""

    def redirect_request(
        self,
        req: urllib.request.Request,  # noqa: ARG002  # as the library calls it
        fp: IO[bytes],
        code: int,  # noqa: ARG002
        msg: str,  # noqa: ARG002
        headers: Any,  # noqa: ARG002
        newurl: str,  # noqa: ARG002
    ) -> None:
        fp.close()
        raise ProviderError(
            "the TAXII server sends us elsewhere",
            why="a redirect is not followed: the policy names one address",
            fix="name the address it should be, with its last slash",
        )


@dataclass(slots=True)
class _Asking:
    """One sync: how much may still come, until when, and with which header."""

    environment: Mapping[str, str]
    authorization: str
    bytes_left: int
    until_s: float

    def get(self, url: str) -> tuple[dict[str, Any], str]:
        """A resource and the newest date in it. Raises ProviderError."""
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                return self._once(url)
            except _LaterError as later:
                wait_s = min(later.wait_s, WAIT_S_MAX)
                if attempt == ATTEMPTS_MAX or time.monotonic() + wait_s >= self.until_s:
                    raise ProviderError(
                        f"{_host(url)} does not answer", why=f"{later}; {attempt} tries", fix="try again"
                    ) from later
                time.sleep(wait_s)
        raise AssertionError("the last try returns or raises")

    def _once(self, url: str) -> tuple[dict[str, Any], str]:
        headers = {"Accept": MEDIA, "Accept-Encoding": "identity", "User-Agent": "veilig"}
        if self.authorization:
            headers["Authorization"] = self.authorization
        request = urllib.request.Request(url, headers=headers)  # noqa: S310  # the action takes no other scheme
        with self._opened(request) as response:
            kind = response.headers.get("Content-Type", "").lower().replace(" ", "")
            if not kind.startswith("application/taxii+json") or "version=2.0" in kind:
                raise ProviderError(
                    f"{_host(url)} does not speak TAXII 2.1",
                    why=f"it sends {kind[:80]!r}",
                    fix="check the address",
                )
            data = self._read(response)
            dates = [response.headers.get(f"X-TAXII-Date-Added-{end}", "") for end in ("First", "Last")]
        try:
            value: object = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ProviderError(f"{_host(url)} sent no JSON", why=str(error)[:200]) from error
        if not isinstance(value, dict):
            raise ProviderError(f"{_host(url)} sent no JSON object", why=type(value).__name__)
        return cast(dict[str, Any], value), max(dates)

    def _opened(self, request: urllib.request.Request) -> HTTPResponse:
        parts = urlsplit(request.full_url)
        proxy = "" if parts.scheme == "http" else proxy_of(self.environment, parts.netloc, plain=False)
        handler = urllib.request.ProxyHandler({"https": proxy} if proxy else {})
        silence_s = min(SILENCE_S, max(self.until_s - time.monotonic(), 0.1))
        try:
            opener = urllib.request.build_opener(handler, _NoRedirect())
            return cast(HTTPResponse, opener.open(request, timeout=silence_s))
        except HTTPError as error:
            error.close()
            if error.code in (408, 425, 429, 500, 502, 503, 504):
                asked = error.headers.get("Retry-After", "")
                raise _LaterError(f"HTTP {error.code}", float(asked) if asked.isdigit() else 1.0) from error
            raise ProviderError(f"{_host(request.full_url)} says no", why=_meaning(error.code)) from error
        except URLError as error:
            raise _LaterError(f"it cannot be reached: {error.reason}", 0.2) from error
        except (HTTPException, OSError) as error:
            raise _LaterError(f"the connection broke: {type(error).__name__} {error}", 0.2) from error

    def _read(self, response: HTTPResponse) -> bytes:
        parts: list[bytes] = []
        while True:
            if time.monotonic() >= self.until_s:
                raise ProviderError("the TAXII server takes too long", fix="try again, or raise the time")
            try:
                chunk = response.read1(CHUNK_BYTES)
            except (HTTPException, OSError) as error:
                raise _LaterError(f"the connection broke: {type(error).__name__}", 0.2) from error
            if not chunk:
                break
            self.bytes_left -= len(chunk)
            if self.bytes_left < 0:
                raise ProviderError("the collection is larger than was allowed", fix="take a smaller one")
            parts.append(chunk)
        length = response.headers.get("Content-Length", "")
        whole = b"".join(parts)
        if length.isdigit() and int(length) != len(whole):
            raise _LaterError(f"{len(whole)} of {length} bytes came", 0.2)
        return whole

    def pages(self, url: str, after: str) -> Iterator[tuple[list[Any], str]]:
        """Objects and the newest date, page after page. Raises ProviderError."""
        asked = {"limit": str(PAGE_OBJECTS), "match[type]": "indicator"}
        before: list[Any] | None = None
        following = ""
        for _ in range(PAGES_MAX):
            query = (
                asked | ({"added_after": after} if after else {}) | ({"next": following} if following else {})
            )
            value, newest = self.get(f"{url}objects/?{urlencode(query)}")
            objects = value.get("objects", [])
            if not isinstance(objects, list):
                raise ProviderError(f"{_host(url)} sent no objects", why="its envelope has another shape")
            objects = cast(list[Any], objects)
            yield objects, newest
            if value.get("more") is not True:
                return
            following = str(value.get("next") or "")
            after = after if following else newest
            # Some servers name every page alike, so only what comes shows whether it goes on.
            if objects == before or not objects or not (following or newest):
                raise ProviderError(
                    f"{_host(url)} says there is more and names no way to it", fix="tell whoever runs it"
                )
            before = objects
        raise ProviderError(
            f"{_host(url)} sends more than {PAGES_MAX} pages", fix="take a smaller collection"
        )


class _LaterError(Exception):
    """It may work the next time."""

    def __init__(self, why: str, wait_s: float) -> None:
        super().__init__(why)
        self.wait_s = wait_s


class TaxiiProvider:
    """Performs `feed.fetch`. folder: where feeds are kept, one folder each. environment: keys and a proxy."""

    kinds = frozenset({"feed.fetch"})

    def __init__(self, clock: Clock, folder: Path, environment: Mapping[str, str]) -> None:
        self._clock = clock
        self._folder = folder
        self._environment = environment

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        """data: objects, pages, after; or collections, where no feed is named. Raises ProviderError."""
        must_fit(permit, digest(action), self._clock.boottime_s())
        if not isinstance(action, FetchFeed):
            raise ProviderError(f"no fetcher performs {action.kind}", why="the gate was wired wrongly")
        asking = _Asking(
            self._environment,
            _authorization(action.key_env, self._environment),
            action.size_bytes_max,
            time.monotonic() + action.timeout_s,
        )
        if not action.feed:
            found = await asyncio.to_thread(_collections, asking, _slashed(action.url))
            return Outcome(True, f"{len(found)} collections", data={"collections": [*found]})
        return await asyncio.to_thread(self._sync, asking, action)

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        """The cursor on disk is the one that was reached."""
        del permit
        if not isinstance(action, FetchFeed) or not action.feed:
            return outcome
        cursor = await asyncio.to_thread(_cursor, self._folder / action.feed, _slashed(action.url))
        if cursor == outcome.data["after"]:
            return outcome
        return Outcome(False, "the cursor is not what was written", data=outcome.data)

    async def inspect(self, action: Action) -> Found:
        """Fetching again harms nothing."""
        del action
        await asyncio.sleep(0)
        return Found.NOT_DONE

    def _sync(self, asking: _Asking, action: FetchFeed) -> Outcome:
        url, folder = _slashed(action.url), self._folder / action.feed
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with alone(folder / "lock"):
                return _fetched(asking, url, folder)
        except OSError as error:
            raise ProviderError(
                f"feed {action.feed!r} could not be kept",
                why=str(error),
                fix="free some space in the state folder",
            ) from error


def _fetched(asking: _Asking, url: str, folder: Path) -> Outcome:
    after = _cursor(folder, url)
    coming = folder / "coming"
    shutil.rmtree(coming, ignore_errors=True)
    coming.mkdir(mode=0o700)
    objects = pages = 0
    newest = after
    for found, date in asking.pages(url, after):
        newest = max(newest, date)
        if found:
            pages += 1
            objects += len(found)
            (coming / f"{pages:06d}").write_text(json.dumps({"objects": found}), encoding="utf-8")
    had = sorted(folder.glob("*.json"))
    first = int(had[-1].stem) + 1 if had and after else 1
    if not after:  # another collection, or the first time: what was there belongs to something else
        for old in had:
            old.unlink()
    for number, page in enumerate(sorted(coming.iterdir()), first):
        page.replace(folder / f"{number:06d}.json")
    coming.rmdir()
    if not pages and not (folder / "000001.json").exists():
        (folder / "000001.json").write_text('{"objects": []}', encoding="utf-8")
    made = folder / "cursor.new"
    made.write_text(json.dumps({"url": url, "after": newest}), encoding="utf-8")
    with made.open("rb") as written:
        os.fsync(written.fileno())
    made.replace(folder / CURSOR)
    facts: dict[str, JSON] = {"objects": objects, "pages": pages, "after": newest, "from": after}
    return Outcome(True, f"{objects} objects on {pages} pages", data=facts)


def _cursor(folder: Path, url: str) -> str:
    """Up to which date this collection was fetched; "" for none of it."""
    try:
        value: object = json.loads((folder / CURSOR).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    if not isinstance(value, dict):
        return ""
    known = cast(dict[str, Any], value)
    return str(known.get("after", "")) if known.get("url") == url else ""


def _collections(asking: _Asking, url: str) -> list[JSON]:
    """What a discovery address, an API root, or a list of collections names. Raises ProviderError."""
    value, _ = asking.get(url)
    if "api_roots" in value:
        roots = [urljoin(url, str(root)) for root in _list(value["api_roots"])][:20]
    elif "collections" in value or url.endswith("/collections/"):
        return _named(url, value)
    else:
        roots = [url]
    found: list[JSON] = []
    for root in roots:
        if urlsplit(root)[:2] != urlsplit(url)[:2]:
            continue  # another host is another question, with no key of this one
        place = f"{_slashed(root)}collections/"
        found += _named(place, asking.get(place)[0])
    return found


def _named(place: str, value: dict[str, Any]) -> list[JSON]:
    found: list[JSON] = []
    for one in _list(value.get("collections")):
        if isinstance(one, dict):
            known = cast(dict[str, Any], one)
            found.append(
                {
                    "title": str(known.get("title", ""))[:200],
                    "url": f"{place}{str(known.get('id', ''))[:100]}/",
                    "can_read": known.get("can_read") is True,
                }
            )
    return found


def _list(value: object) -> list[object]:
    return cast(list[object], value) if isinstance(value, list) else []


def _authorization(name: str, environment: Mapping[str, str]) -> str:
    """The header, as the variable says it. Raises ProviderError."""
    if not name:
        return ""
    value = environment.get(name, "").strip()
    if not value or not value.isprintable():
        raise ProviderError(
            f"${name} is not set",
            why="the policy says that it holds the header Authorization",
            fix=f'export {name}="Bearer ..." or "Basic ..."',
        )
    return value


def _meaning(code: int) -> str:
    said = {
        401: "it wants a key: see key_env",
        403: "this key may not read it",
        404: "there is no such collection",
        406: "it does not speak TAXII 2.1",
    }
    return f"HTTP {code}" + (f", {said[code]}" if code in said else "")


def _slashed(url: str) -> str:
    return url if url.endswith("/") else f"{url}/"


def _host(url: str) -> str:
    return urlsplit(url).netloc
