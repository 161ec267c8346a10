"""How does the gateway start, keep itself in order, and stop? uvicorn around the ASGI application.

Beside the requests one task writes what was noted, lets subjects come down, tries the safeguards and reads
feeds that changed. SIGTERM stops accepting, lets requests end, returns leases and writes the rest.
"""

import asyncio
import contextlib
import gc
import logging
import signal
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from veilig import __version__
from veilig.app import deployment
from veilig.app.deployment import Signatures
from veilig.app.safeguards import FLUSH_S, Desk
from veilig.app.selftest import EVERY_S, try_all
from veilig.app.speeds import RENEW_S, OwnSpeeds, Speeds
from veilig.app.watching import load_indicators, make_engine, stamp
from veilig.core.errors import UsageError, VeiligError
from veilig.core.policy_safeguards import GatewayRules, ServedModel, UpstreamRule
from veilig.monitor.engine import Engine
from veilig.server.gateway import Gateway, Receive, Scope, Send
from veilig.server.judging import Judging
from veilig.server.metrics import Metrics
from veilig.server.reading import Reader
from veilig.server.safety_webhooks import Sender
from veilig.server.upstream import Pool
from veilig.server.wire import Appeals

log = logging.getLogger(__name__)
DRAIN_S: Final = 30  # requests under way get this long after SIGTERM
TICK_S: Final = 30.0
TELL_S: Final = 0.5  # between two looks for notices that are due


@dataclass(frozen=True, slots=True)
class Place:
    """Where it listens."""

    host: str
    port: int


