"""The walls that every test of this folder meets, and a box behind each of them."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from veilig.core.errors import SandboxUnavailable
from veilig.providers.sandbox import Bounds, Feature, Mounts, own, stand
from walls import BOUNDS, NAMES, Open, Place


@pytest.fixture
def area() -> Iterator[Path]:
    """Passable for everybody: pytest's own directories are closed to the user that commands run as."""
    path = Path(tempfile.mkdtemp(prefix="veilig-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


WALLS = ["bubblewrap", "landlock", "landlock-strict", pytest.param("container", marks=pytest.mark.slow)]
_NO_ENGINE: list[str] = []  # asked once: an engine that fails takes seconds to do so


@pytest.fixture(params=WALLS)
async def open_box(request: pytest.FixtureRequest, area: Path) -> AsyncIterator[Open]:
    """Stands up a box behind this wall; extra files of the workspace come as {relative path: text}."""
    name: str = request.param
    places: list[Place] = []

    async def build(
        files: dict[str, str] | None = None, bounds: Bounds = BOUNDS, protected: tuple[str, ...] | None = None
    ) -> Place:
        if name == "container" and _NO_ENGINE:
            pytest.skip(f"NO CONTAINER ENGINE WAS TESTED: {_NO_ENGINE[0]}")
        workspace, outside = area / "workspace", area / "outside"
        outside.mkdir(exist_ok=True)
        outside.chmod(0o777)
        (outside / "canary").write_text("canary")
        laid = {".git/hooks/sample": "", ".git/config": "", "src/a.py": "a = 1\n"} | (files or {})
        for path, text in laid.items():
            (workspace / path).parent.mkdir(parents=True, exist_ok=True)
            (workspace / path).write_text(text)
        mounts = Mounts(workspace) if protected is None else Mounts(workspace, protected=protected)
        require = frozenset({Feature.PROTECTED}) if name == "landlock-strict" else frozenset[Feature]()
        try:
            box = await stand(
                mounts, bounds, require=require, hide=frozenset(NAMES) - {name.removesuffix("-strict")}
            )
        except SandboxUnavailable as error:
            if name == "container":
                _NO_ENGINE.append(error.why)
                pytest.skip(f"NO CONTAINER ENGINE WAS TESTED: {error.why}")
            raise
        own(workspace, box.uid, protected=mounts.protected)
        places.append(Place(box, workspace, outside))
        return places[-1]

    ours = Path("/proc/self/cgroup").read_text()
    yield build
    for place in places:
        await place.box.close()
    assert Path("/proc/self/cgroup").read_text() == ours, "the wall drew its own maker into the box's bounds"
