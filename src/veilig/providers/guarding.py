"""Who stops a repair that cheats? The hard denials of repair, as a guard before every edit."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from veilig.core.action import Action, DeleteFile, PatchFile, WriteFile
from veilig.core.actor import Actor
from veilig.core.errors import ProviderError, VeiligError
from veilig.core.provider import Opinion, Verdict
from veilig.providers.workspace import Workspace
from veilig.repair.denials import judge_patch
from veilig.repair.denials_paths import is_test_path
from veilig.repair.edit import Edit, apply

TEST_FILES_MAX = 500  # a larger suite names the same features again


class RepairGuard:
    """Denies edits of tests, catch-all excepts, loosened configuration, lowered pins and deleted features.

    Judged is what a file becomes against what it was when the copy was made, since that difference is what a
    person gets: two edits cannot do together what one may not, and an edit can always be taken back.

    seal: what a planner sees of a text, since that is what its edits are made for.
    """

    def __init__(self, workspace: Workspace, seal: Callable[[str], str]) -> None:
        self._workspace = workspace
        self._tree = workspace.tree
        self._seal = seal
        self._tests: dict[str, str] | None = None

    def judge(self, action: Action, actor: Actor) -> Opinion | None:
        """Deny with the first reason, or no opinion."""
        del actor
        if not isinstance(action, WriteFile | PatchFile | DeleteFile):
            return None
        try:
            real = self._tree.read(action.path)
            after = self._after(action, "" if real is None else self._seal(real))
            first = self._workspace.originals().get(action.path, real)
            before = {} if first is None else {action.path: self._seal(first)}
        except VeiligError as error:
            return Opinion("repair", Verdict.DENY, f"the edit cannot be judged: {error}")
        tests = {path: text for path, text in self._test_files().items() if path != action.path}
        denials = judge_patch({**tests, **before}, {**tests, **after})
        if not denials:
            return None
        one = denials[0]
        return Opinion("repair", Verdict.DENY, f"{one.rule} {one.path}:{one.line}: {one.why}")

    def _test_files(self) -> dict[str, str]:
        """What the tests say, read once: they tell which functions are features."""
        if self._tests is None:
            self._tests = {}
            for folder, names, files in os.walk(self._tree.root):
                names[:] = [n for n in names if not n.startswith(".")]
                for name in files:
                    path = Path(folder, name).relative_to(self._tree.root).as_posix()
                    if is_test_path(path) and path.endswith(".py") and len(self._tests) < TEST_FILES_MAX:
                        self._keep(path)
        return self._tests

    def _keep(self, path: str) -> None:
        with contextlib.suppress(ProviderError):  # not text, or too large: it names no feature
            text = self._tree.read(path)
            if text is not None and self._tests is not None:
                self._tests[path] = text

    @staticmethod
    def _after(action: WriteFile | PatchFile | DeleteFile, text: str) -> dict[str, str]:
        match action:
            case WriteFile():
                return {action.path: action.content}
            case PatchFile():
                edits = [Edit(action.path, e.start, e.end, e.replacement) for e in action.edits]
                return {action.path: apply(text, edits)}
            case DeleteFile():
                return {}
