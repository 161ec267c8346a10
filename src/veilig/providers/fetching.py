"""How is a published file fetched: from the host that was named, bounded, whole or to be gone on with?"""

import asyncio
import contextlib
import fcntl
import hashlib
import json
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from veilig.core.action import Action, FetchAdvisories
from veilig.core.action_json import JSON, digest
from veilig.core.clock import Clock
from veilig.core.errors import ProviderError
from veilig.core.provider import Found, Outcome, Permit, must_fit
from veilig.providers.models.endpoint import proxy_of

CHUNK_BYTES = 1 << 16
SILENCE_S = 30.0  # a host that says nothing for so long is gone
ATTEMPTS_MAX = 3  # each goes on where the one before was cut
REDIRECTS_MAX = 5
KINDS = (".zip", ".jsonl", ".jsonl.gz", ".json")  # what the reader of advisories can tell by name


@dataclass(frozen=True, slots=True)
class _Part:
    """What an earlier try left: a file, and how the host named the version it belongs to."""

    file: Path
    facts: Path

    def validator(self, url: str) -> str:
        """The name of the version to go on with; empty when there is none to trust."""
        with contextlib.suppress(OSError, ValueError):
            found = cast(dict[str, Any], json.loads(self.facts.read_text(encoding="utf-8")))
            if found["url"] == url and self.file.stat().st_size:
                return str(found["validator"])
        return ""

    def begin(self, url: str, headers: Message) -> None:
        """Remember which version is being fetched."""
        etag = headers.get("ETag", "")
        strong = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")
        self.facts.write_text(json.dumps({"url": url, "validator": strong}), encoding="utf-8")

    def drop(self) -> None:
        """Forget it."""
        self.file.unlink(missing_ok=True)
        self.facts.unlink(missing_ok=True)


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows a redirect to the same host only: a person named this one and no other."""

    max_redirections = REDIRECTS_MAX

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:
        was, to = urlsplit(req.full_url), urlsplit(newurl)
        if (was.scheme, was.netloc) != (to.scheme, to.netloc):
            raise ProviderError(
                f"{was.hostname} sends us to another host",
                why=f"{to.scheme}://{to.netloc} was not named",
                fix="if you trust it, give its address yourself",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class FetchProvider:
    """Performs `advisories.fetch`: the file lies in `folder` afterwards, also the part that a failed try got.

    environment: may name a proxy (HTTPS_PROXY, NO_PROXY).
    """

    kinds = frozenset({"advisories.fetch"})

    def __init__(self, clock: Clock, folder: Path, environment: Mapping[str, str]) -> None:
        self._clock = clock
        self._folder = folder
        self._environment = environment

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        """data: path, size_bytes, sha256, had_bytes (from an earlier try). Raises ProviderError."""
        must_fit(permit, digest(action), self._clock.boottime_s())
        if not isinstance(action, FetchAdvisories):
            raise ProviderError(f"no fetcher performs {action.kind}", why="the gate was wired wrongly")
        return await asyncio.to_thread(self._fetch, permit.expand(action.url), action)

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        """Its digest was taken while it was written; that it is there whole is checked by its size."""
        del action, permit
        path, size = Path(str(outcome.data["path"])), outcome.data["size_bytes"]
        if await asyncio.to_thread(lambda: path.is_file() and path.stat().st_size == size):
            return outcome
        return Outcome(False, f"{path} is not what was fetched", data=outcome.data)

    async def inspect(self, action: Action) -> Found:
        """Fetching again harms nothing."""
        del action
        await asyncio.sleep(0)
        return Found.NOT_DONE

    def _fetch(self, url: str, action: FetchAdvisories) -> Outcome:
        path = urlsplit(url).path
        suffix = next((kind for kind in sorted(KINDS, key=len, reverse=True) if path.endswith(kind)), "")
        if not suffix:
            raise ProviderError(
                f"{path!r} does not say what it is",
                why=f"the address ends in none of {', '.join(KINDS)}",
                fix="give the address of the file itself",
            )
        name = hashlib.sha256(url.encode()).hexdigest()[:32]
        part = _Part(self._folder / f"{name}.part", self._folder / f"{name}.version")
        target = self._folder / f"{name}{suffix}"
        until_s = time.monotonic() + action.timeout_s
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with alone(self._folder / f"{name}.lock"):
                had = self._tries(url, part, action.size_bytes_max, until_s)
                size, sha256 = part.file.stat().st_size, _sha256(part.file)
                part.file.replace(target)
                part.drop()
        except OSError as error:
            raise ProviderError(
                f"{url} could not be kept", why=str(error), fix="free some space in the state folder"
            ) from error
        facts: dict[str, JSON] = {"path": str(target), "size_bytes": size, "sha256": sha256, "had_bytes": had}
        return Outcome(True, f"fetched {size} bytes", data=facts)

    def _tries(self, url: str, part: _Part, size_bytes_max: int, until_s: float) -> int:
        """How many bytes were there before; the part is whole afterwards. Raises ProviderError, OSError."""
        had = part.file.stat().st_size if part.validator(url) else 0
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                self._once(url, part, size_bytes_max, until_s)
                return had
            except _Cut as cut:
                left_s = until_s - time.monotonic()
                if left_s <= 0 or attempt == ATTEMPTS_MAX:
                    kept = part.file.stat().st_size if part.validator(url) else 0
                    raise ProviderError(
                        f"{url} came only in part",
                        why=f"{cut}; {attempt} tries" if left_s > 0 else f"{cut}; the time for it is over",
                        fix=f"try again: {kept} bytes are kept" if kept else "try again",
                    ) from cut
        raise AssertionError("the last try returns or raises")

    def _once(self, url: str, part: _Part, size_bytes_max: int, until_s: float) -> None:
        validator = part.validator(url)
        start = part.file.stat().st_size if validator else 0
        headers = {"Accept-Encoding": "identity", "User-Agent": "veilig"}
        request = urllib.request.Request(url, headers=headers)  # noqa: S310  # the action takes no other scheme
        if start:
            request.add_header("Range", f"bytes={start}-")
            request.add_header("If-Range", validator)
        with self._opened(request, part, until_s) as response:
            start = _start(response, start)
            total = _total(response, start)
            if total is not None and total > size_bytes_max:
                raise _large(url, part, size_bytes_max)
            if not start:
                part.begin(url, response.headers)
            with part.file.open("r+b" if start else "wb") as out:
                out.truncate(start)
                out.seek(start)
                size = start + _copy(response, out, size_bytes_max - start, until_s)
            if size > size_bytes_max:
                raise _large(url, part, size_bytes_max)
            if total is not None and size != total:
                raise _Cut(f"{size} of {total} bytes came")

    def _opened(self, request: urllib.request.Request, part: _Part, until_s: float) -> HTTPResponse:
        """The answer, good. Raises ProviderError, and _Cut for what may pass."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler(self._proxies(request)), _SameHost())
        url, silence_s = request.full_url, min(SILENCE_S, max(until_s - time.monotonic(), 0.1))
        try:
            response = cast(HTTPResponse, opener.open(request, timeout=silence_s))
        except HTTPError as error:
            error.close()
            if error.code == 416:  # the part is longer than the file is now
                part.drop()
                raise _Cut("the host has another file now") from error
            if error.code in (408, 425, 429, 500, 502, 503, 504):
                raise _Cut(f"the host answered HTTP {error.code}") from error
            raise ProviderError(f"{url} cannot be fetched", why=f"HTTP {error.code}") from error
        except URLError as error:
            raise _Cut(f"the host cannot be reached: {error.reason}") from error
        except (HTTPException, OSError) as error:
            raise _Cut(f"the connection broke: {type(error).__name__} {error}") from error
        if response.headers.get("Content-Encoding", "identity") != "identity":
            response.close()
            raise ProviderError(f"{url} is packed on the way", why="it was asked for as it is")
        return response

    def _proxies(self, request: urllib.request.Request) -> dict[str, str]:
        parts = urlsplit(request.full_url)
        if parts.scheme == "http":  # plain is for this machine alone
            return {}
        proxy = proxy_of(self._environment, parts.netloc, plain=False)
        return {"https": proxy} if proxy else {}


