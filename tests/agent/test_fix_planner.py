"""The fix planner as a pure function: it always ends, and what was not proven is taken back.

Out of scope here: whether repairs are right (tests/repair) and the real world (test_fix_shop).
"""

import json
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fix_world import SHA, Copy, patch, problem, problems_of, proposal, report, run
from veilig.agent.fix import RESTARTS_MAX, FixPlanner
from veilig.agent.fix_match import PROBLEMS_MAX
from veilig.agent.fix_state import FIXED, KINDS, UNFIXED, FixOptions, Problem, State, Trial, not_looked_at
from veilig.core.action import (
    Action,
    ApplyPatch,
    CommitBranch,
    DeleteFile,
    OpenWorkspace,
    PatchFile,
    ProposePatch,
    ReadDiff,
    RunTests,
    ScanCode,
    SearchPatch,
    WriteFile,
)
from veilig.core.action_json import JSON, to_json
from veilig.core.provider import Outcome, Status

PROBLEMS = st.builds(
    problem,
    st.sampled_from(["p1", "p2", "p3", "p4"]),
    st.sampled_from(KINDS),
    proposals=st.integers(0, 3),
    path=st.sampled_from(["a.py", "b.py"]),
)
REPORTS = st.builds(
    report,
    st.integers(0, 6),
    st.sampled_from([(), ("t1",), ("t1", "t2")]),
    complete=st.booleans(),
    wall_s=st.sampled_from([1.0, 9.0, 60.0]),
)
TROUBLE = st.sampled_from([Status.FAILED, Status.REFUSED, Status.IN_DOUBT])


@st.composite
def answers(draw: st.DrawFn) -> Any:
    """A world that answers every action somehow: well, badly, or so that nobody can tell."""
    copy = Copy()
    data = draw(st.data())

    def answer(action: Action) -> Outcome:
        if isinstance(action, OpenWorkspace):
            copy.edits.clear()
        undoing = isinstance(action, PatchFile) and action.edits[0].replacement == "undo"
        if not undoing and data.draw(st.integers(0, 7)) == 0:
            status = data.draw(TROUBLE)
            if status is Status.FAILED and isinstance(action, PatchFile):
                return Outcome(False, "written, and not what was meant", status, copy.perform(action).data)
            return Outcome(False, "trouble", status)
        return well(action)

    def well(action: Action) -> Outcome:
        match action:
            case PatchFile():
                return copy.perform(action)
            case ScanCode():
                return Outcome(True, data={"problems": cast(JSON, data.draw(st.lists(PROBLEMS, max_size=3)))})
            case RunTests():
                return Outcome(True, data=data.draw(REPORTS))
            case ProposePatch() | SearchPatch():
                tags = data.draw(st.lists(st.sampled_from(["x", "y"]), max_size=2))
                found: list[JSON] = [
                    cast(JSON, proposal(f"{t}{data.draw(st.integers(0, 9**9))}")) for t in tags
                ]
                return Outcome(True, data={"proposals": found})
            case ReadDiff():
                return Outcome(True, "diff" if copy.tags else "", data={"base": []})
            case _:
                return Outcome(True)

    return answer, copy


@settings(max_examples=120, deadline=None)
@given(answers(), st.sampled_from(["", "apply", "branch:fix/x"]), st.sampled_from(["", "tests", "audit"]))
def test_whatever_the_outcomes_are_it_ends_and_only_accepted_edits_stay(
    world: Any, deliver: str, only: str
) -> None:
    answer, copy = world
    finish, _ = run(FixPlanner(FixOptions("/s", only=only, deliver=deliver)), answer)
    json.dumps(finish.data)
    if "stays in doubt" in finish.summary:
        return  # it gave up in the middle of a trial: the copy is thrown away
    accepted = {p["fix"] for p in problems_of(finish).values() if p["fix"]}
    assert copy.tags <= accepted


TEXTS = st.text(max_size=8)
STATES = st.builds(
    State,
    stage=st.sampled_from(["open", "scan", "change"]),
    late=st.booleans(),
    problems=st.lists(
        st.builds(Problem, TEXTS, st.sampled_from(KINDS), TEXTS, TEXTS, st.integers(0, 9)), max_size=3
    ),
    trial=st.none() | st.builds(Trial, st.just(0), st.just({}), st.just([patch("a.py", "t")])),
    notes=st.lists(TEXTS, max_size=2),
    used_s=st.floats(0, 1e6),
)  # fmt: skip


@given(STATES)
def test_a_state_comes_back_whole_from_its_json(state: State) -> None:
    assert State.from_json(json.loads(json.dumps(state.to_json()))) == state


@given(st.builds(FixOptions, TEXTS, st.lists(TEXTS, max_size=2).map(tuple), st.sampled_from(["", "audit"])))
def test_options_come_back_whole_from_their_json(options: FixOptions) -> None:
    assert FixOptions.from_json(json.loads(json.dumps(options.to_json()))) == options


