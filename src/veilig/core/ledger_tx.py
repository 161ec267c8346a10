"""What may happen inside one transaction of the ledger?"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence

from veilig.core.canonical import JSON
from veilig.core.clock import Clock
from veilig.core.errors import Fenced, LedgerError
from veilig.core.ledger_event import Draft, Event, Row, event_of, keys_of, lease_of, make_row, read_row
from veilig.core.ledger_head import Head

LEASED = "session.leased"


class Tx(ABC):
    """Reads and appends that become true together or not at all; each store brings its own rows.

    Time is read once, so what was counted and what is appended agree. Every method raises
    LedgerError once the transaction is over.
    """

    __slots__ = ("_claimed", "_now_ms", "_open", "_promised", "_up_ms", "_wall_ms", "boot", "head")

    def __init__(self, head: Head, clock: Clock) -> None:
        self.head = head
        self.boot = clock.boot_id()
        self._up_ms = int(clock.boottime_s() * 1000)
        self._wall_ms = int(clock.wall_s() * 1000)
        known: tuple[int, int] | None = None
        if head.size and self.boot == head.boot:
            known = (head.t_ms, head.up_ms)
        elif head.size:
            # A boot that wrote before (two machines on one disk, a restored guest) must not count its
            # whole uptime again.
            known = self._last_of_boot(self.boot)
        self._now_ms, self._up_ms = ledger_time(head, known, self._up_ms)
        self._promised: set[str] = set()
        self._claimed: set[str] = set()
        self._open = True

    def now_ms(self) -> int:
        """Ledger time of this transaction: 0 before the first event."""
        self._must_be_open()
        return self._now_ms

    def append(self, name: str, session: str, body: dict[str, JSON]) -> Event:
        """Record a fact. `body["budget_keys"]` is counted, `body["claims"]` is taken for ever.

        Raises LedgerError when it cannot be recorded, or a claim or the token of a lease is taken already.
        """
        self._must_be_open()
        row = make_row(
            Draft(name, session, body),
            seq=self.head.size + 1,
            t_ms=self._now_ms,
            boot=self.boot,
            up_ms=self._up_ms,
            wall_ms=self._wall_ms,
            before=self.head.hash,
        )
        budget_keys, claims = keys_of(body, "budget_keys"), keys_of(body, "claims")
        for key in claims:
            if self._taken(key):
                raise LedgerError(
                    f"{key!r} is claimed already",
                    why="what may happen once has happened, or is about to",
                    fix="do not do it again",
                )
        token = lease_of(name, body) if name == LEASED else 0
        if token and token != self._token(session) + 1:
            raise LedgerError(
                f"the lease of {session!r} has another token than {token}", fix="take it with `lease`"
            )
        self._insert(row, budget_keys, claims, token)
        self._claimed.update(claims)
        self.head = Head(row[10], self._now_ms, self.boot, self._up_ms, self.head.frontier.push(row[9]))
        return event_of(row, body)

    def count(self, key: str, since_ms: int) -> int:
        """How many events carry this budget key at or after `since_ms` of ledger time."""
        self._must_be_open()
        return self._counted(key, since_ms)

    def claim(self, key: str) -> bool:
        """True once ever per key. Whoever gets True must append an event with the key in its `claims`
        in this transaction; otherwise the transaction fails, for the claim would be lost.
        """
        self._must_be_open()
        if key in self._promised or self._taken(key):
            return False
        self._promised.add(key)
        return True

    def claimed(self, key: str) -> bool:
        """Was this key ever claimed?"""
        self._must_be_open()
        return self._taken(key)

    def lease(self, session: str, holder: str) -> int:
        """Give the session to `holder`: the new token (from 1), which fences every earlier one off."""
        self._must_be_open()
        token = self._token(session) + 1
        self.append(LEASED, session, {"token": token, "holder": holder})
        return token

    def leased(self, session: str) -> int:
        """The token of the session's lease; 0 when nobody ever took it."""
        self._must_be_open()
        return self._token(session)

    def must_hold(self, session: str, token: int) -> None:
        """Raises Fenced when `token` is not that of the session's lease: somebody took it over."""
        if (now := self.leased(session)) != token:
            raise Fenced(
                f"the session {session!r} was taken over",
                why=f"its lease has token {now}, this driver holds {token}",
                fix="stop: the other one goes on with it",
            )

    def events(
        self, session: str | None = None, names: Collection[str] | None = None, after: int = 0
    ) -> Iterator[Event]:
        """The events so far that are not erased, this transaction's own included, in order."""
        self._must_be_open()
        return (event for event in map(read_row, self._rows(session, names, after)) if not event.erased)

    def finish(self) -> Head:
        """End the transaction's work (the ledger calls this before the commit).

        Raises LedgerError when a claim was taken and no event says so.
        """
        self._must_be_open()
        self._open = False
        lost = self._promised - self._claimed
        if lost:
            raise LedgerError(
                f"the claim {min(lost)!r} was taken and not recorded",
                why="a claim lives in an event's `claims`",
                fix="append such an event in the same transaction",
            )
        return self.head

    def discard(self) -> None:
        """Refuse every further use: the transaction was rolled back."""
        self._open = False

    @abstractmethod
    def _insert(self, row: Row, budget_keys: Sequence[str], claims: Sequence[str], token: int) -> None: ...

    @abstractmethod
    def _last_of_boot(self, boot: str) -> tuple[int, int] | None: ...

    @abstractmethod
    def _counted(self, key: str, since_ms: int) -> int: ...

    @abstractmethod
    def _taken(self, key: str) -> bool: ...

    @abstractmethod
    def _token(self, session: str) -> int: ...

    @abstractmethod
    def _rows(self, session: str | None, names: Collection[str] | None, after: int) -> Sequence[Row]: ...

    def _must_be_open(self) -> None:
        if not self._open:
            raise LedgerError(
                "this transaction is over", why="a Tx lives inside transact or submit", fix="start a new one"
            )


def ledger_time(head: Head, known: tuple[int, int] | None, up_ms: int) -> tuple[int, int]:
    """(t_ms, up_ms) of an event after `head`, when the uptime is `up_ms`; pure.

    known: (t_ms, up_ms) of the last event of the same boot, None for a boot not seen before: then
    only the new uptime is known to have passed. Uptime that went back within a boot counts as none.
    """
    if not head.size:
        return 0, up_ms
    if known is None:
        return head.t_ms + up_ms, up_ms
    then_ms, then_up_ms = known
    up_ms = max(up_ms, then_up_ms)
    return max(head.t_ms, then_ms + up_ms - then_up_ms), up_ms
