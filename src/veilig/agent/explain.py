"""Why does a command fail, and since which change? It is run in the copy, read, and run on older states.

Nothing is mended here, and no model is asked: what is said is what was seen.
"""

from dataclasses import asdict, dataclass
from typing import Any, cast

from veilig.agent.explained import causes
from veilig.agent.run_state import Draft, Json, shown
from veilig.core.action import Action, OpenWorkspace, PatchFile, ReadHistory, RunCommand, TextEdit
from veilig.core.action_json import JSON, from_json
from veilig.core.provider import Finish, Outcome, Status, Step
from veilig.repair.bisect import Bisect

COMMAND_S = 900.0


@dataclass(frozen=True, slots=True)
class ExplainOptions:
    """What the user asked for. bisect: also which change broke it."""

    source: str
    argv: tuple[str, ...]
    bisect: bool = False

    def to_json(self) -> Json:
        """The options as `session.started` records them."""
        return {**asdict(self), "argv": [*self.argv]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "ExplainOptions":
        """The inverse of `to_json`."""
        return cls(str(value["source"]), tuple(value["argv"]), bool(value["bisect"]))


class ExplainPlanner:
    """The planner of `veilig run` for a question about a command, without a model."""

    def __init__(self, options: ExplainOptions) -> None:
        self._options = options

    def first(self) -> Step:
        """Start with the copy."""
        state: Json = {
            "stage": "open",
            "said": "",
            "causes": [],
            "culprit": "",
            "tried": 0,
            "todo": [],
            "undo": [],
        }
        return Step({**state, "levels": [], "before": {}, "bisect": {}}, OpenWorkspace(self._options.source))

    def next(self, state: Json, action: Action, outcome: Outcome) -> Step:
        """The step after `action` came to `outcome`."""
        now = Draft(state)
        if outcome.status is Status.IN_DOUBT:
            return self.first()  # a crash came into it; all of it happens in a copy that is made anew
        match now["stage"]:
            case "open":
                if not outcome.ok:
                    return Step(now.state, Finish(False, outcome.detail))
                return self._run(now, "run")
            case "run":
                return self._ran(now, outcome)
            case "history":
                return self._read(now, outcome)
            case "probe":
                return self._probed(now, outcome)
            case _:
                return self._edited(now, action, outcome)

    def _run(self, now: Draft, stage: str) -> Step:
        now["stage"] = stage
        return Step(now.state, RunCommand(self._options.argv, timeout_s=COMMAND_S))

    def _ran(self, now: Draft, outcome: Outcome) -> Step:
        if outcome.status is Status.REFUSED:
            return Step(now.state, Finish(False, f"the command was not run: {outcome.detail}"))
        now["exit"] = outcome.data.get("exit_code", -1)
        if outcome.ok:
            return self._end(now, "it succeeds here")
        text = f"{outcome.detail}\n{outcome.data.get('stderr', '')}"
        now["said"], now["causes"] = shown(text.strip(), outcome.ref), [*causes(outcome.data, text)]
        if not self._options.bisect:
            return self._end(now, "it fails")
        now["stage"] = "history"
        return Step(now.state, ReadHistory(self._options.source))

    # --- which change ------------------------------------------------------------------------------------

    def _read(self, now: Draft, outcome: Outcome) -> Step:
        levels = cast(list[JSON], outcome.data.get("levels", [])) if outcome.ok else []
        now["levels"], now["before"] = levels, outcome.data.get("before", {})
        now["bisect"] = cast(JSON, asdict(Bisect(len(levels))))
        if not levels:
            now["culprit"] = f"not looked for: {outcome.detail}"
            return self._end(now, "it fails")
        return self._ask(now)

    def _ask(self, now: Draft) -> Step:
        """Bring the copy to the next state to try; the end when no question is left."""
        search = Bisect(**cast(dict[str, Any], now["bisect"]))
        level = search.question()
        if level is None:
            levels = cast(list[dict[str, Any]], now["levels"])
            if search.found is None:
                now["culprit"] = f"none of the last {len(levels)} states: it fails in all of them"
            else:
                now["culprit"] = str(levels[search.found]["by"])
            return self._end(now, "it fails")
        edits: dict[str, list[JSON]] = {}
        chosen = cast(dict[str, Any], cast(list[Any], now["levels"])[level])
        for path, start, end, text, _ in cast(list[Any], chosen["edits"]):
            edits.setdefault(str(path), []).append([start, end, text])
        before = cast(dict[str, Any], now["before"])
        now["todo"] = [
            {"kind": "file.patch", "path": path, "before": before[path], "edits": given}
            for path, given in edits.items()
        ]
        now["undo"] = []
        return self._next_edit(now, "make")

    def _next_edit(self, now: Draft, stage: str) -> Step:
        todo = cast(list[JSON], now["todo"])
        if not todo:
            return self._run(now, "probe") if stage == "make" else self._ask(now)
        now["todo"], now["stage"] = todo[1:], stage
        return Step(now.state, from_json(todo[0]))

    def _edited(self, now: Draft, action: Action, outcome: Outcome) -> Step:
        if not outcome.ok or not isinstance(action, PatchFile):
            now["culprit"] = f"not found: an older state could not be made ({outcome.detail})"
            return self._end(now, "it fails")
        if now["stage"] == "make" and "undo" not in outcome.data:
            return self.first()  # it was found to be made after a crash: how to unmake it is not known
        if now["stage"] == "make":
            back = tuple(TextEdit(*edit) for edit in cast(list[Any], outcome.data["undo"]))
            undo: JSON = {
                "kind": "file.patch",
                "path": action.path,
                "before": outcome.data["after"],
                "edits": [[e.start, e.end, e.replacement] for e in back],
            }
            now["undo"] = [*now["undo"], undo]
        return self._next_edit(now, str(now["stage"]))

    def _probed(self, now: Draft, outcome: Outcome) -> Step:
        now["tried"] = now["tried"] + 1
        search = Bisect(**cast(dict[str, Any], now["bisect"])).answered(good=outcome.ok)
        now["bisect"], now["todo"], now["undo"] = cast(JSON, asdict(search)), now["undo"], []
        return self._next_edit(now, "unmake")

    def _end(self, now: Draft, summary: str) -> Step:
        names = ("said", "causes", "culprit", "tried", "exit")
        data = {name: now[name] for name in names if name in now.state}
        return Step(now.state, Finish(True, summary, {**data, "command": " ".join(self._options.argv)}))
