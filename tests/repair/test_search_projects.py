"""Small broken projects of many kinds, repaired through the real workers behind a wall."""
# ruff: noqa: E501, ISC004  (the table below reads one bug per row)

import json
import secrets
import shutil
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from veilig.repair import choose, locate, search, testreport, workers
from veilig.repair.candidates import Candidate, generate
from veilig.repair.detect import test_command as detect
from veilig.repair.edit import apply

pytestmark = pytest.mark.outside_gate


@dataclass
class Result:
    """What one drive through the whole pipeline found."""

    before: testreport.TestReport
    choice: choose.Choice | None = None
    red: set[str] | None = None  # in the fresh copy
    after: dict[str, str] = field(default_factory=dict)
    done: dict[str, Any] = field(default_factory=dict)
    news: list[search.News] = field(default_factory=list)
    lines: list[locate.Line] = field(default_factory=list)


TIMES: list[tuple[str, float]] = []


def walled(folder: Path, script: str, task: dict[str, Any] | str, *, limit_s: float = 120) -> str:
    """Run a worker behind bubblewrap: nothing but `folder` can be written."""
    place = folder / "task.json"
    place.write_text(task if isinstance(task, str) else json.dumps(task))
    wall = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--bind", str(folder), str(folder)]
    wall += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/dev/shm", "--die-with-parent"]
    argv = [*wall, "--setenv", "TMPDIR", str(folder), sys.executable, str(workers.folder() / script)]
    started_s = time.monotonic()
    done = subprocess.run(
        [*argv, "--task", str(place)],
        capture_output=True,
        text=True,
        timeout=limit_s,
        cwd=folder,
        check=False,
    )
    TIMES.append((script, round(time.monotonic() - started_s, 2)))
    return done.stdout + (f"\nexit {done.returncode} {done.stderr}" if done.returncode else "")


def run_tests(folder: Path, root: Path, command: Any, **more: Any) -> testreport.TestReport:
    nonce = secrets.token_hex(8)
    task = {"root": str(root), "result": str(folder / "result.json"), "nonce": nonce, "runner": command.runner,
            "args": command.args, "pythonpath": command.pythonpath, "test_wall_s": 5, **more}  # fmt: skip
    walled(folder, "testrun.py", task)
    return testreport.read((folder / "result.json").read_text(), nonce)


def sources(root: Path) -> dict[str, str]:
    found = {}
    for path in sorted(root.rglob("*")):
        if path.suffix in {".py", ".toml", ".ini", ".cfg"} and "__pycache__" not in path.parts:
            found[path.relative_to(root).as_posix()] = path.read_bytes().decode()
    return found


def drive(folder: Path, root: Path, *, budget_s: float = 40, command: Any = None) -> Result:
    """The whole way: run, trace, locate, search, choose, prove in a fresh copy."""
    files = sources(root)
    command = command or detect(files, sys.executable)
    assert command is not None
    before = run_tests(folder, root, command)
    result = Result(before)
    traced = run_tests(folder, root, command, trace=True)
    group = locate.groups(traced.tests.values())[0]
    failing = [traced.tests[name] for name in group.tests]
    result.lines = locate.suspicious(traced.tests.values(), group.tests)
    keep = locate.nearest(traced.tests.values(), result.lines)
    editable = {path: text for path, text in files.items() if not locate.is_test_path(path)}
    rounds = search.plan(generate(editable, result.lines, search.hints(failing)), budget_s)
    plausible: list[Candidate] = []
    answers: dict[int, tuple[str, ...]] = {}
    for one in rounds:
        nonce = secrets.token_hex(8)
        targets = [before.tests[name] for name in group.tests]
        task = search.task(one, root=str(root), nonce=nonce, command=command, targets=targets, keep=keep)
        output = walled(folder, "search.py", task, limit_s=budget_s + 30)
        told = [search.news(line, nonce) for line in output.splitlines()]
        result.news += [item for item in told if item]
        plausible += [
            one.candidates[i.candidate]
            for i in result.news
            if i.kind == "plausible" and i.candidate is not None
        ]
        numbers = [i.candidate for i in result.news if i.kind == "plausible"]
        said = {i.candidate: search.answers(i) for i in result.news if i.kind == "behaviour"}
        answers = {place: said[number] for place, number in enumerate(numbers) if number in said}
        last = [item for item in told if item and item.kind == "done"]
        assert last, output
        result.done = dict(last[0].fields)
        if plausible:
            break
    result.choice = choose.choose(plausible, choose.Evidence(len(group.tests), len(keep), answers=answers))
    if result.choice is not None:
        best = result.choice.best
        result.after = {**files, best.path: apply(files[best.path], best.edits)}
        copy = folder / "proof"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(root, copy)
        (copy / best.path).write_bytes(result.after[best.path].encode())
        after = run_tests(folder, copy, command)
        assert after.complete
        assert set(after.tests) == set(before.tests)
        result.red = {test.id for test in after.red}
    return result


