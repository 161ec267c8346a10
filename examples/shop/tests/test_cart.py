import pytest

from shop.cart import Cart


@pytest.fixture
def cart():
    cart = Cart()
    cart.add("tea", 350, 2)
    cart.add("mug", 1200)
    return cart


def test_count(cart):
    assert cart.count() == 3


def test_total(cart):
    assert cart.total() == 1900


def test_total_of_an_empty_cart():
    assert Cart().total() == 0


def test_adding_the_same_item_twice_adds_up(cart):
    cart.add("tea", 350)
    assert cart.items[0] == ("tea", 350, 3)


def test_remove(cart):
    cart.remove("mug")
    assert [name for name, _, _ in cart.items] == ["tea"]


@pytest.mark.parametrize(("percent", "cents"), [(0, 1900), (10, 1710), (100, 0)])
def test_discount(cart, percent, cents):
    assert cart.discount(percent) == cents


@pytest.mark.parametrize("percent", [-1, 101])
def test_a_discount_outside_0_to_100_is_refused(cart, percent):
    with pytest.raises(ValueError, match="percent"):
        cart.discount(percent)


def test_receipt_ends_with_the_total(cart):
    assert cart.receipt().splitlines()[-1] == "total: 19.00 EUR"


def test_a_quantity_below_one_is_refused(cart):
    with pytest.raises(ValueError, match="quantity"):
        cart.add("pen", 100, 0)
