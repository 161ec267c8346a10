"""Laws of the gate: a budget holds in every real window, guards only tighten, and one allowed act happens.

Out of scope here: approvals (test_approval_laws), what a policy says (test_policy_laws).
"""

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kernel import AGENT, Clock, Rules, World
from veilig.core.action import Action, CommitBranch, RestartService
from veilig.core.action_json import digest
from veilig.core.actor import Actor
from veilig.core.errors import ProviderError
from veilig.core.gate import Gate
from veilig.core.ledger import Ledger
from veilig.core.policy_model import BudgetClaim
from veilig.core.provider import Found, Opinion, Outcome, Permit, Status, Verdict, must_fit, strictness
from veilig.core.redact import Redactor

RESTART = RestartService("web", "1")
LIMIT, WINDOW_S = 3, 3600
BUDGET = (BudgetClaim("restart:web", LIMIT, WINDOW_S),)


class Crash(BaseException):
    """The process is gone."""


@dataclass
class Machine:
    """Real time, which no clock of the machine shows, and the restarts that happened in it."""

    clock: Clock
    real_s: float
    acts: list[float]
    crash: str = ""
    kinds: frozenset[str] = frozenset({"service.restart"})

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        must_fit(permit, digest(action), self.clock.boottime_s())
        if self.crash == "before":
            raise Crash
        self.acts.append(self.real_s)
        if self.crash == "after":
            raise Crash
        return Outcome(True, "restarted")

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        return outcome

    async def inspect(self, action: Action) -> Found:
        return Found.UNKNOWN


