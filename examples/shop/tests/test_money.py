import pytest

from shop.money import euros, parse, share


@pytest.mark.parametrize(("cents", "text"), [(0, "0.00 EUR"), (5, "0.05 EUR"), (1234, "12.34 EUR")])
def test_euros(cents, text):
    assert euros(cents) == text


@pytest.mark.parametrize(("text", "cents"), [("12.34", 1234), ("12,3", 1230), (" 7 ", 700), (".5", 50)])
def test_parse(text, cents):
    assert parse(text) == cents


@pytest.mark.parametrize(("cents", "people", "parts"), [(10, 2, [5, 5]), (10, 3, [4, 3, 3]), (1, 2, [1, 0])])
def test_share(cents, people, parts):
    assert share(cents, people) == parts
