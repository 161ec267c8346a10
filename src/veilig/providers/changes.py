"""How does an edit made on the real text become an action on the text a planner sees?

Workers behind the wall read real files; planners and the ledger see handles where secrets stand.
Offsets differ between the two, so every proposed edit is carried over before it leaves here.
"""

from collections.abc import Callable, Iterable, Mapping

from veilig.core.action import Action, DeleteFile, PatchFile, TextEdit, WriteFile
from veilig.core.action_json import JSON, to_json
from veilig.providers.tree import Tree, sha256
from veilig.repair.edit import Edit, apply, edits_between


def ready_changes(
    tree: Tree, edits: Iterable[Edit], removed: Iterable[str], title: str, seal: Callable[[str], str]
) -> list[JSON]:
    """The actions, as JSON, that make these edits; none when an edit does not fit the files as they are.

    A path that is not there yet is created; an edit in a file that is not there fits nothing.
    """
    by_path: dict[str, list[Edit]] = {}
    for edit in edits:
        by_path.setdefault(edit.path, []).append(edit)
    actions: list[Action] = []
    for path, wanted in by_path.items():
        real = tree.read(path)
        if real is None:
            if any(e.start or e.end for e in wanted):
                return []
            actions.append(WriteFile(path, seal(apply("", wanted))))
            continue
        action = _patch(path, real, wanted, title, seal)
        if action is None:
            return []
        actions.append(action)
    for path in removed:
        real = tree.read(path)
        if real is None:
            return []
        actions.append(DeleteFile(path, sha256(seal(real))))
    return [to_json(action) for action in actions]


def _patch(
    path: str, real: str, wanted: list[Edit], title: str, seal: Callable[[str], str]
) -> PatchFile | None:
    seen = seal(real)
    if seen != real:
        wanted = list(edits_between(path, seen, seal(apply(real, wanted))))
    if not wanted:
        return None
    edits = tuple(
        TextEdit(e.start, e.end, e.replacement) for e in sorted(wanted, key=lambda e: (e.start, e.end))
    )
    return PatchFile(path, sha256(seen), edits, title)


def edits_from_json(value: Iterable[Mapping[str, JSON]]) -> list[Edit]:
    """Edits as the workers print them: path, start, end, replacement."""
    found: list[Edit] = []
    for item in value:
        start, end = item["start"], item["end"]
        if isinstance(start, int) and isinstance(end, int):
            found.append(Edit(str(item["path"]), start, end, str(item["replacement"])))
    return found
