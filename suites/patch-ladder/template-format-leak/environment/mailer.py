"""Mail texts that customers write themselves."""

API_KEY = "kept-inside"


class Order:
    """An order, for the template."""

    def __init__(self, number: int, total: str) -> None:
        self.number = number
        self.total = total


def render(template: str, order: Order) -> str:
    """The mail: `{order.number}` and `{order.total}` are filled in; ValueError for anything else in braces."""
    try:
        return template.format(order=order)
    except (KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"unknown field: {error}") from error
