"""Which act makes a session out of a part of another's task? One: delegation.

It belongs to the list of core/action.py, which is the page to read first.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from veilig.core import action_checks as check
from veilig.core.effect import EXECUTE, Effects, InCopy
from veilig.core.errors import InvalidAction
from veilig.core.limits import COMMAND_TIMEOUT_S_MAX, DELEGATE_STEPS

TARGET_CHARS = 80


@dataclass(frozen=True, slots=True)
class StartSession(InCopy):
    """Let a child session do `task` in this session's copy, behind its wall and its gate.

    steps, tokens: its budget, taken out of what is left of this session's; 0 tokens: whatever is left.
    timeout_s: when it ends at the latest. An interrupted child is gone on with, never begun again.
    """

    task: str
    steps: int = DELEGATE_STEPS
    tokens: int = 0
    timeout_s: float = COMMAND_TIMEOUT_S_MAX
    kind: Literal["session.start"] = "session.start"
    effects: ClassVar[Effects] = EXECUTE

    def __post_init__(self) -> None:
        check.need_size(self.task, self.kind)
        object.__setattr__(self, "timeout_s", check.need_timeout(self.timeout_s))
        if not self.task.strip():
            raise InvalidAction(f"{self.kind}: there is no task", fix="say what the child is to do")
        if self.steps < 1 or self.tokens < 0:
            raise InvalidAction(f"{self.kind}: {self.steps} steps and {self.tokens} tokens are no budget")

    @property
    def target(self) -> str:
        """The beginning of its task, on one line."""
        return " ".join(self.task.split())[:TARGET_CHARS]
