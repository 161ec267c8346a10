"""Candidates made in a thread come in order, all of them, and an error in making them is not lost."""

import threading
from collections.abc import Iterator

import pytest

from veilig.providers.ahead import Ahead


def test_every_item_comes_once_and_in_order() -> None:
    with Ahead(iter(range(50)), 3) as numbers:
        assert list(numbers) == list(range(50))
        assert list(numbers) == []


def test_an_error_of_the_source_reaches_the_reader_after_the_items_before_it() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    with Ahead(source(), 3) as numbers:
        assert next(numbers) == 1
        with pytest.raises(ValueError, match="broken"):
            next(numbers)


def test_leaving_ends_the_thread_even_when_nobody_read() -> None:
    before = set(threading.enumerate())
    with Ahead(iter(range(10**9)), 3) as numbers:
        next(numbers)
        made = set(threading.enumerate()) - before
    for thread in made:
        thread.join(5)
    assert not any(thread.is_alive() for thread in made)
