"""How does the server of the page start and stop? uvicorn around the application.

SIGTERM: everybody who watches is told, streams end, and the process is gone within five seconds, whoever
still holds a connection. Sessions are processes of their own: they go on.
"""

import asyncio
import contextlib
import gc
import signal
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from veilig.app.serving import Serving
from veilig.core.errors import UsageError
from veilig.server.doorway import Doorway
from veilig.server.live import Hub
from veilig.server.oidc import Oidc, Provider
from veilig.server.page import Page
from veilig.server.serve import Place
from veilig.server.streams import Receive, Scope, Send
from veilig.server.webhooks import Webhooks

STOP_S: Final = 3  # of the five seconds; the rest is for the ledger's last commit
BYE_S: Final = 1.0
LOCAL: Final = ("127.0.0.1", "::1", "localhost")
# How uvicorn serves the page; requests are bounded in doorway.py and frames.py.
SERVED: Final[dict[str, Any]] = {
    "loop": "uvloop",
    "http": "httptools",
    "ws_max_size": 4096,
    "ws_per_message_deflate": False,
    "ws_ping_interval": 20.0,
    "ws_ping_timeout": 60.0,
    "lifespan": "on",
    "access_log": False,
    "log_level": "warning",
    "proxy_headers": False,
    "server_header": False,
    "date_header": False,
    "timeout_keep_alive": 75,
    "timeout_graceful_shutdown": STOP_S,
    "backlog": 2048,
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where it listens, and how people call it."""

    place: Place
    url: str = ""

    def hosts(self, port: int) -> list[str]:
        """What `Host` may say."""
        host = self.place.host
        names = [f"[{host}]" if ":" in host else host]
        if host in LOCAL:
            names += ["localhost", "127.0.0.1", "[::1]"]
        found = [f"{name}:{port}" for name in names] + (names if port in (80, 443) else [])
        return [*found, *([urlsplit(self.url).netloc] if self.url else [])]


def address_of(place: Place, url: str) -> Address:
    """Raises UsageError for a place that others can reach without a name that they may use."""
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.netloc or parts.path not in ("", "/")):
        raise UsageError(
            f"--url {url!r} is no address of a site", fix="write for example https://veilig.example.org"
        )
    if place.host not in LOCAL and not url:
        raise UsageError(
            f"--listen {place.host} is reached from other machines",
            why="passwords and cookies need https, and requests for other names are refused",
            fix="put a proxy with TLS before it, and say how people call it: --url https://NAME",
        )
    return Address(place, url.rstrip("/"))


def serve(
    serving: Serving,
    address: Address,
    ready: Callable[[str], None],
    provider: Provider | None = None,
    webhooks: Sequence[Webhooks] = (),
) -> None:
    """Listen until SIGTERM or SIGINT. ready: told the address when requests can come."""
    import uvicorn

    from veilig.server.frames import FrameProtocol

    rules = serving.policy.elsewhere.page
    secure = address.url.startswith("https://")
    doorway = Doorway(
        serving.accounts,
        address.hosts(address.place.port),
        secure=secure,
        per_minute=rules.requests_per_minute,
    )
    hub = Hub(serving, doorway)
    page = Page(hub)

    class Server(uvicorn.Server):
        """Says where it listens, and says good-bye."""

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                host, port = self.servers[0].sockets[0].getsockname()[:2]
                doorway.hosts = frozenset(h.lower() for h in address.hosts(port))
                shown = f"[{host}]" if ":" in host else host
                url = address.url or f"http://{shown}:{port}"
                if provider is not None:
                    hub.oidc = Oidc(provider, serving.accounts, f"{url}/api/v1/auth/oidc/callback")
                ready(url)

        def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ARG002  # as uvicorn calls it
            # uvicorn would raise the signal again at the end: the ledger could not be closed any more.
            self.force_exit = self.should_exit and sig == signal.SIGINT
            self.should_exit = True

        async def shutdown(self, sockets: Any = None) -> None:
            await hub.ended(BYE_S)  # uvicorn closes sockets without a word
            await super().shutdown(sockets)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(serving, hub, webhooks, receive, send)
        else:
            await page(scope, receive, send)

    config = uvicorn.Config(
        app,
        host=address.place.host,
        port=address.place.port,
        ws=FrameProtocol,
        **SERVED,
    )
    gc.collect()
    gc.freeze()
    Server(config).run()


async def _lifespan(
    serving: Serving, hub: Hub, webhooks: Sequence[Webhooks], receive: Receive, send: Send
) -> None:
    await receive()
    async with _open(serving, hub, webhooks):
        await send({"type": "lifespan.startup.complete"})
        while (await receive())["type"] != "lifespan.shutdown":
            pass
    await send({"type": "lifespan.shutdown.complete"})


@contextlib.asynccontextmanager
async def _open(serving: Serving, hub: Hub, webhooks: Sequence[Webhooks]) -> AsyncGenerator[None]:
    async with serving.following():
        hub.open()
        sending: list[asyncio.Task[None]] = []
        for one in webhooks:
            serving.heard.append(one.told)
            sending.append(asyncio.create_task(one.run()))
        try:
            yield
        finally:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
            await hub.close()


def missing(names: Sequence[str]) -> list[str]:
    """Which of these modules are not installed."""
    from importlib.util import find_spec

    return [name for name in names if find_spec(name) is None]
