"""Who started what now runs? Each start by others is written down, for it spends the budget too."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from veilig.core.clock import Clock
from veilig.core.errors import LedgerError
from veilig.providers.heal.journal import Journal
from veilig.providers.heal.substrate import Seen

RETRY_S = 1.0  # for a journal that another broker holds
SLACK_S = 0.05  # start times are in ticks of 10 ms
DAEMON_S = 3.0  # within this, a program that went into the background has replaced its starter


@dataclass(slots=True)
class _Alive:
    """The incarnation last seen alive, and when."""

    incarnation: str
    at_s: float
    own_s: float = -1e9  # when we started it
    restarts: int = -1


class Starts:
    """One per broker. What is first seen running, of all this boot, is no restart and counts for nobody.

    `open_journal` is tried again while another broker has the journal: until then nothing is counted, and
    nothing may be done.
    """

    def __init__(self, open_journal: Callable[[], Journal], clock: Clock) -> None:
        self._open, self._clock = open_journal, clock
        self._alive: dict[str, _Alive] = {}
        self._journal_: Journal | None = None
        self._tried_s = -1e9
        self._error = LedgerError("the journal was not opened yet")

    @property
    def journal(self) -> Journal:
        """Raises LedgerError while it cannot be used."""
        if self._journal_ is None:
            if time.monotonic() - self._tried_s < RETRY_S:
                raise self._error
            self._tried_s = time.monotonic()
            try:
                self._journal_ = self._open()
            except LedgerError as error:
                self._error = error
                raise
        return self._journal_

    def usable(self) -> Journal | None:
        """The journal; None while it cannot be used."""
        try:
            return self.journal
        except LedgerError:
            return None

    def why(self) -> str:
        """Why it cannot be used; "" when it can."""
        return "" if self.usable() else f"{self._error.what}: {self._error.why}"

    def close(self) -> None:
        """Let another broker have it."""
        if self._journal_ is not None:
            self._journal_.close()
            self._journal_ = None

    def own(self, service: str, incarnation: str) -> None:
        """We have just started it."""
        now_s = self._clock.boottime_s()
        self._alive[service] = _Alive(incarnation, now_s, now_s)

    def note(self, seen: Seen) -> None:
        """One look at one service. Raises LedgerError when a start cannot be written down."""
        if self.usable() is None:
            return
        now_s, name = self._clock.boottime_s(), seen.service
        if not seen.incarnation:
            self._alive.setdefault(name, _Alive("", now_s))
            return
        last = self._alive.get(name)
        if last is None:
            self._first(seen)
            self._alive[name] = _Alive(seen.incarnation, now_s, restarts=seen.restarts)
            return
        if last.incarnation != seen.incarnation:
            beside = seen.started_s <= last.at_s - SLACK_S  # it ran beside the last one: a child that is left
            daemon = now_s - last.own_s < DAEMON_S and seen.exit == "exit 0"
            kept = 1 if last.restarts < 0 else max(1, seen.restarts - last.restarts)
            if not last.incarnation:
                self._first(seen)
            elif not beside and not daemon:
                for _ in range(min(kept, 100)):
                    self._write(seen)
            last.own_s = -1e9
        last.incarnation, last.at_s, last.restarts = seen.incarnation, now_s, seen.restarts

    def _first(self, seen: Seen) -> None:
        known = self.journal.last_seen(seen.service)
        if known == seen.incarnation:
            return
        if self._was_ours(seen):
            return
        if known:
            self._write(seen)
        else:
            self.journal.append("seen", service=seen.service, incarnation=seen.incarnation)

    def _was_ours(self, seen: Seen) -> bool:
        """Had a broker that died started this, before it could say so? Then it is said now."""
        begun = self.journal.open_act(seen.service)
        if begun is None or begun.t_s - SLACK_S > seen.started_s:
            return False
        self.journal.append(
            "done", ref=begun.body["ref"], ok=True, detail="found running after a crash",
            starts=seen.service, incarnation=seen.incarnation,
        )  # fmt: skip
        return True

    def _write(self, seen: Seen) -> None:
        self.journal.append(
            "start", service=seen.service, incarnation=seen.incarnation, started_s=seen.started_s
        )
