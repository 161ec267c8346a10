from veilig.repair.locate import Line, groups, is_test_path, nearest, suspicious
from veilig.repair.recipes.proposal import Failure, Frame
from veilig.repair.testreport import Outcome, Test


def ran(
    name: str, lines: set[int], outcome: Outcome = Outcome.PASSED, crash: int = 0, path: str = "m.py"
) -> Test:
    failure = None
    if outcome is not Outcome.PASSED:
        frames = (Frame("tests/test_m.py", 3, name), *((Frame(path, crash, "f"),) if crash else ()))
        failure = Failure("ValueError", "", frames[-1].path, frames[-1].line, frames)
    mask = {path: sum(1 << line for line in lines), "tests/test_m.py": 1 << 3}
    return Test(name, outcome, 0.1, 0.1, failure, file="tests/test_m.py", lines=mask)


def test_the_line_that_only_the_failing_test_runs_is_first() -> None:
    tests = [ran("bad", {1, 2, 3}, Outcome.FAILED), ran("good", {1, 2}), ran("other", {1})]
    assert [line.line for line in suspicious(tests, ["bad"])] == [3, 2, 1]


def test_ochiai_is_one_for_a_perfect_line() -> None:
    tests = [ran("bad", {3}, Outcome.FAILED), ran("good", {1})]
    assert suspicious(tests, ["bad"])[0].score == 1.0


def test_a_crash_line_beats_its_neighbours() -> None:
    tests = [ran("bad", {1, 2, 3}, Outcome.FAILED, crash=2)]
    first = suspicious(tests, ["bad"])[0]
    assert (first.line, "raised there" in first.why) == (2, True)


def test_a_recent_change_breaks_the_tie() -> None:
    tests = [ran("bad", {1, 2, 3}, Outcome.FAILED)]
    assert suspicious(tests, ["bad"], changed={"m.py": frozenset({3})})[0].line == 3


def test_tests_are_never_suspected_since_they_are_never_edited() -> None:
    tests = [ran("bad", {1}, Outcome.FAILED)]
    assert {line.path for line in suspicious(tests, ["bad"])} == {"m.py"}


def test_failing_tests_of_another_group_count_neither_way() -> None:
    tests = [ran("bad", {1, 2}, Outcome.FAILED), ran("else", {2}, Outcome.FAILED)]
    assert {line.score for line in suspicious(tests, ["bad"])} == {1.0}


def test_failures_with_the_same_crash_line_are_one_group_and_distant_ones_are_two() -> None:
    tests = [
        ran("a", {1, 2}, Outcome.FAILED, crash=2),
        ran("b", {2, 9}, Outcome.FAILED, crash=2),
        ran("c", {20, 21}, Outcome.FAILED, crash=21, path="n.py"),
    ]
    assert [group.tests for group in groups(tests)] == [("a", "b"), ("c",)]


def test_tests_that_run_the_suspected_line_are_asked_first() -> None:
    tests = [ran("far", {1}), ran("near", {7}), ran("bad", {7}, Outcome.FAILED)]
    assert nearest(tests, [Line("m.py", 7, 1.0, "")]) == ["near", "far"]


def test_what_is_a_test_path() -> None:
    yes = ["tests/a.py", "pkg/tests/data.py", "test_a.py", "a_test.py", "conftest.py", "pkg/test/x.py"]
    no = ["src/a.py", "testify/a.py", "latest.py", "contest.py"]
    assert [is_test_path(one) for one in yes + no] == [True] * len(yes) + [False] * len(no)
