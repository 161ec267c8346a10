"""A scripted model's session as a person starts it: the small shop it works on, and what the command said."""

import json
from typing import Any

from replay_server import Answer, Server, call
from terminal import Said, Terminal

CART = "def total(items):\n    return sum(i.price for i in items[1:])\n"
TEST = (
    "from types import SimpleNamespace as S\nfrom cart import total\n\n\n"
    "def test_total():\n    assert total([S(price=2), S(price=3)]) == 5\n"
)


def run(veilig: Terminal, server: Server, task: str, *words: str) -> Said:
    """`veilig run` on the shop with the scripted model."""
    return veilig("run", task, "shop", "--model", "scripted", "--model-url", server.url, *words)


def session_of(said: Said) -> str:
    """The id that the first line names."""
    return next(word for word in said.out.split() if word.startswith("run-"))


def result(said: Said) -> dict[str, Any]:
    """The last line of `--json`."""
    found = [json.loads(line) for line in said.out.splitlines()]
    assert found[-1]["event"] == "result", said.err
    return found[-1]


def done(summary: str = "done") -> Answer:
    """The model says that it is done."""
    return call("finish", summary=summary)
