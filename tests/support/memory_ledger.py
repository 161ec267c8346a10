"""A ledger in memory that follows the real one's rules: one transaction at a time, all of it or nothing.

Time, claims, budgets and what a body may hold are the real code's; what it leaves out are hashes, files and
the writer's thread. What is committed survives every death that a test plays. tests/core and tests/faults
have the real one; `tests/heal/test_whole.py` plays the same stories on both.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from veilig.core.clock import Clock
from veilig.core.errors import LedgerError
from veilig.core.ledger import Ledger, Tx
from veilig.core.ledger_event import Event, Row, check_draft, keys_of
from veilig.core.ledger_head import Head
from veilig.core.ledger_tree import Frontier
from veilig.core.ledger_tx import LEASED, ledger_time


class MemoryTx(Tx):
    """Appends that the ledger takes over when the request has returned."""

    __slots__ = ("_ledger", "fresh", "now", "promised", "taken", "up")

    def __init__(self, ledger: "MemoryLedger", clock: Clock) -> None:
        self._ledger = ledger
        self.boot = clock.boot_id()
        self.fresh: list[Event] = []
        self.promised: set[str] = set()
        self.taken: set[str] = set()
        last = ledger.all[-1] if ledger.all else None
        known: tuple[int, int] | None = None
        if last is not None:
            known = (last.t_ms, last.up_ms) if last.boot == self.boot else ledger.boots.get(self.boot)
        self.now, self.up = _time(last, known, int(clock.boottime_s() * 1000))

    def now_ms(self) -> int:
        return self.now

    def append(self, name: str, session: str, body: dict[str, Any]) -> Event:
        check_draft(name, session)
        for key in keys_of(body, "claims"):
            if self.claimed(key):
                raise LedgerError(f"{key!r} is claimed already")
            self.taken.add(key)
        seq = len(self._ledger.all) + len(self.fresh) + 1
        event = Event(seq, session, name, 1, self.now, self.boot, self.up, 0, body, "", "")
        self.fresh.append(event)
        return event

    def count(self, key: str, since_ms: int) -> int:
        mine = sum(1 for event in self.fresh if key in keys_of(event.body, "budget_keys"))
        return mine + sum(1 for t_ms in self._ledger.spent.get(key, ()) if t_ms >= since_ms)

    def claim(self, key: str) -> bool:
        if key in self.promised or self.claimed(key):
            return False
        self.promised.add(key)
        return True

    def claimed(self, key: str) -> bool:
        return self._ledger.claiming and (key in self._ledger.claims or key in self.taken)

    def leased(self, session: str) -> int:
        return sum(1 for e in (*self._ledger.all, *self.fresh) if (e.name, e.session) == (LEASED, session))

    def lease(self, session: str, holder: str) -> int:
        token = self.leased(session) + 1
        self.append(LEASED, session, {"token": token, "holder": holder})
        return token

    def events(
        self, session: str | None = None, names: Collection[str] | None = None, after: int = 0
    ) -> Iterator[Event]:
        yield from self._ledger.events(session, names=names, after=after)
        yield from (
            e
            for e in self.fresh
            if (session is None or e.session == session) and (not names or e.name in names)
        )

    # What a store brings: nothing here is a row.

    def _insert(self, row: Row, budget_keys: Sequence[str], claims: Sequence[str], token: int) -> None:
        raise AssertionError(row)

    def _last_of_boot(self, boot: str) -> tuple[int, int] | None:
        raise AssertionError(boot)

    def _counted(self, key: str, since_ms: int) -> int:
        raise AssertionError(key)

    def _taken(self, key: str) -> bool:
        raise AssertionError(key)

    def _token(self, session: str) -> int:
        raise AssertionError(session)

    def _rows(self, session: str | None, names: Collection[str] | None, after: int) -> Sequence[Row]:
        raise AssertionError(session)


class MemoryLedger(Ledger):
    """`point` is called before and after each commit, and may raise what a death is.

    Broken on purpose: claiming False: what was claimed is free again; intents False: none is written.
    """

    claiming = True
    intents = True

    def __init__(self, clock: Clock, point: Callable[[str], None] = lambda _: None) -> None:
        self.clock, self.point = clock, point
        self.all: list[Event] = []
        self.by_name: dict[str, list[Event]] = {}
        self.spent: dict[str, list[int]] = {}
        self.claims: set[str] = set()
        self.boots: dict[str, tuple[int, int]] = {}

    def transact[T](self, fn: Callable[[Tx], T], *, durable: bool = True) -> T:
        tx = MemoryTx(self, self.clock)
        value = fn(tx)
        if tx.promised - tx.taken:
            raise LedgerError("a claim was taken and not recorded")
        self.point("before a commit")
        for event in tx.fresh if self.intents else (e for e in tx.fresh if e.name != "action.started"):
            self.all.append(event)
            self.by_name.setdefault(event.name, []).append(event)
            self.boots[event.boot] = (event.t_ms, event.up_ms)
            for key in keys_of(event.body, "budget_keys"):
                self.spent.setdefault(key, []).append(event.t_ms)
        self.claims |= tx.taken
        self.point("after a commit")
        return value

    async def submit[T](self, fn: Callable[[Tx], T], *, durable: bool = True) -> T:
        return self.transact(fn, durable=durable)

    async def read[T](self, fn: Callable[[], T]) -> T:
        return fn()

    def events(
        self,
        session: str | None = None,
        *,
        after: int = 0,
        names: Collection[str] | None = None,
        limit: int | None = None,
        erased: bool = False,
    ) -> Iterator[Event]:
        found = self.all[after:]
        if names is not None:
            named = [e for name in names for e in self.by_name.get(name, ()) if e.seq > after]
            found = sorted(named, key=lambda e: e.seq)
        fit = [e for e in found if session is None or e.session == session]
        return iter(fit if limit is None else fit[:limit])

    def last(self, session: str) -> Event | None:
        return next((e for e in reversed(self.all) if e.session == session), None)

    def size(self) -> int:
        return len(self.all)

    def close(self) -> None:
        """What was committed stays."""


def _time(last: Event | None, known: tuple[int, int] | None, up_ms: int) -> tuple[int, int]:
    """The real rule; only the size and the time of the head matter to it."""
    if last is None:
        return 0, up_ms
    return ledger_time(Head(b"", last.t_ms, last.boot, last.up_ms, Frontier(1)), known, up_ms)
