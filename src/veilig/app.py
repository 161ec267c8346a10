"""How do policy, providers, guards and people become a session? Wiring only: nothing here decides."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from veilig.agent.fix import FixPlanner
from veilig.agent.fix_state import FixOptions
from veilig.audit.advisories import ENVIRONMENT_NAME, AdvisoryError, locate
from veilig.core.action import Action
from veilig.core.action_json import JSON
from veilig.core.actor import Actor, ActorKind
from veilig.core.clock import SystemClock
from veilig.core.errors import SessionError
from veilig.core.gate import Gate
from veilig.core.ledger import Ledger
from veilig.core.lock import SessionLock
from veilig.core.policy import Facts, Policy
from veilig.core.provider import Approver, Finish, Outcome
from veilig.core.redact import Redactor
from veilig.core.session import Budget, Session, View, fold
from veilig.home import Home, find_home
from veilig.law import find_laws
from veilig.providers.box import Box, Terms, find_python
from veilig.providers.deliver import DeliverProvider
from veilig.providers.files import FilesProvider, Workspace
from veilig.providers.guarding import RepairGuard
from veilig.providers.sandbox.wall import Bounds, Feature, Wall
from veilig.providers.work import WorkProvider


class Watcher(Protocol):
    """What a terminal or page wants to hear while a session runs."""

    def began(self, session: str, law: str) -> None: ...
    def wall(self, wall: Wall) -> None: ...
    def proposed(self, action: Action) -> None: ...
    def observed(self, action: Action, outcome: Outcome) -> None: ...


@dataclass(frozen=True, slots=True)
class Setting:
    """What the command line and the environment say. `hide`: walls to pretend absent."""

    policy: str | None = None
    python: str | None = None
    patience_s: float = 0.0
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    hide: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Ended:
    """A session that ran: its id, how it finished, and what the ledger holds of it."""

    session: str
    finish: Finish
    events: int
    wall: Wall | None


async def run_fix(
    options: FixOptions, setting: Setting, watcher: Watcher, approver: Approver | None
) -> Ended:
    """Start a fix session and see it to its end (or to a question)."""
    session = f"fix-{os.urandom(4).hex()}"
    wired = _Wired(session, options, setting, watcher, approver)
    return await wired.go(resume=False)


async def resume(session: str, setting: Setting, watcher: Watcher, approver: Approver | None) -> Ended:
    """Go on with a session that a crash, a question or a budget stopped; SessionError when there is none."""
    home = find_home(setting.environment)
    view = find_session(home, session)
    options = FixOptions.from_json(dict[str, Any](view.options))
    wired = _Wired(view.id, options, setting, watcher, approver)
    return await wired.go(resume=True)


def find_session(home: Home, prefix: str) -> View:
    """The one session whose id starts with `prefix`. Raises SessionError for none or several."""
    with home.open_ledger(create=False) as ledger:
        found = [s.session for s in ledger.sessions() if s.session.startswith(prefix)]
        if len(found) != 1:
            known = "no" if not found else "more than one"
            raise SessionError(f"{known} session starts with {prefix!r}", fix="see `veilig sessions`")
        return fold(found[0], ledger.events(session=found[0]))


class _Wired:
    """One fix session with everything around it; closed at the end whatever happens."""

    def __init__(
        self, session: str, options: FixOptions, setting: Setting, watcher: Watcher, approver: Approver | None
    ) -> None:
        self.session = session
        self.options = options
        self.watcher = watcher
        self.clock = SystemClock()
        self.home = find_home(setting.environment)
        self.source = Path(options.source)
        self.laws = find_laws(self.source, setting.policy, setting.environment)
        self.policy = self.laws.operator
        self.redactor: Redactor = self.home.redactor(setting.environment)
        self.ledger: Ledger = self.home.open_ledger(self.policy)
        self.workspace = Workspace(self.home.session(session), self.source)
        python = find_python(self.source, setting.python, setting.environment)
        advisories = find_advisories(self.home, setting.environment)
        data = (advisories,) if advisories else ()
        self.box = Box(self.workspace, python, terms(self.policy), self._stood, setting.hide, data)
        self.wall: Wall | None = None
        self.work = WorkProvider(self.workspace, self.box, self.clock, advisories)
        self.gate = Gate(
            session=session,
            ledger=self.ledger,
            law=self.laws.law(self.clock, lambda _: Facts(root=str(self.source))),
            providers=[
                FilesProvider(self.workspace, self.clock, self.laws.in_copy, self.redactor.learn_text),
                self.work,
                DeliverProvider(self.source, self.clock),
            ],
            redactor=self.redactor,
            clock=self.clock,
            guards=[RepairGuard(self.workspace.tree, self.redactor.seal)],
            approver=approver,
            patience_s=setting.patience_s,
        )

    async def go(self, *, resume: bool) -> Ended:
        """Run or resume, then take everything down. The copy goes when the session has ended for good."""
        from veilig import __version__

        try:
            with SessionLock(self.home.session(self.session)):
                self.watcher.began(self.session, self.laws.names())
                engine = self._engine()
                if resume:
                    finish = await engine.resume(__version__)
                else:
                    options: dict[str, JSON] = self.options.to_json()
                    finish = await engine.run("fix", str(self.source), options, __version__)
                await asyncio.to_thread(self.ledger.checkpoint)
                events = await asyncio.to_thread(
                    lambda: sum(1 for _ in self.ledger.events(session=self.session))
                )
                return Ended(self.session, finish, events, self.wall)
        finally:
            await self.work.close()
            self.ledger.close()

    def _engine(self) -> Session:
        budgets = self.policy.agent.budgets
        return Session(
            self.session,
            gate=self.gate,
            ledger=self.ledger,
            planner=FixPlanner(self.options),
            actor=Actor("agent:fix", ActorKind.AGENT),
            budget=Budget(budgets.steps, budgets.wall_s, budgets.tokens, budgets.cost_usd),
            policy=self.laws.digest,
            watcher=self.watcher,
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


def find_advisories(home: Home, environment: Mapping[str, str]) -> Path | None:
    """The advisory data to show the reader; None when there is none (the scan then says how to get it).

    Raises AdvisoryError when the environment names a file that is not there.
    """
    import veilig

    checkout = Path(veilig.__file__).parents[2]
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
