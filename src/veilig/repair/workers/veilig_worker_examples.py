"""Which examples in a module's docstrings hold?"""

from __future__ import annotations

import doctest
from typing import Any, Iterator  # noqa: UP035  (read by Python 3.9)

from veilig_worker_items import Clock, OutOfTime

EXAMPLE_CPU_S = 0.5  # for all examples of one docstring
MODULE_MAX = 300


def held(module: Any, wanted: set[str] | None) -> Iterator[tuple[str, bool]]:
    """Name of each docstring with examples, and whether all of its examples hold now.

    wanted: the names to look at; None for all.
    """
    clock = Clock()
    finder = doctest.DocTestFinder(exclude_empty=True)
    try:
        found = finder.find(module, module.__name__, module=module)
    except Exception:  # noqa: BLE001  (an object of the project that cannot be looked at; no example then)
        return
    for one in [test for test in found if wanted is None or test.name in wanted][:MODULE_MAX]:
        yield one.name, _holds(one, clock)


def _holds(test: doctest.DocTest, clock: Clock) -> bool:
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    clock.start(EXAMPLE_CPU_S)
    try:
        failed = runner.run(test, out=lambda _text: None).failed
    except (OutOfTime, Exception):  # noqa: BLE001  (whatever it is: the example did not hold)
        failed = 1
    clock.stop()
    return not failed and not clock.fires
