"""How does work go on until it is done or stuck, and how is it picked up after a crash?

One engine for every capability: ask the planner, submit, observe. What a session is stands in
the ledger; `fold` reads it back. Resuming replays no code: it starts from the last recorded
planner state and the last action, and an intent without a result is settled first.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

from veilig.core.action import Action
from veilig.core.action_json import JSON, digest, from_json
from veilig.core.actor import Actor, ActorKind
from veilig.core.delta import apply, delta
from veilig.core.errors import SessionError, UsageError
from veilig.core.event import CLOSING
from veilig.core.gate import Gate, doubted
from veilig.core.ledger import Event, Ledger
from veilig.core.limits import SESSION_STEPS_MAX, SESSION_WALL_S_MAX, STUCK_REPEATS_MAX
from veilig.core.provider import Finish, Found, Listener, Outcome, Planner, Status, Step


@dataclass(frozen=True, slots=True)
class Budget:
    """What a session may use before it ends in a clear state; 0 tokens or 0 cost: not counted."""

    steps: int = SESSION_STEPS_MAX
    wall_s: float = SESSION_WALL_S_MAX
    tokens: int = 0  # 0: no model may be asked
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One proposal and what came of it; `outcome` is None while it is open."""

    ref: str
    action: Action
    started: bool = False
    approval: str = ""
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What a session is, as its events tell."""

    id: str
    kind: str = ""
    source: str = ""
    actor: str = ""
    options: dict[str, JSON] = field(default_factory=dict[str, JSON])
    state: dict[str, JSON] = field(default_factory=dict[str, JSON])
    last: Turn | None = None
    steps: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    used_s: float = 0.0
    repeats: int = 0
    ended: str = ""
    summary: str = ""
    result: dict[str, JSON] = field(default_factory=dict[str, JSON])


class _Folding:
    """The mutable half of the fold; one method per event that matters."""

    def __init__(self, session: str) -> None:
        self.view: dict[str, Any] = {"id": session}
        self.ref = self.approval = ""
        self.action: Any = None
        self.open = False
        self.started = False
        self.outcome: Outcome | None = None
        self.steps = self.tokens = self.repeats = 0
        self.cost_usd = 0.0
        self.refused_digest: str = ""
        self.digest: str = ""
        self.first_ms: int | None = None
        self.used_ms = 0

    def take(self, event: Event) -> None:
        name, body = event.name, event.body
        if self.first_ms is None or name == "session.resumed":
            self.first_ms = event.t_ms - self.used_ms  # the time between crash and resume is nobody's
        self.used_ms = event.t_ms - self.first_ms
        if name == "action.proposed":
            self.ref, self.action, self.digest = str(body["ref"]), body["action"], str(body["digest"])
            self.started, self.approval, self.outcome = False, "", None
            self.steps += 1
        elif name == "session.noted":
            self.view["state"] = apply(self.view.get("state", {}), cast(dict[str, JSON], body["delta"]))
        elif name == "action.started":
            self.started = True
        elif name == "approval.asked":
            self.approval = str(body["approval"])
        elif name in CLOSING and body.get("ref") == self.ref:
            self.outcome = outcome_of(name, body)
            self._count(self.outcome)
        elif name == "session.started":
            for key in ("kind", "source", "actor", "options"):
                self.view[key] = body[key]
        elif name == "session.ended":
            self.view.update(ended=body["state"], summary=body["summary"], result=body.get("result", {}))
        elif name == "session.resumed":
            self.view.update(ended="", summary="")

    def _count(self, outcome: Outcome) -> None:
        again = outcome.status is Status.REFUSED and self.digest == self.refused_digest
        self.repeats = self.repeats + 1 if again else int(outcome.status is Status.REFUSED)
        self.refused_digest = self.digest if outcome.status is Status.REFUSED else ""
        tokens, cost = outcome.data.get("tokens"), outcome.data.get("cost_usd")
        self.steps += _count(outcome, "child_steps")
        self.tokens += tokens if isinstance(tokens, int) else 0
        self.cost_usd += float(cost) if isinstance(cost, int | float) else 0.0

    def done(self) -> View:
        last = None
        if self.action is not None:
            last = Turn(self.ref, from_json(self.action), self.started, self.approval, self.outcome)
        return View(
            **self.view,
            last=last,
            steps=self.steps,
            tokens=self.tokens,
            cost_usd=self.cost_usd,
            used_s=self.used_ms / 1000,
            repeats=self.repeats,
        )


def fold(session: str, events: Iterable[Event]) -> View:
    """The session its events describe; `id` only when there are none."""
    folding = _Folding(session)
    for event in events:
        folding.take(event)
    return folding.done()


def outcome_of(name: str, body: dict[str, Any]) -> Outcome:
    """The outcome a closing event recorded."""
    if name in ("action.verified", "action.failed"):
        ok = name == "action.verified"
        status = Status(body.get("status", Status.DONE if ok else Status.FAILED))
        return Outcome(ok, body["detail"], status, body["data"], str(body.get("ref", "")))
    if name == "action.doubted":
        return doubted(Found(body["found"]), body["detail"])
    if name == "action.held":
        return Outcome(False, f"waits for {body['why']}", Status.HELD, {"approval": body["approval"]})
    return Outcome(False, body["why"], Status.REFUSED, {"rule": body["rule"]})


class Left(SessionError):
    """The session was left between two acts, as it stands in the ledger: anybody may resume it."""


class Watcher(Protocol):
    """Sees every step; what it does has no effect on the session."""

    def proposed(self, action: Action) -> None: ...
    def observed(self, action: Action, outcome: Outcome) -> None: ...


class Session:
    """One piece of work. `run` starts it, `resume` goes on with one that a crash or a question stopped."""

    def __init__(
        self,
        session: str,
        *,
        gate: Gate,
        ledger: Ledger,
        planner: Planner,
        actor: Actor,
        budget: Budget,
        policy: Callable[[], str],
        watcher: Watcher | None = None,
        endless: bool = False,
        leaving: Callable[[], bool] | None = None,
    ) -> None:
        """endless: it watches until it is stopped; questions, refusals and bounds are news to its planner.

        leaving: asked before each act; `run`, `resume` and `go_on` raise Left when it says so.
        """
        if actor.kind is ActorKind.HUMAN:
            raise UsageError(
                f"{actor.id!r} is a person", why="a session proposes as an agent, so that people can approve"
            )
        self.id = session
        self._gate = gate
        self._ledger = ledger
        self._planner = planner
        self._actor = actor
        self._budget = budget
        self._policy = policy
        self._watcher = watcher
        self._endless = endless
        self._leaving = leaving
        self._begun_s = time.monotonic()
        self._looked = 0  # no message of an earlier event is unheard

    async def run(
        self, kind: str, source: str, options: dict[str, JSON], version: str, first: Step | None = None
    ) -> Finish:
        """Work from the start (or from `first`, as a fork does) until done, stuck, held or over budget."""
        body: dict[str, JSON] = {
            "kind": kind,
            "actor": self._actor.id,
            "source": source,
            "options": options,
            "policy": self._policy(),
            "veilig": version,
        }
        await self._ledger.submit(lambda tx: tx.append("session.started", self.id, body))
        view = View(self.id, kind=kind, source=source, options=options)
        return await self._loop(view, first or self._planner.first())

    async def resume(self, version: str) -> Finish:
        """Go on from the ledger. Raises SessionError when it is unknown or already done."""
        view = await asyncio.to_thread(lambda: fold(self.id, self._ledger.events(session=self.id)))
        if not view.kind:
            raise SessionError(f"no session {self.id!r} in this ledger", fix="see `veilig sessions`")
        if view.ended in ("done", "failed"):
            raise SessionError(f"session {self.id!r} has ended: {view.summary}", fix="start a new one")
        turn = view.last
        in_doubt = turn is not None and turn.started and turn.outcome is None
        body: dict[str, JSON] = {
            "policy": self._policy(),
            "veilig": version,
            "in_doubt": turn.ref if turn and in_doubt else "",
        }
        await self._ledger.submit(lambda tx: tx.append("session.resumed", self.id, body))
        if turn is None:
            return await self._loop(view, self._planner.first())
        outcome = turn.outcome
        if in_doubt:
            outcome = await self._gate.settle(turn.ref, turn.action)
        # Asked, only proposed, or found not done: it never happened, so it goes to the gate again.
        held = outcome is not None and outcome.status is Status.HELD and not self._endless
        if outcome is None or held or outcome.data.get("found") == Found.NOT_DONE:
            return await self._loop(view, Step(view.state, turn.action))
        return await self._loop(view, self._planner.next(await self._hear(view.state), turn.action, outcome))

    async def go_on(self, version: str, step_of: Callable[[View], Step], *, to: int = 0) -> Finish:
        """Go on as a person wants: `step_of` makes the step from what the session is, ended or not.

        to: the event that the session is brought back to, 0 when it goes on from its end.
        """
        view = await asyncio.to_thread(lambda: fold(self.id, self._ledger.events(session=self.id)))
        if not view.kind:
            raise SessionError(f"no session {self.id!r} in this ledger", fix="see `veilig sessions`")
        step = step_of(replace(view, state=await self._hear(view.state)))
        turn = view.last
        in_doubt = turn.ref if turn and turn.started and turn.outcome is None else ""
        body: dict[str, JSON] = {"policy": self._policy(), "veilig": version, "in_doubt": in_doubt}
        await self._ledger.submit(lambda tx: tx.append("session.resumed", self.id, body))
        if turn and in_doubt:
            await self._gate.settle(turn.ref, turn.action)
        if to:
            await self._ledger.submit(lambda tx: tx.append("session.rewound", self.id, {"to": to}))
        return await self._loop(view, step)

    async def _loop(self, view: View, step: Step) -> Finish:
        steps, tokens, cost_usd, repeats, refused = view.steps, view.tokens, view.cost_usd, view.repeats, ""
        noted = view.state
        while not isinstance(step.propose, Finish):
            if not self._endless and (over := self._over(steps, view.used_s, tokens, cost_usd)):
                return await self._end("over_budget", Finish(False, over, step.state))
            if self._leaving is not None and self._leaving():
                raise Left(
                    f"session {self.id!r} was left before its next act", fix=f"veilig resume {self.id}"
                )
            action = step.propose
            if self._watcher:
                self._watcher.proposed(action)
            outcome = await self._gate.submit(action, self._actor, note=delta(noted, step.state))
            noted = step.state
            steps += 1 + _count(outcome, "child_steps")
            tokens += _count(outcome, "tokens")
            cost_usd += _count(outcome, "cost_usd")
            if self._watcher:
                self._watcher.observed(action, outcome)
            if outcome.status is Status.HELD and not self._endless:
                return await self._end("held", Finish(False, outcome.detail, dict(outcome.data)))
            if outcome.status is Status.REFUSED and not self._endless:
                repeats = repeats + 1 if digest(action) == refused else 1
                refused = digest(action)
                if repeats >= STUCK_REPEATS_MAX:
                    why = f"stuck: {action.kind} was refused {repeats} times ({outcome.detail})"
                    return await self._end("stuck", Finish(False, why, step.state))
            step = self._planner.next(await self._hear(step.state), action, outcome)
            if (noted_by := getattr(self._watcher, "noted", None)) is not None:  # only some show it
                noted_by(step.state)
        failed = "stopped" if step.propose.resumable else "failed"
        return await self._end("done" if step.propose.ok else failed, step.propose)

    async def _hear(self, state: dict[str, JSON]) -> dict[str, JSON]:
        """The state with what people have said since: each message once, as the state itself knows."""
        if not isinstance(self._planner, Listener):
            return state
        after = max(self._looked, self._planner.heard(state))
        size = await self._ledger.read(self._ledger.size)
        told = await self._ledger.read(
            lambda: list(self._ledger.events(self.id, after=after, names=("session.told",)))
        )
        for event in told:
            state = self._planner.hear(state, event.seq, str(event.body["text"]))
            if (heard := getattr(self._watcher, "heard", None)) is not None:  # only some show it
                heard(str(event.body["actor"]), str(event.body["text"]))
        self._looked = size
        return state

    def _over(self, steps: int, used_before_s: float, tokens: int, cost_usd: float) -> str:
        """Which budget is used up, in one line; empty when none is."""
        used_s = used_before_s + time.monotonic() - self._begun_s
        if steps >= self._budget.steps:
            return f"step budget used: {steps} of {self._budget.steps}"
        if used_s >= self._budget.wall_s:
            return f"time budget used: {used_s:.0f} s of {self._budget.wall_s:.0f} s"
        if self._budget.tokens and tokens >= self._budget.tokens:
            return f"token budget used: {tokens} of {self._budget.tokens}"
        if self._budget.cost_usd and cost_usd >= self._budget.cost_usd:
            return f"cost budget used: {cost_usd:.2f} of {self._budget.cost_usd:.2f} USD"
        return ""

    async def _end(self, state: str, finish: Finish) -> Finish:
        body: dict[str, JSON] = {"state": state, "summary": finish.summary, "result": dict(finish.data)}
        await self._ledger.submit(lambda tx: tx.append("session.ended", self.id, body))
        return finish


def _count(outcome: Outcome, key: str) -> Any:
    value = outcome.data.get(key, 0)
    return value if isinstance(value, int | float) else 0
