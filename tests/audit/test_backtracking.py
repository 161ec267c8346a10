"""Are only patterns that really try exponentially many ways called so?"""

import pytest

from veilig.audit.rules.backtracking import catastrophic


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+$", r"^(\w+\s*)+$", r"(a|aa)+$", r"(.*a){12}$", r"^(([a-z])+.)+[A-Z]([a-z])+$", r"(.+,)+x",
        r"([a-z]+-?)+$", r"(\d+|\w+)*!", r"^(a?b?)*$", r"(x+x+)+y", r"(a*)*", r"^(\s|.)*$",
    ],
)  # fmt: skip
def test_a_text_that_can_be_split_in_two_ways_per_turn_is_catastrophic(pattern: str):
    assert catastrophic(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^_*[A-Za-z]+(?:[_.\-:/]+[A-Za-z]+)*_*\d{0,2}$", r"^[a-z][a-z0-9]*(?:[_.\-][a-z0-9]+)+$",
        r"\w+\s*=\s*\w+", r"(\w+\s+)+x", r"(a|b)*c", r"^(\d{1,3}\.){3}\d{1,3}$", r'(?:[^"\\]|\\.)*',
        r"(ab+)*",
        r"a*a*b", r"(a{1,3})", r"[\w.]+@[\w.]+\.\w+", r"(a*ab)*", r"(\([^()]*\))*",
    ],
)  # fmt: skip
def test_separated_turns_are_not(pattern: str):
    assert not catastrophic(pattern)


def test_what_cannot_be_judged_is_not_called_catastrophic():
    assert not catastrophic("(")
    assert not catastrophic("(a+)+" * 200)
    assert not catastrophic(r"(?>a+)+b")
    assert not catastrophic("a" * 3_000)
