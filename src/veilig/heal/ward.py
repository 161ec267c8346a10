"""What does the planner know at one moment? Ward: last sample and history of each service, and incidents.

Read from and written to plain JSON; what did not change keeps its very object: a step's delta is small.
"""

from dataclasses import dataclass, field, replace
from typing import Any, cast

from veilig.core.canonical import JSON
from veilig.core.signal import Run, Sample, from_json, to_json
from veilig.heal.history import Act, History, exhausted
from veilig.heal.incident import Incident, summary
from veilig.heal.leak import suspect
from veilig.heal.remedy import picture

CLOSED_MAX = 50
VERSION = 1


@dataclass(frozen=True, slots=True)
class Kept:
    """One service: its last sample and its history. restless: worth a diagnosis without news."""

    sample: Sample
    history: History
    json: dict[str, JSON]
    restless: bool
    picture: str

    @classmethod
    def of(cls, sample: Sample, history: History, given: JSON = None) -> "Kept":
        """Both, with their plain form; given: that of the sample, where it is at hand."""
        plain: dict[str, JSON] = {"sample": given or to_json(sample), "history": history.to_json()}
        return cls(sample, history, plain, _restless(sample, history), picture(sample))

    @classmethod
    def from_json(cls, value: dict[str, JSON]) -> "Kept":
        """The inverse of `json`."""
        sample, history = from_json(value["sample"]), History.from_json(value["history"])
        return cls(sample, history, value, _restless(sample, history), picture(sample))


def _restless(sample: Sample, history: History) -> bool:
    slow = bool(history.slow) and sample.t_s - history.slow[-1][0] < 10
    full = any(exhausted(disk) for disk in sample.disks) and bool(sample.log)
    held = sample.run in (Run.FROZEN, Run.STOPPED, Run.UNKNOWN) or bool(sample.held_by)
    counts = any(one.over for one in sample.gauges) or any(one.blocks for one in sample.backends)
    return sample.failing or held or slow or full or counts or suspect(sample)


@dataclass(slots=True)
class Ward:
    """The planner's working copy of one step; `to_json` is its state."""

    now_s: float = 0.0
    mark: str = ""
    looks: int = 0
    began_s: float = 0.0
    count: int = 0
    acting: str = ""  # the service of the proposal that is out
    fresh: bool = False  # no act lies between the last look and now
    holds: str = ""  # what stops every act, as at the last look
    kept: dict[str, Kept] = field(default_factory=dict[str, Kept])
    incidents: dict[str, Incident] = field(default_factory=dict[str, Incident])
    closed: list[dict[str, JSON]] = field(default_factory=list[dict[str, JSON]])
    notes: list[str] = field(default_factory=list[str])
    plain: dict[str, tuple[Incident, dict[str, JSON]]] = field(
        default_factory=dict[str, tuple[Incident, dict[str, JSON]]]
    )

    def copy(self) -> "Ward":
        """A copy whose change leaves this one alone; the values in it are frozen."""
        return replace(
            self,
            kept=dict(self.kept),
            incidents=dict(self.incidents),
            closed=list(self.closed),
            plain={**self.plain},
        )

    def to_json(self) -> dict[str, JSON]:
        """The state, small and bounded: one sample and one history per service, fifty closed incidents."""
        open_: dict[str, JSON] = {}
        for name, incident in self.incidents.items():
            known = self.plain.get(name)
            if known is None or known[0] is not incident:
                known = self.plain[name] = (incident, incident.to_json())
            open_[name] = known[1]
        return {
            "v": VERSION,
            "now_s": self.now_s,
            "mark": self.mark,
            "looks": self.looks,
            "began_s": self.began_s,
            "count": self.count,
            "acting": self.acting,
            "fresh": self.fresh,
            "services": {name: kept.json for name, kept in self.kept.items()},
            "incidents": open_,
            "closed": cast(JSON, list(self.closed)),
            "notes": cast(JSON, list(self.notes)),
            **({"holds": self.holds} if self.holds else {}),
        }

    @classmethod
    def from_json(cls, state: dict[str, JSON]) -> "Ward":
        """The inverse of `to_json`."""
        given = cast(dict[str, Any], state)
        return cls(
            now_s=given["now_s"],
            mark=given["mark"],
            looks=given["looks"],
            began_s=given["began_s"],
            count=given["count"],
            acting=given["acting"],
            fresh=given["fresh"],
            holds=given.get("holds", ""),
            kept={name: Kept.from_json(kept) for name, kept in given["services"].items()},
            incidents={name: Incident.from_json(one) for name, one in given["incidents"].items()},
            closed=list(given["closed"]),
            notes=list(given["notes"]),
        )

    def remember(self, name: str, **changed: Any) -> None:
        """Change fields of one service's history."""
        kept = self.kept[name]
        self.kept[name] = Kept.of(kept.sample, replace(kept.history, **changed), kept.json["sample"])

    def open(self, name: str) -> Incident:
        """The open incident of this service; a new one when there is none."""
        if name not in self.incidents:
            self.count += 1
            self.incidents[name] = Incident(f"{name}-{self.count}", name, self.now_s, self.now_s)
        return self.incidents[name]

    def close(self, name: str, ended: str) -> None:
        """Close the incident of this service; its last act helped when the service is `well`."""
        incident = self.incidents.pop(name)
        self.plain.pop(name, None)
        closed = replace(incident, closed_s=self.now_s, ended=ended, stage="closed")
        self.closed = [*self.closed, summary(closed)][-CLOSED_MAX:]
        acts = self.kept[name].history.acts
        if ended == "well" and acts and acts[-1].helped is None and acts[-1].t_s >= incident.opened_s:
            self.remember(name, acts=(*acts[:-1], replace(acts[-1], helped=True)))

    def acted(self, name: str, act: Act, most: int) -> None:
        """One more act; those before it, of which nobody knew, did not help."""
        known = self.kept[name].history.acts
        before = tuple(replace(a, helped=False) if a.helped is None else a for a in known)
        self.remember(name, acts=(*before, act)[-most:])

    def shift(self, by_s: float) -> None:
        """After a reboot: all times on the new boot clock, as if no time had passed."""
        for name, kept in self.kept.items():
            self.kept[name] = Kept.of(kept.sample, kept.history.shifted(by_s))
        for name, one in self.incidents.items():
            times = ("opened_s", "updated_s", "since_s", "well_s", "escalated_s")
            moved: dict[str, Any] = {at: value + by_s for at in times if (value := getattr(one, at))}
            acts = tuple(replace(done, t_s=done.t_s + by_s) for done in one.acts)
            course = tuple(replace(turn, t_s=turn.t_s + by_s) for turn in one.course)
            moved |= {
                "acts": acts,
                "course": course,
                "refused": (),
                "asked": None,
                "until_s": 0.0,
                "idle_s": 0.0,
                "hypothesis": one.hypothesis and replace(one.hypothesis, t_s=one.hypothesis.t_s + by_s),
            }
            self.incidents[name] = replace(one, **moved)
