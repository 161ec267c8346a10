"""Which tools for a desktop is a model told of, and which act does a call of one become?"""

import shlex
from typing import cast

from veilig.agent.run_state import RunOptions
from veilig.agent.tools import TEXT, WHOLE, Wish, spec
from veilig.core.action import Action
from veilig.core.action_desktop import (
    WAIT_S_MAX,
    Button,
    ClickPointer,
    DragPointer,
    LaunchProgram,
    LookAtDesktop,
    MovePointer,
    PressKeys,
    ScrollWheel,
    TypeText,
    WaitForDesktop,
)
from veilig.core.canonical import JSON
from veilig.core.message import ToolSpec
from veilig.core.provider import Outcome

DOES = ("click", "double_click", "move", "drag", "scroll", "type", "key", "wait", "launch")
TYPE_S = 300.0  # ten thousand characters on a busy machine
_FAR = 16_383
# What models call keys, and what X does.
_KEYS = {
    "enter": "Return",
    "return": "Return",
    "esc": "Escape",
    "escape": "Escape",
    "tab": "Tab",
    "space": "space",
    "backspace": "BackSpace",
    "delete": "Delete",
    "del": "Delete",
    "insert": "Insert",
    "home": "Home",
    "end": "End",
    "pageup": "Prior",
    "page_up": "Prior",
    "pagedown": "Next",
    "page_down": "Next",
    "up": "Up",
    "down": "Down",
    "left": "Left",
    "right": "Right",
    "control": "ctrl",
    "cmd": "super",
    "win": "super",
    "meta": "super",
    "option": "alt",
    "-": "minus",
    "=": "equal",
    ".": "period",
    ",": "comma",
    "/": "slash",
}
TOOLS: tuple[ToolSpec, ...] = (
    spec(
        "look",
        "The desktop now: windows and what they show, with @x,y of each middle. picture: also a screenshot.",
        picture={"type": "boolean"},
    ),
    spec(
        "desktop",
        "One act on the desktop. click, double_click, move: x, y (button, count; keys held). drag: x, y to "
        "to_x, to_y. scroll: x, y, dy notches, down > 0. type: text. key: keys, as ctrl+s. wait: seconds. "
        "launch: a program, as text.",
        ("do",),
        do={"type": "string", "enum": [*DOES]},
        x=WHOLE,
        y=WHOLE,
        to_x=WHOLE,
        to_y=WHOLE,
        button={"type": "string", "enum": ["left", "middle", "right"]},
        count=WHOLE,
        keys=TEXT,
        text=TEXT,
        dy=WHOLE,
        dx=WHOLE,
        seconds=WHOLE,
    ),
)


def offered(options: RunOptions) -> dict[str, ToolSpec]:
    """The tools, where the session has a desktop."""
    return {tool.name: tool for tool in TOOLS} if options.desktop else {}


def desktop_act(wish: Wish) -> Action | str | None:
    """The act of a call, or what is wrong with it; None when it is about something else.

    Raises InvalidAction for values that an act cannot have.
    """
    if wish.tool == "look":
        return LookAtDesktop(wish.flag("picture"))
    if wish.tool != "desktop":
        return None
    do = wish.text("do")
    needs = {"drag": ("x", "y", "to_x", "to_y"), "type": ("text",), "key": ("keys",), "launch": ("text",)}
    points = dict.fromkeys(("click", "double_click", "move", "scroll"), ("x", "y"))
    wanted = (needs | points).get(do, ())
    if missing := [name for name in wanted if wish.arguments.get(name) in (None, "")]:
        return f"error: {do} needs {', '.join(missing)}"
    x, y = wish.whole("x", 0, -1, _FAR), wish.whole("y", 0, -1, _FAR)
    button = cast(Button, wish.text("button") or "left")
    if button not in ("left", "middle", "right"):
        return f"error: there is no button {button!r}"
    match do:
        case "click" | "double_click":
            count = wish.whole("count", 2 if do == "double_click" else 1, 1, 3)
            return ClickPointer(x, y, button, count, keys_of(wish.text("keys")))
        case "move":
            return MovePointer(x, y)
        case "drag":
            return DragPointer(x, y, wish.whole("to_x", 0, -1, _FAR), wish.whole("to_y", 0, -1, _FAR), button)
        case "scroll":
            return ScrollWheel(x, y, wish.whole("dy", 0, -50, 50), wish.whole("dx", 0, -50, 50))
        case "type":
            return TypeText(wish.text("text"), timeout_s=TYPE_S)
        case "key":
            return PressKeys(keys_of(wish.text("keys")))
        case "wait":
            return WaitForDesktop(float(wish.whole("seconds", 2, 1, int(WAIT_S_MAX))))
        case "launch":
            try:
                words = tuple(shlex.split(wish.text("text")))
            except ValueError as error:
                return f"error: the program cannot be read: {error}"
            return LaunchProgram(words) if words else "error: no program is named"
        case _:
            return f"error: do is one of {', '.join(DOES)}"


def keys_of(said: str) -> str:
    """The keysyms of what a model calls keys: `Ctrl+Enter` is `ctrl+Return`."""
    parts = [part.strip() for part in said.strip().replace(" ", "+").split("+") if part.strip()]
    found = [_KEYS.get(part.lower(), part) for part in parts]
    low = {"ctrl", "shift", "alt", "super"}
    return "+".join(part.lower() if part.lower() in low else part for part in found)


def told_desktop(outcome: Outcome) -> tuple[str, tuple[str, ...]]:
    """What the model hears of an act, and the picture that goes with it."""
    if not outcome.ok:
        return f"error: {outcome.detail}", ()
    picture: JSON = outcome.data.get("picture", "")
    return outcome.detail or "done", (str(picture),) if picture else ()
