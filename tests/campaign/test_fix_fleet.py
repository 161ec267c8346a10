"""Does `veilig fix --fleet` make a patch for each repository, stop when all fail, and change no tree?"""

import json
import subprocess

import pytest

from git_server import commit, git
from terminal import Terminal

pytestmark = pytest.mark.outside_gate

WEAK = """import subprocess
import sys


def ls(x):
    return subprocess.run(f"ls {x}", shell=True)


ls(sys.argv[1])
"""


def test_each_repository_gets_a_patch_and_keeps_its_tree(veilig: Terminal) -> None:
    one = veilig.project("deep/one", app=WEAK)
    commit(one)
    veilig.project("two", app=WEAK)
    veilig.project("fine", app="x = 1\n")
    (veilig.folder / "repos.txt").write_text("gone-1\ngone-2\ndeep/one\ntwo\nfine\n")
    words = ("fix", "--fleet", "repos.txt", "--out", "out", "--stop-after", "2")
    stopped = veilig(*words, "--json")
    found = [json.loads(line) for line in stopped.out.splitlines()][1:]
    assert (stopped.code, [r["status"] for r in found]) == (3, ["failed"] * 2 + ["skipped"] * 3), stopped.err
    assert "in a row" in found[2]["reason"]

    (veilig.folder / "gone-1").mkdir()
    again = veilig(*words, "--json")
    found = {r["label"]: r for r in map(json.loads, again.out.splitlines()) if "label" in r}
    assert {name: (r["status"], r["patch"]) for name, r in found.items()} == {
        "gone-1": ("clean", ""),
        "gone-2": ("failed", ""),
        "deep/one": ("fixed", "deep-one.patch"),
        "two": ("fixed", "two.patch"),
        "fine": ("clean", ""),
    }
    assert (again.code, found["two"]["reason"]) == (3, "as deep/one")
    assert (one / "app.py").read_text() == WEAK
    assert git(one, "status", "--porcelain") == ""
    patch = veilig.folder / "out" / "deep-one.patch"
    assert patch.read_text().startswith("Repository: deep/one\nBase: ")
    subprocess.run(["git", "-C", str(one), "apply", str(patch)], check=True)
    assert "shell=True" not in (one / "app.py").read_text()
    assert "deep/one" in (veilig.folder / "out" / "campaign.html").read_text()


def test_what_does_not_go_with_a_fleet_is_refused(veilig: Terminal) -> None:
    (veilig.folder / "repos.txt").write_text("one\n")
    for words in (("--apply", "--out", "o"), ("one", "--out", "o"), (), ("--out", "o", "--jobs", "0")):
        said = veilig("fix", "--fleet", "repos.txt", *words)
        assert said.code == 2, (words, said.err)
    assert veilig("fix").code == 2
