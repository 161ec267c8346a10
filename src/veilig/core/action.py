"""What can this system do to the world? `Action`, at the foot of this page, is the whole list.

An Action is a typed, frozen value that asks for one look or one change. It names concrete
targets, never patterns, and no free shell string reaches a service, database or cloud
provider. `effects` says which classes of consequence it has and `scope` where they land;
its digest (core/action_json.py) binds an approval to exactly what the provider receives.
Every constructor raises InvalidAction for a value that cannot be meant.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from veilig.core import action_checks as check
from veilig.core.action_desktop import DESKTOP_ACTIONS, DesktopAction
from veilig.core.action_heal import FreeSpace, Notify, RollBack, WatchSignals
from veilig.core.action_mcp import CallTool, ListTools
from veilig.core.action_session import StartSession
from veilig.core.action_skill import ListSkills, ReadSkill
from veilig.core.action_world import (
    AskModel,
    ChangeDatabase,
    ChangeSecurityGroup,
    DescribeSecurityGroup,
    FetchAdvisories,
    FetchFeed,
    FetchRepository,
    RestartService,
    ScaleDown,
    ScaleUp,
    StopService,
)
from veilig.core.effect import (
    EXECUTE,
    READ,
    WRITE,
    Effect,
    Effects,
    InCopy,
    InWall,
    OfSource,
    OnFile,
    OnTree,
    Scope,
)
from veilig.core.errors import InvalidAction

__all__ = [
    "ACTIONS",
    "KINDS",
    "Action",
    "AskModel",
    "CallTool",
    "ChangeDatabase",
    "ChangeSecurityGroup",
    "DescribeSecurityGroup",
    "Effect",
    "FetchAdvisories",
    "FetchFeed",
    "FetchRepository",
    "FreeSpace",
    "ListSkills",
    "ListTools",
    "Notify",
    "ReadSkill",
    "RestartService",
    "RollBack",
    "ScaleDown",
    "ScaleUp",
    "Scope",
    "StartSession",
    "StopService",
    "WatchSignals",
]


@dataclass(frozen=True, slots=True)
class ReadFile(OnFile):
    """Read one file of the workspace as UTF-8 text."""

    kind: Literal["file.read"] = "file.read"
    effects: ClassVar[Effects] = READ


@dataclass(frozen=True, slots=True)
class ViewImage(OnFile):
    """Let a model see one picture of the workspace (PNG, JPEG, GIF or WebP)."""

    kind: Literal["file.view"] = "file.view"
    effects: ClassVar[Effects] = READ


@dataclass(frozen=True, slots=True)
class WriteFile(OnFile):
    """Create or replace one file. `before`: SHA-256 of what is replaced, "" when it must not exist yet."""

    content: str
    before: str = ""
    kind: Literal["file.write"] = "file.write"
    effects: ClassVar[Effects] = WRITE

    def __post_init__(self) -> None:
        check.need_path(self.path)
        check.need_size(self.content, self.kind)


@dataclass(frozen=True, slots=True)
class TextEdit:
    """Replace characters [start, end) by `replacement`."""

    start: int
    end: int
    replacement: str

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise InvalidAction(
                f"edit [{self.start}, {self.end}) is not a span",
                fix="0 <= start <= end",
            )


@dataclass(frozen=True, slots=True)
class PatchFile(OnFile):
    """Edit one file; refused when its SHA-256 is no longer `before` (a fence against lost updates)."""

    before: str
    edits: tuple[TextEdit, ...]
    title: str = ""
    kind: Literal["file.patch"] = "file.patch"
    effects: ClassVar[Effects] = WRITE

    def __post_init__(self) -> None:
        check.need_path(self.path)
        check.need_size("".join(e.replacement for e in self.edits), self.kind)
        ordered = sorted(self.edits, key=lambda e: (e.start, e.end))
        if not ordered or any(a.end > b.start for a, b in zip(ordered, ordered[1:], strict=False)):
            raise InvalidAction(
                f"file.patch {self.path!r}: edits are missing or overlap",
                why="each character is changed once",
                fix="merge the edits that touch",
            )


@dataclass(frozen=True, slots=True)
class DeleteFile(OnFile):
    """Remove one file of the workspace whose SHA-256 is `before`."""

    before: str
    kind: Literal["file.delete"] = "file.delete"
    effects: ClassVar[Effects] = WRITE


# --- workspace: the copy, and back to the user's tree -------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenWorkspace(OfSource):
    """Make (or make anew) the session's throw-away copy of the absolute folder `source`."""

    kind: Literal["workspace.open"] = "workspace.open"
    effects: ClassVar[Effects] = READ


@dataclass(frozen=True, slots=True)
class ReadHistory(OfSource):
    """What the last commits of `source` changed, as edits that lead from the copy back to each of them."""

    kind: Literal["history.read"] = "history.read"
    effects: ClassVar[Effects] = READ


@dataclass(frozen=True, slots=True)
class ReadDiff(InCopy):
    """The unified diff from the source to the copy, and the SHA-256 of each file it touches there."""

    kind: Literal["workspace.diff"] = "workspace.diff"
    effects: ClassVar[Effects] = READ
    target: ClassVar[str] = "."


@dataclass(frozen=True, slots=True)
class RestoreTree(InCopy):
    """Bring the copy back to the state `tree` that an earlier act of this session left behind."""

    tree: str
    kind: Literal["workspace.restore"] = "workspace.restore"
    effects: ClassVar[Effects] = WRITE

    @property
    def target(self) -> str:
        return self.tree


@dataclass(frozen=True, slots=True)
class ReadOutput(InCopy):
    """Read again what the act `ref` of this session said, which a model was shown the ends of only."""

    ref: str
    kind: Literal["output.read"] = "output.read"
    effects: ClassVar[Effects] = READ

    @property
    def target(self) -> str:
        return self.ref


