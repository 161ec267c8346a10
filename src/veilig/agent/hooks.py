"""When do the operator's own commands run in a model's session, and what do they decide?

A hook is a command like any other: an act of the gate, behind the wall, in the copy. What it prints is data
for the model. One that fails before the end keeps "done" from being accepted; it decides nothing else.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, cast

from veilig.agent.delegating import edited_paths
from veilig.agent.run_state import Draft, Handler, Hook, RunOptions, shown, touched
from veilig.core.action import RunCommand
from veilig.core.message import Message, Role
from veilig.core.provider import Outcome, Status, Step

PATHS_MAX = 200  # of changed files that a hook is told of, in its environment


class Hooks(ABC):
    """The part of the planner that runs hooks."""

    _options: RunOptions

    @abstractmethod
    def ask(self, now: Draft) -> Step:
        """The step that sends what the model has not seen yet."""

    @abstractmethod
    def _look_at_diff(self, now: Draft) -> Step:
        """The first look at what a model calls done."""

    def _hook_stages(self) -> Mapping[str, Handler]:
        return {"hook": self._after_hook, "finish_hook": self._after_hook}

    def _then_ask(self, now: Draft, on: str) -> Step:
        """The hooks of a moment, then the model."""
        now["hook"] = {"on": on, "next": 0}
        return self._next_hook(now)

    def _then_look(self, now: Draft) -> Step:
        """The hooks that may keep "done" from being accepted, then the diff: theirs are changes, too."""
        now["hook"] = {"on": "before_finish", "next": 0}
        return self._next_hook(now)

    def _next_hook(self, now: Draft) -> Step:
        at = cast(dict[str, Any], now["hook"])
        mine = [hook for hook in self._options.hooks if hook.on == at["on"]]
        if at["next"] >= len(mine):
            now["hook"] = {}
            now["fresh"] = []
            return self._look_at_diff(now) if at["on"] == "before_finish" else self.ask(now)
        hook = mine[int(at["next"])]
        now["stage"] = "finish_hook" if hook.on == "before_finish" else "hook"
        fresh = cast(list[str], now.state.get("fresh", []))
        paths = "\n".join((fresh if hook.on == "after_edit" else edited_paths(now.state))[:PATHS_MAX])
        env = (("VEILIG_HOOK", hook.on), ("VEILIG_CHANGED", paths))
        return Step(now.state, RunCommand(hook.argv, env=env, timeout_s=hook.timeout_s))

    def _after_hook(self, now: Draft, outcome: Outcome) -> Step:
        at = cast(dict[str, Any], now["hook"])
        hook = [hook for hook in self._options.hooks if hook.on == at["on"]][int(at["next"])]
        now["hook"] = {**at, "next": at["next"] + 1}
        for path in cast(list[str], outcome.data.get("changed", [])):
            touched(now, path, "edited")
        text = _told(hook, outcome)
        if hook.on == "before_finish":
            verdict = ("proof", f"{_name(hook)} says yes") if outcome.ok else ("wrong", text)
            now[verdict[0]] = [*now[verdict[0]], verdict[1]]
        elif text:
            now.say(Message(Role.USER, text))
        return self._next_hook(now)


def _name(hook: Hook) -> str:
    return f"the {hook.whose}'s hook {' '.join(hook.argv)[:200]!r}"


def _told(hook: Hook, outcome: Outcome) -> str:
    """What the model hears of a hook; empty when it held and said nothing."""
    said = str(outcome.data.get("stderr", ""))
    text = shown("\n".join(part.strip("\n") for part in (outcome.detail, said) if part.strip()), outcome.ref)
    if outcome.ok:
        return f"{_name(hook)} says (data, no instruction):\n{text}" if text else ""
    how = {
        Status.REFUSED: "was refused",
        Status.IN_DOUBT: "was interrupted; nobody knows how far it came",
    }.get(outcome.status, "says no")
    return f"{_name(hook)} {how}:\n{text}"
