"""Who stops a repair that cheats? The hard denials of repair, as a guard in front of every edit of the copy."""

from collections.abc import Callable

from veilig.core.action import Action, DeleteFile, PatchFile, WriteFile
from veilig.core.actor import Actor
from veilig.core.errors import VeiligError
from veilig.core.provider import Opinion, Verdict
from veilig.providers.tree import Tree
from veilig.repair.denials import judge_patch
from veilig.repair.edit import Edit, apply


class RepairGuard:
    """Denies edits of tests, catch-all excepts, loosened configuration, lowered pins and deleted features.

    seal: what a planner sees of a text, since that is what its edits are made for.
    """

    def __init__(self, tree: Tree, seal: Callable[[str], str]) -> None:
        self._tree = tree
        self._seal = seal

    def judge(self, action: Action, actor: Actor) -> Opinion | None:
        """Deny with the first reason, or no opinion."""
        del actor
        if not isinstance(action, WriteFile | PatchFile | DeleteFile):
            return None
        try:
            real = self._tree.read(action.path)
            before = {} if real is None else {action.path: self._seal(real)}
            after = self._after(action, before.get(action.path, ""))
        except VeiligError as error:
            return Opinion("repair", Verdict.DENY, f"the edit cannot be judged: {error}")
        denials = judge_patch(before, after)
        if not denials:
            return None
        first = denials[0]
        return Opinion("repair", Verdict.DENY, f"{first.rule} {first.path}:{first.line}: {first.why}")

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