def place_of(listen: str) -> Place:
    """`host:port` of the policy. Raises UsageError."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) < 65536:
        raise UsageError(f"gateway.listen is {listen!r}", fix="write for example 127.0.0.1:8080")
    return Place(host.strip("[]"), int(port))


def with_upstream(rules: GatewayRules, url: str, key_env: str) -> GatewayRules:
    """One upstream named at the terminal, for every model, when the policy names none. Raises UsageError."""
    if rules.upstreams:
        raise UsageError("--upstream is for a policy without gateway.upstreams", fix="name it there instead")
    base = url.rstrip("/")
    one = UpstreamRule("upstream", base if base.endswith("/v1") else f"{base}/v1", key_env)
    return replace(rules, enabled=True, upstreams=(one,), models=rules.models or (ServedModel("*"),))


class Service:
    """The gateway with everything around it."""

    def __init__(self, desk: Desk, cache: Path | None = None, speeds: Speeds | None = None) -> None:
        rules = desk.rules
        if not rules.gateway.enabled:
            raise UsageError(
                "the gateway is not enabled", fix="set gateway.enabled in veilig.yaml, or give --upstream URL"
            )
        if not rules.gateway.upstreams or not rules.gateway.models:
            raise UsageError(
                "the gateway has nowhere to send requests", fix="name gateway.upstreams and gateway.models"
            )
        self.rules = rules
        self.desk = desk
        self.engine: Engine | None = None
        self.working: dict[str, bool] = {}
        self._stamp = ""
        self._cache = cache
        reader: Reader | None = None
        if rules.monitor.enabled:
            loaded = load_indicators(rules.monitor, cache)
            self._stamp = loaded.digest
            self.engine = make_engine(rules.monitor, loaded)
            self._said_loaded(loaded.indicators.size, loaded.refused)
            reader = Reader(self.engine, self.desk, Metrics(), Appeals(rules.gateway.appeal_url))
        self.speeds = speeds or OwnSpeeds()
        pool = Pool(rules.gateway.upstreams)
        self.gateway = Gateway(self.desk, rules.gateway, pool, reader, self.working, self.speeds)
        self.judging: Judging | None = None
        if reader is not None and rules.monitor.judge:
            served = self.gateway.models.find(rules.monitor.judge)
            if served is None:
                raise UsageError(
                    f"monitor.judge names {rules.monitor.judge!r}, which is not in gateway.models",
                    fix="name a model that the gateway serves, or leave it empty",
                )
            served = replace(served, name=rules.monitor.judge)
            metrics, wait_s = self.gateway.metrics, rules.monitor.judge_s
            self.judging = reader.judging = Judging(served, pool, desk, metrics, wait_s)
        self.sender = Sender(desk, rules.gateway.webhooks)
        self.try_safeguards()

    def _said_loaded(self, live: int, refused: dict[str, int]) -> None:
        feeds = [f.name for f in self.rules.monitor.feeds]
        self.desk.note(
            "indicators.loaded",
            {"digest": self._stamp, "live": live, "refused": {**refused}, "feeds": [*feeds]},
        )

    def _signed(self) -> Signatures:
        return deployment.needed(self.desk.ledger, self.rules)

    def try_safeguards(self, signed: Signatures | None = None) -> None:
        """Run the self-tests; the ledger hears of each that changed. signed: as far as it was read."""
        tried = try_all(self.engine)
        signed = self._signed() if signed is None else signed
        tried[deployment.NAME] = deployment.tried(signed, self.rules, tried)
        for name, (passed, detail) in tried.items():
            if self.working.get(name) != passed:
                self.desk.note("safeguard.tested", {"safeguard": name, "passed": passed, "detail": detail})
            self.working[name] = passed

    def reload_feeds(self) -> None:
        """Swap the indicators when a feed's file changed; a broken feed leaves the old ones, and is said."""
        if self.engine is None or (now := stamp(self.rules.monitor.feeds)) == self._stamp:
            return
        try:
            loaded = load_indicators(self.rules.monitor, self._cache)
        except VeiligError as error:
            log.warning("indicators were not reloaded: %s", error.what)
            self._stamp = now
            self.desk.note(
                "monitor.failed", {"request": "", "stage": "feeds", "error": error.what, "passed": False}
            )
            return
        self._stamp, self.engine.indicators = loaded.digest, loaded.indicators
        self._said_loaded(loaded.indicators.size, loaded.refused)

    async def upkeep(self) -> None:
        """Until cancelled: write, come down, try, reload."""
        last_tick = last_try = last_renewed = time.monotonic()
        while True:
            await asyncio.sleep(FLUSH_S)
            try:
                await self.desk.flush()
                now = time.monotonic()
                if now - last_renewed >= RENEW_S:
                    last_renewed = now
                    self.speeds.renew()
                if now - last_tick >= TICK_S:
                    last_tick = now
                    await self.desk.tick()
                    await self.desk.spending.give_back()
                    await asyncio.to_thread(self.reload_feeds)
                if now - last_try >= EVERY_S:
                    last_try = now
                    self.try_safeguards(await self.desk.ledger.read(self._signed))
            except VeiligError as error:
                log.warning("the gateway's upkeep failed, and tries again: %s", error)

    async def tell(self) -> None:
        """Until cancelled: deliver notices. Apart from the rest, since an endpoint may be slow."""
        while True:
            await asyncio.sleep(TELL_S)
            try:
                if self.sender.endpoints and await self.speeds.lead("webhooks"):
                    await self.sender.deliver()
            except VeiligError as error:
                log.warning("webhooks were not told, and are later: %s", error)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[Gateway]:
        """The gateway, ready; on the way out everything is written and returned."""
        self.gateway.relay.open()
        listen = self.rules.gateway.listen
        works: dict[str, Any] = dict(self.working)
        self.desk.note(
            "gateway.started", {"listen": listen, "policy": "", "safeguards": works, "veilig": __version__}
        )
        await self.desk.flush()
        beside = [asyncio.create_task(self.upkeep()), asyncio.create_task(self.tell())]
        self.gateway.ready = True
        try:
            yield self.gateway
        finally:
            self.gateway.draining = True
            for task in beside:
                task.cancel()
            for task in beside:
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            self.desk.note("gateway.stopped", {"why": "asked to"})
            if self.judging is not None:
                await self.judging.close()
            await self.desk.close()
            await self.speeds.close()
            await self.gateway.relay.close()
            await self.sender.close()


def serve(service: Service, place: Place, ready: Callable[[str], None]) -> None:
    """Listen until SIGTERM or SIGINT. ready: told the address when requests can come."""
    import uvicorn

    class Server(uvicorn.Server):
        """Says where it listens."""

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                host, port = self.servers[0].sockets[0].getsockname()[:2]
                ready(f"http://{host}:{port}/v1")

        def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ARG002  # as uvicorn calls it
            # uvicorn would raise the signal again at the end: the ledger could not be closed any more.
            self.force_exit = self.should_exit and sig == signal.SIGINT
            self.should_exit = True

        async def shutdown(self, sockets: Any = None) -> None:
            service.gateway.draining = True
            await super().shutdown(sockets)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        else:
            await service.gateway(scope, receive, send)

    async def _lifespan(receive: Receive, send: Send) -> None:
        await receive()
        async with service.running():
            await send({"type": "lifespan.startup.complete"})
            while (await receive())["type"] != "lifespan.shutdown":
                pass
        await send({"type": "lifespan.shutdown.complete"})

    config = uvicorn.Config(
        app,
        host=place.host,
        port=place.port,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        access_log=False,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=DRAIN_S,
        backlog=2048,
        ws_max_size=service.rules.gateway.request_bytes,
        ws_per_message_deflate=False,
    )
    gc.collect()
    gc.freeze()  # what was loaded stays: no collection needs to walk over it during a request
    gc.set_threshold(20_000, 20, 20)  # a request makes hundreds of objects and no cycles
    Server(config).run()
