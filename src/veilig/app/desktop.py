"""Where does a session's desktop come from? From its own box, or from a trial that has one standing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from veilig.core.action_json import JSON
from veilig.core.clock import Clock
from veilig.providers.box import Box
from veilig.providers.desktop.desk import Desk, missing_packages, told_lines
from veilig.providers.watching import Watched

if TYPE_CHECKING:
    from veilig.providers.desktop.provider import DesktopProvider
    from veilig.providers.sandbox.wall import CommandResult
    from veilig.providers.trial import World

__all__ = ["Desk", "desk_in", "desktop_for", "missing_packages", "told_lines"]


def desktop_for(
    options: Mapping[str, JSON],
    desk: Desk | None,
    box: Box,
    clock: Clock,
    folder: Path,
    watched: Watched | None,
) -> "DesktopProvider | None":
    """Who performs the desktop kinds of a session, where it wants a desktop at all.

    desk: one that stands already; what is done there changes nothing in the copy. folder: the session's own,
    where pictures are kept.
    """
    if not options.get("desktop"):
        return None
    from veilig.providers.desktop.provider import DesktopProvider, desk_of

    return DesktopProvider(desk or desk_of(box), clock, folder / "pictures", None if desk else watched)


def desk_in(world: "World", workdir: str) -> Desk:
    """A desktop in the box of a trial, whose programs start in `workdir`."""

    async def runs(
        argv: Sequence[str], *, env: Mapping[str, str], stdin: bytes, timeout_s: float
    ) -> "CommandResult":
        return await world.run(argv, cwd=workdir, env=env, stdin=stdin or None, timeout_s=timeout_s)

    return Desk(runs)
