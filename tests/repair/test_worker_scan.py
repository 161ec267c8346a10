"""What does a scan say of what it did not look at? Nothing is left out in silence."""

from pathlib import Path
from typing import Any

import pytest

from veilig.providers.copying import copy_tree
from veilig.repair.worker import scan

WEAK = "import os\nfrom flask import request\ndef f():\n    os.system(request.args['q'])\n"


def told(root: Path) -> dict[str, Any]:
    return scan(root, [], repairs=False, whole=True)


@pytest.mark.parametrize(
    "name",
    [
        "bin/serve",
        "UPPER.PY",
        "venv/own.py",
        ".venv/own.py",
        "build/own.py",
        "vendor/own.py",
        ".hidden/own.py",
    ],
)
def test_code_is_read_wherever_it_lies_and_however_it_is_called(tmp_path: Path, name: str) -> None:
    file = tmp_path / "source" / name
    file.parent.mkdir(parents=True)
    file.write_text(f"#!/usr/bin/env python3\n{WEAK}")
    copy = tmp_path / "copy"
    assert copy_tree(tmp_path / "source", copy).skipped == ()
    assert [(p["path"], p["cwe"]) for p in told(copy)["problems"]] == [(name, 78)]


def test_others_code_and_other_languages_are_named(tmp_path: Path) -> None:
    for name in ("a.py", "site-packages/own.py", "cmd/main.go", "lib/x.rb", "lib/y.rb", ".tox/own.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv/pyvenv.cfg").write_text("")
    found = told(tmp_path)
    assert [n["message"] for n in found["report"]["notices"]] == [
        "languages that are not read: 2 Ruby, 1 Go",
        "others' code, not read: .tox, site-packages, venv",
    ]
    assert found["report"]["skipped"] == ()


@pytest.mark.parametrize("name", ["main.go", "README.md", ""], ids=["another language", "text", "nothing"])
def test_a_folder_in_which_nothing_is_read_is_not_clean(tmp_path: Path, name: str) -> None:
    if name:
        (tmp_path / name).write_text("text\n")
    (skipped,) = told(tmp_path)["report"]["skipped"]
    assert skipped == {"path": ".", "reason": "no file of a kind that is read"}


@pytest.mark.parametrize(
    ("name", "text"),
    [("poetry.lock", "a = ["), ("package-lock.json", "{broken"), ("requirements.txt", "-r gone.txt\n")],
)
def test_a_dependency_file_that_cannot_be_read_is_told_from_an_open_version(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    assert told(tmp_path)["advisories"]["unread"] == [name]
    (tmp_path / name).unlink()
    (tmp_path / "requirements.txt").write_text("flask\n")
    found = told(tmp_path)
    assert (found["advisories"]["unread"], found["report"]["skipped"]) == ([], ())


def test_pins_that_windows_wrote_are_read_and_linked_ones_are_named(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_bytes("werkzeug==3.0.0\r\n".encode("utf-16"))
    (tmp_path / "requirements-dev.txt").symlink_to("requirements.txt")
    found = told(tmp_path)
    assert found["advisories"]["pins"] == 1
    assert [s["path"] for s in found["report"]["skipped"]] == ["requirements-dev.txt"]