def project(folder: Path, files: dict[str, str]) -> Path:
    root = folder / "project"
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"))
    return root


BUGS: dict[str, tuple[str, str, str]] = {
    # name: module text, test text, a piece of the line that must change
    "off_by_one": (
        "def total(xs):\n    s = 0\n    for i in range(len(xs) - 1):\n        s += xs[i]\n    return s\n",
        "from m import total\ndef test_a():\n    assert total([1, 2, 3]) == 6\ndef test_b():\n    assert total([]) == 0\n",
        "range(len(xs))",
    ),
    "comparison": (
        "def adult(age):\n    return age > 18\n",
        "from m import adult\ndef test_a():\n    assert adult(18)\ndef test_b():\n    assert not adult(17)\n",
        "age >= 18",
    ),
    "swapped_arguments": (
        "def power(base, exponent):\n    return base ** exponent\ndef square(x):\n    return power(2, x)\n",
        "from m import power, square\ndef test_a():\n    assert square(3) == 9\n    assert square(4) == 16\ndef test_b():\n    assert power(2, 3) == 8\n",
        "power(x, 2)",
    ),
    "method_with_super": (
        "class Base:\n    def area(self):\n        return 2\nclass Big(Base):\n    def __init__(self, n):\n        self.n = n\n    def area(self):\n"
        "        return super().area() + self.n\n",
        "from m import Base, Big\ndef test_a():\n    assert Big(3).area() == 6\n    assert Big(5).area() == 10\ndef test_b():\n"
        "    assert Base().area() == 2\n",
        "super().area() * self.n",
    ),
    "private_name": (
        "class Counter:\n    def __init__(self):\n        self.__n = 0\n    def up(self):\n        self.__n -= 1\n"
        "        return self.__n\n",
        "from m import Counter\ndef test_a():\n    c = Counter()\n    assert (c.up(), c.up()) == (1, 2)\n",
        "self.__n += 1",
    ),
    "behind_a_decorator": (
        "import functools\ndef twice(f):\n    def inner(*a):\n        return f(*a) * 2\n    return inner\n"
        "@functools.lru_cache\n@twice\ndef half(x):\n    return x / 4 + 1\n",
        "from m import half\ndef test_a():\n    assert half(8) == 2\ndef test_b():\n    assert half(16) == 6\n",
        "x / 4 - 1",
    ),
    "missing_await": (
        "import asyncio\nasync def load():\n    return [1]\nasync def size():\n    return len(load())\n",
        "import asyncio\nfrom m import size\ndef test_a():\n    assert asyncio.run(size()) == 1\n",
        "await load()",
    ),
    "none_not_handled": (
        "def clean(name):\n    return name.strip()\n",
        "from m import clean\ndef test_a():\n    assert clean(None) == ''\ndef test_b():\n    assert clean(' x ') == 'x'\n",
        "",
    ),
    "wrong_exception": (
        "def lookup(d, k):\n    try:\n        return d[k]\n    except IndexError:\n        return None\n",
        "from m import lookup\ndef test_a():\n    assert lookup({}, 'x') is None\n"
        "def test_b():\n    assert lookup([], 0) is None\n    assert lookup({1: 2}, 1) == 2\n",
        "KeyError",
    ),
    "endless_loop": (
        "def digits(n):\n    count = 0\n    while n:\n        n = n % 10\n        count += 1\n    return count\n",
        "from m import digits\ndef test_a():\n    assert digits(123) == 3\ndef test_b():\n    assert digits(0) == 0\n",
        "n // 10",
    ),
    "return_in_the_loop": (
        "def all_even(xs):\n    for x in xs:\n        if x % 2:\n            return False\n        return True\n",
        "from m import all_even\ndef test_a():\n    assert not all_even([2, 3])\ndef test_b():\n    assert all_even([2, 4])\n",
        "",
    ),
    "unittest_subtests": (
        "def sign(x):\n    if x > 0:\n        return 1\n    if x == 0:\n        return -1\n    return 0\n",
        "import unittest\nfrom m import sign\nclass T(unittest.TestCase):\n    def test_all(self):\n"
        "        for x, y in ((3, 1), (0, 0), (-3, -1)):\n            with self.subTest(x=x):\n"
        "                self.assertEqual(sign(x), y)\n",
        "",
    ),
    "module_constant": (
        "LIMIT = 9\ndef fits(n):\n    return n <= LIMIT\n",
        "from m import fits\ndef test_a():\n    assert fits(10)\ndef test_b():\n    assert not fits(11)\n",
        "",
    ),
    "default_argument": (
        "def pad(text, width=3):\n    return text.rjust(width)\n",
        "from m import pad\ndef test_a():\n    assert pad('a') == '   a'\ndef test_b():\n    assert pad('a', 2) == ' a'\n",
        "width=4",
    ),
}
QUICK = ("off_by_one", "behind_a_decorator", "default_argument")
CHECKED = ("method_with_super", "missing_await")  # the others: `-m long`


