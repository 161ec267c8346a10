"""How does the enforcement ladder hold for our own agent? One subject per person and model.

Before each act the commands and tool calls that a planner proposes are looked at as the gateway looks at tool
calls: features of actions, and indicators where the policy names feeds. What is found is recorded and moves
the ladder first; then the gate decides, with the level as one of its guards. So the level after a crash is
what the ledger says, and `veilig cases level` of another person holds from the next act on.
"""

import asyncio
import shlex
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Final

from veilig.app.safeguards import Desk, new_case
from veilig.core.action import Action, AskModel, CallTool, RunCommand
from veilig.core.action_desktop import LaunchProgram, TypeText
from veilig.core.action_json import JSON, digest
from veilig.core.actor import Actor, Tier
from veilig.core.clock import Clock
from veilig.core.effect import Effect
from veilig.core.gate import Gate
from veilig.core.ledger import Ledger
from veilig.core.ledger_event import Draft
from veilig.core.policy_safeguards import MonitorRules, Safeguards
from veilig.core.provider import Opinion, Outcome, Verdict
from veilig.home import Home
from veilig.monitor.actions import in_scope, look
from veilig.monitor.attack import described
from veilig.monitor.indicators import IndicatorSet
from veilig.monitor.ladder import HARD_CONFIDENCE, Kind, Ladder, Level, Signal, Standing, on_signal, open_case

GUARD: Final = "ladder"
THROTTLE_S: Final = 10.0  # between two questions to a model, at level throttle
CALL_SEVERITY: Final = 6.0  # an indicator in what a command would reach, as at the gateway
EXTRA: Final = ("ahocorasick_rs", "orjson")  # without them feeds cannot be read


class AgentLadder:
    """The ladder of one session. Give `judge` to the gate as a guard, and call `see` before each act."""

    def __init__(
        self,
        ledger: Ledger,
        rules: Safeguards,
        clock: Clock,
        *,
        person: str,
        model: str,
        home: Home,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """tell: shows a person one line, when the level changed or an act was stopped."""
        self._desk = Desk(ledger, rules, clock)
        self._rules = rules
        self._person = person
        self._tell = tell or _quiet
        self.subject = f"agent:{person}/{model or 'embedded'}"
        self._indicators = self._feeds(rules.monitor, home)
        self._denied: dict[str, str] = {}
        self._asked_s = 0.0
        self._said = Level.OBSERVE
        self.standing = self._desk.ladder.standing(self.subject)

    def watch(self, gate: Gate) -> None:
        """See every act of this gate."""
        if isinstance(gate, LadderGate):
            gate.ladder = self

    async def see(self, action: Action, session: str) -> None:
        """Record what an act shows, let quiet time count, and slow down where the level says so."""
        await self._desk.tick()
        found, denied = self._look(action)
        if found:
            await self._climb(found, session, stopped=bool(denied))
        self.standing = self._desk.ladder.standing(self.subject)
        if denied:
            self._denied[digest(action)] = f"{denied}. {self._case()}"
        self._explain()
        if isinstance(action, AskModel):
            if self.standing.level is Level.THROTTLE:
                await asyncio.sleep(max(0.0, self._asked_s + THROTTLE_S - time.monotonic()))
            self._asked_s = time.monotonic()

    def judge(self, action: Action, actor: Actor) -> Opinion | None:
        """Deny what was found harmful, models at reroute, and everything but looking at suspend."""
        del actor
        if (why := self._denied.get(digest(action))) is not None:
            return Opinion(GUARD, Verdict.DENY, why)
        now = self.standing
        changes = bool(action.effects - {Effect.READ})
        if now.level is Level.SUSPEND and changes:
            return Opinion(GUARD, Verdict.DENY, f"suspended until a person has looked: {self._why(now)}")
        if now.level is Level.REROUTE and isinstance(action, AskModel):
            why = f"this model is not asked any more for {self._person}; go on with another: {self._why(now)}"
            return Opinion(GUARD, Verdict.DENY, why)
        return None

    def _look(self, action: Action) -> tuple[list[Signal], str]:
        text = _reaches(action)
        if not text:
            return [], ""
        subject, now_s = self._desk.registry.subjects.get(self._person), self._desk.now_s()
        scope = subject.scope if subject is not None else None
        hosts = scope.hosts if scope is not None and scope.expires_s > now_s else ()
        found: list[Signal] = []
        denied = ""
        for seen in look(text, hosts):
            rule = seen.rule
            evidence = (f"rule:{rule.id}", f"attack:{rule.technique}")
            found.append(Signal(Kind.RULE, rule.severity, rule.confidence, evidence))
            denied = denied or (f"{rule.denied} ({described(evidence[1])})" if rule.denied else "")
        if self._indicators is not None:
            for hit in self._indicators.find(text, now_s):
                if hit.confidence and not in_scope(hit.value, hosts):
                    found.append(Signal(Kind.INDICATOR, CALL_SEVERITY, hit.confidence, (hit.id,)))
                    if hit.confidence >= HARD_CONFIDENCE:
                        denied = denied or f"it names the indicator {hit.shown}"
        return found, denied

    async def _climb(self, signals: list[Signal], session: str, *, stopped: bool) -> None:
        subject = self._desk.registry.subjects.get(self._person)
        default = self._rules.access.default_tier
        tier: Tier = subject.tier(self._desk.now_s(), default) if subject is not None else default

        for signal in signals:  # each on what the one before left: together they climb a rung each at most

            def climb(known: Ladder, t_ms: int, signal: Signal = signal) -> tuple[list[Draft], None]:
                now = known.standing(self.subject)
                return on_signal(now, signal, tier, t_ms, new_case=new_case(), request=session), None

            await self._desk.change(climb)
        if stopped:
            await self._desk.change(
                lambda known, _: (open_case(known.standing(self.subject), new_case()), None)
            )

    def _feeds(self, rules: MonitorRules, home: Home) -> IndicatorSet | None:
        if not rules.feeds:
            return None
        if missing := [name for name in EXTRA if find_spec(name) is None]:
            self._tell(f"the indicators of monitor.feeds are not looked for: {', '.join(missing)} is missing")
            return None
        from veilig.app.watching import load_indicators, placed

        return load_indicators(placed(rules, home), home.path / "cache").indicators

    def _explain(self) -> None:
        now = self.standing
        if now.level is not self._said:
            self._tell(f"level {now.level} ({self.subject}): {self._why(now)}")
        self._said = now.level

    def _why(self, now: Standing) -> str:
        return f"{now.reason}. {self._case()}".strip()

    def _case(self) -> str:
        case = self.standing.case
        return f"Case {case}; appeal: `veilig cases appeal {case}`" if case else ""


class LadderGate(Gate):
    """The gate of a session whose person and model stand on the ladder."""

    ladder: AgentLadder | None = None

    async def submit(self, action: Action, actor: Actor, *, note: dict[str, JSON] | None = None) -> Outcome:
        """As the gate's, after the ladder has seen the act."""
        if self.ladder is not None:
            await self.ladder.see(action, self.session)
        return await super().submit(action, actor, note=note)


def _reaches(action: Action) -> str:
    """What an act would run or send; "" for acts that stay in the copy. Files are judged when they run."""
    if isinstance(action, RunCommand | LaunchProgram):
        return shlex.join(action.argv)
    if isinstance(action, TypeText):  # into a terminal, perhaps
        return action.text
    return f"{action.tool} {action.arguments}" if isinstance(action, CallTool) else ""


def _quiet(_: str) -> None:
    """Nobody watches."""
