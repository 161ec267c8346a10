"""Averages of a series."""


def averages(values, width):
    """The mean of each `width` values in a row."""
    return [sum(values[i : i + width]) / width for i in range(len(values) - width)]