class Budgets(RuleBasedStateMachine):
    """Two instances restart one service; the machine crashes, reboots, and its wall clock is moved."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock(boot_s=500.0)
        self.machine = Machine(self.clock, 1e6, [])
        self.law = Rules(budgets=BUDGET)
        self.ledgers = [self.opened(), self.opened()]
        self.quiet_s = 0.0  # real time since the last attempt, all of it in one boot

    def opened(self) -> Ledger:
        place = Path(self.folder.name)
        return Ledger.open(place / "l.db", anchor_dir=place / "a", clock=self.clock)

    @rule(instance=st.integers(0, 1), crash=st.sampled_from(["", "", "", "before", "after"]))
    def restart(self, instance: int, crash: str) -> None:
        self.machine.crash = crash
        gate = Gate(
            session=f"s{instance}",
            ledger=self.ledgers[instance],
            law=self.law.law(),
            providers=[self.machine],
            redactor=Redactor(b"k" * 32),
            clock=self.clock,
        )
        try:
            outcome = asyncio.run(gate.submit(RESTART, AGENT))
        except Crash:
            self.ledgers[instance].close()
            self.ledgers[instance] = self.opened()
        else:
            assert outcome.status in (Status.DONE, Status.REFUSED)
            assert outcome.ok or self.quiet_s <= WINDOW_S, "a whole quiet window frees the budget"
        self.quiet_s = 0.0

    @rule(seconds=st.sampled_from([0.0004, 1, 600, 1799, 3599, 3599.9996, 3600, 3601]))
    def advance(self, seconds: float) -> None:
        self.clock.boot_s += seconds
        self.clock.wall += seconds
        self.machine.real_s += seconds
        self.quiet_s += seconds

    @rule(jump=st.sampled_from([-7200, -60, 60, 3600, 86400]))
    def move_the_wall_clock(self, jump: int) -> None:
        self.clock.wall += jump

    @rule(down=st.sampled_from([5, 900, 4000]))
    def reboot(self, down: int) -> None:
        self.machine.real_s += down
        self.clock.boot_s, self.clock.boot = 1.0, f"{self.clock.boot}'"
        self.quiet_s = 0.0

    @rule()
    def reload_the_policy(self) -> None:
        self.law.digest_ += "'"

    @invariant()
    def never_more_than_the_limit_in_any_real_window(self) -> None:
        acts = self.machine.acts
        for first, last in zip(acts, acts[LIMIT:], strict=False):
            assert last - first >= WINDOW_S, f"{LIMIT + 1} restarts within {last - first} s"

    def teardown(self) -> None:
        for ledger in self.ledgers:
            ledger.close()
        self.folder.cleanup()


TestBudgets = Budgets.TestCase
TestBudgets.settings = settings(
    max_examples=30, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("after_s", [WINDOW_S - 0.001, WINDOW_S, WINDOW_S + 0.001])
async def test_a_budget_frees_right_after_its_window(world: World, after_s: float) -> None:
    world.rules.budgets = (BudgetClaim("restart:web", 1, WINDOW_S),)
    world.clock.boot_s = 0.0009  # cut to milliseconds this instant looks earlier than it is
    assert (await world.gate().submit(RESTART, AGENT)).ok
    world.clock.boot_s += after_s
    assert (await world.gate().submit(RESTART, AGENT)).ok == (after_s > WINDOW_S)


async def test_two_gates_at_once_share_one_budget(world: World) -> None:
    world.rules.budgets = (BudgetClaim("restart:web", LIMIT, WINDOW_S),)
    gates = [world.gate() for _ in range(10)]
    outcomes = await asyncio.gather(*(g.submit(RESTART, AGENT) for g in gates))
    assert sum(o.ok for o in outcomes) == LIMIT == len(world.services.acts("web"))


async def test_a_budget_of_nothing_allows_nothing(world: World) -> None:
    world.rules.budgets = (BudgetClaim("restart:web", 0, WINDOW_S),)
    assert (await world.gate().submit(RESTART, AGENT)).status is Status.REFUSED
    assert world.services.acts("web") == []


@dataclass(frozen=True)
class Says:
    verdict: Verdict

    def judge(self, action: Action, actor: Actor) -> Opinion:
        return Opinion("says", self.verdict, "because")


VERDICTS = st.sampled_from(list(Verdict))


@settings(max_examples=25, deadline=None)
@given(base=VERDICTS, opinions=st.lists(VERDICTS, max_size=3))
def test_the_act_happens_exactly_when_nobody_asks_or_denies(base: Verdict, opinions: list[Verdict]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        world.rules.verdict["web"] = base
        world.guards = [Says(v) for v in opinions]
        outcome = asyncio.run(world.gate().submit(RESTART, AGENT))
        world.ledger.close()
        worst = max([base, *opinions], key=strictness)
        expected = {Verdict.ALLOW: Status.DONE, Verdict.ASK: Status.HELD, Verdict.DENY: Status.REFUSED}
        assert outcome.status is expected[worst]
        assert world.services.acts("web") == (["1"] if worst is Verdict.ALLOW else [])


async def test_the_intent_is_on_disk_before_the_act(world: World, tmp_path: Path) -> None:
    seen: list[str] = []

    def look() -> None:
        with Ledger.open(tmp_path / "ledger.db", anchor_dir=tmp_path / "anchors", create=False) as other:
            seen.extend(e.name for e in other.events())

    world.services.before_act = look
    assert (await world.gate().submit(RESTART, AGENT)).ok
    assert seen == ["action.proposed", "action.decided", "action.started"]


async def test_a_secret_where_no_handle_can_stand_is_refused_and_never_recorded(world: World) -> None:
    secret = "hunter2-" + "correct-horse"
    world.redactor.mark(secret, "PIN")
    action = CommitBranch("/src", f"fix/{secret}", "diff", "message", ())
    outcome = await world.gate().submit(action, AGENT)
    assert (outcome.status, outcome.data["rule"]) == (Status.REFUSED, "redact")
    assert world.names() == ["action.refused"]
    assert secret not in outcome.detail
    raw = (world.folder / "ledger.db").read_bytes() + (world.folder / "ledger.db-wal").read_bytes()
    assert secret.encode() not in raw


def failing(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


async def test_a_foreign_error_of_a_provider_leaves_an_intent_in_doubt(world: World) -> None:
    world.services.before_act = failing(ZeroDivisionError("our own bug"))
    with pytest.raises(ZeroDivisionError):
        await world.gate().submit(RESTART, AGENT)
    assert world.names()[-1] == "action.started"


async def test_a_provider_that_refuses_is_recorded_without_its_secrets(world: World) -> None:
    secret = "correct-horse-" + "battery"
    world.redactor.mark(secret, "PIN")
    world.services.before_act = failing(ProviderError(f"cannot log in with {secret}"))
    outcome = await world.gate().submit(RESTART, AGENT)
    assert outcome.status is Status.FAILED
    assert secret not in outcome.detail
