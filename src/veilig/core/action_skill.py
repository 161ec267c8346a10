"""Which acts find and read skills: folders with a SKILL.md that say how a kind of work is done?

They belong to the list of core/action.py, which is the page to read first.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from veilig.core import action_checks as check
from veilig.core.effect import READ, Effects, InCopy


@dataclass(frozen=True, slots=True)
class ListSkills(InCopy):
    """Names and descriptions of the skills in the copy and of the operator's own."""

    kind: Literal["skills.list"] = "skills.list"
    effects: ClassVar[Effects] = READ
    target: ClassVar[str] = "skills"


@dataclass(frozen=True, slots=True)
class ReadSkill(InCopy):
    """Read one text of a skill of the operator's own; those of the copy are files like others."""

    skill: str
    path: str = "SKILL.md"
    kind: Literal["skill.read"] = "skill.read"
    effects: ClassVar[Effects] = READ

    def __post_init__(self) -> None:
        check.need_name(self.skill, self.kind)
        check.need_path(f"{self.skill}/{self.path}")

    @property
    def target(self) -> str:
        """The skill, and its text when it is not the first."""
        return self.skill if self.path == "SKILL.md" else f"{self.skill}/{self.path}"
