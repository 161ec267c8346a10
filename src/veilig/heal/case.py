"""What does a diagnosis say, and what may it look at? Diagnosis and Case."""

from dataclasses import dataclass

from veilig.core.service import Service
from veilig.core.signal import Change, LogHit, LogKind, Run, Sample
from veilig.heal.fleet import Cause, Fleet
from veilig.heal.history import History

TIMEOUT_FAILS = 2  # with a second sign; without one a third probe must fail
ERROR_S = 3.0  # an error that lasts less is a hiccup
ERROR_BUSY_S = 15.0  # 429 and 503 say "not now": believed for a while
FROZEN_S = 2.0  # job control and debuggers stop for a moment
SLOW_START_S = 30.0  # alive and silent since its start: many programs take so long once
CHANGED_START_S = 12.0  # with files that never served
AFTER_CLEAR_S = 2.0  # what lacked is back: time to come back by itself
OVERLOAD_MEMORY_S = 45.0  # slow answers so long before silence speak of load
IDLE_CPU = 0.02  # less is no work
OVERLOAD_FOR_S = 90.0  # idle and silent for so long is no load any more
LATENCY_S = 5.0  # slow answers for so long are a state ...
LATENCY_SCALED_S = 1.5  # ... and where replicas carry the load, since one more of them costs little
QUEUE_MS, QUEUE_TIMES = 400.0, 1.5  # answers that grow so slow, so fast, wait in a queue
RELOAD_S = 60.0  # a running service may read a changed file so long after
BUSY_STATUS = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One cause, explained. subject: what it is about (a port, a need, a path). clears: when it is over.

    sure: enough was seen to act on it. confidence: 0 to 1. blamed: files that may be taken back.
    held: the cause lies outside the service, so a restart cannot help.
    """

    cause: Cause
    subject: str = ""
    since_s: float = 0.0
    confidence: float = 1.0
    evidence: tuple[str, ...] = ()
    clears: str = ""
    sure: bool = True
    blamed: tuple[str, ...] = ()
    held: bool = False

    def told(self, since_s: float, state: tuple[str, ...]) -> "Diagnosis":
        """The same since then, with what was seen of process and answer before its own evidence."""
        if self.cause is Cause.HEALTHY:
            return self
        evidence = (*state, *self.evidence)
        rest = (self.clears, self.sure, self.blamed, self.held)
        return Diagnosis(self.cause, self.subject, since_s, self.confidence, evidence, *rest)


@dataclass(frozen=True, slots=True)
class Case:
    """All that one diagnosis may look at; durations are counted up to `now_s`."""

    service: Service
    sample: Sample
    history: History
    fleet: Fleet

    @property
    def now_s(self) -> float:
        return self.fleet.now_s

    @property
    def ill_for_s(self) -> float:
        return self.now_s - (self.history.ill_s or self.now_s)

    @property
    def up_s(self) -> float:
        return self.sample.up_s + self.now_s - self.sample.t_s

    @property
    def answer_for_s(self) -> float:
        return self.sample.answer_for_s + self.now_s - self.sample.t_s

    def hit(self, *kinds: LogKind) -> LogHit | None:
        return next((h for h in self.sample.log if h.kind in kinds), None)

    def changes(self, kind: str) -> list[Change]:
        return [c for c in self.sample.changes if c.kind == kind]

    @property
    def died_early(self) -> bool:
        """Its last start died within the warm-up."""
        early = self.history.early
        return self.sample.run is Run.DOWN and bool(early) and early[-1] >= self.last_start_s - 0.05

    @property
    def last_start_s(self) -> float:
        return self.sample.starts[-1] if self.sample.starts else self.sample.t_s - self.sample.up_s

    def quoted(self, *kinds: LogKind) -> tuple[str, ...]:
        hit = self.hit(*kinds)
        return (f"its log says {hit.line!r} ({hit.count} times since the start)",) if hit else ()
