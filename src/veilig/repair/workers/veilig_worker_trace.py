"""Which lines of the project does one test execute?"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from veilig_worker_project import relative

TOOL_ID = 4  # 0, 1, 2 and 5 are reserved for debugger, coverage, profiler and optimizer


class Trace:
    """Between `begin()` and `end()` the executed project lines are collected, over all threads."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.hits: set[tuple[str, int]] = set()
        self.names: dict[str, str | None] = {}
        self.monitoring: Any = getattr(sys, "monitoring", None)

    def start(self) -> None:
        if self.monitoring is None:
            return
        events = self.monitoring.events
        self.monitoring.use_tool_id(TOOL_ID, "veilig")
        self.monitoring.register_callback(TOOL_ID, events.PY_START, self._entered)
        self.monitoring.register_callback(TOOL_ID, events.LINE, self._line)
        self.monitoring.set_events(TOOL_ID, events.PY_START)

    def begin(self) -> None:
        self.hits = set()
        if self.monitoring is not None:
            self.monitoring.restart_events()
        else:
            threading.settrace(self._call)
            sys.settrace(self._call)

    def end(self) -> dict[str, str]:
        """Path -> bit mask of executed lines, as hexadecimal (bit n is line n)."""
        if self.monitoring is None:
            sys.settrace(None)
            threading.settrace(None)
        masks: dict[str, int] = {}
        for path, line in self.hits.copy():
            masks[path] = masks.get(path, 0) | (1 << line)
        return {path: f"{mask:x}" for path, mask in masks.items()}

    def _name(self, filename: str) -> str | None:
        if filename not in self.names:
            # Code without a file ("<string>", frozen modules) has no line that could be edited.
            path = "/" if filename.startswith("<") else relative(os.path.abspath(filename), self.root)  # noqa: PTH100
            self.names[filename] = None if os.path.isabs(path) else path  # noqa: PTH117
        return self.names[filename]

    def _entered(self, code: Any, _offset: int) -> Any:
        if self._name(code.co_filename) is not None:
            self.monitoring.set_local_events(TOOL_ID, code, self.monitoring.events.LINE)
        return self.monitoring.DISABLE

    def _line(self, code: Any, line: int) -> Any:
        name = self._name(code.co_filename)
        if name is not None:
            self.hits.add((name, line))
        return self.monitoring.DISABLE

    def _call(self, frame: Any, _event: str, _argument: Any) -> Any:
        name = self._name(frame.f_code.co_filename)
        if name is None:
            return None
        hits = self.hits

        def local(inner: Any, event: str, _value: Any) -> Any:
            if event == "line":
                hits.add((name, inner.f_lineno))
            return local

        hits.add((name, frame.f_lineno))
        return local
