"""How is a desktop used from outside its box? One command in the box for each look and each act.

Nothing of it is reachable from outside: screen, buses and programs live behind the wall, without network.
What is typed goes in by standard input, so that no process list shows it.
"""

import asyncio
import base64
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from veilig.core.errors import ProviderError
from veilig.providers.desktop.inside import LAUNCHERS, NEEDED
from veilig.providers.sandbox.wall import CommandResult

PYTHON = "/usr/bin/python3"  # the system's own: it alone sees Debian's bindings
INSIDE = Path(__file__).with_name("inside.py")
WIDTH, HEIGHT = 1280, 800  # what computer-use models are trained near
START_S = 120.0  # a busy machine
LOOK_S = 90.0
LAUNCH_SETTLE_S = 0.4  # a program that ends at once with an error does so by then
TYPE_MS, CLICK_MS = 6, 60  # between keys, between clicks of one act
MASK_TITLE_PX = 24  # a window's name stands in its title, above what it draws
BUTTONS = {"left": "1", "middle": "2", "right": "3"}
PACKAGES = (
    *(
        "xvfb",
        "openbox",
        "xdotool",
        "x11-utils",
        "x11-xkb-utils",
        "x11-xserver-utils",
        "dbus",
        "at-spi2-core",
        "libatk-adaptor",
    ),
    *("gir1.2-atspi-2.0", "python3-gi"),
)

type Box = tuple[int, int, int, int]


def missing_packages() -> list[str]:
    """The packages without which no desktop can be stood up here, or none of its tree be told."""
    found = {package: None for program, package in NEEDED.items() if not shutil.which(program)}
    found |= {} if shutil.which("dbus-daemon") else {"dbus": None}
    found |= {} if any(os.access(path, os.X_OK) for path in LAUNCHERS) else {"at-spi2-core": None}
    return [*found]


class Runs(Protocol):
    """Something that runs a command in a box, with the standard input given."""

    async def __call__(
        self, argv: Sequence[str], *, env: Mapping[str, str], stdin: bytes, timeout_s: float
    ) -> CommandResult: ...


@dataclass(frozen=True, slots=True)
class Node:
    """One shown thing, as its program tells of it. box: x, y, width, height in pixels; empty for none."""

    role: str
    name: str
    depth: int
    box: tuple[int, ...]
    states: tuple[str, ...]
    text: str = ""
    value: float | None = None

    @property
    def centre(self) -> tuple[int, int]:
        """Where to click it."""
        x, y, width, height = self.box or (0, 0, 0, 0)
        return x + width // 2, y + height // 2


