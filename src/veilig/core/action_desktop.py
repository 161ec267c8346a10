"""Which acts look at a desktop and use its mouse and keyboard? A desktop of our own, behind the wall.

They belong to the list of core/action.py, which is the page to read first. Coordinates are pixels from the
upper left corner. What a program on the desktop does with a click stays inside the session's box.
"""

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

from veilig.core import action_checks as check
from veilig.core.effect import EXECUTE, READ, Effects, InWall
from veilig.core.errors import InvalidAction

PIXELS_MAX = 16_384  # no screen is larger
TEXT_CHARS_MAX = 10_000  # typed key by key: longer texts come as files
CLICKS_MAX = 3
NOTCHES_MAX = 50  # of a wheel: about ten screens
HOLD_S_MAX = 10.0
WAIT_S_MAX = 60.0
_KEY = re.compile(r"[A-Za-z0-9_]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")  # tab and the end of a line are text

Button = Literal["left", "middle", "right"]


def _need_point(x: int, y: int, kind: str) -> None:
    if not (0 <= x < PIXELS_MAX and 0 <= y < PIXELS_MAX):
        raise InvalidAction(f"{kind}: ({x}, {y}) is no point of a screen", why=f"0 to {PIXELS_MAX - 1}")


def _need_keys(keys: str, kind: str) -> None:
    if len(keys) > 100 or not all(_KEY.fullmatch(key) for key in keys.split("+")):
        raise InvalidAction(
            f"{kind}: {keys!r} names no keys",
            why="keys are X keysyms joined by +",
            fix="write ctrl+s, Return, alt+F4, plus, period",
        )


@dataclass(frozen=True, slots=True)
class OnDesktop(InWall):
    """Happens on the session's own desktop, which is stood up at the first such act."""

    effects: ClassVar[Effects] = EXECUTE

    @property
    def target(self) -> str:
        """What the action names."""
        return "desktop"


@dataclass(frozen=True, slots=True)
class LookAtDesktop(OnDesktop):
    """Read the windows and what programs tell of them (accessibility tree). picture: also what is seen."""

    picture: bool = False
    kind: Literal["desktop.look"] = "desktop.look"
    effects: ClassVar[Effects] = READ


@dataclass(frozen=True, slots=True)
class LaunchProgram(OnDesktop):
    """Start a program on the desktop; it goes on after the act. Judged as a command is, too."""

    argv: tuple[str, ...]
    kind: Literal["desktop.launch"] = "desktop.launch"

    def __post_init__(self) -> None:
        InWall.__post_init__(self)
        check.need_argv(self.argv)

    @property
    def target(self) -> str:
        """What the action names."""
        return self.argv[0]


@dataclass(frozen=True, slots=True)
class MovePointer(OnDesktop):
    """Move the pointer."""

    x: int
    y: int
    kind: Literal["desktop.move"] = "desktop.move"

    def __post_init__(self) -> None:
        InWall.__post_init__(self)
        _need_point(self.x, self.y, self.kind)


@dataclass(frozen=True, slots=True)
class ClickPointer(OnDesktop):
    """Click there, so many times, while `keys` are held."""

    x: int
    y: int
    button: Button = "left"
    count: int = 1
    keys: str = ""
    kind: Literal["desktop.click"] = "desktop.click"

    def __post_init__(self) -> None:
        InWall.__post_init__(self)
        _need_point(self.x, self.y, self.kind)
        if not 1 <= self.count <= CLICKS_MAX:
            raise InvalidAction(f"{self.kind}: {self.count} clicks", why=f"1 to {CLICKS_MAX}")
        if self.keys:
            _need_keys(self.keys, self.kind)


@dataclass(frozen=True, slots=True)
class DragPointer(OnDesktop):
    """Press a button at one point and let it go at another."""

    x: int
    y: int
    to_x: int
    to_y: int
    button: Button = "left"
    kind: Literal["desktop.drag"] = "desktop.drag"

    def __post_init__(self) -> None:
        InWall.__post_init__(self)
        _need_point(self.x, self.y, self.kind)
        _need_point(self.to_x, self.to_y, self.kind)


@dataclass(frozen=True, slots=True)
class ScrollWheel(OnDesktop):
    """Turn the wheel at a point, in notches: dy > 0 shows what is below, dx > 0 what is to the right."""

    x: int
    y: int
    dy: int = 0
    dx: int = 0
    kind: Literal["desktop.scroll"] = "desktop.scroll"

    def __post_init__(self) -> None:
        InWall.__post_init__(self)
        _need_point(self.x, self.y, self.kind)
        if not 0 < abs(self.dx) + abs(self.dy) <= NOTCHES_MAX:
            raise InvalidAction(f"{self.kind}: {self.dx}, {self.dy} notches", why=f"1 to {NOTCHES_MAX}")


@dataclass(frozen=True, slots=True)
class TypeText(OnDesktop):
    """Type a text into what has the focus. A handle becomes its secret only where the policy lets it go."""

    text: str
    kind: Literal["desktop.type"] = "desktop.type"

    def __post_init__(self) -> None:
        InWall.__post_init__(self)
        if not self.text or len(self.text) > TEXT_CHARS_MAX or _CONTROL.search(self.text):
            raise InvalidAction(
                f"{self.kind}: a text of {len(self.text)} characters cannot be typed",
                why=f"1 to {TEXT_CHARS_MAX} characters, none of them a control character",
                fix="press keys with desktop.key, or write a file",
            )


@dataclass(frozen=True, slots=True)
class PressKeys(OnDesktop):
    """Press keys together, as `ctrl+shift+t`, and hold them for `hold_s` seconds."""

    keys: str
    hold_s: float = 0.0
    kind: Literal["desktop.key"] = "desktop.key"

    def __post_init__(self) -> None:
        InWall.__post_init__(self)
        _need_keys(self.keys, self.kind)
        if not 0 <= self.hold_s <= HOLD_S_MAX:
            raise InvalidAction(f"{self.kind}: hold for {self.hold_s} s", why=f"0 to {HOLD_S_MAX:g} s")
        object.__setattr__(self, "hold_s", float(self.hold_s))  # 1 and 1.0 are one action, with one digest


@dataclass(frozen=True, slots=True)
class WaitForDesktop(OnDesktop):
    """Let programs work for a while."""

    seconds: float
    kind: Literal["desktop.wait"] = "desktop.wait"
    effects: ClassVar[Effects] = READ

    def __post_init__(self) -> None:
        InWall.__post_init__(self)
        if not 0 < self.seconds <= WAIT_S_MAX:
            raise InvalidAction(
                f"{self.kind}: {self.seconds} s", why=f"more than 0, at most {WAIT_S_MAX:g} s"
            )
        object.__setattr__(self, "seconds", float(self.seconds))


type DesktopAction = (
    LookAtDesktop
    | LaunchProgram
    | MovePointer
    | ClickPointer
    | DragPointer
    | ScrollWheel
    | TypeText
    | PressKeys
    | WaitForDesktop
)

DESKTOP_ACTIONS: tuple[type[DesktopAction], ...] = DesktopAction.__value__.__args__
DESKTOP_KINDS = frozenset(str(a.__dataclass_fields__["kind"].default) for a in DESKTOP_ACTIONS)
