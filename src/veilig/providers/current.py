"""How does a session's copy differ from what was copied, right now? For the person at the machine."""

from collections.abc import Callable
from pathlib import Path

from veilig.core.errors import ProviderError
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
            left.append(f"{path}: {error.why or error.what}\n")
            continue
        for text in (original, now):
            if text is not None:
                learn(path, text)
        if now == original:
            continue
        if original is not None:
            before[path] = seal(original)
        if now is not None:
            after[path] = seal(now)
    return unified(before, after) + "".join(left)
