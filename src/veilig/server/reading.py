"""Who is told what the monitor found, and what when it breaks? Between the engine and the ladder.

A monitor that fails has found nothing out: the request is refused, or passes where the policy says so, and
the ledger says which. It is never recorded as clean.
"""

import time
from dataclasses import dataclass, field

from veilig.app.safeguards import Desk
from veilig.monitor.actions import Seen as Step
from veilig.monitor.engine import Engine
from veilig.monitor.items import Item, Seen, Source, items_of
from veilig.monitor.ladder import HARD_CONFIDENCE, RANK, Level, Signal
from veilig.monitor.stream import Stop, StreamWatch, ToolCall
from veilig.monitor.stream_messages import MessagesWatch
from veilig.monitor.trails import Trails
from veilig.server import wire
from veilig.server.judging import Judging
from veilig.server.metrics import Metrics
from veilig.server.ticket import Ticket
from veilig.server.wire import Answer, Appeals


@dataclass(slots=True)
class Judged:
    """What one answer showed, so far."""

    engine: Engine
    hosts: tuple[str, ...]
    seen: Seen
    conversation: str
    signals: list[Signal] = field(default_factory=list[Signal])
    steps: list[Step] = field(default_factory=list[Step])
    heard_ids: set[str] = field(default_factory=set[str])
    tail_chars: int = 0

    def judge(self, call: ToolCall) -> Stop | None:
        """May the client see this call?"""
        found = self.engine.judge(call, self.hosts, time.time())
        self.signals += found.signals
        self.steps += found.steps
        self.seen.note(self.conversation, Item(Source.CALL, call.arguments))
        return Stop(found.denied) if found.denied else None

    def heard(self, text: str) -> Stop | None:
        """Note indicators in the answer's text; they stop nothing, unless the policy keeps a tail back."""
        hits = self.engine.hear(text, time.time())
        self.heard_ids.update(hit.id for hit in hits)
        if not self.tail_chars:
            return None
        sure = next((h for h in hits if h.confidence >= HARD_CONFIDENCE), None)
        return None if sure is None else Stop(f"the answer names the indicator {sure.shown}")

    def stream(self, surface: str) -> StreamWatch:
        """The watch over a streamed answer."""
        kind = MessagesWatch if surface == "messages" else StreamWatch
        return kind(self.judge, self.heard, self.tail_chars)


class Reader:
    """The monitor of one gateway."""

    def __init__(self, engine: Engine, desk: Desk, metrics: Metrics, appeals: Appeals) -> None:
        self.engine = engine
        self._desk = desk
        self.metrics = metrics
        self._appeals = appeals
        self._seen = Seen()
        self.trails = Trails()
        self.judging: Judging | None = None

    async def read(self, ticket: Ticket) -> Answer | None:
        """Look at what is new in a request. An answer where it may not go on."""
        caller = ticket.caller
        try:
            items = self._seen.fresh(self._conversation(ticket), items_of(ticket.body))
            found = self.engine.read(items, self._hosts(ticket), time.time())
            itself = self.engine.account(caller.user, caller.key.hash.hex(), time.time())
            trail = self.trails.add(caller.user, found.scores, found.steps, time.time())
        except Exception as error:  # noqa: BLE001  # a monitor that breaks is not one that found nothing
            stop = await self.broken(ticket, "request", error)
            return None if stop is None else wire.error(503, stop.code, stop.message)
        ticket.score = found.score
        signals = found.signals + itself.signals + trail
        if not signals:
            return None
        self._count(signals)
        if self.judging is not None:
            self.judging.consider(ticket)
        text = self._kept(ticket)
        standing = await self._desk.signal(caller, signals, ticket.id, text=text)
        ticket.told.warning = wire.notice(standing, self._appeals)
        ticket.told.case = standing.case
        if standing.level is Level.SUSPEND:
            return wire.suspended(standing, self._appeals)
        return None

    def watch(self, ticket: Ticket) -> Judged:
        """Look at the answer to a request."""
        tail = self._desk.rules.monitor.text_tail_chars
        return Judged(
            self.engine, self._hosts(ticket), self._seen, self._conversation(ticket), tail_chars=tail
        )

    async def told(self, ticket: Ticket, judged: Judged, stop: Stop | None) -> Stop | None:
        """Record what the answer showed. The stop with its case, where there is one."""
        if judged.heard_ids:
            self.metrics.count("answers_with_indicators_total")
        judged.signals += self.trails.add(ticket.caller.user, (), judged.steps, time.time())
        if not judged.signals and (stop is None or stop.code != "cyber_policy"):
            return stop
        self._count(judged.signals)
        stopped = stop is not None and stop.code == "cyber_policy"
        standing = await self._desk.signal(ticket.caller, judged.signals, ticket.id, stopped=stopped)
        if stop is None or not stopped:
            return stop
        self.metrics.count("answers_stopped_total")
        return Stop(wire.stopped(stop.message, standing.case, self._appeals), stop.code)

    async def broken(self, ticket: Ticket, stage: str, error: Exception) -> Stop | None:
        """What a failure means for this request: None, it passes; else why it does not."""
        caller = ticket.caller
        lenient = caller.tier in self._desk.rules.monitor.open_on_failure
        passes = lenient and RANK[caller.standing.level] <= RANK[Level.WARN]
        self.metrics.count("monitor_failed_total", stage=stage)
        self._desk.note(
            "monitor.failed",
            {"request": ticket.id, "stage": stage, "error": type(error).__name__, "passed": passes},
        )
        if passes:
            return None
        what = "This could not be checked, so it was not passed on; nothing is held against you. Try again"
        return Stop(what, "monitor_unavailable")

    def _hosts(self, ticket: Ticket) -> tuple[str, ...]:
        scope = ticket.caller.subject.scope
        return scope.hosts if scope is not None and scope.expires_s > self._desk.now_s() else ()

    def _conversation(self, ticket: Ticket) -> str:
        named = next(
            (v for k, v in ticket.headers if k in (b"session-id", b"x-session-id", b"session_id")), b""
        )
        return f"{ticket.caller.user}/{named.decode('latin-1')[:100]}"

    def _kept(self, ticket: Ticket) -> str:
        """The flagged text where the operator keeps it, else nothing: prompts are kept as hashes."""
        if not self._desk.rules.monitor.keep_prompts:
            return ""
        return "\n".join(item.text for item in items_of(ticket.body))[-4000:]

    def _count(self, signals: list[Signal]) -> None:
        for signal in signals:
            self.metrics.count("signals_total", kind=str(signal.kind))
