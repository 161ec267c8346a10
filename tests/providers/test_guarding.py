"""Are edits judged by what a person would get, so that steps cannot cheat and can always be taken back?"""

from pathlib import Path

import pytest

from veilig.core.action import PatchFile, TextEdit
from veilig.core.actor import Actor, ActorKind
from veilig.core.provider import Opinion
from veilig.providers.guarding import RepairGuard
from veilig.providers.tree import sha256
from veilig.providers.workspace import Workspace

AGENT = Actor("agent:fix", ActorKind.AGENT)
CODE = (
    "import sys\n\n\ndef main():\n    if not run():\n        sys.exit(2)\n\n\ndef run():\n    return True\n"
)
WITHOUT = CODE.replace("        sys.exit(2)\n", "        raise RuntimeError\n")


class Bench:
    """A copy with one file, and its guard."""

    def __init__(self, folder: Path) -> None:
        self.workspace = Workspace(folder, folder / "source")
        self.workspace.tree.root.mkdir(parents=True)
        self.write(CODE)
        self.guard = RepairGuard(self.workspace, lambda text: text)

    def write(self, text: str) -> None:
        (self.workspace.tree.root / "a.py").write_text(text)

    def judge(self, after: str) -> Opinion | None:
        now = (self.workspace.tree.root / "a.py").read_text()
        edit = TextEdit(0, len(now), after)
        return self.guard.judge(PatchFile("a.py", sha256(now), (edit,)), AGENT)

    def change(self, after: str) -> None:
        self.workspace.keep("a.py", (self.workspace.tree.root / "a.py").read_text())
        self.write(after)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "session")


def test_an_edit_that_took_an_exit_away_can_be_taken_back(bench: Bench) -> None:
    bench.change(WITHOUT)
    assert bench.judge(CODE) is None


def test_an_exit_that_never_was_there_is_refused_at_any_step(bench: Bench) -> None:
    worse = CODE.replace("    return True", "    sys.exit(0)")
    assert bench.judge(worse) is not None
    bench.change(CODE.replace("    return True", "    return not False"))
    assert bench.judge(worse) is not None
