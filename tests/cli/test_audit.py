"""`veilig audit`: what it finds, what it could not look at, and that it changes nothing."""

import json
from pathlib import Path

import pytest

from terminal import Terminal, no_wall

WEAK = """import subprocess
from flask import Flask, request

app = Flask(__name__)


@app.route("/")
def index():
    return subprocess.run(f"ls {request.args['x']}", shell=True, capture_output=True).stdout
"""
CLEAN = """def add(a: int, b: int) -> int:
    return a + b
"""


def listing(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_clean_project_ends_with_0_and_its_copy_is_gone(veilig: Terminal) -> None:
    veilig.project("clean", app=CLEAN)
    said = veilig("audit", "clean")
    assert said.code == 0, said.err
    assert "0 weaknesses" in said.out
    assert "bubblewrap" in said.out or "wall" in said.out
    assert list((veilig.home / "sessions").iterdir()) == []


def test_a_weakness_ends_with_1_is_shown_with_its_way_and_nothing_is_changed(veilig: Terminal) -> None:
    folder = veilig.project("weak", app=WEAK)
    before = listing(folder)
    said = veilig("audit", "weak")
    assert said.code == 1
    assert "CWE-78" in said.out
    assert "weak/app.py:9" in said.out
    assert listing(folder) == before


def test_what_could_not_be_read_ends_with_3_and_is_named(veilig: Terminal) -> None:
    veilig.project("broken", app=CLEAN, other="def f(:\n")
    said = veilig("audit", "broken")
    assert said.code == 3
    assert "skipped broken/other.py" in said.out


def test_a_link_out_of_the_project_is_not_passed_over_in_silence(veilig: Terminal) -> None:
    folder = veilig.project("linked", app=CLEAN)
    (folder / "secret.py").symlink_to("/etc/hostname")
    said = veilig("audit", "linked")
    assert (said.code, "linked/secret.py" in said.out) == (3, True)


def test_two_folders_give_one_report_and_the_worse_code(veilig: Terminal) -> None:
    veilig.project("clean", app=CLEAN)
    veilig.project("weak", app=WEAK)
    said = veilig("audit", "clean", "weak", "--format", "json")
    assert said.code == 1
    report = said.json
    assert report["exit_code"] == 1
    assert [(r["path"], len(r["report"]["findings"])) for r in report["roots"]] == [("clean", 0), ("weak", 1)]
    assert report["roots"][1]["report"]["findings"][0]["path"] == "weak/app.py"
    assert len({r["session"] for r in report["roots"]}) == 2


def test_a_vulnerable_pin_is_a_finding_in_every_format(veilig: Terminal) -> None:
    folder = veilig.project("pins", app=CLEAN)
    (folder / "requirements.txt").write_text("jinja2==2.4\n")
    text = veilig("audit", "pins")
    assert text.code == 1
    assert "pins/requirements.txt:1" in text.out
    document = veilig("audit", "pins", "--format", "sarif").json
    results = document["runs"][0]["results"]
    assert [r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in results] == [
        "pins/requirements.txt"
    ]
    rules = {r["id"] for r in document["runs"][0]["tool"]["driver"]["rules"]}
    assert {r["ruleId"] for r in results} <= rules


@pytest.mark.parametrize(("level", "code"), [("low", 1), ("critical", 1)])
def test_the_report_can_go_to_a_file_and_fail_at_a_level(veilig: Terminal, level: str, code: int) -> None:
    veilig.project("weak", app=WEAK)
    said = veilig("audit", "weak", "--format", "sarif", "--output", "out.sarif", "--fail-at", level)
    assert said.code == code
    assert json.loads((veilig.folder / "out.sarif").read_text())["version"] == "2.1.0"


def test_a_finding_below_the_level_does_not_fail(veilig: Terminal) -> None:
    veilig.project(
        "mild", app="import hashlib\n\n\ndef f(password):\n    return hashlib.md5(password).hexdigest()\n"
    )
    found = veilig("audit", "mild", "--format", "json").json["roots"][0]["report"]["findings"]
    assert found, "the example must hold a weakness below critical"
    assert veilig("audit", "mild", "--fail-at", "low").code == 1
    assert veilig("audit", "mild", "--fail-at", "critical").code == 0


@pytest.mark.parametrize("path", ["nowhere", "app.py"])
def test_what_is_no_folder_is_refused_before_anything_runs(veilig: Terminal, path: str) -> None:
    (veilig.folder / "app.py").write_text(CLEAN)
    said = veilig("audit", path)
    assert said.code == 2
    assert path in said.err
    assert not (veilig.home / "ledger.db").exists()


def test_without_a_wall_nothing_is_read(veilig: Terminal) -> None:
    veilig.project("weak", app=WEAK)
    said = veilig("audit", "weak", *no_wall())
    assert said.code == 4
    assert "no wall holds what is required" in said.err


def test_a_project_cannot_loosen_the_policy_that_it_is_audited_under(veilig: Terminal) -> None:
    folder = veilig.project("weak", app=WEAK)
    (folder / "veilig.yaml").write_text("agent: {paths: {deny: ['app.py']}}\n")
    said = veilig("audit", "weak")
    assert said.code == 3, "a project that hides its own code from the audit is not clean"
    assert "skipped weak/app.py" in said.out
