"""Pages of a shop's stock."""

import json
import pathlib

HERE = pathlib.Path(__file__).parent


class StoreError(RuntimeError):
    """Says which database it was."""


def url():
    """Where the stock is kept."""
    return json.loads(HERE.joinpath("config.json").read_text())["database"]["url"]


def pages(items, size):
    """The items, `size` at a time; the last page holds what is left."""
    if size <= 1:
        raise StoreError(f"cannot page {len(items)} items of {url()} by {size}")
    return [items[i : i + size] for i in range(0, len(items), size)]