class _Cut(Exception):
    """It did not come whole, and may the next time."""


@contextlib.contextmanager
def alone(file: Path) -> Any:
    """Nobody else fetches this meanwhile. Raises ProviderError."""
    with file.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ProviderError("another veilig fetches this file", why="it is locked", fix="wait") from error
        yield


def _start(response: HTTPResponse, asked: int) -> int:
    """Where the answer begins. Raises _Cut for a range that nobody asked for."""
    if response.status != 206:
        return 0
    begins = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    if begins != str(asked):
        raise _Cut(f"the host sent bytes from {begins[:20]!r} instead of {asked}")
    return asked


def _total(response: HTTPResponse, start: int) -> int | None:
    """How large the whole file is, where the host says it."""
    length = response.headers.get("Content-Length", "")
    return start + int(length) if length.isascii() and length.isdigit() else None


def _copy(response: HTTPResponse, out: IO[bytes], most: int, until_s: float) -> int:
    """How many bytes came; it stops after the first piece beyond `most`. Raises _Cut when it broke off."""
    size = 0
    while True:
        if time.monotonic() >= until_s:
            raise _Cut("it takes too long")
        try:
            chunk = response.read1(CHUNK_BYTES)
        except (HTTPException, OSError) as error:
            raise _Cut(f"the connection broke: {type(error).__name__} {error}") from error
        if not chunk:
            return size
        size += len(chunk)
        if size > most:
            return size
        out.write(chunk)


def _large(url: str, part: _Part, size_bytes_max: int) -> ProviderError:
    part.drop()
    why = f"more than {size_bytes_max} bytes"
    return ProviderError(f"{url} is too large", why=why, fix="fetch it by hand")


def _sha256(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
