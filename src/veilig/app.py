"""How do policy, providers, guards and people become a session? Wiring only: nothing here decides."""

import asyncio
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from veilig.agent.audit_plan import AuditOptions
from veilig.agent.fix_state import FixOptions
from veilig.agent.job import JOBS, Job, audit_job, fix_job
from veilig.audit.advisories import ENVIRONMENT_NAME, AdvisoryError, locate
from veilig.core.action import Action
from veilig.core.action_json import JSON
from veilig.core.actor import Actor, ActorKind
from veilig.core.approval import Approval
from veilig.core.clock import SystemClock
from veilig.core.errors import SessionError
from veilig.core.gate import Gate, cast_vote, give_grant, revoke_grant
from veilig.core.grant import Grant
from veilig.core.ledger import Ledger
from veilig.core.lock import SessionLock
from veilig.core.policy import Facts, Policy
from veilig.core.provider import Approver, Finish, Outcome, Vote
from veilig.core.redact import Redactor
from veilig.core.session import Budget, Session, View, fold
from veilig.home import Home, find_home, local_person
from veilig.law import find_laws
from veilig.providers.box import Box, Terms, find_python
from veilig.providers.deliver import DeliverProvider
from veilig.providers.files import FilesProvider, Workspace
from veilig.providers.guarding import RepairGuard
from veilig.providers.history import HistoryProvider
from veilig.providers.sandbox.ladder import preflight
from veilig.providers.sandbox.probe import Probe
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
    return await _start(fix_job(options), setting, watcher, approver)


async def run_audit(options: AuditOptions, setting: Setting, watcher: Watcher) -> Ended:
    """Read one folder behind the wall and report. Its copy goes at the end, whatever happens."""
    return await _start(audit_job(options), setting, watcher, None)


def changes_since(folder: Path, revision: str, shown: str) -> str:
    """The diff from a revision to the folder as it is; `shown` is put before its paths."""
    from veilig.providers.since import added_since

    return added_since(folder, revision, shown)


async def resume(session: str, setting: Setting, watcher: Watcher, approver: Approver | None) -> Ended:
    """Go on with a session that a crash, a question or a budget stopped. Raises SessionError."""
    view = find_session(find_home(setting.environment), session, setting)
    if view.kind not in JOBS:
        raise SessionError(
            f"session {view.id!r} is of kind {view.kind!r}", why=f"this veilig resumes {', '.join(JOBS)}"
        )
    job = JOBS[view.kind](dict[str, Any](view.options))
    return await _Wired(view.id, job, setting, watcher, approver).go(resume=True)


def find_session(home: Home, prefix: str, setting: Setting | None = None) -> View:
    """The one session whose id starts with `prefix`. Raises SessionError for none or several."""
    policy = operator_policy(home, setting) if setting else None
    with home.open_ledger(policy, create=False) as ledger:
        started = {e.session for e in ledger.events(names=("session.started",))}
        found = sorted(s for s in started if prefix and s.startswith(prefix))
        if prefix in found:
            found = [prefix]
        if len(found) != 1:
            known = "no" if not found else "more than one"
            raise SessionError(f"{known} session starts with {prefix!r}", fix="see `veilig sessions`")
        return fold(found[0], ledger.events(session=found[0]))


@contextmanager
def _desk(setting: Setting) -> Generator[tuple[Ledger, Actor, Callable[[str], str]]]:
    """The ledger, the person at this machine, and what hides secrets in what they type."""
    home = find_home(setting.environment)
    policy = operator_policy(home, setting)
    with home.open_ledger(policy, create=False) as ledger:
        yield ledger, local_person(policy), home.redactor(setting.environment).seal


async def vote(prefix: str, approve: bool, reason: str, setting: Setting) -> Approval:
    """Record the vote of the person at this machine. Raises ApprovalError when it may not count."""
    with _desk(setting) as (ledger, person, seal):
        return await cast_vote(ledger, prefix, Vote(person, approve, "command line", seal(reason)))


async def grant(wanted: Grant, seconds: float, setting: Setting) -> Grant:
    """Give a standing permission in the name of the person at this machine. Raises ApprovalError."""
    with _desk(setting) as (ledger, person, seal):
        return await give_grant(ledger, replace(wanted, actor=person.id, reason=seal(wanted.reason)), seconds)


