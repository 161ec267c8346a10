"""`veilig fix` with a scripted model: its patches are candidates, proven like any other, and counted."""

import json
from pathlib import Path

import pytest

from replay_server import Answer, Request, Server, fail, replay
from terminal import Said, Terminal

STRANGE = '''"""Roman numbers."""


def roman(n):
    return "I" * n
'''
TEST = """from roman import roman


def test_four():
    assert roman(4) == "IV"


def test_nine():
    assert roman(9) == "IX"


def test_three():
    assert roman(3) == "III"


def test_twelve():
    assert roman(12) == "XII"
"""
BODY = (
    "    out = ''\n    for value, text in ((10, 'X'), (9, 'IX'), (5, 'V'), (4, 'IV'), (1, 'I')):\n"
    "        while n >= value:\n            out, n = out + text, n - value\n    return out\n"
)
OLD = '    return "I" * n\n'


@pytest.fixture
def roman(veilig: Terminal) -> Path:
    return veilig.project("numbers", roman=STRANGE, **{"test_roman.py": TEST})


def patches(*alternatives: tuple[str, str, str]) -> str:
    found = [
        {"title": f"way {n}", "edits": [{"path": path, "old": old, "new": new}]}
        for n, (path, old, new) in enumerate(alternatives, 1)
    ]
    return f"Here they are:\n```json\n{json.dumps(found)}\n```"


def fix(veilig: Terminal, server: Server, *words: str) -> Said:
    options = ("--only", "tests", "--budget", "20", "--model", "m", "--model-url", server.url)
    return veilig("fix", "numbers", *options, *words)


@pytest.mark.slow
def test_what_the_search_cannot_find_a_model_may_and_the_tests_decide(veilig: Terminal, roman: Path) -> None:
    answer = patches(
        ("roman.py", OLD, '    return {4: "IV"}[n]\n'),
        ("test_roman.py", '"IV"', '"IIII"'),
        ("roman.py", OLD, BODY),
    )
    with replay([answer]) as server:
        said = fix(veilig, server, "--json")
        asked = json.dumps(server.requests[0].body)
    result = json.loads(said.out)
    (problem,) = result["problems"]
    assert (said.code, problem["status"], problem["fix"]) == (0, "fixed", "model: way 3")
    assert "def roman" in asked
    assert "test_four" in asked
    assert result["tokens"]["tokens_out"] > 0
    assert "test_roman.py" not in result["diff"]
    assert (roman / "roman.py").read_text() == STRANGE


@pytest.mark.slow
def test_a_model_that_does_not_answer_is_said_and_costs_nothing_more(veilig: Terminal, roman: Path) -> None:
    def script(request: Request) -> Answer:
        return fail(401, "bad key")

    with replay(script) as server:
        said = fix(veilig, server)
        assert len(server.requests) == 1
    assert said.code == 1
    assert "the model was not asked" in said.out


@pytest.mark.slow
def test_patches_that_fail_are_told_once_and_then_it_is_given_up(veilig: Terminal, roman: Path) -> None:
    wrong = patches(("roman.py", OLD, '    return "I" * n + "V"\n'))
    with replay(lambda _: wrong) as server:
        said = fix(veilig, server)
        assert len(server.requests) == 2
        assert "were tried and were not right" in json.dumps(server.requests[1].body)
    assert said.code == 1
    assert "not fixed" in said.out
