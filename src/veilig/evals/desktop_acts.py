"""How does a task's own solution use the desktop? Steps as a person takes them, each when its place is shown.

solution/acts.json is a list of steps: {"do": ..., "on": LINE, ...}, where LINE is how a line of a look
begins (`menu item "Save"`); the click goes to its middle. {"shows": LINE} only waits, {"gone": LINE} too.
"""

import asyncio
import json
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from veilig.app.desktop import Desk, told_lines
from veilig.evals.task import TaskError

SHOWN_S = 90.0  # a busy machine draws slowly
PAUSE_S = 0.3

type Json = Mapping[str, Any]


def read_acts(place: Path) -> list[Json]:
    """The steps of a solution. Raises TaskError."""
    try:
        found: Any = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TaskError(f"{place} holds no steps", why=str(error)) from error
    if not isinstance(found, list):
        raise TaskError(f"{place} holds no list of steps")
    return cast(list[Json], found)


async def play(desk: Desk, steps: list[Json]) -> bool:
    """Take the steps. False when a step says that the task cannot be done. Raises TaskError."""
    for step in steps:
        if step.get("do") == "fail":
            return False
        if gone := str(step.get("gone", "")):
            await _shown(desk, gone, wanted=False)
            continue
        line = str(step.get("on") or step.get("shows") or "")
        x, y = (
            await _shown(desk, line, wanted=True) if line else (int(step.get("x", 0)), int(step.get("y", 0)))
        )
        if "do" in step:
            await _take(desk, step, x, y)
    await desk.look()  # once all of it has been drawn
    return True


async def _take(desk: Desk, step: Json, x: int, y: int) -> None:
    match step["do"]:
        case "click":
            await desk.click(
                x, y, str(step.get("button", "left")), int(step.get("count", 1)), step.get("keys", "")
            )
        case "double_click":
            await desk.click(x, y, count=2)
        case "move":
            await desk.move(x, y)
        case "drag":
            await desk.drag(x, y, int(step["to_x"]), int(step["to_y"]))
        case "scroll":
            await desk.scroll(x, y, int(step.get("dy", 0)), int(step.get("dx", 0)))
        case "type":
            await desk.type(str(step["text"]))
        case "key":
            await desk.press(str(step["keys"]))
        case "wait":
            await asyncio.sleep(float(step["seconds"]))
        case "launch":
            await desk.launch(shlex.split(str(step["text"])))
        case unknown:
            raise TaskError(f"a step of the solution does {unknown!r}", why="no such act is known")


async def _shown(desk: Desk, line: str, *, wanted: bool) -> tuple[int, int]:
    """Wait until a line is shown, or is not any more; where its middle is."""
    until_s = time.monotonic() + SHOWN_S
    while True:
        lines = told_lines(await desk.look())
        place = next((at for text, at in lines if text.startswith(line)), None)
        if (place is not None) == wanted:
            return place or (0, 0)
        if time.monotonic() > until_s:
            shown = "; ".join(text for text, _ in lines)[:600]
            state = "is not shown" if wanted else "is still shown"
            raise TaskError(f"{line!r} {state} after {SHOWN_S:g} s", why=f"shown: {shown}")
        await asyncio.sleep(PAUSE_S)
