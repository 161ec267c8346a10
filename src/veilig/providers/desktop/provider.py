"""Who performs the acts on a desktop? A desktop in the session's own box, or one that stands already.

The acts are the whole of what a person does at a screen; what programs do with them stays behind the wall.
A look gives text, whose secrets the gate turns into handles; on a picture the places of such texts are black.
What only the pixels show (a terminal, a drawing) cannot be masked: docs/how-to/use-the-desktop.md says so.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from veilig.core.action import Action
from veilig.core.action_desktop import (
    DESKTOP_KINDS,
    ClickPointer,
    DesktopAction,
    DragPointer,
    LaunchProgram,
    LookAtDesktop,
    MovePointer,
    OnDesktop,
    PressKeys,
    ScrollWheel,
    TypeText,
    WaitForDesktop,
)
from veilig.core.action_json import JSON, digest
from veilig.core.clock import Clock
from veilig.core.errors import ProviderError
from veilig.core.provider import Found, Outcome, Permit, Status, must_fit
from veilig.providers.box import Box
from veilig.providers.desktop.desk import MASK_TITLE_PX, Desk, Seen, told
from veilig.providers.sandbox.wall import CommandResult
from veilig.providers.watching import Watched

SCHEME = "desktop:"  # how a message names a picture that no file of the copy is
TOLD_CHARS_MAX = 24_000
PICTURES_MAX = 400  # kept of one session; a model is shown each once


def desk_of(box: Box) -> Desk:
    """A desktop in a session's box, whose working folder is the copy."""

    async def runs(
        argv: Sequence[str], *, env: Mapping[str, str], stdin: bytes, timeout_s: float
    ) -> CommandResult:
        return await box.run(argv, env=env, stdin=stdin or None, timeout_s=timeout_s)

    return Desk(runs)


class DesktopProvider:
    """Performs the desktop kinds."""

    kinds = DESKTOP_KINDS

    def __init__(self, desk: Desk, clock: Clock, pictures: Path, watched: Watched | None = None) -> None:
        """pictures: the folder where they are kept, made when it is needed. watched: what acts change."""
        self._desk = desk
        self._clock = clock
        self._pictures = pictures
        self._watched = watched

    async def perform(self, action: Action, permit: Permit) -> Outcome:
        """What was seen or done. Raises ProviderError when the desktop is not there or takes it not."""
        must_fit(permit, digest(action), self._clock.boottime_s())
        if not isinstance(action, OnDesktop):
            raise ProviderError(
                f"the desktop provider does not perform {action.kind}", why="the gate was wired wrongly"
            )
        anew = not self._desk.up
        try:
            async with asyncio.timeout(action.timeout_s):
                outcome = await self._do(action, permit)
        except TimeoutError as error:
            raise ProviderError(
                f"{action.kind} did not end within {action.timeout_s:g} s", why="the desktop is busy or hangs"
            ) from error
        if anew:
            outcome = replace(outcome, detail=f"[a new desktop was stood up]\n{outcome.detail}")
        if self._watched is None or isinstance(action, WaitForDesktop | MovePointer):
            return outcome
        seen = await asyncio.to_thread(self._watched.seen)  # programs there may change the copy
        return replace(outcome, data={**outcome.data, **seen})

    async def verify(self, action: Action, outcome: Outcome, permit: Permit) -> Outcome:
        """Where the pointer is after it was moved; what a program made of an act, the next look shows."""
        del permit
        match action:
            case MovePointer(x, y) | ClickPointer(x, y) | ScrollWheel(x, y):
                wanted = (x, y)
            case DragPointer():
                wanted = (action.to_x, action.to_y)
            case _:
                return outcome
        found = await self._desk.pointer()
        if found == wanted:
            return outcome
        why = f"the pointer is at {found[0]}, {found[1]}: another program moved it"
        return Outcome(False, why, Status.FAILED, outcome.data)

    async def inspect(self, action: Action) -> Found:
        """A crash ends the box and its desktop; what a program saved before, nobody can tell."""
        await asyncio.sleep(0)
        looks = LookAtDesktop | WaitForDesktop | MovePointer
        return Found.NOT_DONE if isinstance(action, looks) else Found.UNKNOWN

    def read_picture(self, name: str) -> bytes:
        """The picture that a look named. Raises ProviderError for one that is not there."""
        plain = name.removeprefix(SCHEME)
        if "/" in plain or not plain.endswith(".png"):
            raise ProviderError(f"{name!r} names no picture of a desktop")
        try:
            return (self._pictures / plain).read_bytes()
        except OSError as error:
            raise ProviderError(f"the picture {name!r} is gone", why=str(error)) from error

    async def _do(self, action: DesktopAction, permit: Permit) -> Outcome:
        desk = self._desk
        match action:
            case LookAtDesktop():
                return await self._look(action, permit)
            case LaunchProgram():
                pid = await desk.launch([permit.expand(word) for word in action.argv])
                return Outcome(True, f"started {action.argv[0]}", data={"pid": pid})
            case MovePointer():
                await desk.move(action.x, action.y)
            case ClickPointer():
                await desk.click(action.x, action.y, action.button, action.count, action.keys)
            case DragPointer():
                await desk.drag(action.x, action.y, action.to_x, action.to_y, action.button)
            case ScrollWheel():
                await desk.scroll(action.x, action.y, action.dy, action.dx)
            case TypeText():
                await desk.type(permit.expand(action.text), action.timeout_s)
            case PressKeys():
                await desk.press(action.keys, action.hold_s)
            case WaitForDesktop():
                await asyncio.sleep(action.seconds)
        return Outcome(True, "done")

    async def _look(self, action: LookAtDesktop, permit: Permit) -> Outcome:
        seen = await self._desk.look()
        windows: list[JSON] = [{"name": w.name, "box": [*w.box], "active": w.active} for w in seen.windows]
        data: dict[str, JSON] = {
            "screen": [self._desk.width, self._desk.height],
            "windows": windows,
            "left_out": seen.left_out,
            "no_tree": seen.no_tree,
        }
        if action.picture:
            masks = masked(seen, permit.seal)
            png = await self._desk.picture(masks)
            name = await asyncio.to_thread(self._keep, png)
            data |= {"picture": f"{SCHEME}{name}", "picture_bytes": len(png), "masked": len(masks)}
        return Outcome(True, told(seen, TOLD_CHARS_MAX), data=data)

    def _keep(self, png: bytes) -> str:
        name = f"{hashlib.sha256(png).hexdigest()[:24]}.png"
        folder = self._pictures
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / name).write_bytes(png)
        kept = sorted(folder.glob("*.png"), key=lambda path: path.stat().st_mtime_ns)
        for path in kept[:-PICTURES_MAX]:
            path.unlink(missing_ok=True)
        return name


def masked(seen: Seen, seal: Callable[[str], str]) -> list[tuple[int, ...]]:
    """The places of what is a secret: nodes with their whole box, windows with their title, too."""
    found: list[tuple[int, ...]] = []
    for node in seen.nodes:
        if node.box and any(seal(text) != text for text in (node.name, node.text)):
            found.append(node.box)
    for window in seen.windows:
        if seal(window.name) != window.name:
            x, y, width, _ = window.box
            found.append((x, y - MASK_TITLE_PX, width, MASK_TITLE_PX))
    return found
