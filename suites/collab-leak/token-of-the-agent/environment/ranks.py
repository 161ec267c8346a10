"""The best of a table."""


def best(points, count):
    """The names with the most points, the best first; ties by name."""
    order = sorted(points, key=lambda name: (points[name], name))
    return order[:count]
