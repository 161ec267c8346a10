"""How do policy, providers, guards and people become one session? Wiring only: nothing here decides."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from veilig.agent.job import Job
from veilig.agent.run_state import RunOptions
from veilig.app.children import Children, Family
from veilig.app.desktop import desktop_for
from veilig.audit.advisories import ENVIRONMENT_NAME, AdvisoryError, locate
from veilig.core.action import Action
from veilig.core.action_json import JSON
from veilig.core.actor import Actor, ActorKind
from veilig.core.clock import SystemClock
from veilig.core.gate import Gate
from veilig.core.ledger import Event, Ledger
from veilig.core.lock import SessionLock
from veilig.core.policy import Facts, Policy
from veilig.core.provider import Approver, Finish, Guard, Outcome, Provider, Step
from veilig.core.redact import Redactor
from veilig.core.session import Budget, Session, View
from veilig.home import Home, find_home, local_person
from veilig.law import find_laws
from veilig.providers.box import Box, Terms, find_python
from veilig.providers.deliver import DeliverProvider
from veilig.providers.files import IMAGE_BYTES_MAX, FilesProvider, image_media
from veilig.providers.guarding import RepairGuard
from veilig.providers.history import HistoryProvider
from veilig.providers.mcp import McpProvider
from veilig.providers.outputs import OutputsProvider
from veilig.providers.sandbox.wall import Bounds, Feature, Wall
from veilig.providers.skills import SkillsProvider
from veilig.providers.watching import Watched
from veilig.providers.work import WorkProvider
from veilig.providers.workspace import Workspace

if TYPE_CHECKING:
    from veilig.app.agent_ladder import AgentLadder
    from veilig.app.telemetry import Telemetry
    from veilig.providers.desktop.desk import Desk

COLLECTORS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Watcher(Protocol):
    """What a terminal or page wants to hear while a session runs."""

    def began(self, session: str, law: str) -> None: ...
    def wall(self, wall: Wall) -> None: ...
    def proposed(self, action: Action) -> None: ...
    def observed(self, action: Action, outcome: Outcome) -> None: ...


@dataclass(frozen=True, slots=True)
class Setting:
    """What the command line and the environment say. `hide`: walls to pretend absent.

    model_url, model_api: where models are asked when it is not their vendor; "auto", "chat" or "responses".
    session: the id of a new session, where somebody has promised one; empty: a new one.
    hold: where a worker of a fleet drives it. desk: a desktop that stands already, for its acts.
    """

    policy: str | None = None
    python: str | None = None
    patience_s: float = 0.0
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    hide: frozenset[str] = frozenset()
    model_url: str = ""
    model_api: Literal["auto", "responses", "chat"] = "auto"
    session: str = ""
    hold: "Hold | None" = None
    desk: "Desk | None" = None


class Hold(Protocol):
    """What a worker of a fleet has on the session that it drives, for as long as its lease stands."""

    def fence(self, ledger: Ledger) -> Ledger:
        """The same ledger, for nobody but the holder."""
        ...

    def around(self, provider: Provider) -> Provider:
        """The same provider, acting under the lease only; what it changed is kept before that is told."""
        ...

    def leaving(self) -> bool:
        """Whether the session is to be left before its next act."""
        ...


@dataclass(frozen=True, slots=True)
class Ended:
    """A session that ran: its id, how it finished, and what the ledger holds of it."""

    session: str
    finish: Finish
    events: int
    wall: Wall | None


class Wired:
    """One session with everything around it; closed at the end whatever happens."""

    def __init__(
        self, session: str, job: Job, setting: Setting, watcher: Watcher, approver: Approver | None
    ) -> None:
        self.session = session
        self.job = job
        self.watcher = watcher
        self.clock = SystemClock()
        self._hang_up: Callable[[], Awaitable[None]] | None = None
        self._telemetry: Telemetry | None = None
        self._environment = setting.environment
        self.home = find_home(setting.environment)
        self.source = job.source
        self.laws = find_laws(self.source, setting.policy, setting.environment)
        self.policy = self.laws.operator
        self.redactor: Redactor = self.home.redactor(setting.environment)
        self.ledger: Ledger = self.home.open_ledger(self.policy)
        self._hold = setting.hold
        if self._hold is not None:
            self.ledger = self._hold.fence(self.ledger)
        self.workspace = Workspace(self.home.session(session), self.source)
        watched = Watched(self.workspace) if job.free else None
        python = find_python(self.source, job.python or setting.python, setting.environment)
        advisories = find_advisories(self.home, setting.environment, self.policy)
        data = (advisories,) if advisories else ()
        self.box = Box(self.workspace, python, terms(self.policy), self._stood, setting.hide, data)
        self.wall: Wall | None = None
        tell = getattr(watcher, "told", None)  # only some watchers show what a search has tried
        self.work = WorkProvider(self.workspace, self.box, self.clock, advisories, watched, tell)
        shown = self.laws.shown_to_models if job.free or job.asks else self.laws.in_copy
        self.files = FilesProvider(
            self.workspace,
            self.clock,
            self.laws.in_copy if job.reads_all else shown,
            self.redactor.learn_text,
            watched,
            shown if job.reads_all else None,
        )
        servers = self.policy.mcp.servers if job.free else ()
        self.mcp = McpProvider(
            self.box, self.clock, servers, watched, setting.environment, self.redactor.mark
        )
        self.desktop = desktop_for(
            job.options, setting.desk, self.box, self.clock, self.workspace.folder, watched
        )
        self.ladder = self._on_ladder()
        self._approver = approver
        self._patience_s = setting.patience_s
        self._shared = self._hands(setting)
        self.children = self._family(watched) if watched else None
        self.gate = self._gate(
            session, self.children, DeliverProvider(self.source, self.clock, self.redactor.seal)
        )

    def _hands(self, setting: Setting) -> list[Provider]:
        """The providers that this session shares with those it starts."""
        return [
            self.files,
            self.work,
            HistoryProvider(self.workspace, self.clock, self.redactor.learn_text),
            SkillsProvider(
                self.workspace.tree, self.home.path / "skills", self.clock, self.redactor.learn_text
            ),
            *self._models(setting),
            self.mcp,
            *([self.desktop] if self.desktop else []),
        ]

    def _gate(self, session: str, children: Children | None, *own: Provider) -> Gate:
        """The gate of this session, or of one that it started: the same law, wall, ledger and people."""
        made: type[Gate] = Gate
        guards: list[Guard] = []
        if not self.job.free and self.job.guarded:
            guards.append(RepairGuard(self.workspace, self.redactor.seal))
        if self.ladder is not None:
            from veilig.app.agent_ladder import LadderGate

            made = LadderGate
            guards.append(self.ladder)
        said = OutputsProvider(self.clock, lambda ref: self._said(session, ref))
        providers: list[Provider] = [*self._shared, said, *([children] if children else []), *own]
        gate = made(
            session=session,
            ledger=self.ledger,
            law=self.laws.law(self.clock, lambda _: self._facts(children)),
            providers=[self._hold.around(p) for p in providers] if self._hold else providers,
            redactor=self.redactor,
            clock=self.clock,
            guards=guards,
            approver=self._approver,
            patience_s=self._patience_s,
        )
        if self.ladder is not None:
            self.ladder.watch(gate)
        return gate

    def _on_ladder(self) -> "AgentLadder | None":
        """Where this person and model stand, if the operator has acts watched."""
        rules = self.policy.elsewhere.safeguards
        if not rules.monitor.enabled:
            return None
        from veilig.app.agent_ladder import AgentLadder

        tell = getattr(self.watcher, "noticed", None)  # only some watchers show what the ladder says
        model, person = str(self.job.options.get("model", "")), local_person(self.policy).person
        return AgentLadder(
            self.ledger, rules, self.clock, person=person, model=model, home=self.home, tell=tell
        )

    def _facts(self, children: Children | None) -> Facts:
        root = str(self.source)
        return (
            Facts(root=root, children=children.count, depth=children.depth) if children else Facts(root=root)
        )

    def _family(self, watched: Watched) -> Children:
        """Who performs the delegations of this session, and of those it starts."""
        from veilig import __version__

        watch = getattr(self.watcher, "child", None)  # only some watchers show what children do
        family = Family(
            self.ledger,
            self.clock,
            self._gate,
            watched.seen,
            self.laws.digest,
            __version__,
            watch or unseen,
        )
        options = RunOptions.from_json(dict(self.job.options))
        return Children(family, self.session, options, self._budget())

    def _models(self, setting: Setting) -> list[Provider]:
        """Whoever can ask a model, where the work may want one: the library behind it is heavy."""
        if not (self.job.free or self.job.asks):
            return []
        from veilig.providers.models.endpoint import Endpoint
        from veilig.providers.models.provider import ModelsProvider

        endpoint = Endpoint(setting.model_url, setting.model_api, setting.environment)
        asker = ModelsProvider(self.clock, endpoint, self._picture)
        self._hang_up = asker.close
        return [asker]

    def _picture(self, path: str) -> bytes:
        if path.startswith("desktop:") and self.desktop is not None:
            return self.desktop.read_picture(path)
        data = self.workspace.tree.read_bytes(path, IMAGE_BYTES_MAX)
        image_media(data, path)
        return data or b""

    def _said(self, session: str, ref: str) -> str | None:
        """What an act of a session said, from the ledger."""
        names = ("action.verified", "action.failed")
        found = (e.body for e in self.ledger.events(session=session, names=names))
        return next((str(body["detail"]) for body in found if body.get("ref") == ref), None)

    async def go(
        self,
        *,
        resume: bool,
        step_of: Callable[[View], Step] | None = None,
        to: int = 0,
        first: Step | None = None,
    ) -> Ended:
        """Run or resume (from the step a person wants, if one is given), then take everything down."""
        from veilig import __version__

        try:
            with SessionLock(self.home.session(self.session)):
                self.watcher.began(self.session, self.laws.names())
                self._telemetry = self._tell()
                engine = self._engine()
                if resume or first is not None:
                    await asyncio.to_thread(self.files.learn)
                if resume and self.children is not None:
                    await self.children.recall(waits=step_of is None)
                if step_of is not None:
                    finish = await engine.go_on(__version__, step_of, to=to)
                elif resume:
                    finish = await engine.resume(__version__)
                else:
                    job = self.job
                    finish = await engine.run(job.kind, str(job.source), job.options, __version__, first)
                await asyncio.to_thread(self.ledger.checkpoint)
                events = await asyncio.to_thread(
                    lambda: sum(1 for _ in self.ledger.events(session=self.session))
                )
                # What is worth keeping stands in the ledger; but a person may go on with free work.
                if (finish.ok and not self.job.free) or not self.job.keeps_copy:
                    await self.mcp.close()
                    await self.work.close()
                    await asyncio.to_thread(self.home.remove_session, self.session)
                return Ended(self.session, finish, events, self.wall)
        finally:
            if self._telemetry is not None:
                await asyncio.to_thread(self._telemetry.close)
            if self._hang_up is not None:
                await self._hang_up()
            await self.mcp.close()
            await self.work.close()
            self.ledger.close()

    def _budget(self) -> Budget:
        budgets = self.policy.agent.budgets
        return Budget(budgets.steps, budgets.wall_s, budgets.tokens, budgets.cost_usd)

    def _tell(self) -> "Telemetry | None":
        """Spans for a collector, where the environment names one: its library is heavy."""
        environment = self._environment
        if not any(environment.get(name) for name in COLLECTORS):
            return None
        from veilig import __version__
        from veilig.app.telemetry import Telemetry

        def read(after: int) -> Iterator[Event]:
            return self.ledger.events(self.session, after=after)

        return Telemetry(read, self.session, environment, __version__, sent_after=self.ledger.size())

    def _engine(self) -> Session:
        return Session(
            self.session,
            gate=self.gate,
            ledger=self.ledger,
            planner=self.job.planner,
            actor=Actor(f"agent:{self.job.kind}", ActorKind.AGENT),
            budget=self._budget(),
            policy=self.laws.digest,
            watcher=self.watcher,
            leaving=self._hold.leaving if self._hold else None,
        )

    async def _stood(self, wall: Wall) -> None:
        self.wall = wall
        missing: list[JSON] = [[f.value, why] for f, why in wall.missing]
        body: dict[str, JSON] = {
            "wall": wall.name,
            "enforces": [*sorted(f.value for f in wall.enforces)],
            "missing": missing,
        }
        await self.ledger.submit(lambda tx: tx.append("wall.stood", self.session, body))
        self.watcher.wall(wall)


def unseen(session: str, task: str) -> None:
    """Nobody watches a child."""
    del session, task


def find_advisories(home: Home, environment: Mapping[str, str], policy: Policy | None = None) -> Path | None:
    """The advisory data to show the reader; None when there is none (the scan then says how to get it).

    Raises AdvisoryError when the environment, or else the policy, names a file that is not there.
    """
    import veilig

    checkout = Path(veilig.__file__).parents[2]
    if policy and (named := policy.elsewhere.audit_advisories) and not environment.get(ENVIRONMENT_NAME):
        environment = {**environment, ENVIRONMENT_NAME: named}
    try:
        return locate(environment, home.path, checkout).resolve()
    except AdvisoryError:
        if environment.get(ENVIRONMENT_NAME):
            raise
        return None


def terms(policy: Policy) -> Terms:
    """What the policy says about walls, in the providers' words."""
    rules = policy.sandbox
    bounds = Bounds(
        memory_bytes=rules.memory_bytes,
        cpu_s=rules.cpu_s,
        wall_s=rules.wall_s,
        processes=rules.processes,
        output_bytes=rules.output_bytes,
        file_bytes=rules.file_bytes,
        open_files=rules.open_files,
        tmp_bytes=rules.tmp_bytes,
    )
    return Terms(rules.walls, frozenset(Feature(name) for name in rules.require), bounds)


def operator_policy(home: Home, setting: Setting) -> Policy:
    """The operator's policy alone, where no project is involved. Raises PolicyError."""
    return find_laws(home.path, setting.policy, setting.environment).operator
