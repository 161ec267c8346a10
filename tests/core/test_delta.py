"""States and their changes: applying the change gives the new state, whatever both are."""

from hypothesis import given
from hypothesis import strategies as st

from veilig.core.canonical import JSON, canonical
from veilig.core.delta import apply, delta

LEAVES = st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "items", "set"]), inner, max_size=3)
    ),
    max_leaves=12,
)
STATES = st.dictionaries(st.sampled_from(["a", "b", "items", "inside", "gone"]), VALUES, max_size=4)


@given(STATES, STATES)
def test_applying_the_change_gives_the_new_state(old: dict[str, JSON], new: dict[str, JSON]) -> None:
    got = apply(old, delta(old, new))
    assert got == new
    assert canonical(got) == canonical(new), "True is not 1; the order of members is nothing"


@given(STATES)
def test_nothing_changed_is_an_empty_change(state: dict[str, JSON]) -> None:
    assert delta(state, state) == {}


def test_one_problem_of_many_changes_one_problem() -> None:
    old: dict[str, JSON] = {
        "problems": [{"id": i, "status": "open", "text": "x" * 500} for i in range(100)],
        "stage": "a",
    }
    new: dict[str, JSON] = {
        "problems": [
            {"id": i, "status": "fixed" if i == 7 else "open", "text": "x" * 500} for i in range(100)
        ],
        "stage": "b",
    }
    assert delta(old, new) == {
        "set": {"stage": "b"},
        "inside": {"problems": {"items": {"7": {"set": {"status": "fixed"}}}}},
    }
