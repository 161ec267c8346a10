"""Who may sit at the admin page, as whom, and until when? A fold of the log; keys are kept as hashes only.

A seat is one person's. What needs two people needs two seats of two persons, and each says who gave it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from veilig.core.ledger_event import Event

EVENTS = frozenset({"seat.given", "seat.taken"})
PREFIX = "vs-"


class Duty(StrEnum):
    """What a seat is for."""

    REVIEWER = "reviewer"  # reads, decides appeals, vouches
    ADMIN = "admin"  # also subjects, keys, grants, budgets, levels


@dataclass(frozen=True, slots=True)
class Seat:
    """One person's key to the admin page; `giver` made it."""

    id: str
    person: str
    duty: Duty
    hash: bytes
    giver: str
    expires_s: int
    taken: bool = False

    def live(self, now_s: float) -> bool:
        """Does it hold at this moment?"""
        return not self.taken and now_s < self.expires_s


class Seats:
    """All seats, by id and by the hash of their key."""

    def __init__(self) -> None:
        self.seen = 0
        self.known: dict[str, Seat] = {}
        self.by_hash: dict[bytes, str] = {}

    def apply(self, events: Iterable[Event]) -> None:
        """Take in events, each once, in order."""
        for event in events:
            if event.seq <= self.seen:
                continue
            self.seen = event.seq
            text = {k: v for k, v in event.body.items() if isinstance(v, str)}
            if event.name == "seat.given":
                until = event.body["expires_s"]
                seat = Seat(
                    text["seat"], text["person"], Duty(text["duty"]), bytes.fromhex(text["hash"]),
                    text["actor"], until if isinstance(until, int) else 0,
                )  # fmt: skip
                self.known[seat.id] = seat
                self.by_hash[seat.hash] = seat.id
            elif event.name == "seat.taken" and (seat := self.known.get(text["seat"])):
                self.known[seat.id] = replace(seat, taken=True)

    def find(self, digest: bytes, now_s: float) -> Seat | None:
        """The live seat whose key has this hash."""
        seat = self.known.get(self.by_hash.get(digest, ""))
        return seat if seat is not None and seat.live(now_s) else None