def _marks(name: str) -> tuple[pytest.MarkDecorator, ...]:
    return () if name in QUICK else (pytest.mark.slow,) if name in CHECKED else (pytest.mark.long,)


@pytest.mark.parametrize("name", [pytest.param(one, marks=_marks(one)) for one in BUGS])
def test_a_small_bug_is_repaired_and_proven_in_a_fresh_copy(tmp_path: Path, name: str) -> None:
    module, tests, wanted = BUGS[name]
    root = project(tmp_path, {"m.py": module, "tests/test_m.py": tests})
    result = drive(tmp_path, root)
    assert result.choice is not None, result.done
    assert result.red == set()
    assert wanted in result.after["m.py"], result.choice.best.title
    assert sources(root)["m.py"] == module, "the search must leave the project's own files alone"


def test_mutants_that_delete_and_fork_change_nothing_outside_and_are_put_back_inside(tmp_path: Path) -> None:
    module = """
        import os, shutil
        def clear(folder, sure):
            if not sure:
                return "kept"
            shutil.rmtree(folder)
            return "gone"
        def spawn(times):
            for _ in range(times - 1):
                if os.fork() == 0:
                    os._exit(0)
            return times
        """
    tests = """
        import pathlib
        from m import clear, spawn
        HERE = pathlib.Path(__file__).parent
        def test_kept():
            assert clear(HERE, False) == "Kept"
        def test_spawn():
            assert spawn(1) == 1
        """
    root = project(tmp_path, {"m.py": module, "tests/test_m.py": tests})
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    result = drive(tmp_path, root, budget_s=15)
    assert (outside / "precious").read_text() == "x"
    assert (root / "tests" / "test_m.py").exists()
    assert result.done["files_restored"] > 0
    assert result.red == set()


def test_a_failure_that_no_edit_can_repair_ends_at_the_deadline_and_says_so(tmp_path: Path) -> None:
    root = project(
        tmp_path,
        {
            "m.py": "def f(x):\n    return x\n",
            "tests/test_m.py": "from m import f\ndef test_a():\n    assert f(1) != f(1)\n",
        },
    )
    result = drive(tmp_path, root, budget_s=6)
    assert result.choice is None
    assert result.done["reason"] in {"deadline", "exhausted"}
    assert result.done["plausible"] == 0
