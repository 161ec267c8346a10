"""Which incidents does a ledger tell of? Each in full, with the wall clock's times, from the notes."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

from veilig.core.canonical import JSON
from veilig.core.delta import apply
from veilig.heal.incident import Incident


class Noted(Protocol):
    """An event of the ledger, as far as it matters here."""

    @property
    def name(self) -> str: ...
    @property
    def session(self) -> str: ...
    @property
    def wall_ms(self) -> int: ...
    @property
    def body(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Told:
    """One incident and its session. wall_offset_s: add it to boot-clock times for seconds since 1970."""

    incident: Incident
    session: str
    wall_offset_s: float

    @property
    def opened_ms(self) -> int:
        """When it was opened, ms since 1970."""
        return round((self.incident.opened_s + self.wall_offset_s) * 1000)

    @property
    def cause(self) -> str:
        """Its last cause that says more than "something is wrong"."""
        vague = ("degraded", "starting", "healthy", "")
        named = [turn.cause for turn in self.incident.course if turn.cause not in vague]
        vague_ones = [turn.cause for turn in self.incident.course]
        return (named[-1:] or vague_ones[:1] or [self.incident.cause])[0]

    def to_json(self) -> dict[str, JSON]:
        """For scripts: the incident with its session, its cause and times in ms since 1970."""
        plain = self.incident.to_json()
        plain |= {
            "id": self.incident.id,
            "service": self.incident.service,
            "cause": self.cause,
            "session": self.session,
            "opened_ms": self.opened_ms,
            "open": not self.incident.closed_s,
        }
        if self.incident.closed_s:
            plain["closed_ms"] = round((self.incident.closed_s + self.wall_offset_s) * 1000)
        return plain


class Folding:
    """Follows one session's notes and keeps every incident as it last stood."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.state: dict[str, JSON] = {}
        self.told: dict[str, Told] = {}

    def take(self, event: Noted) -> None:
        """One event; only notes matter."""
        if event.name != "session.noted":
            return
        self.state = apply(self.state, cast(dict[str, JSON], event.body["delta"]))
        self.see(self.state, event.wall_ms / 1000)

    def see(self, state: dict[str, JSON], wall_s: float) -> None:
        """The planner's state at a moment: open incidents are replaced, those that went are closed."""
        given = cast(dict[str, Any], state)
        offset_s = wall_s - float(given.get("now_s", 0.0))
        open_ = {str(one["id"]): one for one in given.get("incidents", {}).values()}
        ends = {str(one["id"]): one for one in given.get("closed", [])}
        for name, told in list(self.told.items()):
            if name in open_ or told.incident.closed_s:
                continue
            end = ends.get(name, {})
            closed = replace(
                told.incident,
                closed_s=float(end.get("closed_s", given.get("now_s", 0.0))),
                ended=str(end.get("ended", "no longer watched")),
                stage="closed",
            )
            self.told[name] = replace(told, incident=closed)
        for name, one in open_.items():
            known = self.told.get(name)
            offset = known.wall_offset_s if known else offset_s
            self.told[name] = Told(Incident.from_json(one), self.session, offset)


def incidents(events: Iterable[Noted]) -> list[Told]:
    """Every incident these events tell of, oldest first."""
    sessions: dict[str, Folding] = {}
    for event in events:
        if event.name == "session.started" and event.body.get("kind") == "heal":
            sessions[event.session] = Folding(event.session)
        elif event.session in sessions:
            sessions[event.session].take(event)
    found = [told for folding in sessions.values() for told in folding.told.values()]
    return sorted(found, key=lambda told: (told.opened_ms, told.incident.id))
