"""Does every JSON value have one form in bytes, and everything else none?"""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.core.canonical import DEPTH_MAX, canonical, parse
from veilig.core.errors import LedgerError

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_the_canonical_form_reads_back_and_is_stable(value: Any):
    line = canonical(value)
    assert parse(line.decode()) == value
    assert canonical(parse(line.decode())) == line
    assert b"\n" not in line


def test_keys_are_sorted_and_nothing_is_spaced_or_escaped_without_need():
    assert (
        canonical({"b": [1, 2.5, None, True], "a": "é\n\u0000"})
        == '{"a":"é\\n\\u0000","b":[1,2.5,null,true]}'.encode()
    )


@pytest.mark.parametrize(
    "value",
    [
        math.nan, math.inf, -math.inf, (1, 2), b"x", {1: "a"}, {"a": {None: 1}}, [{1, 2}], object(),
        "\ud800", {"\udfff": 1}, ["a", "\ud83d"], 10**5000,
    ],
    ids=lambda v: type(v).__name__,
)  # fmt: skip
def test_what_is_not_plain_json_is_refused(value: Any):
    with pytest.raises(LedgerError, match="canonical JSON"):
        canonical(value)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_the_deepest_value_is_written_and_one_deeper_is_refused():
    assert canonical(nested(DEPTH_MAX)) == b"[" * DEPTH_MAX + b"]" * DEPTH_MAX
    with pytest.raises(LedgerError, match="canonical JSON") as caught:
        canonical(nested(DEPTH_MAX + 1))
    assert "deeper" in str(caught.value)


@pytest.mark.parametrize("text", ["", "NaN", "[Infinity]", "{", "[" * 100_000, "1" * 5000])
def test_text_that_is_not_json_is_a_value_error(text: str):
    with pytest.raises(ValueError):
        parse(text)


def test_it_is_what_json_itself_writes():
    value: Any = {"z": 1, "a": [1e300, -0.0, 1e-7, "ü"]}
    assert json.loads(canonical(value)) == value
