"""Are two gateways on one PostgreSQL one gateway: keys, bans, speeds, budgets, also when one is killed?"""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fake_models import FakeModels, fake_models
from postgres import NoPostgres
from served import Served, gateway_process
from server_ledger import Server
from veilig.access.keys import key_hash
from veilig.app.spending import BUDGETS
from veilig.core.canonical import JSON
from veilig.core.ledger import Draft, Ledger

pytestmark = [pytest.mark.outside_gate, pytest.mark.slow, pytest.mark.faults]
YEAR_S = 4_000_000_000
POLICY = """
access:
  default_tier: trusted
  limits:
    - {{tier: trusted, requests_per_minute: 30, tokens_per_minute: 1000000, concurrent: 4}}
    - {{tier: research, requests_per_minute: 6000, tokens_per_minute: 1000000, concurrent: 100}}
monitor: {{enabled: false}}
gateway:
  enabled: true
  upstreams: [{{name: fake, url: "{url}"}}]
  models: [{{name: "*"}}]
"""
BUDGET = 2000


@pytest.fixture
def server() -> Iterator[Server]:
    try:
        found = Server()
    except NoPostgres as error:
        pytest.skip(f"no PostgreSQL here: {error}")
    try:
        yield found
    finally:
        found.close()


class Pair:
    """Two gateways, and the administrator's hand in the ledger, which is a third process to both."""

    def __init__(self, ledger: Ledger, fake: FakeModels, one: Served, two: Served, http: Any) -> None:
        self.ledger, self.fake, self.http = ledger, fake, http
        self.urls = (one.url, two.url)
        self.one, self.two = one, two

    def write(self, name: str, **body: JSON) -> None:
        self.ledger.append([Draft(name, "access", body)])

    def person(self, name: str) -> None:
        self.write("subject.added", subject=name, kind="person", org=name, actor="t")
        self.write(
            "key.issued", key=f"k-{name}", subject=name, hash=key_hash(name.encode()).hex(), hint="k",
            expires_s=YEAR_S, actor="t",
        )  # fmt: skip

    def vet(self, name: str) -> None:
        self.write(
            "subject.vetted", subject=name, tier="research", method="vouched", verifier="v", evidence="e",
            expires_s=YEAR_S, actor="t",
        )  # fmt: skip

    async def say(self, key: str, at: int, *, stream: bool = False, away: bool = False) -> tuple[int, str]:
        """Status and text. away: the database may be; otherwise one that took five seconds is asked again."""
        while True:
            status, text = await self._say(key, at, stream=stream)
            if away or status != 503:
                return status, text

    async def _say(self, key: str, at: int, *, stream: bool) -> tuple[int, str]:
        body = {"model": "m", "input": "hi", "max_output_tokens": 100, "stream": stream}
        headers = {"authorization": f"Bearer {key}"}
        try:
            async with self.http.post(f"{self.urls[at]}/responses", json=body, headers=headers) as answer:
                return answer.status, await answer.text()
        except aiohttp.ClientError as error:
            return 0, type(error).__name__

    async def until_asked(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(self.fake.requests) < count:
                await asyncio.sleep(0.02)


@pytest.fixture
async def pair(server: Server, tmp_path: Path) -> Any:
    org = server.org()
    store = server.address(org, "server").conninfo + f"?org={org}"
    policy = POLICY + f'ledger: {{{{store: "{store}"}}}}\n'
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    async with fake_models() as fake, aiohttp.ClientSession() as http:
        with server.open(org, tmp_path / "anchors", role="server") as ledger, contextlib.ExitStack() as both:
            made = [
                both.enter_context(gateway_process(folder, fake.url, known="-", stop=False, policy=policy))
                for folder in folders
            ]
            try:
                yield Pair(ledger, fake, made[0], made[1], http)
            finally:
                for one in made:
                    one.process.kill()


async def test_what_one_gateway_knows_both_do(pair: Pair, server: Server) -> None:
    for name in ("ann", "ben", "cleo", "dora"):
        pair.person(name)
    pair.vet("dora")
    await _bans(pair)
    await _speed(pair)
    await _budget(pair)
    await _without_the_database(pair, server)


async def _bans(pair: Pair) -> None:
    """What is withdrawn anywhere is withdrawn on the next request everywhere."""
    assert [(await pair.say("ann", at))[0] for at in (0, 1)] == [200, 200]
    moved: dict[str, JSON] = {
        "subject": "key:k-ann", "before": "observe", "after": "suspend", "reason": "seen", "evidence": [],
        "actor": "t", "case": "case-1", "until_ms": -1,
    }  # fmt: skip
    pair.write("case.opened", case="case-1", subject="key:k-ann", owner="t")
    pair.write("ladder.moved", **moved)
    said = [await pair.say("ann", at) for at in (0, 1)]
    assert [status for status, _ in said] == [403, 403]
    assert all("account_suspended" in text for _, text in said)
    headers = {"authorization": "Bearer ann"}  # she appeals at one; the other knows it
    url = "/safety/cases/case-1"
    given: dict[str, Any] = {"json": {"reason": "a lab"}, "headers": headers}
    async with pair.http.post(f"{pair.urls[0]}{url}/appeal", **given) as answer:
        assert answer.status == 200
    async with pair.http.post(f"{pair.urls[1]}{url}/appeal", **given) as answer:
        assert (answer.status, "under appeal already" in await answer.text()) == (409, True)
    pair.write("key.revoked", key="k-ann", reason="lost", actor="t")
    assert [(await pair.say("ann", at))[0] for at in (0, 1)] == [401, 401]


async def _speed(pair: Pair) -> None:
    """30 in a minute through both, not 30 through each; four at once."""
    loop = asyncio.get_running_loop()
    began_s, passed = loop.time(), 0
    over = False
    while not over:  # until the minute is used up; before, one may find all four slots taken
        said = await asyncio.gather(*(pair.say("ben", at) for at in (0, 1, 0, 1)))
        assert {status for status, _ in said} <= {200, 429}
        passed += sum(status == 200 for status, _ in said)
        over = any("requests per minute" in text for _, text in said)
    refilled = (loop.time() - began_s) * 30 / 60 + 1
    assert 25 <= passed <= 30 + refilled, "one that the database kept waiting may have cost a place"
    pair.fake.pause_s = 3600.0
    before = len(pair.fake.requests)
    held = [asyncio.create_task(pair.say("cleo", at, stream=True)) for at in (0, 1, 1, 0)]
    await pair.until_asked(before + 4)
    said = [await pair.say("cleo", at) for at in (0, 1)]
    assert [status for status, _ in said] == [429, 429]
    assert all("under way" in text for _, text in said)
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)


