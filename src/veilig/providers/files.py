"""Who touches files? Reads and edits of the session's copy, the copy itself, and the diff back."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import assert_never

from veilig.core.action import (
    Action,
    DeleteFile,
    OpenWorkspace,
    PatchFile,
    ReadDiff,
    ReadFile,
    RestoreTree,
    ViewImage,
    WriteFile,
)
from veilig.core.action_json import JSON, digest
from veilig.core.clock import Clock
from veilig.core.errors import ProviderError, UsageError
from veilig.core.provider import Found, Outcome, Permit, Status, must_fit
from veilig.providers.copying import copy_tree, text_files
from veilig.providers.sandbox.wall import PROTECTED_PATHS
from veilig.providers.tree import sha256
from veilig.providers.watching import Watched
from veilig.providers.workspace import Workspace
from veilig.repair.edit import Edit, apply, edits_between, unified

type FileAction = (
    ReadFile | ViewImage | WriteFile | PatchFile | DeleteFile | OpenWorkspace | ReadDiff | RestoreTree
)
IMAGE_BYTES_MAX = 5 << 20  # what the vendors take
_IMAGES = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}


class FilesProvider:
    """Performs the file and workspace kinds: planners see handles for secrets, files get the secrets back."""

    kinds = frozenset(
        {
            "file.read",
            "file.view",
            "file.write",
            "file.patch",
            "file.delete",
            "workspace.open",
            "workspace.diff",
            "workspace.restore",
        }
    )

    def __init__(
        self,
        workspace: Workspace,
        clock: Clock,
        in_copy: Callable[[str], bool],
        learn: Callable[[str, str], object],
        watched: Watched | None = None,
        shown: Callable[[str], bool] | None = None,
    ) -> None:
        """in_copy: what is copied. shown: what of it may be read to whoever plans; None: all of it."""
        self._workspace = workspace
        self._watched = watched
        self._clock = clock
        self._in_copy = in_copy
        self._shown = shown
        self._learn = learn

    def learn(self) -> None:
        """Know the secrets of the copy before anything of it is shown: when it is made, and on a resume.

        Raises ProviderError when there are more than a redactor can know.
        """
        for path, text in text_files(self._workspace.tree):
            try:
                self._learn(path, text)
            except UsageError as error:
                raise ProviderError(
                    f"{path}: more secrets than can be kept out of the record",
                    why=error.what,
                    fix="keep such files out of the copy: `agent.paths.deny` in veilig.yaml",
                ) from error

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        """The read text, the new and old digest of a change, or what was copied."""
        must_fit(permit, digest(action), self._clock.boottime_s())
        try:
            return await asyncio.to_thread(self._perform, _ours(action), permit)
        except OSError as error:
            raise ProviderError(
                f"{action.kind} failed", why=str(error), fix="the copy may be incomplete"
            ) from error

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        """Reads the file again: what stands there is what was meant."""
        if not isinstance(action, WriteFile | PatchFile | DeleteFile) or not outcome.ok:
            return outcome
        seen = await asyncio.to_thread(self._workspace.tree.read, action.path)
        now = "" if seen is None else sha256(permit.seal(seen))
        if now == outcome.data.get("after"):
            return outcome
        return Outcome(False, f"{action.path} is not what was written", Status.FAILED, outcome.data)

    async def inspect(self, action: Action) -> Found:
        """A change is done when the file holds what it makes, not done while what it replaces stands."""
        match action:
            case ReadFile() | ViewImage() | ReadDiff() | RestoreTree():
                return Found.NOT_DONE  # bringing back what is back already harms nothing
            case WriteFile():
                text = await asyncio.to_thread(self._workspace.tree.read, action.path)
                if text == action.content:
                    return Found.DONE
                before = "" if text is None else sha256(text)
                return Found.NOT_DONE if before == action.before else Found.UNKNOWN
            case DeleteFile():
                text = await asyncio.to_thread(self._workspace.tree.read, action.path)
                return Found.DONE if text is None else Found.NOT_DONE
            case PatchFile():
                return await asyncio.to_thread(self._inspect_patch, action)
            case _:
                return Found.UNKNOWN

    def _inspect_patch(self, action: PatchFile) -> Found:
        text = self._workspace.tree.read(action.path)
        if text is not None and sha256(text) == action.before:
            return Found.NOT_DONE
        original = self._workspace.originals().get(action.path)
        if text is None or original is None or sha256(original) != action.before:
            return Found.UNKNOWN
        edits = [Edit(action.path, e.start, e.end, e.replacement) for e in action.edits]
        return Found.DONE if apply(original, edits) == text else Found.UNKNOWN

    def _perform(self, action: FileAction, permit: Permit) -> Outcome:
        match action:
            case ReadFile():
                if self._shown is not None and not self._shown(action.path):
                    return Outcome(
                        False, f"{action.path}: the policy withholds it from models", Status.FAILED
                    )
                text = self._see(action.path, permit)
                if text is None:
                    return Outcome(False, f"{action.path}: no such file", Status.FAILED)
                return Outcome(True, text, data={"sha256": sha256(text)})
            case ViewImage():
                return self._view(action.path)
            case RestoreTree():
                if self._watched is None:
                    raise ProviderError("this session keeps no states of its copy")
                return Outcome(True, "brought back", data=self._watched.restore(action.tree))
            case WriteFile():
                return self._change(action.path, action.before, action.content, permit)
            case PatchFile():
                seen = self._see(action.path, permit)
                if seen is None:
                    raise ProviderError(f"{action.path}: no such file", why="it cannot be patched")
                edits = [Edit(action.path, e.start, e.end, e.replacement) for e in action.edits]
                return self._change(action.path, action.before, apply(seen, edits), permit)
            case DeleteFile():
                return self._change(action.path, action.before, None, permit)
            case OpenWorkspace():
                return self._open(action)
            case ReadDiff():
                return self._diff(permit)
            case _:
                assert_never(action)

    def _see(self, path: str, permit: Permit) -> str | None:
        """The file as a planner sees it: its secrets are learnt, then handles."""
        text = self._workspace.tree.read(path)
        if text is None:
            return None
        self._learn(path, text)
        return permit.seal(text)

    def _change(self, path: str, before: str, after: str | None, permit: Permit) -> Outcome:
        if set(path.split("/")) & set(PROTECTED_PATHS):
            raise ProviderError(
                f"{path} is protected",
                why="programs outside the wall run or obey it",
                fix="change it by hand",
            )
        real = self._workspace.tree.read(path)
        seen = self._see(path, permit)
        found = "" if seen is None else sha256(seen)
        if found != before:
            raise ProviderError(
                f"{path} is not what the change was made for",
                why=f"its SHA-256 is {found[:12] or 'none'}, the change expects {before[:12] or 'no file'}",
                fix="read it again and propose the change anew",
            )
        if real is not None and seen is not None and seen != real and permit.expand(seen) != real:
            raise ProviderError(
                f"{path} holds a secret in an encoding that cannot be written back unchanged",
                why="the file would be damaged",
                fix="edit it by hand",
            )
        self._workspace.keep(path, real)
        shown = ""  # the new text as a planner will see it: an edit may complete the shape of a secret
        if after is None:
            self._workspace.tree.delete(path)
        else:
            written = permit.expand(after)
            self._workspace.tree.write(path, written)
            shown = permit.seal(written)
        undo: list[JSON] = [[e.start, e.end, e.replacement] for e in edits_between(path, shown, seen or "")]
        data: dict[str, JSON] = {
            "before": found,
            "after": "" if after is None else sha256(shown),
            "undo": undo,
        }
        if self._watched is not None:
            data["tree"] = self._watched.seen()["tree"]
        return Outcome(True, f"{path} changed", data=data)

    def _view(self, path: str) -> Outcome:
        media = image_media(self._workspace.tree.read_bytes(path, IMAGE_BYTES_MAX), path)
        return Outcome(True, f"{path} ({media}) is shown to you", data={"media": media})

    def _open(self, action: OpenWorkspace) -> Outcome:
        source = Path(action.source)
        if source != self._workspace.source:
            raise ProviderError(
                f"this session works on {self._workspace.source}, not on {source}",
                why="one session has one source",
                fix="start another session",
            )
        copied = copy_tree(source, self._workspace.tree.root, self._in_copy, self._workspace.tree.owner)
        self._workspace.forget()
        self.learn()
        skipped: list[JSON] = [[path, reason] for path, reason in copied.skipped]
        data: dict[str, JSON] = {"files": copied.files, "size_bytes": copied.size_bytes, "skipped": skipped}
        if self._watched is not None:
            data["tree"] = self._watched.begin()
        return Outcome(True, f"copied {copied.files} files", data=data)

    def _diff(self, permit: Permit) -> Outcome:
        before: dict[str, str] = {}
        after: dict[str, str] = {}
        base: list[JSON] = []
        originals = self._workspace.originals()
        left_out: list[JSON] = []
        ignored: frozenset[str] = frozenset()
        if self._watched is not None:
            left_out += self._watched.left_out()
            ignored = self._watched.ignored(path for path, text in originals.items() if text is None)
        for path, original in sorted(originals.items()):
            if path in ignored:
                continue
            try:
                now = self._see(path, permit)
            except ProviderError as error:
                left_out.append(f"{path} ({error.why or error.what})")
                continue
            was = None if original is None else permit.seal(original)
            if now == was:
                continue
            if was is not None:
                before[path] = was
            if now is not None:
                after[path] = now
            base.append([path, "" if was is None else sha256(was)])
        data: dict[str, JSON] = {"base": base, "files": len(base)}
        if left_out:
            data["left_out"] = left_out
        return Outcome(True, unified(before, after), data=data)


def image_media(data: bytes | None, path: str) -> str:
    """The media type of a picture. Raises ProviderError when it is none that a model takes."""
    if data is None:
        raise ProviderError(f"{path}: no such file")
    media = next((name for magic, name in _IMAGES.items() if data.startswith(magic)), "")
    if not media:
        raise ProviderError(f"{path} is no picture", why="known are PNG, JPEG, GIF and WebP")
    return media


def _ours(action: Action) -> FileAction:
    if isinstance(
        action,
        ReadFile | ViewImage | WriteFile | PatchFile | DeleteFile | OpenWorkspace | ReadDiff | RestoreTree,
    ):
        return action
    raise ProviderError(
        f"the files provider does not perform {action.kind}", why="the gate was wired wrongly"
    )
