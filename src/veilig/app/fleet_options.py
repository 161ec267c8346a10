"""What may a job of the queue say, and what is the worker's alone? Whose model server and keys are used.

Whoever may queue work names a model; where it is asked, with which key, and what the operator wants to be
run on the way comes from the worker's own command line, environment and policy.
"""

from collections.abc import Mapping
from typing import Any, Final

from veilig.core.errors import UsageError

# Read by nobody here: refused, so that nobody believes that they were.
WORKERS_OWN: Final = frozenset({"model_url", "model_api", "api_key", "key", "environment", "policy", "home"})
# Of a `run`: what `run_task` takes from the law, and what only a parent session or a trial may say.
INNER: Final = ("hooks", "servers", "delegates", "origin", "world")


def need_ordinary(kind: str, options: Mapping[str, Any]) -> None:
    """Raises UsageError for options that are the worker's to say."""
    wrong = sorted(WORKERS_OWN & set(options))
    if kind == "run":
        wrong += [name for name in INNER if options.get(name)]
    if wrong:
        raise UsageError(
            f"the job says {', '.join(wrong)}",
            why="that is the worker's to say: its command line, environment and policy",
            fix="leave it out of the job, and configure the workers",
        )