@dataclass(frozen=True, slots=True)
class ApplyPatch(OnTree):
    """Write a proven unified diff to the user's own tree; `base`: the SHA-256 each file must still have."""

    diff: str
    base: tuple[tuple[str, str], ...]
    kind: Literal["workspace.apply"] = "workspace.apply"
    effects: ClassVar[Effects] = WRITE

    def __post_init__(self) -> None:
        check.need_absolute(self.root)
        check.need_size(self.diff, self.kind)
        for path, _ in self.base:
            check.need_path(path)


@dataclass(frozen=True, slots=True)
class CommitBranch(OnTree):
    """Commit a proven diff on a new branch of the user's repository; its work tree stays as it is."""

    branch: str
    diff: str
    message: str
    base: tuple[tuple[str, str], ...]
    kind: Literal["git.branch"] = "git.branch"
    effects: ClassVar[Effects] = WRITE

    def __post_init__(self) -> None:
        check.need_absolute(self.root)
        check.need_branch(self.branch)
        check.need_size(self.diff, self.kind)


@dataclass(frozen=True, slots=True)
class EditPolicy(OnTree):
    """Replace veilig.yaml at `root`: a security change in itself."""

    before: str
    content: str
    kind: Literal["policy.edit"] = "policy.edit"
    effects: ClassVar[Effects] = frozenset({Effect.WRITE, Effect.SECURITY})


# --- work inside the wall ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunCommand(InWall):
    """Run one argv inside the sandbox. `hosts`: what it may reach; empty means no network at all."""

    argv: tuple[str, ...]
    cwd: str = "."
    env: tuple[tuple[str, str], ...] = ()
    stdin: str = ""
    hosts: tuple[str, ...] = ()
    kind: Literal["command.run"] = "command.run"

    def __post_init__(self) -> None:
        InWall.__post_init__(self)
        check.need_argv(self.argv)
        if self.cwd != ".":
            check.need_path(self.cwd)

    @property
    def effects(self) -> Effects:
        return EXECUTE | {Effect.NETWORK} if self.hosts else EXECUTE

    @property
    def target(self) -> str:
        return self.argv[0]


@dataclass(frozen=True, slots=True)
class RunTests(InWall):
    """Run the project's tests and report each one.

    command: empty for the detected runner, else a user's argv judged by its exit code.
    tests: ids to run, empty for all. trace: also rank the lines that failing tests execute.
    """

    command: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    trace: bool = False
    kind: Literal["tests.run"] = "tests.run"
    effects: ClassVar[Effects] = EXECUTE

    @property
    def target(self) -> str:
        return " ".join(self.command) or "tests"


@dataclass(frozen=True, slots=True)
class ScanCode(InWall):
    """Audit the copy: parsed, never imported or run. `repairs`: also propose an edit for each weakness.

    report: also the whole audit report. pattern: in it, also what only looks like a weakness. diff: report on
    what this unified diff would add; it is applied to texts in memory only. options: the reader's, as JSON.
    """

    paths: tuple[str, ...] = ()  # empty: everything
    repairs: bool = False
    report: bool = False
    pattern: bool = False
    diff: str = ""
    options: str = ""
    kind: Literal["audit.scan"] = "audit.scan"
    effects: ClassVar[Effects] = READ

    def __post_init__(self) -> None:
        InWall.__post_init__(self)
        check.need_size(self.diff + self.options, self.kind)
        check.need_paths(self.paths)

    @property
    def target(self) -> str:
        return ",".join(self.paths) or "."


@dataclass(frozen=True, slots=True)
class ProposePatch(InWall):
    """Deterministic repairs for one failing test or broken import; `failure`: its JSON from tests.run."""

    failure: str
    kind: Literal["repair.propose"] = "repair.propose"
    effects: ClassVar[Effects] = READ
    target: ClassVar[str] = "tests"


@dataclass(frozen=True, slots=True)
class SearchPatch(InWall):
    """Search for an edit that makes `failing` pass and breaks nothing: candidates run inside the sandbox.

    lines: (path, line, score in 1/1000), most suspicious first. budget_s: wall seconds of search.
    """

    failing: tuple[str, ...]
    lines: tuple[tuple[str, int, int], ...]
    budget_s: float = 60.0
    kind: Literal["repair.search"] = "repair.search"
    effects: ClassVar[Effects] = EXECUTE
    target: ClassVar[str] = "tests"


type Action = (
    ReadFile
    | ViewImage
    | ReadOutput
    | RestoreTree
    | ReadDiff
    | WriteFile
    | PatchFile
    | DeleteFile
    | OpenWorkspace
    | ReadHistory
    | ApplyPatch
    | CommitBranch
    | RunCommand
    | RunTests
    | ScanCode
    | ProposePatch
    | SearchPatch
    | WatchSignals
    | RestartService
    | StopService
    | RollBack
    | FreeSpace
    | Notify
    | ScaleUp
    | ScaleDown
    | DescribeSecurityGroup
    | ChangeSecurityGroup
    | ChangeDatabase
    | AskModel
    | FetchAdvisories
    | FetchFeed
    | FetchRepository
    | ListTools
    | CallTool
    | StartSession
    | ListSkills
    | ReadSkill
    | EditPolicy
    | DesktopAction  # look, launch, move, click, drag, scroll, type, key, wait: core/action_desktop.py
)

ACTIONS: tuple[type[Action], ...] = (*Action.__value__.__args__[:-1], *DESKTOP_ACTIONS)
KINDS: Mapping[str, type[Action]] = {a.__dataclass_fields__["kind"].default: a for a in ACTIONS}
