"""How is a model asked about an incident without holding up the watch? A small session of its own for each.

The question goes through the same law, gate and ledger as any other; what was answered reaches the planner
as news of a watch, and stays a guess. A model that is slow, down or refused costs the watch nothing.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from veilig.app.wiring import Setting
from veilig.core.action import Action, AskModel
from veilig.core.action_json import JSON
from veilig.core.actor import Actor, ActorKind
from veilig.core.clock import Clock
from veilig.core.errors import VeiligError
from veilig.core.gate import Gate
from veilig.core.gate_case import Law
from veilig.core.ledger import Ledger
from veilig.core.message import Message
from veilig.core.provider import Finish, Opinion, Outcome, Step, Verdict
from veilig.core.redact import Redactor
from veilig.core.session import Budget, Session, Watcher
from veilig.heal.hypothesis import ANSWER_TOKENS, question, wanted
from veilig.heal.planner import HealPlanner

KIND = "heal-guess"
QUESTIONS_PER_HOUR = 12  # of one watch: a storm of incidents is no reason for a storm of bills
TIMEOUT_S = 60.0

log = logging.getLogger(__name__)


class _Question:
    """A planner of one step: ask, and tell what came back."""

    def __init__(self, model: str, prompt: str) -> None:
        self._ask = AskModel(model, prompt, ANSWER_TOKENS, timeout_s=TIMEOUT_S)

    def first(self) -> Step:
        return Step({}, self._ask)

    def next(self, state: dict[str, JSON], action: Action, outcome: Outcome) -> Step:
        del action
        if not outcome.ok:
            return Step(state, Finish(False, f"the model did not answer: {outcome.detail}"[:300]))
        text = Message.from_json(outcome.data["message"]).text
        return Step(state, Finish(True, "a model has guessed", {"answer": text[:8000]}))


class Adviser:
    """Hears the planner's state, asks about incidents that wait for people, and hands over what was said."""

    def __init__(
        self, model: str, setting: Setting, ledger: Ledger, law: Law, redactor: Redactor, clock: Clock,
        policy: Callable[[], str], source: str,
    ) -> None:  # fmt: skip
        self._model, self._setting, self._ledger, self._law = model, setting, ledger, law
        self._redactor, self._clock, self._policy, self._source = redactor, clock, policy, source
        self._asked: dict[str, float] = {}
        self._said: list[JSON] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def noted(self, state: Mapping[str, Any]) -> None:
        """One state of the planner: what people are needed for is asked about, once."""
        now_s = time.monotonic()
        for name in wanted(state):
            mark = str(state["incidents"][name]["id"])
            recent = sum(1 for at_s in self._asked.values() if now_s - at_s < 3600)
            if mark in self._asked or recent >= QUESTIONS_PER_HOUR:
                continue
            self._asked[mark] = now_s
            task = asyncio.create_task(self._ask(mark, question(state, name)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def said(self) -> list[JSON]:
        """What was answered since this was asked last."""
        said, self._said = self._said, []
        return said

    async def close(self) -> None:
        """Wait for nobody."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, mark: str, prompt: str) -> None:
        from veilig import __version__
        from veilig.providers.models.endpoint import Endpoint
        from veilig.providers.models.provider import ModelsProvider

        setting, session = self._setting, f"{KIND}-{os.urandom(4).hex()}"
        endpoint = Endpoint(setting.model_url, setting.model_api, setting.environment)
        asker = ModelsProvider(self._clock, endpoint, _no_picture)
        gate = Gate(
            session=session, ledger=self._ledger, law=self._law, providers=[asker],
            redactor=self._redactor, clock=self._clock,
        )  # fmt: skip
        engine = Session(
            session, gate=gate, ledger=self._ledger, planner=_Question(self._model, prompt),
            actor=Actor("agent:heal-guess", ActorKind.AGENT), budget=Budget(steps=2, wall_s=2 * TIMEOUT_S),
            policy=self._policy,
        )  # fmt: skip
        try:
            finish = await engine.run(
                KIND, self._source, {"incident": mark, "model": self._model}, __version__
            )
            answer = str(finish.data.get("answer", "")) if finish.ok else ""
            if not answer:
                log.warning("no hypothesis of %s: %s", mark, finish.summary)
            trouble = "" if answer else finish.summary
            told: dict[str, JSON] = {
                "incident": mark,
                "model": self._model,
                "answer": answer,
                "trouble": trouble,
            }
            self._said.append({**told, "t_s": round(self._clock.boottime_s(), 3)})
        except VeiligError as error:
            log.warning("no hypothesis of %s: %s", mark, error)
        finally:
            await asker.close()


def _no_picture(path: str) -> bytes:
    del path
    return b""


class ByPeople:
    """A guard: what a model proposed is asked, also where the policy would allow it unasked."""

    def __init__(self, planner: Callable[[], HealPlanner | None]) -> None:
        self._planner = planner

    def judge(self, action: Action, actor: Actor) -> Opinion | None:
        """ASK for a model's proposal; nothing to say of others."""
        del actor
        planner = self._planner()
        model = planner.by_model(action) if planner is not None else ""
        if not model:
            return None
        return Opinion("model's proposal", Verdict.ASK, f"{model} proposes it, the diagnosis does not")


class Overheard:
    """A watcher that passes everything on, and lets the adviser hear the planner's states."""

    def __init__(self, watcher: Watcher, adviser: Adviser) -> None:
        self._watcher, self._adviser = watcher, adviser

    def proposed(self, action: Action) -> None:
        self._watcher.proposed(action)

    def observed(self, action: Action, outcome: Outcome) -> None:
        self._watcher.observed(action, outcome)

    def noted(self, state: dict[str, Any]) -> None:
        self._adviser.noted(state)
        if (noted := getattr(self._watcher, "noted", None)) is not None:
            noted(state)
