"""How does a session's copy differ from what was copied, now or in an earlier state? For people who watch."""

from collections.abc import Callable, Iterable
from pathlib import Path

from veilig.core.errors import ProviderError
from veilig.providers.snapshots import Snapshots, as_text
from veilig.providers.tree import Tree
from veilig.providers.workspace import Workspace
from veilig.repair.edit import unified


def current_diff(
    folder: Path, source: Path, learn: Callable[[str, str], object], seal: Callable[[str], str]
) -> str:
    """A unified diff of the files that the session has changed; a file that is no text is named instead.

    folder: the session's own. learn, seal: as a planner sees it, secrets are handles. Empty when nothing
    differs or no copy is there.
    """
    workspace = Workspace(folder, source)
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    left: list[str] = []
    for path, original in sorted(workspace.originals().items()):
        try:
            now = workspace.tree.read(path)
        except ProviderError as error:
            left.append(_named(path, error.why or error.what))
            continue
        _side_by_side(path, original, now, before, after, learn, seal)
    return unified(before, after) + "".join(left)


def past_diff(
    folder: Path, source: Path, tree: str, learn: Callable[[str, str], object], seal: Callable[[str], str]
) -> str:
    """The same for the state `tree` of the copy. Raises ProviderError when nothing of it is kept."""
    workspace = Workspace(folder, source)
    states = Snapshots(workspace.tree, folder, source)
    if not states.knows(tree):
        raise ProviderError(f"the state {tree!r} is not kept", why="the session's folder is gone")
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    left: list[str] = []
    for path, original in sorted(workspace.originals().items()):
        try:
            data = states.text(tree, path)
        except ProviderError as error:
            left.append(_named(path, error.why or error.what))
            continue
        if data is not None and as_text(data) is None:
            left.append(_named(path, "it is no text that a diff can show"))
            continue
        _side_by_side(path, original, as_text(data), before, after, learn, seal)
    return unified(before, after) + "".join(left)


def texts_of(
    folder: Path,
    source: Path,
    paths: Iterable[str],
    learn: Callable[[str, str], object],
    seal: Callable[[str], str],
) -> dict[str, list[str]]:
    """What each of these files holds in the copy and in the source now, secrets as handles; what is there."""
    found: dict[str, list[str]] = {path: [] for path in paths}
    for tree in (Tree(folder / "work"), Tree(source)):
        for path, texts in found.items():
            try:
                text = tree.read(path)
            except ProviderError:
                continue  # no copy any more, or no text: what is known elsewhere must do
            if text is not None:
                learn(path, text)
                texts.append(seal(text))
    return found


def _side_by_side(
    path: str,
    original: str | None,
    then: str | None,
    before: dict[str, str],
    after: dict[str, str],
    learn: Callable[[str, str], object],
    seal: Callable[[str], str],
) -> None:
    """Put both texts of a file that differs where a diff is made of."""
    for text in (original, then):
        if text is not None:
            learn(path, text)
    if then == original:
        return
    if original is not None:
        before[path] = seal(original)
    if then is not None:
        after[path] = seal(then)


def _named(path: str, why: str) -> str:
    """A file whose change cannot be shown, where others have their hunks; git and patch pass over it."""
    return f"diff --git a/{path} b/{path}\n# {why}\n"
