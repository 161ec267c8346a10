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

    A step is the arguments of `desktop`, with `on` for a place: what a line of the look begins with.
    """

    def __init__(self, *steps: dict[str, Any], end: str = "done", possible: bool = True) -> None:
        self._steps = list(steps)
        self._end: dict[str, Any] = {"summary": end, "done": possible}
        self.told: list[str] = []

    def __call__(self, request: Request) -> Answer | str:
        self.told = [_words(text) for _, text in request.results]
        if not self._steps:
            return call("finish", **self._end)
        step = dict(self._steps[0])
        wanted = step.pop("on", "")
        if wanted:
            last = self.told[-1] if self.told else ""
            found = re.search(rf"^ *{re.escape(wanted)}.*@(\d+),(\d+)", last, re.MULTILINE)
            if not found:  # a wait between two looks: the same call again and again would end the session
                look, wait = Call("look", {"picture": "picture" in step}), Call("desktop", {"do": "wait"})
                return Answer(calls=(wait, look) if self.told else (look,))
            step |= {"x": int(found.group(1)), "y": int(found.group(2))}
        self._steps.pop(0)
        return call("desktop", **{name: value for name, value in step.items() if name != "picture"})
