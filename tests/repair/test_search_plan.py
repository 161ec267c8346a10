import json

import pytest

from veilig.repair import detect, search
from veilig.repair.candidates import Candidate, generate
from veilig.repair.choose import Evidence, choose
from veilig.repair.detect import Runner
from veilig.repair.edit import Edit, apply
from veilig.repair.locate import Line
from veilig.repair.recipes.proposal import Confidence, Failure
from veilig.repair.simplify import simplify
from veilig.repair.testreport import Outcome, Test

TEXT = "def f(a, n):\n    return a[:n]\n"


def candidates() -> list[Candidate]:
    return list(generate({"m.py": TEXT}, [Line("m.py", 2, 1.0, "")]))


def test_rounds_grow_and_lose_no_candidate() -> None:
    found = candidates()
    rounds = list(search.plan(iter(found), 10))
    assert [one for each in rounds for one in each.candidates] == found
    assert rounds[0].deadline_s == 10


def test_no_round_starts_when_the_time_is_up() -> None:
    rounds = search.plan(iter(candidates() * 100), 10)
    next(rounds)
    with pytest.raises(StopIteration):
        rounds.send(0.0)


def test_the_task_carries_edits_units_and_no_more() -> None:
    found = candidates()[:5]
    command = detect.TestCommand(Runner.PYTEST, "python", ("tests",), (".",), "")
    failing = [Test("t", Outcome.FAILED, 1, 1, Failure("ValueError", ""))]
    text = search.task(
        search.Round(tuple(found), 5), root="/r", nonce="n", command=command, targets=failing, keep=["k"]
    )
    data = json.loads(text)
    assert (data["targets"], data["keep"], data["cpu_s"]) == (["t"], ["k"], {"t": 1})
    assert len(data["units"]) == 1
    assert [one[2] for one in data["candidates"]] == [
        [[e.start, e.end, e.replacement] for e in c.edits] for c in found
    ]


def test_news_needs_the_nonce_of_this_run() -> None:
    line = 'VEILIG-WORKER n {"event": "plausible", "candidate": 3}'
    told = search.news(line, "n")
    assert told is not None
    assert (told.kind, told.candidate) == ("plausible", 3)
    assert search.news(line, "m") is None
    assert search.news("VEILIG-WORKER n {cut", "n") is None


def one(cost: float, text: str, line: int = 2, family: str = "const") -> Candidate:
    return Candidate("m.py", (Edit("m.py", 1, 2, text),), family, cost, text, line, None)


def test_the_cheapest_patch_is_chosen_and_rivals_lower_the_confidence() -> None:
    alone = choose([one(1, "x")], Evidence(3, 4))
    crowd = choose([one(2, "y", 9), one(1, "x"), *(one(3, str(n), n) for n in range(6))], Evidence(1))
    assert alone is not None
    assert crowd is not None
    assert (alone.confidence, crowd.confidence) == (Confidence.HIGH, Confidence.LOW)
    assert crowd.best.title == "x"


def test_the_patch_that_others_agree_with_comes_before_a_cheaper_one_that_stands_alone() -> None:
    agreed = {0: ("a", "x"), 1: ("a", "b"), 2: ("a", "b"), 3: ("a", "b")}
    found = [one(1, "lone"), one(1.2, "p"), one(1.3, "q"), one(1.4, "r")]
    chosen = choose(found, Evidence(2, 4, answers=agreed))
    assert chosen is not None
    assert (chosen.best.title, chosen.confidence, chosen.decision) == ("p", Confidence.HIGH, "")
    assert "2 other patches behave the same" in chosen.why


def test_a_patch_that_crashes_where_others_answer_comes_last() -> None:
    said = {0: ("a", "!IndexError", "late"), 1: ("a", "b", "c")}
    chosen = choose([one(1, "crash"), one(1.5, "whole")], Evidence(1, answers=said))
    assert chosen is not None
    assert chosen.best.title == "whole"


def test_one_failing_test_and_many_behaviours_need_a_decision() -> None:
    said = {number: ("a", str(number)) for number in range(4)}
    found = [one(1 + number / 10, str(number)) for number in range(4)]
    weak = choose(found, Evidence(1, 0, answers=said))
    strong = choose(found, Evidence(4, 4, answers=said))
    assert weak is not None
    assert strong is not None
    assert (weak.confidence, strong.confidence) == (Confidence.LOW, Confidence.HIGH)
    assert ("4 different behaviours" in weak.decision, strong.decision) == (True, "")


