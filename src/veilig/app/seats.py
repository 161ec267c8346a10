"""How does the person at this machine give seats at the admin page, and take them back?"""

import secrets

from veilig.access.keys import key_hash
from veilig.access.seats import EVENTS, PREFIX, Duty, Seat, Seats
from veilig.app.access import Office
from veilig.core.errors import UsageError
from veilig.core.policy_match import wrong_person


def seats_of(at: Office, known: Seats | None = None) -> Seats:
    """As far as the ledger goes. known: a fold to go on with."""
    found = known or Seats()
    found.apply(at.desk.ledger.events(after=found.seen, names=EVENTS))
    return found


def give(at: Office, person: str, duty: Duty, lasts_s: float) -> tuple[Seat, str]:
    """A seat and, this once, its key. Raises UsageError for what names nobody."""
    if (why := wrong_person(person)) or ":" in person:
        raise UsageError(f"{person!r} cannot name anybody", why=why or "it holds a colon")
    text, name = PREFIX + secrets.token_urlsafe(32), f"seat-{secrets.token_hex(4)}"
    at.write(
        "seat.given",
        {
            "seat": name,
            "person": person,
            "duty": str(duty),
            "hash": key_hash(text.encode()).hex(),
            "expires_s": int(at.desk.now_s() + lasts_s),
            "actor": at.person.person,
        },
    )
    return seats_of(at).known[name], text


def take(at: Office, name: str, reason: str) -> Seat:
    """The seat holds no longer, from the next request on. Raises UsageError."""
    if name not in seats_of(at).known:
        raise UsageError(f"there is no seat {name!r}", fix="`veilig access seat list` lists them")
    at.write("seat.taken", {"seat": name, "reason": at.redact(reason), "actor": at.person.person})
    return seats_of(at).known[name]
