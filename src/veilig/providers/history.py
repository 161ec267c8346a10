"""What did the last commits change in the files of the copy? Read from the user's repository only."""

import asyncio
import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from veilig.core.action import Action, ReadHistory
from veilig.core.action_json import JSON, digest
from veilig.core.clock import Clock
from veilig.core.errors import ProviderError, UsageError
from veilig.core.limits import SOURCE_FILE_BYTES_MAX
from veilig.core.provider import Found, Outcome, Permit, must_fit
from veilig.providers.tree import sha256
from veilig.providers.workspace import Workspace
from veilig.repair.history import Level, State, changed_lines, levels, lines_taken_back, takes_part

GIT_TIMEOUT_S = 30.0
COMMITS_MAX = 12  # older breakage is found by people with a date, not by undoing everything since
FILES_MAX = 60  # changed since then: beyond it, it is another project
SUFFIXES = (".py", ".toml", ".cfg", ".ini", ".json", ".yaml", ".yml", ".txt", ".html", ".sql")
# Configuration that could make git run a program, or read over the network, is overruled.
_SAFE = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "protocol.allow=never",
    "log.showSignature=false",
)


class HistoryProvider:
    """Performs `history.read`: for each recent state, the edits that lead from the copy back to it."""

    kinds = frozenset({"history.read"})

    def __init__(self, workspace: Workspace, clock: Clock, learn: Callable[[str, str], object]) -> None:
        self._workspace = workspace
        self._clock = clock
        self._learn = learn

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        """Data: levels (commit, by, edits), before (path -> SHA-256 as seen) and changed lines.

        A folder that is no repository, or has no commit, has no levels: that is an answer, not a failure.
        """
        must_fit(permit, digest(action), self._clock.boottime_s())
        if not isinstance(action, ReadHistory) or Path(action.source) != self._workspace.source:
            raise ProviderError(
                f"the history provider does not perform {action.kind} here", why="one session, one source"
            )
        return await asyncio.to_thread(self._read, permit)

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        """A look proves itself."""
        await asyncio.sleep(0)
        del action, permit
        return outcome

    async def inspect(self, action: Action) -> Found:
        """A look is repeated without harm."""
        await asyncio.sleep(0)
        del action
        return Found.NOT_DONE

    def _read(self, permit: Permit) -> Outcome:
        source = self._workspace.source
        nothing: dict[str, JSON] = {"levels": [], "before": {}, "changed": {}}
        inside = git_text(source, "rev-parse", "--show-prefix")
        if inside is None:
            return Outcome(True, "no git history", data=nothing)
        prefix = inside.strip()
        log = git_text(
            source, "log", f"-{COMMITS_MAX}", "--first-parent", "--no-show-signature", "--format=%H %s"
        )
        commits = [line.partition(" ")[::2] for line in (log or "").splitlines()]
        if not commits:
            return Outcome(True, "no commit yet", data=nothing)
        paths = self._changed(source, commits[-1][0])
        while len(paths) > FILES_MAX and len(commits) > 2:  # fewer commits back, where they changed much
            commits = commits[: max(2, len(commits) // 2)]
            paths = self._changed(source, commits[-1][0])
        if len(paths) > FILES_MAX:
            return Outcome(True, f"{len(paths)} files changed lately: too many to undo", data=nothing)
        old = [_texts(source, commit, prefix, paths) for commit, _ in commits]
        try:
            # Secrets of that time are learnt before anything is shown, and before the present is read.
            for path, text in (pair for texts in old for pair in texts.items()):
                self._learn(path, text)
        except UsageError as error:
            return Outcome(True, f"the history is left out: {error.what}", data=nothing)
        now = {p: permit.seal(text) for p in paths if (text := self._present(p)) is not None}
        states = [
            State(commit, permit.seal(subject)[:80], {p: permit.seal(t) for p, t in texts.items()})
            for (commit, subject), texts in zip(commits, old, strict=True)
        ]
        found = levels(now, states)
        used = {edit.path for level in found for edit in level.edits}
        data: dict[str, JSON] = {
            "levels": [_level(level, now) for level in found],
            "before": {path: sha256(now[path]) for path in sorted(used)},
            "changed": {p: [*lines] for p, lines in changed_lines(now, found[0]).items()} if found else {},
        }
        return Outcome(True, f"{len(commits)} commits read, {len(found)} other states", data=data)

    def _changed(self, source: Path, oldest: str) -> list[str]:
        """Files of the copy that differ from the newest commit, or that the commits changed.

        Blobs are hashed here: git's own comparison with a work tree may run filters the repository names.
        """
        told = git_text(
            source, "diff-tree", "-r", "--relative", "--no-ext-diff", "--name-only", "-z", oldest, "HEAD"
        )
        found = {path for path in (told or "").split("\0") if path}
        for entry in (git_text(source, "ls-tree", "-r", "-z", "HEAD") or "").split("\0"):
            head, _, path = entry.partition("\t")
            text = self._present(path) if path.endswith(SUFFIXES) else None
            if text is not None and blob_id(text.encode(), head.split()[-1]) != head.split()[-1]:
                found.add(path)
        return sorted(path for path in found if takes_part(path))

    def _present(self, path: str) -> str | None:
        """The text in the copy; None when it is not there or no text."""
        try:
            return self._workspace.tree.read(path)
        except ProviderError:
            return None  # a link, too large, not UTF-8: nothing that could be edited either


def _texts(source: Path, commit: str, prefix: str, paths: list[str]) -> dict[str, str]:
    """The texts that these files had in a commit."""
    found: dict[str, str] = {}
    for path in paths:
        text = git_text(source, "cat-file", "blob", f"{commit}:{prefix}{path}")
        if text is not None and len(text) <= SOURCE_FILE_BYTES_MAX:
            found[path] = text
    return found


def blob_id(data: bytes, like: str) -> str:
    """The id git gives to a file of these bytes, in the hash that the id `like` is made with."""
    kind = "sha256" if len(like) == 64 else "sha1"
    return hashlib.new(kind, b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _level(level: Level, now: dict[str, str]) -> JSON:
    edits: list[JSON] = [
        [e.path, e.start, e.end, e.replacement, lines_taken_back(now[e.path], [e])] for e in level.edits
    ]
    return {"commit": level.commit, "by": level.by, "edits": edits}


def git_text(folder: Path, *arguments: str, errors: str = "strict") -> str | None:
    """What git plumbing says, None when it refuses or says no UTF-8; errors: see bytes.decode."""
    safe = [word for item in (*_SAFE, f"safe.directory={folder}") for word in ("-c", item)]
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1"}
    try:
        done = subprocess.run(
            ["git", "--no-pager", *safe, "-C", str(folder), *arguments],
            env=kept | quiet,
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
        return done.stdout.decode("utf-8", errors) if done.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None  # without git, or without an answer in time, there is no history to use