def test_calls_that_some_patch_was_not_asked_decide_nothing() -> None:
    said = {0: ("a", "unasked"), 1: ("a", "b")}
    chosen = choose([one(1, "x"), one(1.1, "y")], Evidence(2, answers=said))
    assert chosen is not None
    assert "behave the same" in chosen.why


def test_answers_that_are_no_list_are_not_believed() -> None:
    told = search.News(search.Told.BEHAVIOUR, {"answers": "abc"}, 1)
    assert search.answers(told) == ()


def test_a_patch_that_copies_the_expected_value_comes_after_one_that_does_not() -> None:
    chosen = choose([one(1, "42"), one(1.5, "n")], Evidence(1, 0, frozenset({"42"})))
    assert chosen is not None
    assert chosen.best.title == "n"


@pytest.mark.parametrize(("family", "asked"), [("expr_to_const", True), ("const_str", False)])
def test_a_computed_value_that_gives_way_to_the_expected_one_needs_a_decision(
    family: str, asked: bool
) -> None:
    edits = (Edit("m.py", 27, 32, "'Ann, hello'"),)
    candidate = Candidate("m.py", edits, family, 1.0, "t", 2, None)
    chosen = choose([candidate], Evidence(1, 3, frozenset({"Ann, hello"})))
    assert chosen is not None
    assert (chosen.decision != "", chosen.confidence is Confidence.LOW) == (asked, asked)


def test_nothing_plausible_is_no_choice() -> None:
    assert choose([], Evidence(1)) is None


def test_hints_come_from_messages() -> None:
    failure = Failure("KeyError", "assert 'ab' == 'cd' where 12; Did you mean: 'total'?")
    found = search.hints([Test("t", Outcome.FAILED, 1, 1, failure)])
    assert (found.exceptions, found.integers, found.names) == (("KeyError",), (12,), ("total",))
    assert {"ab", "cd"} <= set(found.strings)


@pytest.mark.parametrize(
    ("ugly", "simple"),
    [
        ("0 + a", "a"),
        ("len(a) - 0", "len(a)"),
        ("not not a", "a"),
        ("a * 1", "a"),
        ("1 * a[0]", "a[0]"),
        ("a + 1", "a + 1"),
        ("n + (a + 0)", "n + a"),
        ("len(a + 0)", "len(a)"),
        ("0 + a * 1", "a"),
        ("--n", "n"),
        ("a + False", "a + False"),
        ("n // 1", "n // 1"),
    ],
)
def test_a_patch_is_written_as_a_person_would(ugly: str, simple: str) -> None:
    text = "def f(a, n):\n    return b   \n"
    start = text.index("b")
    found = Candidate("m.py", (Edit("m.py", start, start + 1, ugly),), "x", 1, "", 2, None)
    assert apply(text, simplify(text, found).edits) == text.replace("b", simple)


@pytest.mark.parametrize(
    ("files", "args", "paths", "runner"),
    [
        ({"m.py": "", "test_m.py": "def test_a(): pass"}, (), (".",), "pytest"),
        ({"src/p/a.py": "", "tests/test_a.py": "def test_a(): pass"}, ("tests",), ("src", "."), "pytest"),
        (
            {
                "pyproject.toml": '[tool.pytest.ini_options]\ntestpaths = ["t"]\npythonpath = "lib"\n',
                "t/test_a.py": "",
            },
            (),
            ("lib", "."),
            "pytest",
        ),
        ({"setup.cfg": "[tool:pytest]\npythonpath = a b\n", "a/m.py": ""}, (), ("a", "b", "."), "pytest"),
        ({"tests/test_a.py": "import unittest"}, ("tests",), (".",), "pytest"),
        ({"pyproject.toml": "[tool.pytest.ini_options\n", "test_a.py": ""}, (), (".",), "pytest"),
    ],
)
def test_how_a_project_runs_its_tests(
    files: dict[str, str], args: tuple[str, ...], paths: tuple[str, ...], runner: str
) -> None:
    found = detect.test_command(files, "python")
    assert found is not None
    assert (found.args, found.pythonpath, str(found.runner)) == (args, paths, runner)


