"""What is done to audit a folder? Copy it, read the copy, report; a model may be heard on what was found."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, cast

from veilig.agent import audit_opinion as opinions
from veilig.audit.finding import Report
from veilig.audit.rows import rows_of
from veilig.core.action import Action, AskModel, OpenWorkspace, ReadFile, ScanCode
from veilig.core.action_json import JSON
from veilig.core.errors import SessionError
from veilig.core.message import Message
from veilig.core.provider import Finish, Outcome, Status, Step

SCAN_TIMEOUT_S = 900.0  # half a million lines take a few minutes on a small machine
QUESTIONS_MAX = 40  # of one audit: what is left over is said
ANSWER_TOKENS = 3072
FILES_NAMED_MAX = 10
TEMPERATURE = 0.0  # the same code twice should be judged alike

type Told = dict[str, Any]  # who was heard, what it judged and cost, and what it could not judge


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """What the user asked for. pattern: also what only looks like a weakness. diff: what would it add?

    jobs: processes at once, 0 for as many as there are cores. fresh: believe nothing found before.
    rules: the text of the user's own rules. model: who is heard on what was found; empty: nobody.
    about: what of it.
    """

    source: str
    pattern: bool = False
    diff: str = ""
    jobs: int = 0
    fresh: bool = False
    rules: str = ""
    model: str = ""
    about: opinions.About = opinions.EVERYTHING

    def to_json(self) -> dict[str, JSON]:
        """The options as `session.started` records them."""
        kept: dict[str, JSON] = {"source": self.source, "pattern": self.pattern}
        kept |= {"jobs": self.jobs, "fresh": self.fresh, "rules": self.rules}
        if self.model:
            kept |= {"model": self.model, "about": self.about.to_json()}
        if self.diff:  # the diff itself may hold a secret that nobody has looked for yet
            kept["diff_sha256"] = hashlib.sha256(self.diff.encode()).hexdigest()
        return kept

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "AuditOptions":
        """The inverse of `to_json`. Raises SessionError for the audit of a patch."""
        if "diff_sha256" in value:
            raise SessionError(
                "the audit of a patch cannot be resumed",
                why="its diff is not kept: it may hold secrets",
                fix="run `veilig audit --patch` again",
            )
        jobs, fresh = int(value.get("jobs", 0)), bool(value.get("fresh", False))
        rules, model = str(value.get("rules", "")), str(value.get("model", ""))
        source, pattern = str(value["source"]), bool(value["pattern"])
        about = opinions.About.from_json(value.get("about", {}))
        return cls(source, pattern, jobs=jobs, fresh=fresh, rules=rules, model=model, about=about)


class AuditPlanner:
    """The planner of `veilig audit`.

    State: what the copy left out; with a model also the report so far ("data"), what it is still to be asked
    about ("queue"), the file that was read for it, and what it has said and cost ("model").
    """

    def __init__(self, options: AuditOptions) -> None:
        self._options = options

    def first(self) -> Step:
        """Start with the copy."""
        return Step({}, OpenWorkspace(self._options.source))

    def next(self, state: dict[str, JSON], action: Action, outcome: Outcome) -> Step:
        """After the copy the scan, after the scan the end, or first the model's questions one by one."""
        match action:
            case OpenWorkspace():
                return self._copied(state, outcome)
            case ReadFile():
                return self._read(state, outcome)
            case AskModel():
                return self._answered(state, outcome)
            case _:
                return self._scanned(state, outcome)

    def _copied(self, state: dict[str, JSON], outcome: Outcome) -> Step:
        if outcome.status is Status.IN_DOUBT:
            return self.first()  # a crash came into the copying: making it anew harms nothing
        if not outcome.ok:
            return Step(state, Finish(False, outcome.detail))
        return Step({**state, "left_out": outcome.data.get("skipped", [])}, self._scan())

    def _scanned(self, state: dict[str, JSON], outcome: Outcome) -> Step:
        if not outcome.ok and outcome.status is Status.FAILED and not state.get("again"):
            # After a resume the copy may be gone: one fresh start, and the second failure is final.
            return Step({"again": True}, OpenWorkspace(self._options.source))
        if not outcome.ok:
            return Step(state, Finish(False, outcome.detail))
        if outcome.data.get("error"):
            return Step(state, Finish(False, str(outcome.data["error"])))
        data: dict[str, JSON] = {**outcome.data, "left_out": state.get("left_out", [])}
        problems = cast(list[dict[str, JSON]], data.pop("problems", []))
        data["problems"] = [
            {k: v for k, v in p.items() if k != "proposals"} for p in problems if p["kind"] != "weakness"
        ]  # the report holds the weaknesses, with more
        if not self._options.model:
            return Step(state, Finish(True, outcome.detail, data))
        return self._ask(self._asking(data))

    def _scan(self) -> ScanCode:
        wanted = self._options
        return ScanCode(
            report=True,
            pattern=wanted.pattern,
            diff=wanted.diff,
            options=json.dumps({"jobs": wanted.jobs, "fresh": wanted.fresh, "rules": wanted.rules}),
            timeout_s=SCAN_TIMEOUT_S,
        )

    # --- a model's opinion ------------------------------------------------------------------------

    def _asking(self, data: dict[str, JSON]) -> dict[str, JSON]:
        """The state before the first question."""
        told: Told = {"name": self._options.model, "asked": 0, "judged": 0, "doubted": 0, "claimed": 0}
        told |= {"tokens_in": 0, "tokens_out": 0, "trouble": []}
        queue = opinions.batches(_report(data).findings, self._options.about)
        if self._options.diff:
            queue, told = [], _troubled(told, "it was not asked: the folder lacks what a patch adds")
        left: list[JSON] = [[path, [*places]] for path, places in queue]
        return {"data": data, "model": cast(JSON, told), "queue": left}

    def _ask(self, state: dict[str, JSON]) -> Step:
        """The next file to be asked about, or the end."""
        queue, told = cast(list[list[Any]], state["queue"]), cast(Told, state["model"])
        if queue and told["asked"] >= QUESTIONS_MAX:
            left = sum(len(places) for _, places in queue)
            why = f"it was not asked about {left} more findings: {QUESTIONS_MAX} questions are the bound"
            told, queue = _troubled(told, why), []
        if not queue:
            data = {**cast(dict[str, JSON], state["data"]), "model": cast(JSON, told)}
            return Step({}, Finish(True, "audited", data))
        batch, *rest = queue
        next_up: dict[str, JSON] = {**state, "queue": cast(JSON, rest), "batch": cast(JSON, batch)}
        return Step(next_up, ReadFile(str(batch[0])))

    def _read(self, state: dict[str, JSON], outcome: Outcome) -> Step:
        batch, told = _batch(state), {**cast(Told, state["model"])}
        if not outcome.ok:
            return self._go_on(state, _troubled(told, f"{batch[0]} was not shown to it: {_short(outcome)}"))
        prompt = opinions.question(_found(state).findings, batch, outcome.detail)
        told["asked"] += 1
        ask = AskModel(self._options.model, prompt, ANSWER_TOKENS, temperature=TEMPERATURE)
        return Step({**state, "text": outcome.detail, "model": cast(JSON, told)}, ask)

    def _answered(self, state: dict[str, JSON], outcome: Outcome) -> Step:
        (path, places), told = _batch(state), {**cast(Told, state["model"])}
        for name in ("tokens_in", "tokens_out"):
            spent = outcome.data.get(name)
            told[name] += spent if isinstance(spent, int) else 0
        if not outcome.ok:
            told = _troubled(told, f"{path} was not judged: {_short(outcome)}")
            left = cast(list[list[Any]], state["queue"])
            if left and not outcome.data.get("overflow"):  # it will not answer the next question either
                state = {**state, "queue": []}
                files = ", ".join(dict.fromkeys(str(batch[0]) for batch in left[:FILES_NAMED_MAX]))
                told = _troubled(told, f"nor was it asked the other {len(left)} questions: {files}")
            return self._go_on(state, told)
        report, by = _found(state), self._options.model
        answer, text = Message.from_json(outcome.data["message"]).text, str(state["text"])
        said = opinions.heard(answer, report.findings, (path, places), text, by)
        told |= {"judged": told["judged"] + said.judged, "doubted": told["doubted"] + len(said.doubts)}
        told["claimed"] += len(said.claims)
        if said.trouble:
            told = _troubled(told, f"{path}: {said.trouble}; that changed nothing")
        report = opinions.with_doubts(report, said.doubts, by)
        report = opinions.with_claims(report, said.claims, {path: rows_of(text)})
        data: dict[str, JSON] = {**cast(dict[str, JSON], state["data"]), "report": opinions.plain(report)}
        return self._go_on({**state, "data": data}, told)

    def _go_on(self, state: dict[str, JSON], told: Told) -> Step:
        kept = {name: value for name, value in state.items() if name not in ("batch", "text")}
        return self._ask({**kept, "model": cast(JSON, told)})


def _batch(state: dict[str, JSON]) -> opinions.Batch:
    path, places = cast(list[Any], state["batch"])
    return str(path), tuple(int(place) for place in places)


def _found(state: dict[str, JSON]) -> Report:
    return _report(cast(dict[str, JSON], state["data"]))


def _report(data: dict[str, JSON]) -> Report:
    return Report.from_json(json.dumps(data["report"]))


def _troubled(told: Told, why: str) -> Told:
    return {**told, "trouble": [*told["trouble"], why]}


def _short(outcome: Outcome) -> str:
    return " ".join(outcome.detail.split())[:300]