def world(scan: list[dict[str, JSON]], tests: list[dict[str, JSON]], *, standing: list[int]) -> Any:
    """Test runs in order (the last repeats); `standing`: the scans (1-based) that find everything."""
    copy, scans, runs = Copy(), [0], [0]

    def answer(action: Action) -> Outcome:
        match action:
            case PatchFile():
                return copy.perform(action)
            case ScanCode():
                scans[0] += 1
                return Outcome(True, data={"problems": cast(JSON, scan if scans[0] in standing else [])})
            case RunTests():
                runs[0] += 1
                return Outcome(True, data=tests[min(runs[0], len(tests)) - 1])
            case ReadDiff():
                return Outcome(True, "the diff" if copy.tags else "", data={"base": [["a.py", SHA]]})
            case _:
                return Outcome(True)

    return answer, copy


def test_an_edit_that_breaks_a_test_is_taken_back_and_the_next_is_tried() -> None:
    answer, copy = world(
        [problem("w", proposals=2)], [report(), report(4, ("t1",)), report(), report()], standing=[1]
    )
    finish, proposed = run(FixPlanner(FixOptions("/s")), answer)
    assert problems_of(finish)["w"]["status"] == FIXED
    assert copy.edits == {"a.py": ["w-1.0"]}
    assert sum(isinstance(a, PatchFile) for a in proposed) == 3, "the edit, its undo, the other edit"


def test_a_diff_that_makes_the_tests_worse_is_shown_and_never_brought_back() -> None:
    answer, _ = world([problem("w")], [report(wall_s=30.0), report(4, ("t1",))], standing=[1])
    finish, proposed = run(FixPlanner(FixOptions("/s", deliver="apply")), answer)
    assert not any(isinstance(a, ApplyPatch | CommitBranch) for a in proposed)
    assert (finish.ok, finish.data["diff"]) == (False, "the diff")
    assert "worse" in finish.summary


def test_a_proven_diff_is_brought_back() -> None:
    answer, _ = world([problem("w")], [report()], standing=[1])
    finish, proposed = run(FixPlanner(FixOptions("/s", deliver="apply")), answer)
    assert finish.ok
    assert ApplyPatch("/s", "the diff", (("a.py", SHA),)) in proposed


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_scan_that_failed_leaves_the_result_incomplete_and_the_last_keeps_the_diff(
    failing: int,
) -> None:
    inner, _ = world([problem("w")], [report()], standing=[1, 2] if failing == 2 else [1])
    scans = [0]

    def answer(action: Action) -> Outcome:
        scans[0] += isinstance(action, ScanCode)
        if isinstance(action, ScanCode) and scans[0] == failing:
            return Outcome(False, "the reader died", Status.FAILED)
        return inner(action)

    finish, proposed = run(FixPlanner(FixOptions("/s", deliver="apply")), answer)
    said = not_looked_at(finish.data)
    brought = any(isinstance(a, ApplyPatch) for a in proposed)
    if failing == 1:
        assert (len(said), finish.ok, brought) == (1, True, False), "nothing was found, and that is no proof"
    elif failing == 2:
        assert problems_of(finish)["w"]["status"] == UNFIXED, "an edit that no re-scan has judged"
    else:
        assert (len(said), finish.ok, brought) == (1, False, False)
        assert "final scan failed" in finish.summary


@pytest.mark.parametrize(("data", "whole"), [({}, False), ({"no_tests": True}, True)])
def test_tests_that_cannot_be_run_are_not_the_same_as_no_tests(data: dict[str, JSON], *, whole: bool) -> None:
    inner, _ = world([problem("w")], [], standing=[1])

    def answer(action: Action) -> Outcome:
        if isinstance(action, RunTests):
            return Outcome(False, "it gave no result", Status.FAILED, data=data)
        return inner(action)

    finish, proposed = run(FixPlanner(FixOptions("/s", deliver="apply")), answer)
    assert (not not_looked_at(finish.data)) == whole
    assert (finish.ok, any(isinstance(a, ApplyPatch) for a in proposed)) == (whole, whole)


def test_of_a_thousand_problems_300_are_worked_on_and_the_rest_is_told() -> None:
    many = [problem(f"w{n}", proposals=0) for n in range(1500)]
    answer, _ = world(many, [report()], standing=[1, 2])
    finish, _ = run(FixPlanner(FixOptions("/s")), answer)
    assert [p["status"] for p in problems_of(finish).values()].count(UNFIXED) == PROBLEMS_MAX
    assert any(said.startswith("1200 more problems") for said in not_looked_at(finish.data))


def test_a_step_that_always_ends_in_doubt_ends_the_session() -> None:
    finish, proposed = run(
        FixPlanner(FixOptions("/s")), lambda _: Outcome(False, "no answer", Status.IN_DOUBT)
    )
    assert (finish.ok, len(proposed)) == (False, RESTARTS_MAX + 1)


