"""A model that knows the tasks of a suite: it runs each one's own solution through the tool `shell`."""

from collections.abc import Callable
from typing import Any, cast

from replay_server import Answer, call
from replay_values import Request
from veilig.evals.suite import Suite
from veilig.evals.task import Task


def model_of(suite: Suite, gives_up: str = "") -> Callable[[Request], Answer]:
    """A script that tells tasks by their instructions; where several share one it tries solution by solution.

    gives_up: the name of a task that it looks at and does not solve.
    """
    book: dict[str, list[Task]] = {}
    for task in suite.tasks:
        book.setdefault(task.instruction, []).append(task)

    def answer(request: Request) -> Answer:
        said = "\n".join(_texts(request.messages))
        tasks = next((own for text, own in book.items() if text in said), None)
        if tasks is None:
            return Answer(status=400, error="no task of the suite is asked for")
        tried = request.results
        if (tried and not tried[-1][1].startswith("[exit")) or len(tried) == len(tasks):
            return call("finish", summary="done")
        if tasks[len(tried)].name == gives_up:
            return call("shell", command="ls") if not tried else call("finish", summary="I do not know how")
        lines = (tasks[len(tried)].solution / "solve.sh").read_text(encoding="utf-8")
        return call("shell", command=lines)

    return answer


def _texts(value: object) -> list[str]:
    """Every text in a message, however deep."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for inner in cast(dict[str, Any], value).values() for text in _texts(inner)]
    return (
        [text for inner in cast(list[Any], value) for text in _texts(inner)]
        if isinstance(value, list)
        else []
    )
