"""Is a text that the words rule out really one that the pattern is not found in?"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from veilig.audit import rules
from veilig.audit.engine.needles import needles_of, search


@cache
def _patterns() -> list[str]:
    """Every regular expression that a rule searches whole texts for."""
    found: set[str] = set()
    for path in Path(rules.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("search", "re.compile"):
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.add(first.value)
    return sorted(found)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
@given(st.data())
def test_a_text_that_a_rule_looks_for_is_never_ruled_out(data: st.DataObject):
    pattern = data.draw(st.sampled_from(_patterns()))
    text = (
        data.draw(st.text(max_size=20)) + data.draw(st.from_regex(pattern)) + data.draw(st.text(max_size=9))
    )
    assert (search(pattern, text) is None) is (re.search(pattern, text) is None)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"(?i)charge|pay|buy", {"charge", "pay", "buy"}),
        (r"\bdef (get|put)_x\(", {"def "}),
        (r"(abc)?", set[str]()),
        (r"(abc)+z", {"abc"}),
        (r"abc|.*", set[str]()),
        (r"(?!secret)x", set[str]()),
        (r"(?i:SECRET)", set[str]()),
        (r"a", set[str]()),
        (r"(", set[str]()),
    ],
)
def test_a_pattern_needs_these_words(pattern: str, words: set[str]):
    assert needles_of(pattern) == words


def test_letters_that_only_ignorecase_takes_for_others_are_searched_for():
    assert search(r"(?i)secret", "\u017fecret") is not None
