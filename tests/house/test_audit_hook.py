"""Does the audit hook of tests/conftest.py catch a process that no Gate let through, and only that?"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CASES = """
import asyncio, os, socket, subprocess, sys
import pytest
from veilig.core.gate import ACTING

def start():
    subprocess.run([sys.executable, "-c", ""], check=True)

def test_process(): start()
def test_system(): os.system("true")
def test_dynamic(): __import__("subp" + "rocess").run(["true"])
def test_socket():
    with socket.socket() as s: s.connect(("127.0.0.1", 9))
def test_swallowed():
    try: start()
    except Exception: pass
async def test_async(): await asyncio.create_subprocess_exec("true")

def test_gate_process():
    token = ACTING.set(True)
    try: start()
    finally: ACTING.reset(token)
async def test_gate_thread():
    token = ACTING.set(True)
    try: await asyncio.to_thread(start)
    finally: ACTING.reset(token)
@pytest.mark.outside_gate
def test_gate_marked(): start()
def test_gate_quiet(): open(os.devnull).close()
"""


def test_the_hook_fails_what_is_outside_the_gate_and_passes_what_is_inside(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "test_cases.py").write_text(CASES)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\nmarkers = outside_gate: x\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "--no-header"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    passed = set(re.findall(r"^PASSED test_cases\.py::(\w+)", done.stdout, re.MULTILINE))
    bad = set(re.findall(r"^(?:FAILED|ERROR) test_cases\.py::(\w+)", done.stdout, re.MULTILINE))
    inside = {"test_gate_process", "test_gate_thread", "test_gate_marked", "test_gate_quiet"}
    outside = {"test_process", "test_system", "test_dynamic", "test_socket", "test_swallowed", "test_async"}
    assert (passed & inside, bad) == (inside, outside), done.stdout
