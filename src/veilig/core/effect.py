"""Which consequences can an action have, and where do they land?"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from veilig.core import action_checks as check
from veilig.core.limits import COMMAND_TIMEOUT_S


class Effect(StrEnum):
    """A class of consequence; approval gateways and modes speak about these."""

    READ = "read"
    WRITE = "write"
    NETWORK = "network"
    DESTRUCTIVE = "destructive"
    SECURITY = "security"
    DATABASE = "database"
    SPEND = "spend"


class Scope(StrEnum):
    """Where the consequence lands: what is thrown away afterwards, or what somebody owns."""

    COPY = "copy"  # the session's throw-away workspace, inside the wall
    USER = "user"  # the user's own tree
    WORLD = "world"  # services, containers, databases, clouds, models, the network


type Effects = frozenset[Effect]

READ: Effects = frozenset({Effect.READ})
WRITE: Effects = frozenset({Effect.WRITE})
EXECUTE: Effects = frozenset({Effect.READ, Effect.WRITE})  # code of the project runs: it may do either


@dataclass(frozen=True, slots=True)
class InCopy:
    """Happens in the throw-away copy, inside the wall."""

    scope: ClassVar[Scope] = Scope.COPY


@dataclass(frozen=True, slots=True)
class InWall(InCopy):
    """A process inside the sandbox; `timeout_s` bounds its wall time."""

    timeout_s: float = field(default=COMMAND_TIMEOUT_S, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "timeout_s", check.need_timeout(self.timeout_s))


@dataclass(frozen=True, slots=True)
class OnFile(InCopy):
    """One file of the workspace, relative path."""

    path: str

    def __post_init__(self) -> None:
        check.need_path(self.path)

    @property
    def target(self) -> str:
        """What the action names."""
        return self.path


@dataclass(frozen=True, slots=True)
class OfSource(InCopy):
    """Reads the absolute folder `source`, which the session was started for; nothing there changes."""

    source: str

    def __post_init__(self) -> None:
        check.need_absolute(self.source)

    @property
    def target(self) -> str:
        """What the action names."""
        return self.source


@dataclass(frozen=True, slots=True)
class OnTree:
    """The user's own folder `root`, absolute path."""

    root: str
    scope: ClassVar[Scope] = Scope.USER

    def __post_init__(self) -> None:
        check.need_absolute(self.root)

    @property
    def target(self) -> str:
        """What the action names."""
        return self.root


@dataclass(frozen=True, slots=True)
class OnTarget:
    """One named thing of the world; the first field is its canonical name."""

    scope: ClassVar[Scope] = Scope.WORLD

    def __post_init__(self) -> None:
        check.need_name(self.target, type(self).__name__)

    @property
    def target(self) -> str:
        """What the action names."""
        return str(getattr(self, next(iter(self.__match_args__))))
