"""What is one trouble of one service, from its first sign to its end? Incident: cause, acts, course.

Values only; the planner opens, updates and closes them, and keeps them in its state.
"""

from dataclasses import dataclass, field, fields, replace
from typing import Any, cast

from veilig.core.canonical import JSON
from veilig.heal.case import Diagnosis
from veilig.heal.hypothesis import Hypothesis

COURSE = 24  # causes over time: more is a flapping one, and the last are kept
ACTS = 16
EVIDENCE = 8
REFUSALS = 4


@dataclass(frozen=True, slots=True)
class Done:
    """One proposal and what came of it. ref: its name in the ledger. status: as core.provider.Status."""

    t_s: float
    kind: str
    what: str
    digest: str
    status: str
    detail: str = ""
    ref: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """From `t_s` on this was the cause."""

    t_s: float
    cause: str
    subject: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The gate said no: not proposed again before `next_s`, or a change of `mark`."""

    digest: str
    t_s: float
    next_s: float
    mark: str
    times: int
    why: str


@dataclass(frozen=True, slots=True)
class Asked:
    """People were asked about exactly this action; it is proposed again at `next_s`, or once answered."""

    approval: str
    action: dict[str, JSON]
    since_s: float
    next_s: float


@dataclass(frozen=True, slots=True)
class Incident:
    """Times are seconds of the boot clock; closed_s is 0 while it is open.

    stage: look, hold, act, asked, settling or closed. since_s: since when cause and subject are the same.
    idle_s: not thought over before, without news after the sample of `seen_s`.
    well_s: since when the service is well again. told: notices sent. until_s: when it is thought over again.
    """

    id: str
    service: str
    opened_s: float
    updated_s: float = 0.0
    closed_s: float = 0.0
    stage: str = "look"
    cause: str = ""
    subject: str = ""
    confidence: float = 0.0
    evidence: tuple[str, ...] = ()
    clears: str = ""
    why: str = ""
    since_s: float = 0.0
    well_s: float = 0.0
    until_s: float = 0.0
    escalated_s: float = 0.0
    idle_s: float = 0.0
    seen_s: float = 0.0
    told: tuple[str, ...] = ()
    course: tuple[Turn, ...] = ()
    acts: tuple[Done, ...] = ()
    dropped: int = 0
    refused: tuple[Refusal, ...] = ()
    asked: Asked | None = None
    ended: str = field(default="")
    hypothesis: Hypothesis | None = None  # a model's guess: shown as such, and nothing else

    def named(self, diagnosis: Diagnosis, now_s: float) -> "Incident":
        """The incident with this diagnosis as its present one."""
        cause, subject, evidence = str(diagnosis.cause), diagnosis.subject, diagnosis.evidence[:EVIDENCE]
        if cause == self.cause and subject == self.subject:
            # Its sentences tell seconds: they are written anew when they say more, not at every look.
            if (diagnosis.confidence, len(evidence)) == (self.confidence, len(self.evidence)):
                return self
            return replace(self, confidence=diagnosis.confidence, evidence=evidence, clears=diagnosis.clears)
        turn = Turn(now_s, cause, subject, diagnosis.evidence[0] if diagnosis.evidence else "")
        course = (*self.course, turn)
        return replace(
            self,
            updated_s=now_s,
            cause=cause,
            subject=subject,
            confidence=diagnosis.confidence,
            evidence=evidence,
            clears=diagnosis.clears,
            since_s=now_s,
            course=course[-COURSE:],
            dropped=self.dropped + max(0, len(course) - COURSE),
        )

    def acted(self, done: Done) -> "Incident":
        """The incident with one more proposal; a repeated refusal or question takes the place of its last."""
        acts = self.acts
        if acts and (acts[-1].digest, acts[-1].status) == (done.digest, done.status):
            acts = acts[:-1] if done.status in ("refused", "held") else acts
        acts = (*acts, done)
        dropped = self.dropped + max(0, len(acts) - ACTS)
        return replace(self, acts=acts[-ACTS:], dropped=dropped, updated_s=done.t_s)

    @property
    def moved_s(self) -> float:
        """When its cause last changed, or an act was done."""
        acted = [done.t_s for done in self.acts if done.status not in ("refused", "held")]
        return max([self.opened_s, self.since_s, *acted[-1:]])

    def refusal(self, digest: str) -> Refusal | None:
        """The last refusal of exactly this action."""
        return next((r for r in self.refused if r.digest == digest), None)

    def to_json(self) -> dict[str, JSON]:
        """Plain values; what is at its default is left out."""
        return cast(dict[str, JSON], _plain(self))

    @classmethod
    def from_json(cls, value: object) -> "Incident":
        """The inverse of `to_json`."""
        given = dict(cast(dict[str, Any], value))
        for name, part in (("course", Turn), ("acts", Done), ("refused", Refusal)):
            given[name] = tuple(part(**item) for item in given.get(name, ()))
        for name in ("evidence", "told"):
            given[name] = tuple(given.get(name, ()))
        if given.get("asked") is not None:
            given["asked"] = Asked(**given["asked"])
        if given.get("hypothesis") is not None:
            given["hypothesis"] = Hypothesis.from_json(given["hypothesis"])
        return cls(**given)


def summary(incident: Incident) -> dict[str, JSON]:
    """What stays of a closed one in the planner's state."""
    acts: list[JSON] = [f"{done.kind} {done.status}" for done in incident.acts]
    named = {turn.cause: turn.t_s for turn in incident.course}
    lasting = [t.cause for t in incident.course if t.cause not in ("degraded", "starting", "healthy")]
    return {
        "id": incident.id,
        "service": incident.service,
        "cause": lasting[-1] if lasting else next(iter(named), incident.cause),
        "opened_s": incident.opened_s,
        "closed_s": incident.closed_s,
        "acts": acts,
        "ended": incident.ended,
    }


def _plain(value: Any) -> Any:
    kind = cast(type[Any], type(value))
    if kind is tuple:
        return [_plain(item) for item in cast(tuple[Any, ...], value)]
    if kind in _FIELDS:
        found: dict[str, Any] = {}
        for name, default in _FIELDS[kind]:
            part = getattr(value, name)
            if part != default:
                found[name] = _plain(part)
        return found
    return value


_FIELDS = {
    kind: tuple((one.name, one.default) for one in fields(kind))
    for kind in (Done, Turn, Refusal, Incident, Asked, Hypothesis)
}
