"""Does `./veilig` start from a bare checkout, and survive what happens to checkouts?"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("veilig", "check", "pyproject.toml", "requirements.lock", "README.md", "LICENSE", "NOTICE")
START_MS_MAX = 50  # later starts over the environment's own script
# whoever tests us may have made our environment with more packages than a first start has
CALM = {name: value for name, value in os.environ.items() if name != "VEILIG_BOOTSTRAP"}
PROGRAM = 'import sys\n\n\ndef main() -> None:\n    print("started", sys.argv[1:])\n'


def start(
    script: Path, *words: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(script), *words],
        env=CALM | {"VEILIG_PYTHON": sys.executable} if env is None else env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in a folder with a space, without .venv, whose command line only prints its arguments."""
    root = tmp_path / "a folder" / "veilig"
    shutil.copytree(ROOT / ".ci", root / ".ci", ignore=shutil.ignore_patterns("__pycache__"))
    for part in PARTS:
        shutil.copy2(ROOT / part, root / part)
    cli = root / "src" / "veilig" / "cli"
    cli.mkdir(parents=True)
    (cli / "main.py").write_text(PROGRAM)
    (cli / "__init__.py").touch()
    (cli.parent / "__init__.py").touch()
    (root / "suites").mkdir()  # the build takes them into the wheel
    return root


@pytest.fixture
def ready(checkout: Path) -> Path:
    """The same after its first start."""
    done = start(checkout / "veilig", "a b", "c")
    if "installing requirements.lock failed" in done.stderr:
        pytest.skip(f"the package index cannot be reached: {done.stderr}")
    assert (done.returncode, done.stdout) == (0, "started ['a b', 'c']\n"), done.stderr
    return checkout


def test_without_python_3_12_it_says_what_why_and_fix(checkout: Path, tmp_path: Path) -> None:
    done = start(checkout / "veilig", env={"PATH": str(tmp_path), "HOME": str(tmp_path)})
    assert (done.returncode, done.stdout) == (2, "")
    assert [w in done.stderr for w in ("needs Python 3.12", "why:", "fix:")] == [True, True, True]
    assert not (checkout / ".venv").exists()


def test_a_named_python_that_is_too_old_is_not_replaced_in_silence(checkout: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = start(checkout / "veilig", env=os.environ | {"VEILIG_PYTHON": str(old)})
    assert (done.returncode, "fix:" in done.stderr) == (2, True)


def test_an_unknown_set_of_packages_is_refused(checkout: Path) -> None:
    done = start(checkout / "veilig", env=os.environ | {"VEILIG_BOOTSTRAP": "everything"})
    assert (done.returncode, "fix:" in done.stderr) == (2, True)


def test_an_unknown_word_stops_the_check_before_it_does_anything() -> None:
    done = subprocess.run(
        [sys.executable, "-I", ROOT / ".ci" / "check.py", "quick"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "fix: ./check [fast]" in done.stdout) == (2, True)


@pytest.mark.slow
def test_it_starts_through_a_symlink_from_anywhere_and_keeps_the_folder(ready: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(ready / "veilig")
    (ready / "src/veilig/cli/main.py").write_text(
        "import os\n\n\ndef main() -> None:\n    print(os.getcwd())\n"
    )
    done = start(tmp_path / "link", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path}\n", "")


@pytest.mark.long  # a time: on a quiet machine only
def test_a_later_start_costs_less_than_50_ms(ready: Path) -> None:
    def cost_ms(script: Path) -> float:
        begun = time.perf_counter()
        assert start(script).returncode == 0
        return (time.perf_counter() - begun) * 1000

    pairs = [(cost_ms(ready / "veilig"), cost_ms(ready / ".venv/bin/veilig")) for _ in range(9)]
    assert statistics.median(ours - bare for ours, bare in pairs) < START_MS_MAX


@pytest.mark.slow
def test_an_interrupted_first_start_is_redone(ready: Path) -> None:
    (ready / ".venv/.veilig-run").unlink()
    shutil.rmtree(next((ready / ".venv/lib").glob("*/site-packages/yaml")))
    for left in (ready / ".venv/lib").glob("*/site-packages/[Pp]y[Yy][Aa][Mm][Ll]-*"):
        shutil.rmtree(left)
    assert start(ready / "veilig").stdout == "started []\n"
    code = "import yaml"
    assert subprocess.run([ready / ".venv/bin/python", "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_a_broken_interpreter_and_a_moved_folder_are_rebuilt(ready: Path) -> None:
    python = ready / ".venv/bin/python"
    python.unlink()
    python.symlink_to("/nonexistent/python")
    assert start(ready / "veilig", "again").stdout == "started ['again']\n"
    moved = ready.with_name("elsewhere")
    ready.rename(moved)
    assert start(moved / "veilig", "moved").stdout == "started ['moved']\n"
    assert (moved / ".venv/.veilig-run").read_text().splitlines()[0] == str(moved)


@pytest.mark.slow
def test_a_touched_lock_costs_one_look_and_no_installation(ready: Path) -> None:
    (ready / "requirements.lock").touch()
    first, second = start(ready / "veilig"), start(ready / "veilig")
    assert (first.stderr, second.stderr) == ("", "")


@pytest.mark.slow
def test_two_first_starts_at_once_both_run(ready: Path) -> None:
    shutil.rmtree(ready / ".venv")
    env = os.environ | {"VEILIG_PYTHON": sys.executable}
    both = [
        subprocess.Popen([ready / "veilig", n], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for n in "12"
    ]
    outs = [p.communicate()[0] for p in both]
    assert outs == [b"started ['1']\n", b"started ['2']\n"]
