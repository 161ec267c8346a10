"""A gateway in this process: the ASGI application with a real ledger, spoken to without a socket."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from veilig.access.keys import key_hash
from veilig.app.safeguards import Desk
from veilig.core.canonical import JSON
from veilig.core.clock import SystemClock
from veilig.core.ledger import Ledger
from veilig.core.ledger_event import Draft
from veilig.core.policy import parse
from veilig.core.policy_safeguards import Safeguards
from veilig.server.gateway import Gateway
from veilig.server.serve import Service

YEAR_S = 365 * 86400
POLICY = """
access:
  default_tier: standard
  classes:
    - name: high
      least_tier: verified
      grant: true
      safeguards: [monitor, tool_calls_held, indicators, ladder]
monitor: {enabled: true}
gateway:
  enabled: true
  appeal_url: https://gateway.test/appeals
  upstreams: [{name: main, url: "http://127.0.0.1:9/v1"}]
  models:
    - {name: big, fallback: small, usd_per_million_in: 10, usd_per_million_out: 40, tokens_per_answer: 100}
    - {name: cyber, class: high}
    - {name: "*"}
"""


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes
    parts: list[bytes] = field(default_factory=list[bytes])

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]


class Bench:
    """A running gateway and shorthands for what tests do with it."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.gateway: Gateway = service.gateway
        self.desk = service.desk

    def write(self, name: str, **body: JSON) -> None:
        self.desk.ledger.append([Draft(name, "access", body)])

    def key(self, text: str = "key-of-ann", subject: str = "ann", org: str = "acme") -> str:
        """A key whose text is `text`; its id is `k-` and the text."""
        if subject not in self.desk.registry.subjects:
            self.write("subject.added", subject=subject, kind="person", org=org, actor="t")
        expires = int(self.desk.now_s()) + YEAR_S
        digest = key_hash(text.encode()).hex()
        name = f"k-{text}"
        self.write(
            "key.issued", key=name, subject=subject, hash=digest, hint="k", expires_s=expires, actor="t"
        )
        self.desk.catch_up()
        return text

    def vet(self, tier: str, subject: str = "ann") -> None:
        until = int(self.desk.now_s()) + YEAR_S
        self.write(
            "subject.vetted", subject=subject, tier=tier, method="vouched", verifier="v", evidence="e",
            expires_s=until, actor="t",
        )  # fmt: skip

    async def ask(
        self, path: str, body: Any = None, *, key: str = "key-of-ann", method: str = "POST", **headers: str
    ) -> Reply:
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        head = [(b"authorization", f"Bearer {key}".encode()), (b"content-type", b"application/json")]
        head += [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
        scope = {"type": "http", "method": method, "path": path, "headers": head}
        inbox = [{"type": "http.request", "body": raw, "more_body": False}]
        reply = Reply(0, {}, b"")

        async def receive() -> dict[str, Any]:
            if inbox:
                return inbox.pop()
            import asyncio

            await asyncio.Event().wait()
            return {}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                reply.status = message["status"]
                reply.headers = {k.decode().lower(): v.decode() for k, v in message["headers"]}
            elif message.get("body"):
                reply.parts.append(message["body"])

        await self.gateway(scope, receive, send)
        reply.body = b"".join(reply.parts)
        return reply

    async def say(self, text: str = "hi", model: str = "big", **more: Any) -> Reply:
        key = more.pop("key", "key-of-ann")
        return await self.ask("/v1/responses", {"model": model, "input": text, **more}, key=key)

    def events(self, *names: str) -> list[dict[str, Any]]:
        return [dict(e.body) for e in self.desk.ledger.events(names=names)]


def rules_of(text: str, *urls: str) -> Safeguards:
    """The sections of a policy, its upstreams replaced by these."""
    rules = parse(text).elsewhere.safeguards
    made = [replace(rules.gateway.upstreams[0], name=f"up-{i}", url=url) for i, url in enumerate(urls)]
    return replace(rules, gateway=replace(rules.gateway, upstreams=tuple(made) or rules.gateway.upstreams))


@asynccontextmanager
async def running(folder: Path, *urls: str, policy: str = POLICY) -> AsyncGenerator[Bench]:
    """A gateway in front of `urls`, with ann's key."""
    with Ledger.open(folder / "ledger.db", anchor_dir=folder / "anchors") as ledger:
        service = Service(Desk(ledger, rules_of(policy, *urls), SystemClock()))
        async with service.running():
            bench = Bench(service)
            if "ann" not in bench.desk.registry.subjects:
                bench.key()
            yield bench
