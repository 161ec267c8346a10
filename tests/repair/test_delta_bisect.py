"""Bisect and delta debugging find what is there, whatever it is, in few questions."""

from hypothesis import given
from hypothesis import strategies as st

from veilig.repair.bisect import Bisect
from veilig.repair.delta import Delta


@given(st.integers(0, 60), st.integers(0, 70))
def test_bisect_finds_the_newest_good_state_in_few_questions(count: int, good_from: int) -> None:
    search, asked = Bisect(count), 0
    while (state := search.question()) is not None:
        search, asked = search.answered(good=state >= good_from), asked + 1
        assert asked <= 14
    assert search.found == (good_from if good_from < count else None)


def test_bisect_asks_the_newest_state_first() -> None:
    assert Bisect(5).question() == 0
    assert Bisect(0).question() is None
    assert Bisect(1).answered(good=False).found is None


@given(
    st.integers(1, 24).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), min_size=1)))
)
def test_delta_debugging_finds_exactly_the_needed_items(case: tuple[int, set[int]]) -> None:
    size, needed = case
    delta, asked = Delta(tuple(range(size))), 0
    while (items := delta.question()) is not None:
        delta, asked = delta.answered(enough=needed <= set(items)), asked + 1
        assert asked <= 2 * size * size + 2 * size + 2
    assert set(delta.items) == needed


def test_one_item_is_minimal_without_a_question() -> None:
    assert Delta((7,)).question() is None
    assert Delta(()).question() is None
