"""Can a desktop be stood up on this machine? Its tests skip, and say what is missing, where it cannot."""

import json
import re
import shutil
from typing import Any

import pytest

from replay_server import Answer, Call, Request, call

PROGRAMS = (
    "Xvfb",
    "openbox",
    "xdotool",
    "xwininfo",
    "xmodmap",
    "dbus-daemon",
    "mousepad",
    "galculator",
    "xterm",
)
MISSING = [name for name in PROGRAMS if not shutil.which(name)]
NEEDS_DESKTOP = pytest.mark.skipif(bool(MISSING), reason=f"not installed here: {', '.join(MISSING)}")


def _words(text: str) -> str:
    """The words of a result that has a picture, too: their form wraps both."""
    return str(json.loads(text)[0]) if text.startswith('["') else text


class Patient:
    """A scripted model at a desktop: it does each step once what it looks for is shown, and looks until then.

    A step is the arguments of `desktop`, with `on` for a place: what a line of the look begins with. `shows`
    and `gone` only wait, so that the steps of a suite's own solutions are steps here, too.
    """

    def __init__(self, *steps: dict[str, Any], end: str = "done", possible: bool = True) -> None:
        self._steps = list(steps)
        self._end: dict[str, Any] = {"summary": end, "done": possible}
        self.told: list[str] = []

    def __call__(self, request: Request) -> Answer | str:
        self.told = [_words(text) for _, text in request.results]
        while self._steps and self._waited_for(self._steps[0]):
            self._steps.pop(0)
        if not self._steps:
            return call("finish", **self._end)
        step = dict(self._steps[0])
        wanted = step.pop("on", "")
        if wanted or "do" not in step:
            found = self._place(wanted) if wanted else None
            if not found:  # a wait between two looks: the same call again and again would end the session
                look, wait = Call("look", {"picture": "picture" in step}), Call("desktop", {"do": "wait"})
                return Answer(calls=(wait, look) if self.told else (look,))
            step |= {"x": found[0], "y": found[1]}
        self._steps.pop(0)
        return call("desktop", **{name: value for name, value in step.items() if name != "picture"})

    def _waited_for(self, step: dict[str, Any]) -> bool:
        """Whether a step that only waits has come true in the last look."""
        if "gone" in step:
            return bool(self.told) and not self._place(step["gone"])
        return "shows" in step and bool(self._place(step["shows"]))

    def _place(self, line: str) -> tuple[int, int] | None:
        """The middle of what this line of the last look tells of: a part of a window, or a window."""
        last = self.told[-1] if self.told else ""
        where = r"(?:@(\d+),(\d+)| (\d+)x(\d+) at (-?\d+),(-?\d+))"
        found = re.search(rf"^ *(?={re.escape(line)}).*{where}", last, re.MULTILINE)
        if found is None:
            return None
        if found[1] is not None:
            return int(found[1]), int(found[2])
        return int(found[5]) + int(found[3]) // 2, int(found[6]) + int(found[4]) // 2