async def revoke(prefix: str, reason: str, setting: Setting) -> Grant:
    """Take a standing permission back. Raises ApprovalError when there is none."""
    with _desk(setting) as (ledger, person, seal):
        return await revoke_grant(ledger, prefix, person, seal(reason))


def ledger_now(ledger: Ledger) -> tuple[int, str]:
    """Ledger time in ms and the boot it belongs to: what decides whether an approval still counts."""
    return ledger.transact(lambda tx: (tx.now_ms(), tx.boot), durable=False)


async def walls(policy: Policy, hide: frozenset[str] = frozenset()) -> tuple[tuple[Probe, str], ...]:
    """Every wall as tried on this machine, and why the policy would not take it (empty: it would)."""
    wanted = terms(policy)
    prefer = wanted.walls[0] if wanted.walls else None
    probes = await preflight(require=wanted.require, prefer=prefer, hide=hide)
    return tuple((probe, _why_not(probe, wanted)) for probe in probes)


def _why_not(probe: Probe, wanted: Terms) -> str:
    if probe.wall is None:
        return probe.why_not or "it does not stand"
    if wanted.walls and probe.rung.removesuffix("-strict") not in wanted.walls:
        return "the policy does not name it"
    return "; ".join(f"lacks {feature}: {why}" for feature, why in probe.wall.lacks(wanted.require))


def operator_policy(home: Home, setting: Setting) -> Policy:
    """The operator's policy alone, where no project is involved. Raises PolicyError."""
    return find_laws(home.path, setting.policy, setting.environment).operator


async def _start(job: Job, setting: Setting, watcher: Watcher, approver: Approver | None) -> Ended:
    session = f"{job.kind}-{os.urandom(4).hex()}"
    return await _Wired(session, job, setting, watcher, approver).go(resume=False)


class _Wired:
    """One session with everything around it; closed at the end whatever happens."""

    def __init__(
        self, session: str, job: Job, setting: Setting, watcher: Watcher, approver: Approver | None
    ) -> None:
        self.session = session
        self.job = job
        self.watcher = watcher
        self.clock = SystemClock()
        self.home = find_home(setting.environment)
        self.source = job.source
        self.laws = find_laws(self.source, setting.policy, setting.environment)
        self.policy = self.laws.operator
        self.redactor: Redactor = self.home.redactor(setting.environment)
        self.ledger: Ledger = self.home.open_ledger(self.policy)
        self.workspace = Workspace(self.home.session(session), self.source)
        python = find_python(self.source, job.python or setting.python, setting.environment)
        advisories = find_advisories(self.home, setting.environment, self.policy)
        data = (advisories,) if advisories else ()
        self.box = Box(self.workspace, python, terms(self.policy), self._stood, setting.hide, data)
        self.wall: Wall | None = None
        self.work = WorkProvider(self.workspace, self.box, self.clock, advisories)
        self.files = FilesProvider(self.workspace, self.clock, self.laws.in_copy, self.redactor.learn_text)
        self.gate = Gate(
            session=session,
            ledger=self.ledger,
            law=self.laws.law(self.clock, lambda _: Facts(root=str(self.source))),
            providers=[
                self.files,
                self.work,
                HistoryProvider(self.workspace, self.clock, self.redactor.learn_text),
                DeliverProvider(self.source, self.clock, self.redactor.seal),
            ],
            redactor=self.redactor,
            clock=self.clock,
            guards=[RepairGuard(self.workspace, self.redactor.seal)],
            approver=approver,
            patience_s=setting.patience_s,
        )

    async def go(self, *, resume: bool) -> Ended:
        """Run or resume, then take everything down."""
        from veilig import __version__

        try:
            with SessionLock(self.home.session(self.session)):
                self.watcher.began(self.session, self.laws.names())
                engine = self._engine()
                if resume:
                    await asyncio.to_thread(self.files.learn)
                    finish = await engine.resume(__version__)
                else:
                    job = self.job
                    finish = await engine.run(job.kind, str(job.source), job.options, __version__)
                await asyncio.to_thread(self.ledger.checkpoint)
                events = await asyncio.to_thread(
                    lambda: sum(1 for _ in self.ledger.events(session=self.session))
                )
                if finish.ok or not self.job.keeps_copy:  # what is worth keeping stands in the ledger
                    await self.work.close()
                    await asyncio.to_thread(self.home.remove_session, self.session)
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
            planner=self.job.planner,
            actor=Actor(f"agent:{self.job.kind}", ActorKind.AGENT),
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