def test_an_edit_that_happened_before_a_crash_starts_the_copy_anew() -> None:
    """The crash lost how the edit is taken back, so it may not stay in the copy."""
    answer, copy = world([problem("w")], [report()], standing=[1, 2])
    crashed: list[Action] = []

    def once(action: Action) -> Outcome:
        outcome = answer(action)
        if isinstance(action, PatchFile) and not crashed:
            crashed.append(action)
            return Outcome(True, "had happened before the crash")
        if isinstance(action, OpenWorkspace):
            copy.edits.clear()
        return outcome

    finish, proposed = run(FixPlanner(FixOptions("/s")), once)
    assert sum(isinstance(a, OpenWorkspace) for a in proposed) == 2
    assert (finish.ok, copy.edits) == (True, {"a.py": ["w-0.0"]})


def test_a_finding_that_an_undo_brought_back_does_not_speak_against_the_next_fix() -> None:
    """Two findings in one file; the first fix is gone on re-scan and then breaks a test."""
    first, second = problem("w1"), problem("w2")
    copy = Copy()

    def answer(action: Action) -> Outcome:
        match action:
            case PatchFile():
                return copy.perform(action)
            case ScanCode():
                gone = {"w1"} if "w1-0" in copy.tags else {"w2"} if "w2-0" in copy.tags else set[str]()
                left = [p for p in (first, second) if p["id"] not in gone]
                return Outcome(True, data={"problems": cast(JSON, left)})
            case RunTests():
                broken = report(4, ("t1",)) if "w1-0" in copy.tags else report()
                return Outcome(True, data=broken)
            case _:
                return Outcome(True)

    finish, _ = run(FixPlanner(FixOptions("/s")), answer)
    assert {k: p["status"] for k, p in problems_of(finish).items()} == {"w1": UNFIXED, "w2": FIXED}


@pytest.mark.parametrize(
    ("change", "undo"),
    [
        (WriteFile("n.py", "x"), {"kind": "file.delete", "path": "n.py", "before": SHA}),
        (WriteFile("n.py", "x", "1" * 64), {**patch("n.py", "undo"), "edits": [[0, 1, "old"]]}),
        (DeleteFile("n.py", "1" * 64), to_json(WriteFile("n.py", "old"))),
    ],
    ids=["a new file is deleted", "a replaced file is patched back", "a deleted file is written again"],
)
def test_every_kind_of_change_can_be_taken_back(change: Action, undo: dict[str, JSON]) -> None:
    from veilig.agent.fix_state import undo_of

    outcome = Outcome(True, data={"after": SHA, "undo": [[0, 1, "old"]]})
    assert undo_of(change, outcome) == undo


@pytest.mark.parametrize(("wall_s", "whole"), [(1.0, 4), (9.0, 2)])
def test_a_slow_suite_is_run_only_for_an_edit_whose_own_test_passes(wall_s: float, whole: int) -> None:
    copy = Copy()

    def answer(action: Action) -> Outcome:
        match action:
            case PatchFile():
                return copy.perform(action)
            case RunTests():
                good = "good" in copy.tags
                return Outcome(True, data=report(5 + good, () if good else ("t1",), wall_s=wall_s))
            case ProposePatch():
                return Outcome(
                    True, data={"proposals": [proposal("bad1"), proposal("bad2"), proposal("good")]}
                )
            case _:
                return Outcome(True, "diff", data={"problems": [], "base": []})

    finish, proposed = run(FixPlanner(FixOptions("/s")), answer)
    assert problems_of(finish)["t1"]["status"] == FIXED
    runs = [a for a in proposed if isinstance(a, RunTests)]
    # The baseline and the edits that are judged by it: the run of the accepted edit is the last proof.
    assert sum(not a.tests for a in runs) == whole
    assert {a.tests for a in runs if a.tests} == ({("t1",)} if wall_s > 3 else set())


def test_a_second_group_of_tests_that_passes_after_the_first_fix_is_fixed_too() -> None:
    copy, asked = Copy(), 0

    def answer(action: Action) -> Outcome:
        nonlocal asked
        match action:
            case PatchFile():
                return copy.perform(action)
            case RunTests():
                return Outcome(True, data=report(7) if copy.tags else report(5, ("t1", "t2")))
            case ProposePatch():
                asked += 1
                return Outcome(True, data={"proposals": [proposal("good")]})
            case _:
                return Outcome(True, "diff", data={"problems": [], "base": []})

    finish, _ = run(FixPlanner(FixOptions("/s")), answer)
    found = problems_of(finish)
    assert {name: one["status"] for name, one in found.items()} == {"t1": FIXED, "t2": FIXED}
    assert (found["t2"]["fix"], asked) == ("went away with another fix", 1)


@pytest.mark.parametrize(("failing", "shares"), [(("t1",), [0.9]), (("t1", "t2"), [0.5, 0.9])])
def test_the_last_search_gets_most_of_the_time_that_is_left(
    failing: tuple[str, ...], shares: list[float]
) -> None:
    def answer(action: Action) -> Outcome:
        if isinstance(action, RunTests):
            return Outcome(True, data=report(5, failing, wall_s=0.0))
        return Outcome(True, "diff", data={"problems": [], "base": [], "levels": []})

    _, proposed = run(FixPlanner(FixOptions("/s", budget_s=100.0)), answer)
    asked = [one.budget_s for one in proposed if isinstance(one, SearchPatch)]
    assert asked == [pytest.approx(100.0 * share) for share in shares]
