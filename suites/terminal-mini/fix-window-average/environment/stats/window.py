"""Averages over a moving window."""


def averages(values, size):
    """The mean of each run of `size` values, in order; none when there are fewer values than that."""
    if size < 1:
        raise ValueError("size must be at least 1")
    found = []
    for start in range(len(values) - size):
        part = values[start : start + size]
        found.append(sum(part) / size)
    return found


def spikes(values, size, factor):
    """Indices of values that exceed `factor` times the mean of the `size` values before them."""
    found = []
    for index, mean in enumerate(averages(values, size)):
        place = index + size
        if place < len(values) and values[place] > factor * mean:
            found.append(place)
    return found
