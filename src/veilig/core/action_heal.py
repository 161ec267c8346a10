"""Which acts heal a service, besides restarting and scaling it? They belong to the list of core/action.py."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from veilig.core import action_checks as check
from veilig.core.effect import READ, Effect, Effects, OnTarget, Scope
from veilig.core.errors import InvalidAction

WATCH_S_MAX = 600.0  # a watcher that says nothing for longer could be dead


@dataclass(frozen=True, slots=True)
class WatchSignals:
    """Look at every service of one services file until something is new, or `timeout_s` have passed.

    inventory: absolute path of the file; digest: the SHA-256 it was read with. seen: the mark of the last
    report ("" for the first), so that nothing between two looks is lost. Its outcome's data holds `mark`,
    `now_s` (boot clock), `samples` (core/signal.py, of every service whose picture changed; all for an
    empty mark), `answered` (approvals that people decided) and `notes` (what could not be seen, and why).
    """

    inventory: str
    digest: str
    seen: str = ""
    timeout_s: float = 60.0
    kind: Literal["signals.watch"] = "signals.watch"
    scope: ClassVar[Scope] = Scope.WORLD
    effects: ClassVar[Effects] = READ

    def __post_init__(self) -> None:
        check.need_absolute(self.inventory)
        if not 0 <= self.timeout_s <= WATCH_S_MAX:
            raise InvalidAction(f"{self.kind}: {self.timeout_s} s is not between 0 and {WATCH_S_MAX:.0f} s")
        object.__setattr__(self, "timeout_s", float(self.timeout_s))

    @property
    def target(self) -> str:
        """What the action names."""
        return self.inventory


@dataclass(frozen=True, slots=True)
class RollBack(OnTarget):
    """Bring files of one service back to its last-good state `to`, and restart it.

    what: "config" or "version". files: (path, SHA-256 now, SHA-256 then), "" for absent: a file that is
    not what it was believed to be stops the act. incarnation: as in service.restart.
    """

    service: str
    incarnation: str
    what: Literal["config", "version"]
    to: str
    files: tuple[tuple[str, str, str], ...]
    kind: Literal["service.rollback"] = "service.rollback"
    effects: ClassVar[Effects] = frozenset({Effect.WRITE, Effect.DESTRUCTIVE})

    def __post_init__(self) -> None:
        check.need_name(self.service, self.kind)
        if not self.files or not self.to:
            raise InvalidAction(f"{self.kind}: names no file, or no state to go back to")
        for path, _, _ in self.files:
            check.need_absolute(path)


@dataclass(frozen=True, slots=True)
class FreeSpace(OnTarget):
    """Remove exactly these files of one service: (path, bytes, mtime in ns, inode); a changed one stays."""

    service: str
    files: tuple[tuple[str, int, int, int], ...]
    kind: Literal["space.free"] = "space.free"
    effects: ClassVar[Effects] = frozenset({Effect.WRITE, Effect.DESTRUCTIVE})

    def __post_init__(self) -> None:
        check.need_name(self.service, self.kind)
        if not self.files:
            raise InvalidAction(f"{self.kind}: names no file")
        for path, *_ in self.files:
            check.need_absolute(path)


@dataclass(frozen=True, slots=True)
class Notify(OnTarget):
    """Tell people about an incident through a channel that the operator's policy names."""

    channel: str
    incident: str
    text: str
    kind: Literal["people.notify"] = "people.notify"
    effects: ClassVar[Effects] = frozenset({Effect.NETWORK})

    def __post_init__(self) -> None:
        check.need_name(self.channel, self.kind)
        check.need_size(self.text, self.kind)
