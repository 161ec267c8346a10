"""Levels of history: what may be undone, and what is never offered."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from veilig.core.action import ReadHistory
from veilig.core.action_json import digest
from veilig.core.clock import SystemClock
from veilig.core.provider import Permit
from veilig.providers.copying import copy_tree
from veilig.providers.history import FILES_MAX, HistoryProvider
from veilig.providers.workspace import Workspace
from veilig.repair.edit import apply
from veilig.repair.history import State, changed_lines, levels, raised, takes_part

pytestmark = pytest.mark.outside_gate  # git makes the repositories, and the provider reads them

NOW = "def f(a):\n    return a - 1\n\n\ndef g():\n    return 2\n"


def test_an_undo_that_no_repair_may_make_is_left_out_of_every_level() -> None:
    now = "def f(a):\n    try:\n        b = a - 1\n        return b\n    except TypeError:\n        b\n"
    old = now.replace("-", "+").replace("TypeError", "Exception")
    found = levels({"app.py": now}, [State("c1", "First", {"app.py": old})])
    assert [apply(now, level.edits) for level in found] == [now.replace("-", "+")]


def test_states_that_do_not_differ_make_no_level_and_each_names_what_it_takes_back() -> None:
    old = NOW.replace("-", "+")
    states = [State("c3", "Third", {"app.py": NOW}), State("c2", "Second", {"app.py": NOW}),
              State("c1", "First", {"app.py": old})]  # fmt: skip
    (level,) = levels({"app.py": NOW}, states)
    assert (level.commit, level.by) == ("c1", "c2 'Second'")
    assert changed_lines({"app.py": NOW}, level) == {"app.py": [2]}


def test_tests_and_protected_files_take_no_part() -> None:
    assert takes_part("app.py")
    assert not any(map(takes_part, ("tests/test_app.py", "conftest.py", ".git/config", "veilig.yaml")))


def test_lines_that_changed_lately_are_suspected_more_and_their_neighbours_a_little() -> None:
    lines = [("a.py", 1, 500), ("a.py", 2, 450), ("a.py", 3, 450), ("b.py", 1, 510)]
    assert raised(lines, {"a.py": [2]}) == [
        ("a.py", 2, 600), ("a.py", 1, 575), ("a.py", 3, 525), ("b.py", 1, 510),
    ]  # fmt: skip


def _git(root: Path, *arguments: str) -> None:
    name = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *name, *arguments], cwd=root, check=True, capture_output=True, timeout=60)


async def _history(source: Path, home: Path, seal: Callable[[str], str] = str) -> dict[str, object]:
    workspace = Workspace(home, source)
    copy_tree(source, workspace.tree.root)
    action, clock = ReadHistory(str(source)), SystemClock()
    soon_s = clock.boottime_s() + 60
    permit = Permit("r", digest(action), soon_s, "p", "s", lambda text: text, seal, lambda _, __: None)
    provider = HistoryProvider(workspace, clock, lambda _, __: None)
    return dict((await provider.perform(action, permit)).data)


async def test_a_repository_tells_its_states_and_runs_no_program_of_its_configuration(tmp_path: Path) -> None:
    source, mark = tmp_path / "source", tmp_path / "mark"
    source.mkdir()
    _git(source, "init", "-q")
    (source / "app.py").write_text(NOW.replace("-", "+"))
    (source / ".gitattributes").write_text("*.py filter=evil diff=evil\n")
    _git(source, "add", "-A")
    _git(source, "commit", "-qm", "First")
    for key in ("filter.evil.clean", "filter.evil.smudge", "diff.evil.textconv", "diff.external",
                "core.fsmonitor", "core.sshCommand", "core.pager"):  # fmt: skip
        _git(source, "config", key, f"touch {mark}; cat")
    (source / "app.py").write_text(NOW)
    data = await _history(source, tmp_path / "home")
    (level,) = cast("list[dict[str, object]]", data["levels"])
    assert level["by"] == "the changes that are not committed"
    assert level["edits"] == [["app.py", NOW.index("-"), NOW.index("-") + 1, "+", 1]]
    assert data["changed"] == {"app.py": [2]}
    assert not mark.exists()


async def test_a_large_change_long_ago_does_not_hide_a_small_one_of_today(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    _git(source, "init", "-q")
    (source / "app.py").write_text(NOW.replace("-", "+"))
    _git(source, "add", "-A")
    _git(source, "commit", "-qm", "First")
    for n in range(FILES_MAX + 1):
        (source / f"new{n}.py").write_text("x = 1\n")
    _git(source, "add", "-A")
    _git(source, "commit", "-qm", "Large")
    for subject, text in (("Third", NOW + "\n\nx = 1\n"), ("Fourth", NOW)):
        (source / "app.py").write_text(text)
        _git(source, "commit", "-qam", subject)
    data = await _history(source, tmp_path / "home")
    told = [level["by"] for level in cast("list[dict[str, str]]", data["levels"])]
    assert [by.partition(" ")[2] for by in told] == ["'Fourth'"]


async def test_a_folder_without_history_has_no_levels(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "app.py").write_text(NOW)
    assert (await _history(source, tmp_path / "home"))["levels"] == []
    _git(source, "init", "-q")
    assert (await _history(source, tmp_path / "home"))["levels"] == []
