"""Which acts reach beyond the machine's files: services, containers, security groups, databases, models?

They belong to the list of core/action.py, which is the page to read first.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from veilig.core import action_checks as check
from veilig.core.effect import READ, WRITE, Effect, Effects, OnTarget
from veilig.core.errors import InvalidAction
from veilig.core.limits import MODEL_TIMEOUT_S

ADVISORIES_BYTES_MAX = 1 << 30  # every ecosystem of OSV in one zip has about half of it
FEED_BYTES_MAX = 512 << 20  # the largest public collections have a tenth of it
REPOSITORY_BYTES_MAX = 8 << 30  # one commit of the largest public monorepos, packed
REPOSITORY_BYTES = 2 << 30  # unless somebody says otherwise
ADVISORIES_TIMEOUT_S = 600.0  # half a gigabyte over a slow line; what came is kept for the next time
TEMPERATURE_MAX = 2.0  # no vendor takes more


@dataclass(frozen=True, slots=True)
class RestartService(OnTarget):
    """Restart one service; `incarnation` (pid and start time, or an id) fences a stale proposal."""

    service: str
    incarnation: str = ""
    kind: Literal["service.restart"] = "service.restart"
    effects: ClassVar[Effects] = WRITE


@dataclass(frozen=True, slots=True)
class StopService(OnTarget):
    """Stop one service: its capacity is lost until somebody starts it."""

    service: str
    incarnation: str = ""
    kind: Literal["service.stop"] = "service.stop"
    effects: ClassVar[Effects] = frozenset({Effect.WRITE, Effect.DESTRUCTIVE})


@dataclass(frozen=True, slots=True)
class ScaleUp(OnTarget):
    """Grow one container group from `current` to `replicas` in total: same image, same arguments."""

    group: str
    current: int
    replicas: int
    kind: Literal["container.scale_up"] = "container.scale_up"
    effects: ClassVar[Effects] = frozenset({Effect.WRITE, Effect.SPEND})

    def __post_init__(self) -> None:
        check.need_name(self.group, self.kind)
        check.need_growth(self.group, self.current, self.replicas)


@dataclass(frozen=True, slots=True)
class ScaleDown(OnTarget):
    """Shrink one container group from `current` to `replicas` in total."""

    group: str
    current: int
    replicas: int
    kind: Literal["container.scale_down"] = "container.scale_down"
    effects: ClassVar[Effects] = frozenset({Effect.WRITE, Effect.DESTRUCTIVE})

    def __post_init__(self) -> None:
        check.need_name(self.group, self.kind)
        check.need_shrink(self.group, self.current, self.replicas)


@dataclass(frozen=True, slots=True)
class DescribeSecurityGroup(OnTarget):
    """Read one security group."""

    group: str
    kind: Literal["security_group.describe"] = "security_group.describe"
    effects: ClassVar[Effects] = READ


@dataclass(frozen=True, slots=True)
class ChangeSecurityGroup(OnTarget):
    """Authorise or revoke one rule of a security group."""

    group: str
    verb: Literal["authorize", "revoke"]
    rule: str
    kind: Literal["security_group.change"] = "security_group.change"
    effects: ClassVar[Effects] = frozenset({Effect.WRITE, Effect.SECURITY})


@dataclass(frozen=True, slots=True)
class ChangeDatabase(OnTarget):
    """One typed change of a database: never a statement from a planner.

    argument: its target and fence: PID@START of a session, SCHEMA.NAME of a table or index, or the
    incarnation that is restarted.
    """

    database: str
    verb: Literal[
        "terminate_backend", "restart", "vacuum", "analyze", "reindex", "free_space", "rollback_migration"
    ]
    argument: str = ""
    kind: Literal["database.change"] = "database.change"
    effects: ClassVar[Effects] = frozenset({Effect.WRITE, Effect.DATABASE, Effect.DESTRUCTIVE})


@dataclass(frozen=True, slots=True)
class FetchAdvisories(OnTarget):
    """Fetch published advisories into the state folder: a file of at most `size_bytes_max`, kept as it came.

    url: https, or http on this machine itself. timeout_s: for all of it, with its retries.
    """

    url: str
    size_bytes_max: int = ADVISORIES_BYTES_MAX
    timeout_s: float = ADVISORIES_TIMEOUT_S
    kind: Literal["advisories.fetch"] = "advisories.fetch"
    effects: ClassVar[Effects] = frozenset({Effect.READ, Effect.NETWORK})

    def __post_init__(self) -> None:
        check.need_address(self.url, self.kind)
        object.__setattr__(self, "timeout_s", check.need_timeout(self.timeout_s))
        if not 0 < self.size_bytes_max <= ADVISORIES_BYTES_MAX:
            raise InvalidAction(
                f"{self.kind}: {self.size_bytes_max} bytes", why=f"1 to {ADVISORIES_BYTES_MAX}"
            )


@dataclass(frozen=True, slots=True)
class FetchFeed(OnTarget):
    """Fetch what is new in a TAXII 2.1 collection into the state folder, as the feed of this name.

    url: of the collection, https, or http on this machine itself. feed: "" only asks a server or an API root
    which collections it has. key_env: the variable with what the header Authorization says; "" sends none.
    """

    url: str
    feed: str = ""
    key_env: str = ""
    size_bytes_max: int = FEED_BYTES_MAX
    timeout_s: float = ADVISORIES_TIMEOUT_S
    kind: Literal["feed.fetch"] = "feed.fetch"
    effects: ClassVar[Effects] = frozenset({Effect.READ, Effect.NETWORK})

    def __post_init__(self) -> None:
        check.need_address(self.url, self.kind)
        if self.feed:
            check.need_name(self.feed, self.kind)
            if not self.feed.replace("-", "").replace("_", "").isalnum():
                raise InvalidAction(f"{self.kind}: {self.feed!r} names no feed", why="letters, digits and -")
        object.__setattr__(self, "timeout_s", check.need_timeout(self.timeout_s))
        if not 0 < self.size_bytes_max <= FEED_BYTES_MAX:
            raise InvalidAction(f"{self.kind}: {self.size_bytes_max} bytes", why=f"1 to {FEED_BYTES_MAX}")


@dataclass(frozen=True, slots=True)
class FetchRepository(OnTarget):
    """Fetch one commit of a git repository into the cache of mirrors; nothing in it is run or written back.

    url: https, or http on this machine itself. ref: a branch, tag or commit; "": what its HEAD is.
    token_env: the variable with the token for that host; "" sends none.
    """

    url: str
    ref: str = ""
    token_env: str = ""
    size_bytes_max: int = REPOSITORY_BYTES
    timeout_s: float = ADVISORIES_TIMEOUT_S
    kind: Literal["repository.fetch"] = "repository.fetch"
    effects: ClassVar[Effects] = frozenset({Effect.READ, Effect.NETWORK})

    def __post_init__(self) -> None:
        check.need_address(self.url, self.kind)
        if self.ref:
            check.need_ref(self.ref)
        if self.token_env:
            check.need_name(self.token_env, self.kind)
        object.__setattr__(self, "timeout_s", check.need_timeout(self.timeout_s))
        if not 0 < self.size_bytes_max <= REPOSITORY_BYTES_MAX:
            raise InvalidAction(
                f"{self.kind}: {self.size_bytes_max} bytes", why=f"1 to {REPOSITORY_BYTES_MAX}"
            )


@dataclass(frozen=True, slots=True)
class AskModel(OnTarget):
    """Let one model go on with a conversation. Its secrets are handles; `tokens_max` bounds the answer.

    model: `vendor:name`. prompt: the new messages, a JSON list of core/message.py's. base: the thread that
    they go on from, as an earlier answer named it; empty: from the beginning. tools: a JSON list of what the
    model may call; empty with a base: as before. timeout_s: for the answer with all its retries.
    temperature: 0 to 2, how far the answer may wander; below 0: as the model does when nobody says.
    """

    model: str
    prompt: str
    tokens_max: int
    base: str = ""
    tools: str = ""
    timeout_s: float = MODEL_TIMEOUT_S
    temperature: float = -1.0
    kind: Literal["model.ask"] = "model.ask"
    effects: ClassVar[Effects] = frozenset({Effect.NETWORK, Effect.SPEND})

    def __post_init__(self) -> None:
        check.need_name(self.model, self.kind)
        check.need_size(self.prompt + self.tools, self.kind)
        object.__setattr__(self, "timeout_s", check.need_timeout(self.timeout_s))
        if self.tokens_max < 1:
            raise InvalidAction(f"{self.kind}: {self.tokens_max} tokens are no answer")
        if not -1.0 <= self.temperature <= TEMPERATURE_MAX:  # NaN is refused too
            raise InvalidAction(
                f"{self.kind}: {self.temperature} is no temperature", why=f"it is 0 to {TEMPERATURE_MAX:.0f}"
            )
