"""Pages of a list."""


def pages(count, size):
    """How many pages of `size` hold `count` things; none for none."""
    return (count + size) // size


def page(items, number, size):
    """The things of one page, pages counted from 1; empty beyond the last."""
    first = (number - 1) * size
    return items[first : first + size]
