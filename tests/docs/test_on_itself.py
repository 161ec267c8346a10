"""Does veilig mend a slip in its own code, as docs/how-to/work-on-itself.md shows it?"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACE = "src/veilig/repair/bisect.py"
RIGHT = "wanted = min(2 * self.bad + 2, self.count - 1)"
WRONG = "wanted = min(2 * self.bad + 1, self.count - 1)"
TESTS = "tests/repair/test_delta_bisect.py"
TEST = f"python -m pytest -q {TESTS}"


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, timeout=60)


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """The search that finds breaking commits, with its tests, and a commit that breaks it."""
    folder = tmp_path / "part"
    own = ("__init__.py", "repair/__init__.py", "repair/bisect.py", "repair/delta.py")
    for name in (*(f"src/veilig/{one}" for one in own), TESTS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = ["src"]\n')
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "As it was")
    place = folder / PLACE
    assert place.read_text().count(RIGHT) == 1
    place.write_text(place.read_text().replace(RIGHT, WRONG))
    git(folder, "commit", "-qam", "Gallop in odd steps")
    return folder


def veilig(folder: Path, *words: str) -> str:
    argv = [sys.executable, "-m", "veilig.cli.main", *words]
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder.parent)}
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert "Traceback (most recent" not in done.stderr, done.stderr
    return done.stdout


@pytest.mark.long
def test_its_own_failing_test_is_explained_and_mended(part: Path) -> None:
    said = veilig(part, "run", f"why does `{TEST}` fail, and which change broke it?", ".")
    assert f"{TESTS}::" in said
    assert "'Gallop in odd steps'" in said
    said = veilig(part, "fix", ".", "--only", "tests", "--test", TEST, "--apply")
    assert "1 files changed" in said, said
    assert RIGHT in (part / PLACE).read_text(), said
