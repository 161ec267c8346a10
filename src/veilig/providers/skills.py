"""Which skills are there, and what does one of the operator's own say? Texts: nothing in them is obeyed.

A skill is a folder with a SKILL.md whose front matter names and describes it. Those of a project lie in
`.veilig/skills`, `.claude/skills` or `.agents/skills` of the copy and are whatever its authors wrote; the
operator's own lie in `$VEILIG_HOME/skills`. Source of the layout: agentskills.io, SKILL.md.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from veilig.core.action import Action, ListSkills, ReadSkill
from veilig.core.action_json import JSON, digest
from veilig.core.clock import Clock
from veilig.core.errors import ProviderError
from veilig.core.provider import Found, Outcome, Permit, Status, must_fit
from veilig.providers.tree import Tree

PLACES = (".veilig/skills", ".claude/skills", ".agents/skills")
SKILLS_MAX = 200  # folders looked at in one place: nobody has more, and a listing must end
HEAD_CHARS = 8000  # of a SKILL.md: its front matter stands at the top
NAME_CHARS = 64
DESCRIPTION_CHARS = 1024  # as the layout allows; what a model is told of it is shorter


class SkillsProvider:
    """Performs `skills.list` and `skill.read`. learn: told of each text before anything of it is shown."""

    kinds = frozenset({"skills.list", "skill.read"})

    def __init__(self, tree: Tree, own: Path, clock: Clock, learn: Callable[[str, str], object]) -> None:
        self._tree = tree
        self._own = Tree(own)
        self._clock = clock
        self._learn = learn

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        """The skills as `data["skills"]` (name, description, where), or the text of one."""
        must_fit(permit, digest(action), self._clock.boottime_s())
        match action:
            case ListSkills():
                return await asyncio.to_thread(self._list)
            case ReadSkill():
                return await asyncio.to_thread(self._read, action)
            case _:
                raise ProviderError(
                    f"the skills provider does not perform {action.kind}", why="the gate was wired wrongly"
                )

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        """A look changes nothing."""
        del action, permit
        return outcome

    async def inspect(self, action: Action) -> Found:
        """A look may be repeated."""
        del action
        await asyncio.sleep(0)
        return Found.NOT_DONE

    def _list(self) -> Outcome:
        found: list[JSON] = []
        left: list[JSON] = []
        for tree, place, shown in (
            (self._own, "", "skill:{0}"),
            *((self._tree, p, f"{p}/{{0}}/SKILL.md") for p in PLACES),
        ):
            for name in _folders(tree, place):
                where = shown.format(name)
                path = "/".join(part for part in (place, name, "SKILL.md") if part)
                try:
                    text = tree.read(path)
                except ProviderError as error:
                    left.append(f"{where}: {error.why or error.what}")
                    continue
                if text is None:
                    continue  # a folder of something else
                self._learn(path, text)
                head = front_matter(text[:HEAD_CHARS])
                if head is None:
                    left.append(f"{where}: its front matter does not describe it")
                    continue
                told = str(head.get("name") or name)[:NAME_CHARS]
                said = str(head.get("description") or "")[:DESCRIPTION_CHARS]
                found.append({"name": told, "description": said, "where": where, "own": tree is self._own})
        return Outcome(True, f"{len(found)} skills", data={"skills": found, "left_out": left})

    def _read(self, action: ReadSkill) -> Outcome:
        path = f"{action.skill}/{action.path}"
        text = self._own.read(path) if self._own.root.is_dir() else None
        if text is None:
            return Outcome(False, f"the operator has no skill {action.target!r}", Status.FAILED)
        self._learn(path, text)
        return Outcome(True, text)


def _folders(tree: Tree, place: str) -> Iterator[str]:
    """The folders in one place, in order; none behind a link."""
    here = tree.root
    for step in place.split("/") if place else ():
        here = here / step
        if here.is_symlink():
            return
    try:
        with os.scandir(here) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return  # there is none, or nobody may look
    yield from names[:SKILLS_MAX]


def front_matter(text: str) -> dict[str, Any] | None:
    """The values above the text, when they are there and describe it; None otherwise."""
    import yaml

    text = text.replace("\r\n", "\n")
    head, closed = text.removeprefix("---\n"), text.startswith("---\n")
    body, end, _ = head.partition("\n---")
    if not closed or not end:
        return None
    try:
        found: Any = yaml.safe_load(body)
    except (yaml.YAMLError, RecursionError):
        return None
    values = cast(dict[str, Any], found) if isinstance(found, dict) else {}
    return values if isinstance(values.get("description"), str) else None
