"""Does reading one object at a time give what reading all at once gives, wherever the window cuts?"""

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilig.monitor import bundle_stream
from veilig.monitor.bundle_stream import objects

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.text(max_size=5).filter(lambda k: k != "objects"), VALUES, max_size=3),
    st.lists(VALUES, max_size=5),
    st.integers(1, 40),
    st.sampled_from([None, 1]),
)
def test_a_bundle_read_in_pieces_is_the_bundle(
    around: dict[str, object], members: list[object], window: int, indent: int | None
) -> None:
    text = json.dumps({**around, "objects": members, "z": 12}, indent=indent, ensure_ascii=False)
    before, bundle_stream.WINDOW_CHARS = (
        bundle_stream.WINDOW_CHARS,
        window,
    )  # small, so that it cuts everywhere
    try:
        assert list(objects(io.StringIO(text))) == members
    finally:
        bundle_stream.WINDOW_CHARS = before


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[]", LookupError), ("3", LookupError), ("{}", LookupError), ('{"objects": 3}', LookupError),
        ("", ValueError), ("{", ValueError), ('{"objects": [1,]}', ValueError),
        ('{"objects": [1}', ValueError), ('{"objects": [1]', ValueError),
        ('{"objects": [1], }', ValueError), ('{"objects": []} x', ValueError),
        ('{"objects": [], "objects": []}', ValueError), ('{1: 2, "objects": []}', ValueError),
        ('{"objects" []}', ValueError), ('{"objects": [1 2]}', ValueError),
    ],
)  # fmt: skip
def test_what_is_no_bundle_is_an_error_and_never_half_a_feed(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        list(objects(io.StringIO(text)))
