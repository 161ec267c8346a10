"""`veilig review`: what a change brings in, the tests that touch it, and what a model says of its lines."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from replay_server import replay
from running import CART, TEST
from terminal import Terminal

GOOD = CART.replace("items[1:]", "items")
WEAK = """
import os
from flask import Flask, request

app = Flask(__name__)


@app.route("/ping")
def ping():
    os.system("ping " + request.args["h"])
"""


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    done = subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture
def project(veilig: Terminal) -> Path:
    """A shop whose tests pass, under git; one test of it has always failed."""
    old = "def test_never():\n    assert False\n"
    files = {"tests/test_cart.py": TEST, "tests/test_other.py": old, "conftest.py": "", "other": "x = 1\n"}
    folder = veilig.project("shop", cart=GOOD, **files)
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    return folder


def review(veilig: Terminal, *words: str, stdin: str = "") -> tuple[int, dict[str, Any]]:
    said = veilig("review", "--folder", "shop", "--format", "json", *words, stdin=stdin)
    assert said.out.startswith("{"), said.err
    return said.code, said.json


def test_a_weakness_on_an_added_line_is_found_and_an_old_one_is_not(veilig: Terminal, project: Path) -> None:
    (project / "old.py").write_text(WEAK)
    git(project, "add", ".")
    git(project, "commit", "-qm", "old")
    (project / "net.py").write_text(WEAK)
    said = veilig("review", "--folder", "shop")
    assert said.code == 1, said.err
    assert "net.py:10" in said.out
    assert "CWE-78" in said.out
    assert "old.py" not in said.out
    assert "tests   " in said.out
    code, found = review(veilig, "HEAD~1")
    assert code == 1
    assert {f["path"] for f in found["report"]["findings"]} == {"net.py", "old.py"}


def test_a_test_that_the_change_breaks_is_told_from_one_that_failed_before(
    veilig: Terminal, project: Path
) -> None:
    (project / "cart.py").write_text(CART)
    (project / "tests" / "test_other.py").write_text("# touched\ndef test_never():\n    assert False\n")
    code, found = review(veilig)
    assert code == 1
    assert found["tests"]["new"] == ["tests/test_cart.py::test_total"]
    assert found["tests"]["old"] == ["tests/test_other.py::test_never"]
    assert found["tests"]["ran"] == "tests/test_cart.py, tests/test_other.py"
    assert (project / "cart.py").read_text() == CART, "only the copy was brought back"


def test_only_tests_that_touch_the_change_are_run(veilig: Terminal, project: Path) -> None:
    (project / "cart.py").write_text(f"{GOOD}\n\ndef count(items):\n    return len(items)\n")
    code, found = review(veilig)
    assert (code, found["tests"]["ran"], found["tests"]["passed"]) == (0, "tests/test_cart.py", 1)
    assert found["tests"]["old"] == [], "the one that always fails is about something else"


def test_a_patch_is_judged_without_being_made_in_the_folder(veilig: Terminal, project: Path) -> None:
    (project / "cart.py").write_text(CART)
    (project / "new.py").write_text("import reqeusts\n\nprint(reqeusts)\n")
    (project / "requirements.txt").write_text("reqeusts==1.0\n")
    git(project, "add", "-A")
    patch = git(project, "diff", "--cached")
    git(project, "reset", "-q", "--hard")
    code, found = review(veilig, "--patch", "-", stdin=patch)
    assert code == 1
    rules = {(f["rule"], f["path"]) for f in found["report"]["findings"]}
    assert {("lookalike-package", "new.py"), ("lookalike-package", "requirements.txt")} <= rules
    assert found["tests"]["new"] == ["tests/test_cart.py::test_total"]
    assert not (project / "new.py").exists()
    assert (project / "cart.py").read_text() == GOOD


def test_a_model_comments_on_added_lines_only_and_decides_nothing(veilig: Terminal, project: Path) -> None:
    (project / "cart.py").write_text(f"{GOOD}\n\ndef mean(items):\n    return total(items) / len(items)\n")
    (project / "private.csv").write_text("Ann,12\n")
    policy = veilig.folder / "operator.yaml"
    policy.write_text("models: {allowed: [scripted], withhold: ['*.csv']}\n")
    answer = {
        "comments": [
            {"path": "cart.py", "line": 6, "level": "high", "text": "divides by zero for no items"},
            {"path": "cart.py", "line": 1, "level": "high", "text": "not an added line"},
            {"path": "cart.py", "line": "x", "level": "high", "text": "no line"},
        ]
    }
    words = ("--model", "scripted", "--policy", str(policy))
    with replay([json.dumps(answer)] * 3) as server:
        given = (*words, "--model-url", server.url)
        code, found = review(veilig, *given)
        sent = json.dumps([request.body for request in server.requests])
        page = veilig("review", "--folder", "shop", "--format", "md", *given).out
        sarif = veilig("review", "--folder", "shop", "--format", "sarif", *given).json
    assert code == 0, found
    comments = [(c["path"], c["line"], c["level"]) for c in found["model"]["comments"]]
    assert comments == [("cart.py", 6, "high")]
    assert "2 of its comments stand on no added line" in found["model"]["trouble"][-1]
    assert "private.csv: the policy withholds it from models" in found["model"]["trouble"]
    assert "Ann,12" not in sent
    assert "`model   cart.py:6  high: divides by zero for no items`" in page
    results = sarif["runs"][0]["results"]
    assert [(r["ruleId"], r["level"]) for r in results] == [("model-comment", "warning")]
    assert results[0]["locations"][0]["physicalLocation"]["region"]["startLine"] == 6


def test_a_secret_in_a_change_is_found_and_neither_shown_nor_recorded(
    veilig: Terminal, project: Path
) -> None:
    secret = "ghp_" + "Zb1c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s"
    (project / "settings.py").write_text(f'TOKEN = "{secret}"\n')
    with replay([json.dumps({"comments": []})]) as server:
        said = veilig("review", "--folder", "shop", "--model", "m", "--model-url", server.url)
        assert secret not in json.dumps([request.body for request in server.requests])
    assert said.code == 1, said.err
    assert "settings.py:1" in said.out
    assert secret not in said.out
    assert secret.encode() not in b"".join(p.read_bytes() for p in veilig.home.glob("ledger.db*"))


@pytest.mark.parametrize(
    ("words", "stdin", "why"),
    [
        pytest.param(("HEAD", "--patch", "-"), "", "exclude each other", id="both"),
        pytest.param(("no-such-rev",), "", "names no commit", id="no commit"),
        pytest.param(("--patch", "-"), "hello\n", "not a unified diff", id="no diff"),
        pytest.param(("--patch", "-"), "--- a/x.py\n+++ b/x.py\n@@ -1 +1 @@\n-a\n+b\n", "x.py", id="misfit"),
    ],
)
def test_what_cannot_be_reviewed_is_refused(
    veilig: Terminal, project: Path, words: tuple[str, ...], stdin: str, why: str
) -> None:
    said = veilig("review", "--folder", "shop", *words, stdin=stdin)
    assert said.code in (2, 4)
    assert why in said.err


def test_no_change_is_no_work(veilig: Terminal, project: Path) -> None:
    said = veilig("review", "--folder", "shop")
    assert (said.code, said.out) == (0, "nothing has changed since HEAD\n")


def test_a_binary_file_in_a_patch_is_named_and_the_rest_is_reviewed(veilig: Terminal, project: Path) -> None:
    (project / "logo.png").write_bytes(bytes(range(256)))
    (project / "cart.py").write_text(CART)
    git(project, "add", "-A")
    patch = git(project, "diff", "--cached", "--binary")
    git(project, "reset", "-q", "--hard")
    code, found = review(veilig, "--patch", "-", stdin=patch)
    assert (code, found["tests"]["new"]) == (1, ["tests/test_cart.py::test_total"])
    assert "binary logo.png: it is no text" in found["not_looked_at"]


def test_a_review_that_was_killed_goes_on(veilig: Terminal, project: Path) -> None:
    (project / "cart.py").write_text(f"import time\n\ntime.sleep(1.5)\n\n\n{CART}")
    words = ("review", "--folder", "shop")
    process = subprocess.Popen(
        veilig.argv(*words), cwd=veilig.folder, env=veilig.environment(), stdout=subprocess.PIPE
    )
    ledger = veilig.home / "ledger.db"
    while not (ledger.exists() and "tests.run" in veilig("ledger", "show", "--json").out):
        assert process.poll() is None
    process.kill()
    process.communicate()
    session = veilig("sessions", "--json").json[0]["session"]
    said = veilig("resume", session)
    assert said.code == 1, said.err
    assert "tests/test_cart.py::test_total fails because of the change" in said.out


def test_a_change_of_other_files_alone_is_reviewed_as_well(veilig: Terminal, project: Path) -> None:
    (project / "old.py").write_text(WEAK)
    (project / "image").write_bytes(b"a\0b")
    git(project, "add", ".")
    git(project, "commit", "-qm", "old")
    (project / "notes.md").write_text("# Notes\n")
    (project / "outside.py").symlink_to("/etc/hosts")
    code, found = review(veilig, "--no-tests")
    assert (code, found["report"]["findings"]) == (3, [])
    assert {s["path"] for s in found["report"]["skipped"]} == {"outside.py"}
    (project / "image").write_bytes(b"a\0c")
    code, found = review(veilig, "--no-tests", "--patch", "-", stdin=git(project, "diff", "image"))
    assert (code, found["report"]["findings"]) == (3, [])
    assert "binary image: it is no text" in found["not_looked_at"]


def test_a_removed_file_is_a_change_whose_tests_run(veilig: Terminal, project: Path) -> None:
    git(project, "rm", "-q", "cart.py")
    code, found = review(veilig)
    assert (code, found["tests"]["new"]) == (1, ["tests/test_cart.py"])
