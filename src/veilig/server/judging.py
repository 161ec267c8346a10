"""When is a model asked about a session, and what follows from its word? In the background, for people.

Asked is only about sessions in which the monitor saw something, at most once in ten minutes for a subject,
never more than a few at once, and never while a client waits. A harmful verdict opens a case, so that a
person looks; it moves nobody on the ladder. Whatever goes wrong is written down and changes nothing.
"""

import asyncio
import logging
import random
import secrets
import time
from collections import OrderedDict
from typing import Any, Final

import aiohttp
import orjson

from veilig.app.safeguards import Desk, new_case
from veilig.core.canonical import JSON
from veilig.core.errors import UsageError, VeiligError
from veilig.core.ledger_event import Draft
from veilig.core.policy_safeguards import ServedModel
from veilig.monitor import ladder
from veilig.monitor.items import items_of
from veilig.monitor.judge import Question, Verdict, Word, question, read_answer
from veilig.monitor.ladder import Kind, Ladder, open_case
from veilig.server.metrics import Metrics
from veilig.server.ticket import Ticket
from veilig.server.upstream import Pool, Upstream

log = logging.getLogger(__name__)
AGAIN_S: Final = 600.0
SUBJECTS_MAX: Final = 10_000
AT_ONCE: Final = 4
WAITING_MAX: Final = 32  # more are not asked about, which is counted
ANSWER_BYTES_MAX: Final = 256 << 10
ANSWER_TOKENS: Final = 1200
CONNECT_S: Final = 10.0


class Judging:
    """Asks `model` of the pool. Raises UsageError when no upstream of it speaks chat completions."""

    def __init__(self, model: ServedModel, pool: Pool, desk: Desk, metrics: Metrics, wait_s: float) -> None:
        self._model = model
        self._pool = pool
        self._desk = desk
        self._metrics = metrics
        self._wait_s = wait_s
        self._asked: OrderedDict[str, float] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(AT_ONCE)
        if not self._upstreams():
            raise UsageError(
                f"monitor.judge names {model.name!r}, which no upstream offers as chat completions",
                why="the judge is asked through /chat/completions",
                fix="name a model of gateway.models with such an upstream, or leave monitor.judge empty",
            )

    def _upstreams(self) -> list[Upstream]:
        return [u for u in self._pool.order(self._model) if "chat" in u.flavour.native]

    def consider(self, ticket: Ticket) -> bool:
        """Ask about the session of a request in which something was seen. Returns at once whether it will.

        What is asked goes on in the background.
        """
        user, now_s = ticket.caller.user, time.monotonic()
        if now_s - self._asked.get(user, -AGAIN_S) < AGAIN_S:
            return False
        if len(self._tasks) >= WAITING_MAX:
            self._metrics.count("judge_total", verdict="skipped")
            return False
        asked = question(items_of(ticket.body), random.Random(secrets.randbits(64)))
        if asked is None:
            return False
        self._asked[user] = now_s
        if len(self._asked) > SUBJECTS_MAX:
            self._asked.popitem(last=False)
        task = asyncio.create_task(self._judge(ticket, asked))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def settle(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _judge(self, ticket: Ticket, asked: Question) -> None:
        async with self._turns:
            try:
                async with asyncio.timeout(self._wait_s):
                    word = read_answer(asked, await self._ask(asked))
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                word = Word(Verdict.UNUSABLE, trouble=f"{type(error).__name__}: {error}"[:200])
            try:
                await self._take(ticket, word)
            except VeiligError as error:
                log.warning("what the judge said was not written down: %s", error)

    async def _ask(self, asked: Question) -> str:
        """The judge's answer. Raises ValueError for one of another shape."""
        trouble = "no upstream"
        timeout = aiohttp.ClientTimeout(total=self._wait_s, sock_connect=CONNECT_S)
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as client:
            for upstream in self._upstreams():
                body = {
                    "model": upstream.calls(self._model.name),
                    "messages": [
                        {"role": "system", "content": asked.system},
                        {"role": "user", "content": asked.user},
                    ],
                    upstream.flavour.bound: ANSWER_TOKENS,
                }
                url = upstream.url("/chat/completions")
                async with client.post(
                    url, json=body, headers=upstream.headers(), allow_redirects=False
                ) as answer:
                    if answer.status != 200:
                        trouble = f"{upstream.name} answered {answer.status}"
                        continue
                    data = await answer.content.read(ANSWER_BYTES_MAX)
                    return _text(data)
        raise ValueError(trouble)

    async def _take(self, ticket: Ticket, word: Word) -> None:
        """Write down the word; a harmful one opens a case, once."""
        user = ticket.caller.user
        self._metrics.count("judge_total", verdict=str(word.verdict))
        judged: dict[str, JSON] = {
            "request": ticket.id,
            "subject": user,
            "model": self._model.name,
            "verdict": str(word.verdict),
            "harm": word.harm,
            "trouble": word.trouble,
        }

        def fn(known: Ladder, _: int) -> tuple[list[Draft], None]:
            drafts = [Draft("monitor.judged", ladder.SESSION, judged)]
            if word.verdict is Verdict.HARMFUL:
                evidence: list[JSON] = [f"judge:{self._model.name}", f"harm:{word.harm}"]
                drafts.append(Draft("signal.raised", ladder.SESSION, {
                    # of no weight: people see it in the case, and the ladder does not move by it
                    "subject": user, "kind": str(Kind.MONITOR), "severity": 0.0, "confidence": 0,
                    "evidence": evidence, "tier": str(ticket.caller.tier), "request": ticket.id, "text": "",
                }))  # fmt: skip
                drafts += open_case(known.standing(user), new_case())
            return drafts, None

        await self._desk.change(fn)


def _text(data: bytes) -> str:
    """The text of a chat completion. Raises ValueError."""
    try:
        value: Any = orjson.loads(data)
        text = value["choices"][0]["message"]["content"]
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"no chat completion: {type(error).__name__}") from error
    if not isinstance(text, str):
        raise ValueError("no chat completion: the content is no text")  # noqa: TRY004  # a wrong answer
    return text