async def _budget(pair: Pair) -> None:
    """42 tokens a request through both at once, and one is killed with three reserved and not settled."""
    pair.write("budget.set", account="key:k-dora", period="total", tokens=BUDGET, micro_usd=-1, actor="t")
    said = await asyncio.gather(*(pair.say("dora", n % 2) for n in range(20)))
    assert {status for status, _ in said} == {200}
    pair.fake.pause_s, before = 3600.0, len(pair.fake.requests)
    lost = [asyncio.create_task(pair.say("dora", 0, stream=True)) for _ in range(3)]
    await pair.until_asked(before + 3)
    pair.one.process.kill()
    pair.one.process.wait()
    await asyncio.gather(*lost)
    pair.fake.pause_s = 0.0
    said = await asyncio.gather(*(pair.say("dora", 1) for _ in range(60)))
    assert all(status == 200 or "used up" in text for status, text in said), said
    after = sum(status == 200 for status, _ in said)
    assert (20 + 3 + after) * 42 <= BUDGET, "what the killed one had reserved is not free again"
    assert after >= 5, "a crash costs a lease, not the rest of the budget"
    assert len(pair.fake.requests) == before + 3 + after


async def _without_the_database(pair: Pair, server: Server) -> None:
    pair.person("eve")
    assert (await pair.say("eve", 1))[0] == 200
    server.cluster.stop("immediate")
    asked = len(pair.fake.requests)
    said = await asyncio.gather(*(pair.say("eve", 1, away=True) for _ in range(5)))
    assert {status for status, _ in said} == {503}
    assert all("cannot use its record" in text for _, text in said)
    assert len(pair.fake.requests) == asked
    root = pair.urls[1].removesuffix("/v1")
    async with pair.http.get(f"{root}/readyz") as answer:
        assert answer.status == 503
    async with pair.http.get(f"{root}/healthz") as answer:
        assert answer.status == 200
    server.cluster.start()
    async with asyncio.timeout(90):
        while (await pair.say("eve", 1, away=True))[0] != 200:
            await asyncio.sleep(0.2)
    leased = sum(
        (1 if e.name == "budget.leased" else -1) * int(str(e.body["tokens"]))
        for e in pair.ledger.events(BUDGETS)
    )
    assert leased <= BUDGET
