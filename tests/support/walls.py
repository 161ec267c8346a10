"""What do the tests of the walls share? A place with a box in it, and the bounds that are reached at once."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from veilig.providers.sandbox import Bounds, CommandResult, Feature, Sandbox

NAMES = ("bubblewrap", "landlock", "container")
# Small, so that they are reached at once
BOUNDS = Bounds(
    memory_bytes=192 << 20,
    cpu_s=20,
    wall_s=30,
    processes=40,
    output_bytes=4096,
    output_kill_bytes=4 << 20,
    file_bytes=8 << 20,
    tmp_bytes=32 << 20,
)


@dataclass
class Place:
    """A box, its workspace, and a directory beside it that a command must not touch."""

    box: Sandbox
    workspace: Path
    outside: Path

    def holds(self, feature: Feature) -> bool:
        """Whether the wall claims the feature. What it does not claim, it must list with a reason."""
        if feature in self.box.wall.enforces:
            return True
        reasons = dict(self.box.wall.missing)
        assert reasons.get(feature), f"{self.box.wall.name} neither holds {feature} nor says why"
        return False

    async def sh(self, script: str, **more: object) -> CommandResult:
        return await self.box.run(["/bin/sh", "-c", script], **more)  # type: ignore[arg-type]

    async def python(self, script: str, *words: str, **more: object) -> CommandResult:
        return await self.box.run(["/usr/bin/python3", "-I", "-S", "-c", script, *words], **more)  # type: ignore[arg-type]


Open = Callable[..., Awaitable[Place]]
