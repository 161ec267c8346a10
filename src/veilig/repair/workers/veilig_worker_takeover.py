"""How does the search get hold of a collected pytest session?"""

from __future__ import annotations

from typing import Any

import pytest


class Takeover:
    """The pytest plugin: after collection it runs `work(items)` in place of the tests."""

    def __init__(self, work: Any) -> None:
        self.work = work

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: Any) -> bool:
        for item in session.items:
            item.veilig_subtest_failed = False
        self.items = {item.nodeid: item for item in session.items}
        self.work(list(session.items))
        return True

    def pytest_runtest_logreport(self, report: Any) -> None:
        # Only subtests still report by themselves: the protocol that reports tests is not used here.
        if report.failed and report.nodeid in self.items:
            self.items[report.nodeid].veilig_subtest_failed = True
