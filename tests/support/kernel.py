"""A small real world for kernel tests: one counter file per target, a provider touching it, a clock to move.

Nothing is mocked: the ledger is SQLite on disk, effects are appended lines in real files.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from veilig.core.action import Action, RestartService
from veilig.core.action_json import JSON, digest
from veilig.core.actor import Actor, ActorKind
from veilig.core.gate import Gate
from veilig.core.gate_case import Law
from veilig.core.ledger import Ledger
from veilig.core.policy_model import ApprovalNeed, BudgetClaim, Decision, Finding
from veilig.core.provider import Finish, Found, Guard, Outcome, Permit, Status, Step, Verdict, must_fit
from veilig.core.redact import Redactor

AGENT = Actor("agent:test", ActorKind.AGENT)
ANN = Actor("ann", roles=frozenset({"owner", "dba"}))
BEN = Actor("ben", roles=frozenset({"dba"}))


@dataclass
class Clock:
    """Time under the test's control."""

    boot_s: float = 1000.0
    boot: str = "boot-1"
    wall: float = 1_800_000_000.0

    def boottime_s(self) -> float:
        return self.boot_s

    def boot_id(self) -> str:
        return self.boot

    def wall_s(self) -> float:
        return self.wall


@dataclass
class Services:
    """Restarts a service by appending a line to its file; the file is the world."""

    folder: Path
    clock: Clock
    kinds: frozenset[str] = frozenset({"service.restart"})
    before_act: Callable[[], None] = lambda: None
    after_act: Callable[[], None] = lambda: None
    can_look: bool = True

    def acts(self, service: str) -> list[str]:
        file = self.folder / service
        return file.read_text().splitlines() if file.exists() else []

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        must_fit(permit, digest(action), self.clock.boottime_s())
        assert isinstance(action, RestartService)
        self.before_act()
        with (self.folder / action.service).open("a") as file:
            file.write(f"{action.incarnation}\n")
            file.flush()
            os.fsync(file.fileno())
        permit.emit("log", f"restarted {action.service}\n".encode())
        self.after_act()
        return Outcome(True, f"{action.service} restarted")

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        assert isinstance(action, RestartService)
        return (
            outcome if action.incarnation in self.acts(action.service) else Outcome(False, "no trace of it")
        )

    async def inspect(self, action: Action) -> Found:
        assert isinstance(action, RestartService)
        if not self.can_look:
            return Found.UNKNOWN
        return Found.DONE if action.incarnation in self.acts(action.service) else Found.NOT_DONE


@dataclass
class Rules:
    """A policy under the test's control: verdict, needs and budgets by service name."""

    verdict: dict[str, Verdict] = field(default_factory=dict[str, Verdict])
    needs: tuple[ApprovalNeed, ...] = (ApprovalNeed("changes"),)
    budgets: tuple[BudgetClaim, ...] = ()
    grantable: bool = False
    digest_: str = "policy-1"

    def decide(self, action: Action, actor: Actor) -> Decision:
        verdict = self.verdict.get(action.target, Verdict.ALLOW)
        needs = self.needs if verdict is Verdict.ASK else ()
        found = (Finding(verdict, "rules:1", "the test says so"),)
        return Decision(verdict, "rules:1", found, needs, self.budgets, self.grantable)

    def law(self) -> Law:
        return Law(self.decide, lambda: self.digest_, lambda handle, action: False)


@dataclass
class World:
    """A gate with everything around it."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    rules: Rules = field(default_factory=Rules)
    guards: Sequence[Guard] = ()
    session: str = "s1"

    def __post_init__(self) -> None:
        (self.folder / "world").mkdir(parents=True, exist_ok=True)
        self.services = Services(self.folder / "world", self.clock)
        self.redactor = Redactor(b"k" * 32)
        self.open()

    def open(self) -> None:
        self.ledger = Ledger.open(
            self.folder / "ledger.db", anchor_dir=self.folder / "anchors", clock=self.clock
        )

    def gate(self, patience_s: float = 0.0) -> Gate:
        return Gate(
            session=self.session,
            ledger=self.ledger,
            law=self.rules.law(),
            providers=[self.services],
            redactor=self.redactor,
            clock=self.clock,
            guards=self.guards,
            patience_s=patience_s,
        )

    def names(self) -> list[str]:
        return [e.name for e in self.ledger.events()]


@dataclass(frozen=True)
class Script:
    """A planner that restarts `count` services one after another; what did not happen is proposed again."""

    count: int

    def first(self) -> Step:
        return self._step(0)

    def next(self, state: dict[str, JSON], action: Action, outcome: Outcome) -> Step:
        done = state["done"]
        assert isinstance(done, int)
        return self._step(done if outcome.status is Status.FAILED else done + 1)

    def _step(self, done: int) -> Step:
        if done == self.count:
            return Step({"done": done}, Finish(True, f"{done} restarted"))
        return Step({"done": done}, RestartService(f"svc-{done % 3}", f"act-{done}"))