def test_a_project_without_tests_has_no_command() -> None:
    assert detect.test_command({"m.py": "x = 1\n", "latest.py": "x = 1\n"}, "python") is None


def test_a_changed_constant_that_leaves_a_needless_operand_takes_it_away() -> None:
    text = "def f(x):\n    return 1 + g(x[1:])\n"
    start = text.index("1 +")
    found = Candidate("m.py", (Edit("m.py", start, start + 1, "0"),), "const", 1, "", 2, None)
    assert apply(text, simplify(text, found).edits) == "def f(x):\n    return g(x[1:])\n"


def test_a_patch_with_nothing_to_simplify_is_left_as_it_is() -> None:
    text = "def f(x):\n    return x + 0\n"
    start = text.index("x +")
    found = Candidate("m.py", (Edit("m.py", 4, 5, "g"),), "const", 1, "", 2, None)
    assert simplify(text, found) is found
    assert simplify(
        text, Candidate("m.py", (Edit("m.py", start, start + 5, "x"),), "x", 1, "", 2, None)
    ).edits


def test_a_patch_that_crashes_where_the_code_worked_comes_after_a_dearer_one_that_does_not() -> None:
    breaking, careful = one(1.0, "9"), one(2.4, "8")
    said = {0: ("a", "!TypeError", "!TypeError"), 1: ("a", "x", "y")}
    evidence = Evidence(1, 3, frozenset(), said, before=("!IndexError", "x", "y"))
    choice = choose([breaking, careful], evidence)
    assert choice is not None
    assert choice.best is careful


def test_a_wanted_error_is_no_crash() -> None:
    refusing, other = one(1.0, "9"), one(2.4, "8")
    said = {0: ("a", "!ValueError"), 1: ("a", "x")}
    choice = choose([refusing, other], Evidence(1, 3, frozenset(), said, before=("b", "x")))
    assert choice is not None
    assert choice.best is refusing


def test_what_the_failing_tests_write_is_a_hint_and_other_tests_are_not() -> None:
    text = "def test_a():\n    run('case when')\n\ndef test_b():\n    run('other')\n"
    failing = [Test("tests/test_m.py::test_a[1]", Outcome.FAILED, 1, 1, file="tests/test_m.py")]
    words = search.hints(failing, {"tests/test_m.py": text}).words
    assert {"case when", "case", "when"} <= set(words)
    assert "other" not in words
    assert search.hints(failing, {"tests/test_m.py": "def ("}).words == ()


@pytest.mark.parametrize(
    ("exception", "message", "of_none", "of_type"),
    [
        ("AttributeError", "'NoneType' object has no attribute 'split'", True, True),
        ("TypeError", "unsupported operand type(s) for +: 'PosixPath' and 'str'", False, True),
        ("AssertionError", "assert 'must be' == 'NoneType'", False, False),
        ("TypeError", "f() takes 1 positional argument but 2 were given", False, False),
    ],
)
def test_a_failure_that_names_a_type_leans_to_conversions_and_guards(
    exception: str, message: str, *, of_none: bool, of_type: bool
) -> None:
    test = Test("t", Outcome.FAILED, 0.1, 0.1, Failure(exception, message))
    hints = search.hints([test])
    assert (hints.of_none, hints.of_type) == (of_none, of_type)


def test_the_progress_of_a_search_is_told_while_it_comes_and_only_to_its_own_nonce() -> None:
    made = tuple(candidates())
    listener = search.Listener(search.Round(made, 1.0), "n", 100)
    line = f'{search.MARKER} n {{"event": "progress", "tried": 7, "per_s": 340.5}}\n'.encode()
    assert not listener.take(line.replace(b" n ", b" other "))
    assert not listener.take(line[:20])
    assert listener.take(line[20:])
    assert listener.line == "107 tried, 340.5/s"
    found = f'{search.MARKER} n {{"event": "plausible", "candidate": 0, "cost": 1.0}}\n'.encode()
    assert listener.take(found + line)
    assert listener.line == f"107 tried, 340.5/s; passes: {made[0].title}"