@dataclass(frozen=True, slots=True)
class Window:
    """One window that is shown, whether its program tells of itself or not."""

    number: int
    name: str
    box: Box
    active: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look found. left_out: nodes that were not told; no_tree: why there are none at all."""

    windows: tuple[Window, ...] = ()
    nodes: tuple[Node, ...] = ()
    left_out: int = 0
    no_tree: str = ""

    def find(self, role: str, name: str) -> Node | None:
        """The first node of that role and name."""
        return next((n for n in self.nodes if n.role == role and n.name == name), None)


@dataclass(slots=True)
class _Standing:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    up: bool = False
    no_tree: str = ""
    free: list[int] = field(default_factory=list[int])  # codes of keys that mean nothing yet
    given: dict[str, int] = field(default_factory=dict[str, int])  # character -> the key it was given


class Desk:
    """One desktop in one box; it stands up at its first use and goes with the box."""

    def __init__(self, runs: Runs, width: int = WIDTH, height: int = HEIGHT) -> None:
        self._runs = runs
        self.width, self.height = width, height
        self._standing = _Standing()

    @property
    def up(self) -> bool:
        """Whether it stands."""
        return self._standing.up

    @property
    def environment(self) -> Mapping[str, str]:
        """What a command in the box needs to find this desktop."""
        here = "/tmp/veilig-desktop"  # noqa: S108  # the box's own
        return {
            "DISPLAY": ":77",
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={here}/bus",
            "XDG_RUNTIME_DIR": here,
            "FONTCONFIG_FILE": f"{here}/fonts.conf",
            "GSETTINGS_BACKEND": "memory",
            "LC_ALL": "C.UTF-8",
        }

    async def start(self) -> None:
        """Stand it up, once. Raises ProviderError naming the packages that are missing."""
        async with self._standing.lock:
            if self._standing.up:
                return
            found = await self._ask({"do": "start", "width": self.width, "height": self.height}, START_S)
            self._standing.no_tree = str(found.get("tree", ""))
            self._standing.up = True

    async def look(self) -> Seen:
        """Windows and nodes, once the screen has come to rest."""
        await self.start()
        no_tree = self._standing.no_tree
        found = await self._ask({"do": "look", "tree": not no_tree}, LOOK_S)
        windows = tuple(
            Window(w["id"], w["name"], cast(Box, tuple(w["box"])), w["active"]) for w in found["windows"]
        )
        nodes = tuple(
            Node(
                n["role"], n["name"], n["depth"], tuple(n["box"]), tuple(n["states"]),
                n.get("text", ""), n.get("value"),
            )
            for n in found.get("nodes", ())
        )  # fmt: skip
        return Seen(windows, nodes, int(found.get("left_out", 0)), no_tree)

    async def picture(self, masks: Sequence[Sequence[int]] = ()) -> bytes:
        """The screen as PNG; what lies in `masks` (x, y, width, height) is black."""
        await self.start()
        found = await self._ask({"do": "picture", "masks": [[*one] for one in masks]}, LOOK_S)
        return base64.b64decode(str(found["png"]))

    async def launch(self, argv: Sequence[str]) -> int:
        """Start a program; its process id in the box. Raises ProviderError when it ends at once in error."""
        await self.start()
        found = await self._ask({"do": "launch", "argv": [*argv], "settle_s": LAUNCH_SETTLE_S}, LOOK_S)
        return int(found["pid"])

    async def move(self, x: int, y: int) -> None:
        """Move the pointer."""
        await self._tool("mousemove", *self._point(x, y))

    async def click(self, x: int, y: int, button: str = "left", count: int = 1, keys: str = "") -> None:
        """Click there, so many times, while `keys` are held."""
        at = self._point(x, y)
        click = ("click", "--repeat", str(count), "--delay", str(CLICK_MS), BUTTONS[button])
        held = ("keydown", keys) if keys else ()
        await self._tool("mousemove", *at, *held, *click, *(("keyup", keys) if keys else ()))

    async def drag(self, x: int, y: int, to_x: int, to_y: int, button: str = "left") -> None:
        """Press at one point and let go at the other; on the way, since programs want to see it move."""
        start, end = self._point(x, y), self._point(to_x, to_y)
        half = self._point((x + to_x) // 2, (y + to_y) // 2)
        pause = ("sleep", "0.05")
        await self._tool(
            *("mousemove", *start, "mousedown", BUTTONS[button], *pause, "mousemove", *half, *pause),
            *("mousemove", *end, *pause, "mouseup", BUTTONS[button]),
        )

    async def scroll(self, x: int, y: int, dy: int = 0, dx: int = 0) -> None:
        """Turn the wheel at a point, in notches."""
        words: list[str] = ["mousemove", *self._point(x, y)]
        for amount, less, more in ((dy, "4", "5"), (dx, "6", "7")):
            if amount:
                words += [
                    "click",
                    "--repeat",
                    str(abs(amount)),
                    "--delay",
                    "20",
                    more if amount > 0 else less,
                ]
        await self._tool(*words)

    async def type(self, text: str, timeout_s: float = 300.0) -> None:
        """Type a text into what has the focus."""
        await self.start()
        odd = {char for char in text if ord(char) > 126}
        free = await self._free_keys() if odd else []
        if len(odd) > len(free) and len(text) > 1:  # more characters than keys
            middle = len(text) // 2
            await self.type(text[:middle], timeout_s)
            await self.type(text[middle:], timeout_s)
            return
        await self._give_keys(odd, free)
        for number, line in enumerate(text.split("\n")):
            if number:
                await self._tool("key", "Return")  # as text, an end of a line is dropped
            if line:
                words = ("type", "--delay", str(TYPE_MS), "--file", "-")
                await self._tool(*words, stdin=line.encode(), timeout_s=timeout_s)

    async def _give_keys(self, odd: set[str], free: Sequence[int]) -> None:
        """A key for each character that the keyboard lacks, for good.

        xdotool would lend one for a moment, and a program that is busy then reads another character.
        """
        given = self._standing.given
        new = sorted(odd - given.keys())
        if not new:
            return
        if len(new) + len(given) > len(free):
            given.clear()
            new = sorted(odd)
        left = [key for key in free if key not in given.values()]
        words: list[str] = []
        for char, key in zip(new, left, strict=False):
            words += ["-e", f"keycode {key} = U{ord(char):04X} U{ord(char):04X}"]
            given[char] = key
        await self._checked("/usr/bin/xmodmap", *words)

    async def _free_keys(self) -> list[int]:
        """The codes of keys that the keyboard does not have."""
        if not self._standing.free:
            said = await self._checked("/usr/bin/xmodmap", "-pke")
            self._standing.free = [
                int(one) for one in re.findall(r"^keycode +(\d+) =\s*$", said, re.MULTILINE)
            ]
        return self._standing.free

    async def press(self, keys: str, hold_s: float = 0.0) -> None:
        """Press keys together."""
        if hold_s:
            await self._tool("keydown", keys, "sleep", f"{hold_s:g}", "keyup", keys)
        else:
            await self._tool("key", keys)

    async def activate(self, number: int) -> None:
        """Bring a window to the front."""
        await self._tool("windowactivate", "--sync", str(number))

    async def pointer(self) -> tuple[int, int]:
        """Where the pointer is."""
        said = await self._tool("getmouselocation", "--shell")
        found = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
        return int(found.get("X", -1)), int(found.get("Y", -1))

    async def run(self, argv: Sequence[str], timeout_s: float) -> CommandResult:
        """Run any command in the box, to its end, where it finds the desktop."""
        return await self._runs(argv, env=self.environment, stdin=b"", timeout_s=timeout_s)

    def _point(self, x: int, y: int) -> tuple[str, str]:
        if not (0 <= x < self.width and 0 <= y < self.height):
            raise ProviderError(
                f"({x}, {y}) is not on the screen", why=f"it is {self.width} wide and {self.height} high"
            )
        return str(x), str(y)

    async def _tool(self, *words: str, stdin: bytes = b"", timeout_s: float = 60.0) -> str:
        """One call of xdotool. Raises ProviderError with what it says."""
        await self.start()
        return await self._checked("/usr/bin/xdotool", *words, stdin=stdin, timeout_s=timeout_s)

    async def _checked(self, *argv: str, stdin: bytes = b"", timeout_s: float = 60.0) -> str:
        done = await self._runs(argv, env=self.environment, stdin=stdin, timeout_s=timeout_s)
        said = done.stderr.decode("utf-8", "replace").strip()
        if not done.ok or "No such key name" in said:
            what = said.splitlines()[0] if said else f"it ended with {done.exit_code} ({done.reason})"
            raise ProviderError(f"the desktop did not take {argv[1]!r}", why=what)
        return done.stdout.decode("utf-8", "replace")

    async def _ask(self, what: Mapping[str, object], timeout_s: float) -> dict[str, Any]:
        done = await self._runs(
            (PYTHON, "-I", str(INSIDE), json.dumps(what)), env={}, stdin=b"", timeout_s=timeout_s
        )
        try:
            found = cast(dict[str, Any], json.loads(done.stdout))
        except ValueError as error:
            said = done.stderr.decode("utf-8", "replace").strip()[-500:]
            raise ProviderError(
                f"the desktop does not answer ({what['do']})",
                why=said or f"its command ended: {done.reason}, {done.exit_code}",
                fix=f"apt-get install {' '.join(PACKAGES)}",
            ) from error
        if missing := cast(dict[str, str], found.get("missing") or {}):
            raise ProviderError(
                f"no desktop can be stood up here: {', '.join(sorted(missing))} not found",
                why="the screen and its tools come with the system",
                fix=f"apt-get install {' '.join(PACKAGES)}",
            )
        if trouble := found.get("trouble"):
            raise ProviderError(f"the desktop cannot {what['do']}", why=str(trouble))
        return found


def told(seen: Seen, chars_max: int) -> str:
    """What was seen, as text: one line for each window and node, `@x,y` where to click."""
    lines = [
        f'window "{w.name}" {w.box[2]}x{w.box[3]} at {w.box[0]},{w.box[1]}{" active" if w.active else ""}'
        for w in seen.windows
    ]
    lines = lines or ["no window is open"]
    if seen.no_tree:
        lines.append(f"[no accessibility tree: {seen.no_tree}]")
    for number, node in enumerate(seen.nodes):
        line = _line(node)
        if line:
            lines.append(line)
        if sum(map(len, lines)) > chars_max:
            lines.append(f"[{len(seen.nodes) - number - 1} more are not shown]")
            break
    if seen.left_out:
        lines.append(f"[{seen.left_out} or more were not looked at]")
    return "\n".join(lines)


def told_lines(seen: Seen) -> list[tuple[str, tuple[int, int]]]:
    """Each line of `told`, without its indent, and the middle of what it tells."""
    lines = [
        (f'window "{w.name}"', (w.box[0] + w.box[2] // 2, w.box[1] + w.box[3] // 2)) for w in seen.windows
    ]
    return lines + [(line, node.centre) for node in seen.nodes if (line := _line(node).strip())]


_DULL = frozenset({"filler", "panel", "scroll pane", "viewport", "section", "redundant object", "separator"})


def _line(node: Node) -> str:
    """A node for a reader; "" for one that says and does nothing."""
    if node.role in _DULL and not node.name and not node.text:
        return ""
    parts = [f"{'  ' * node.depth}{node.role}", json.dumps(node.name, ensure_ascii=False)]
    if node.text and node.text != node.name:
        parts.append(f"text={json.dumps(node.text, ensure_ascii=False)}")
    if node.value is not None:
        parts.append(f"value={node.value:g}")
    if node.box:
        parts.append(f"@{node.centre[0]},{node.centre[1]}")
    parts += [state for state in node.states if state != "sensitive"]
    if node.box and "sensitive" not in node.states and "button" in node.role:
        parts.append("disabled")
    return " ".join(parts)
