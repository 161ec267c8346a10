"""May a model's word on an incident do more than be read? No: not by its text, nor by what it proposes."""

import json
from pathlib import Path
from typing import Any, cast

import pytest

from heal_case import Case, case, policy
from heal_fuzz import INJECTION
from heal_judge import WholeRules
from heal_whole import play_whole
from veilig.core.action import RestartService, WatchSignals
from veilig.core.provider import Outcome, Status, Step
from veilig.core.signal import to_json
from veilig.heal.hypothesis import Hypothesis, heard, question, wanted
from veilig.heal.incident import Incident
from veilig.heal.report import markdown, notice

GUESS = {"hypothesis": "the port is held by an old release", "because": ["pid 7 nc"], "proposal": "restart"}


def test_an_answer_is_read_as_a_guess_with_one_verb_of_few() -> None:
    assert heard(f"Sure:\n```json\n{json.dumps(GUESS)}\n```", "m", 5.0) == Hypothesis(
        "m", 5.0, "the port is held by an old release", ("pid 7 nc",), "restart"
    )


@pytest.mark.parametrize(
    "answer",
    ["", "no", "[]", '{"hypothesis": 5}', '{"hypothesis": ""}', "{" * 5000, '{"proposal": "restart"}'],
)
def test_an_answer_that_is_none_proposes_nothing(answer: str) -> None:
    assert heard(answer, "m", 0.0) == Hypothesis("m", 0.0, "its answer held no hypothesis")


@pytest.mark.parametrize(
    "verb", ["approve", "RESTART", "restart all", ["restart"], None, "scale_up", "free_space"]
)
def test_a_verb_that_is_not_listed_is_no_proposal(verb: object) -> None:
    said = heard(json.dumps({**GUESS, "proposal": verb}), "m", 0.0)
    assert (said.text, said.proposal) == ("the port is held by an old release", "")


def held() -> Case:
    """A port conflict that waits for people."""
    c = case()
    c.world.die(c.sim, "signal 9")
    c.sim.port_by = "pid 7 nc"
    c.world.dirty.add("worker-a")
    c.run(60)
    assert c.healer.step is not None
    assert wanted(c.healer.step.state) == ["worker-a"]
    return c


def told(c: Case, answer: str) -> Outcome:
    sample = to_json(c.world.sample("worker-a"))
    said = [{"incident": c.incident()["id"], "answer": answer, "model": "m", "t_s": c.world.boot_s}]
    data = {
        "mark": "m",
        "now_s": c.world.boot_s,
        "samples": [sample],
        "answered": [],
        "notes": [],
        "said": said,
    }
    return Outcome(True, data=data)  # pyright: ignore[reportArgumentType]


def _incident(step: Step) -> Incident:
    return Incident.from_json(cast(dict[str, Any], step.state["incidents"])["worker-a"])


def test_a_models_proposal_is_marked_as_such_made_once_and_changes_no_cause() -> None:
    c = held()
    assert c.healer.step is not None
    before = c.incident()
    watch = c.healer.step.propose
    assert isinstance(watch, WatchSignals)
    planner = c.healer.planner
    step = planner.next(c.healer.step.state, watch, told(c, json.dumps(GUESS)))
    action = step.propose
    assert isinstance(action, RestartService)
    assert action == RestartService("worker-a", "")
    assert planner.by_model(action) == "m"
    incident = _incident(step)
    assert (incident.cause, list(incident.evidence)) == (before["cause"], before["evidence"])
    after = planner.next(step.state, action, Outcome(False, "no", Status.REFUSED, {"rule": "x"}))
    assert isinstance(after.propose, WatchSignals)
    assert planner.by_model(action) == ""
    assert _incident(after).hypothesis == Hypothesis(
        "m", c.world.boot_s, str(GUESS["hypothesis"]), ("pid 7 nc",)
    )
    assert wanted(after.state) == []


def test_it_is_shown_as_a_guess_and_never_as_a_cause() -> None:
    incident = Incident("w-1", "w", 1.0, cause="port_conflict", hypothesis=heard(json.dumps(GUESS), "m", 2.0))
    assert "## Model's hypothesis\n\nA guess of m, no fact: nothing was decided by it." in markdown(incident)
    assert "m guesses: the port is held by an old release" in notice(incident)
    assert markdown(incident).startswith("# w: port conflict\n")


def test_a_question_holds_evidence_as_data_and_no_other_service_in_full() -> None:
    c = held()
    assert c.healer.step is not None
    system, user = json.loads(question(c.healer.step.state, "worker-a"))
    assert "never said to you" in system["text"]
    assert json.loads(user["text"])["incident"]["cause"] == "port_conflict"
    assert "web-ok" not in user["text"]


@pytest.mark.parametrize("seed", range(3))
def test_no_word_of_a_model_is_enough_to_act(tmp_path: Path, seed: int) -> None:
    """In act mode, where the policy would allow a restart by itself: people decide, by the real gate."""
    say = {"restart": GUESS, "restore_config": {**GUESS, "proposal": "restore_config"}}
    whole = play_whole(
        tmp_path, seed, 1.0, gap=0.02, law=policy("restart, restore_config", "act"),
        only=("fault_port", "fault_config", "fault_doomed"),
        model=lambda one: json.dumps(say["restart" if ord(one[-1]) % 2 else "restore_config"]),
    )  # fmt: skip
    # P18 bounds what the planner does by itself; what people decided after it is theirs.
    assert [one for one in whole.judge.breaches if not one.startswith("P18")] == []
    assert whole.guessed > 0


def test_without_the_guard_the_judge_would_see_it(tmp_path: Path) -> None:
    rules = WholeRules()
    rules.approvals = False
    whole = play_whole(
        tmp_path, 0, 1.0, gap=0.02, law=policy("restart", "act"), rules=rules, only=("fault_port",),
        model=lambda _: json.dumps(GUESS),
    )  # fmt: skip
    assert any("a model's word was enough" in one for one in whole.judge.breaches)


def test_text_that_a_model_was_talked_into_changes_no_decision(tmp_path: Path) -> None:
    def play(name: str, answer: str | None) -> list[tuple[float, str]]:
        model = None if answer is None else (lambda _one: answer)
        return play_whole(tmp_path / name, 4, 1.0, gap=0.02, deaths=0.0, model=model).judge.proposals

    injected = json.dumps({"hypothesis": INJECTION, "because": [INJECTION], "proposal": INJECTION})
    assert play("a", injected) == play("b", None)
