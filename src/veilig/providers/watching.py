"""What did programs change in the copy, beside the edits that were proposed? And how is it taken back?

A session that runs commands freely looks at its copy after each act: what changed goes into the diff, and the
state gets a name that a person or the planner can come back to.
"""

from collections.abc import Iterable

from veilig.core.action_json import JSON
from veilig.providers.history import git_text
from veilig.providers.snapshots import Snapshots, Taken, as_text
from veilig.providers.workspace import Workspace

_PATHS_AT_ONCE = 200  # of one git call
_NOISE = (".pyc", ".pyo")


class Watched:
    """The states of one session's copy, kept in step with what the workspace knows of its originals."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._states = Snapshots(workspace.tree, workspace.folder, workspace.source)

    def begin(self) -> str:
        """The first state, of a fresh copy."""
        first = self._states.begin()
        (self._workspace.folder / "first-state").write_text(first)
        return first

    def seen(self) -> dict[str, JSON]:
        """The state after an act, and the paths that are not as they were: they belong to the diff now."""
        taken = self._states.take()
        self._keep(taken)
        changed: list[JSON] = [*sorted({*taken.changed, *taken.made, *taken.gone})]
        return {"tree": taken.tree, "changed": changed}

    def restore(self, tree: str) -> dict[str, JSON]:
        """Bring the copy back; `before` is the state it was in. Raises ProviderError."""
        before = self._states.take().tree
        taken = self._states.restore(tree)
        self._keep(taken)
        changed: list[JSON] = [*sorted({*taken.changed, *taken.made, *taken.gone})]
        return {"tree": taken.tree, "before": before, "changed": changed}

    def tidy(self, before: str) -> None:
        """Take back what a test run left behind: it is no part of anybody's change."""
        if self._states.take().tree != before:
            self._states.restore(before)

    def ignored(self, paths: Iterable[str]) -> frozenset[str]:
        """Those of these new paths that git would not take, or that are no source."""
        wanted = sorted(paths)
        found = {path for path in wanted if path.endswith(_NOISE)}
        for at in range(0, len(wanted), _PATHS_AT_ONCE):
            part = wanted[at : at + _PATHS_AT_ONCE]
            said = git_text(self._workspace.source, "check-ignore", "--no-index", "-z", "--", *part)
            found |= {path for path in (said or "").split("\0") if path}
        return frozenset(found)

    def left_out(self) -> list[str]:
        """What changed since the beginning and is no text, so that no diff can show it."""
        first = self._first()
        if not first:
            return []
        known = self._workspace.originals()
        different = self._states.differing(first)
        made = [path for path in different if path not in known]
        ignored = self.ignored(made)
        return [path for path in made if path not in ignored]

    def _keep(self, taken: Taken) -> None:
        first = self._first()
        known = self._workspace.originals()
        fresh: dict[str, str | None] = {}
        for path in (*taken.changed, *taken.gone, *taken.made):
            if path in known:
                continue
            was = self._states.text(first, path) if first else None
            text = as_text(was)
            if was is not None and text is None:
                continue  # no text before: not ours to show
            if path not in taken.gone and as_text(self._workspace.tree.read_bytes(path, 1 << 26)) is None:
                continue
            fresh[path] = text
        if fresh:
            self._workspace.keep_all(fresh)

    def _first(self) -> str:
        try:
            return (self._workspace.folder / "first-state").read_text()
        except OSError:
            return ""
