"""How does a session start another one, and go on with it after a crash? The provider of `session.start`.

A child works in its parent's copy, behind the same wall, through a gate of its own with the same law, into
the same ledger. It is a session like any other there; its parent waits for it. An act that a crash cut off is
proposed again, and then the same child is gone on with: what it finished is never done twice.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from veilig.agent.delegating import child_options, child_told, edited_paths
from veilig.agent.run import RunPlanner
from veilig.agent.run_state import Origin, RunOptions
from veilig.core.action import Action, StartSession
from veilig.core.action_json import JSON, digest
from veilig.core.actor import Actor, ActorKind
from veilig.core.clock import Clock
from veilig.core.errors import ProviderError
from veilig.core.gate import ACTING, Gate
from veilig.core.ledger import Event, Ledger
from veilig.core.provider import Finish, Found, Outcome, Permit, Status, must_fit
from veilig.core.session import Budget, Session, View, Watcher, fold

END_S = 60.0  # before its parent's act ends a child stops between two of its own
FINAL = ("done", "failed", "over_budget", "stuck")


class GateMaker(Protocol):
    """Makes the gate of one session of the family; `children` performs its delegations."""

    def __call__(self, session: str, children: "Children") -> Gate: ...


@dataclass(frozen=True, slots=True)
class Family:
    """What a session shares with those it starts.

    gate: makes one. look: the state of the copy now. policy: the digest of the law. watch: who sees a child's
    acts, by its id and its task.
    """

    ledger: Ledger
    clock: Clock
    gate: GateMaker
    look: Callable[[], dict[str, JSON]]
    policy: Callable[[], str]
    version: str
    watch: Callable[[str, str], Watcher | None]


class Children:
    """Performs `session.start` for one session."""

    kinds = frozenset({"session.start"})

    def __init__(self, family: Family, session: str, options: RunOptions, budget: Budget) -> None:
        self._family = family
        self._session = session
        self._options = options
        self._budget = budget
        self._pending = ""
        self.count = 0  # that have been started, one that is to be gone on with not among them
        self.depth = options.origin.depth if options.origin else 0

    async def recall(self, *, waits: bool = True) -> None:
        """After a restart: how many there are, and which of them its parent still waits for.

        waits: it goes on from where it was; where a person steps in, nothing of before is waited for.
        """
        ledger = self._family.ledger
        mine = await asyncio.to_thread(lambda: list(ledger.events(session=self._session)))
        every = await asyncio.to_thread(lambda: list(ledger.events(names=("session.started",))))
        refs = {e.session: _ref(e) for e in every if e.session.rpartition(".")[0] == self._session}
        asked = unanswered(mine) if waits else frozenset[str]()
        self._pending = next((child for child, ref in refs.items() if ref in asked), "")
        self.count = len(refs) - bool(self._pending)

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        """What the child came to. HELD when it waits for people: going on with its parent goes on with it."""
        must_fit(permit, digest(action), self._family.clock.boottime_s())
        if not isinstance(action, StartSession):
            raise ProviderError(f"nobody here performs {action.kind}", why="the gate was wired wrongly")
        child, self._pending = self._pending, ""
        if not child:
            child = f"{self._session}.{self.count + 1}"
        self.count = max(self.count, int(child.rpartition(".")[2]))
        acting = ACTING.set(False)  # the child thinks; its own gate says when it acts
        try:
            finish = await self._work(child, action, permit.ref)
        finally:
            ACTING.reset(acting)
        outcome = await self._outcome(child, finish)
        if outcome.status is Status.HELD:
            self._pending, self.count = child, self.count - 1
        return outcome

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        """What a child changed was looked at by its own gate, act by act."""
        del action, permit
        return outcome

    async def inspect(self, action: Action) -> Found:
        """Not done: the same child is gone on with, and says so itself when it had ended."""
        del action
        await asyncio.sleep(0)
        return Found.NOT_DONE

    async def _work(self, child: str, action: StartSession, ref: str) -> Finish | None:
        """Start the child or go on with it; None when it had ended."""
        view = await self._view(child)
        if view.ended in FINAL:
            return None
        if view.kind:
            options = RunOptions.from_json(dict[str, Any](view.options))
        else:
            origin = await self._origin(action, ref)
            options = child_options(self._options, action.task, origin)
        engine, children = self._engine(child, options)
        if view.kind:
            await children.recall()
            return await engine.resume(self._family.version)
        return await engine.run("run", options.source, options.to_json(), self._family.version)

    def _engine(self, child: str, options: RunOptions) -> tuple[Session, "Children"]:
        origin = options.origin or Origin()
        budget = Budget(origin.steps, origin.wall_s, origin.tokens, origin.cost_usd)
        children = Children(self._family, child, options, budget)
        session = Session(
            child,
            gate=self._family.gate(child, children),
            ledger=self._family.ledger,
            planner=RunPlanner(options),
            actor=Actor("agent:run", ActorKind.AGENT),
            budget=budget,
            policy=self._family.policy,
            watcher=self._family.watch(child, options.task),
        )
        return session, children

    async def _origin(self, action: StartSession, ref: str) -> Origin:
        """Where the child comes from, and its budget: what it asks for of what its parent has left."""
        used = await self._view(self._session)
        mine = self._budget
        steps = min(action.steps, mine.steps - used.steps)
        wall_s = min(mine.wall_s - used.used_s, action.timeout_s - END_S)
        tokens = _part(action.tokens, mine.tokens, used.tokens)
        cost_usd = _part(0.0, mine.cost_usd, used.cost_usd)
        if steps < 1 or wall_s <= 0 or tokens < 0 or cost_usd < 0:
            raise ProviderError("nothing is left of this session's budget for a child", fix="do it yourself")
        tree = str((await asyncio.to_thread(self._family.look)).get("tree", ""))
        return Origin(
            self._session, ref, tree, self.depth + 1, steps, int(tokens), float(cost_usd), round(wall_s, 1)
        )

    async def _view(self, session: str) -> View:
        ledger = self._family.ledger
        return await asyncio.to_thread(lambda: fold(session, ledger.events(session=session)))

    async def _outcome(self, child: str, finish: Finish | None) -> Outcome:
        view = await self._view(child)
        data: dict[str, JSON] = {"child": child, "state": view.ended}
        if view.ended == "held":
            data["approval"] = finish.data.get("approval", "") if finish else ""
            return Outcome(False, view.summary, Status.HELD, data)
        seen = await asyncio.to_thread(self._family.look)
        data |= {"tokens": view.tokens, "cost_usd": view.cost_usd, "child_steps": view.steps, **seen}
        data["usage"] = view.result.get("usage")
        data["changed"] = [*edited_paths(dict(view.result))]
        done = view.ended == "done"
        return Outcome(done, child_told(view), Status.DONE if done else Status.FAILED, data)


def unanswered(events: Iterable[Event]) -> frozenset[str]:
    """The names of the last proposal, and of those it repeats, when it is a delegation without an answer."""
    chain: list[str] = []
    proposed = ""
    for event in events:
        body = cast(dict[str, Any], event.body)
        if event.name == "action.proposed":
            again = chain and body["digest"] == proposed
            starts = body["action"].get("kind") == "session.start"
            chain = [*chain, str(body["ref"])] if again else [str(body["ref"])] if starts else []
            proposed = str(body["digest"])
        elif event.name == "session.rewound" or _answers(event, chain):
            chain = []
    return frozenset(chain)


def _answers(event: Event, refs: list[str]) -> bool:
    """Whether one of these acts has its result; waiting for people is none."""
    closing = event.name in ("action.verified", "action.failed", "action.refused")
    return closing and event.body.get("ref") in refs and event.body.get("status") != Status.HELD


def _ref(event: Event) -> str:
    origin = cast(dict[str, Any], cast(dict[str, Any], event.body["options"]).get("origin") or {})
    return str(origin.get("ref", ""))


def _part(wanted: float, whole: float, used: float) -> float:
    """The bound of a child: 0 for none, below 0 when nothing is left."""
    if not whole:
        return wanted
    left = whole - used
    if left <= 0:
        return -1
    return min(wanted, left) if wanted else left
