"""Is anything left behind when a person stops the work while the wall is being stood up?"""

import asyncio
import sys
from pathlib import Path

import pytest

from veilig.providers.box import Box, Terms
from veilig.providers.sandbox.wall import Bounds, Wall
from veilig.providers.workspace import Workspace


def children() -> set[str]:
    """The processes that this one has started and that still live or are not yet waited for."""
    return {
        pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()
    }


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.1, 0.4])
async def test_a_stop_while_the_wall_goes_up_leaves_no_process(tmp_path: Path, after_s: float) -> None:
    workspace = Workspace(tmp_path / "session", tmp_path)
    workspace.tree.root.mkdir(parents=True)

    async def stood(wall: Wall) -> None:
        del wall

    before = children()
    box = Box(
        workspace, Path(sys.executable), Terms(("bubblewrap", "landlock"), frozenset(), Bounds()), stood
    )
    work = asyncio.create_task(box.run(("sleep", "60"), timeout_s=70))
    await asyncio.sleep(after_s)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    await box.close()
    assert children() - before == set()
