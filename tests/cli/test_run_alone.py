"""`veilig run` without a model: each thing that it can do is said before it starts, and done."""

import subprocess
from pathlib import Path

import pytest

from running import CART, TEST
from terminal import Said, Terminal

GOOD = CART.replace("items[1:]", "items")
BUILD = "import cart\n\nassert cart.total([]) == 0\nprint('built')\n"


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


def commit(folder: Path, subject: str, **files: str) -> None:
    for stem, text in files.items():
        (folder / f"{stem}.py").write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", subject)


def alone(veilig: Terminal, task: str, *words: str) -> Said:
    return veilig("run", task, "shop", *words, VEILIG_MODEL="", VEILIG_MODEL_URL="")


@pytest.fixture
def history(veilig: Terminal) -> Path:
    """Five commits; the third broke the build."""
    folder = veilig.project("shop", cart=GOOD, build=BUILD, other="x = 1\n", **{"tests/test_cart.py": TEST})
    git(folder, "init", "-q")
    commit(folder, "begin")
    commit(folder, "count things", other="x = 2\n")
    commit(
        folder, "make it fast", cart="def total(items):\n    return sum(i.price for i in items) + unknown\n"
    )
    commit(folder, "name things", other="y = 2\n")
    commit(folder, "name things again", other="z = 2\n")
    return folder


def test_the_change_that_broke_a_command_is_found_and_the_failure_is_explained(
    veilig: Terminal, history: Path
) -> None:
    said = alone(veilig, "which change broke `python build.py`?")
    assert said.code == 1, said.err
    assert "model   none: the embedded planner runs 'python build.py' in a copy" in said.err
    assert "it mends nothing" in said.err
    assert "why     NameError: name 'unknown' is not defined at" in said.out
    assert "cart.py:2" in said.out
    assert "'make it fast'" in said.out
    assert "unknown" in (history / "cart.py").read_text(), "nothing of the user's is changed"
    rows = veilig("sessions", "--json").json
    assert (rows[-1]["kind"], rows[-1]["state"]) == ("explain", "done")


def test_a_command_that_always_failed_has_no_culprit(veilig: Terminal, history: Path) -> None:
    said = alone(veilig, "bisect 'python nothing.py'", "--json")
    assert said.code == 1
    assert said.json["culprit"].startswith("none of the last")


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("no-such-program --now", "'no-such-program' is not there"),
        (
            "python -c 'import nowhere_to_be_found'",
            "the Python package of 'nowhere_to_be_found' is not there",
        ),
        ("curl https://example.org", "network"),
        ("echo 'src/a.c:3:5: error: expected ;' && exit 2", "src/a.c:3: expected ;"),
        ("touch /usr/x", "outside its copy"),
    ],
)
def test_a_failing_command_is_explained_by_its_own_words(
    veilig: Terminal, shop: Path, command: str, why: str
) -> None:
    said = alone(veilig, f"explain why `{command}` fails", "--json")
    assert said.code == 1, said.err
    assert any(why in cause for cause in said.json["causes"]), said.json


def test_a_command_that_succeeds_is_said_to(veilig: Terminal, shop: Path) -> None:
    said = alone(veilig, 'why does "python -c pass" fail?')
    assert said.code == 0
    assert "it succeeds here, in a copy behind the wall and without network" in said.out


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("make the failing tests pass", "makes failing tests pass"),
        ("which commit broke the tests?", "makes failing tests pass"),
        ("fix the security findings", "fixes weaknesses and vulnerable pins"),
        ("upgrade the vulnerable packages", "fixes weaknesses and vulnerable pins"),
        ("fix the config error", "mends syntax and configuration"),
    ],
)
def test_what_is_done_without_a_model_is_said_first(
    veilig: Terminal, shop: Path, task: str, says: str
) -> None:
    said = alone(veilig, task)
    assert said.err.startswith("model   none: the embedded planner ")
    assert says in said.err.splitlines()[0]


def test_the_tests_breaking_commit_is_named_by_the_repair(veilig: Terminal, history: Path) -> None:
    said = alone(veilig, "which commit broke the tests?")
    assert "make it fast" in said.out, said.out


def test_a_weakness_is_mended_without_a_model(veilig: Terminal) -> None:
    veilig.project("shop", load="import yaml\n\n\ndef load(text):\n    return yaml.load(text)\n")
    said = alone(veilig, "fix the security findings", "--apply")
    assert "fixed" in said.out, said.out + said.err


def test_a_command_that_waits_for_people_is_explained_when_they_said_yes(
    veilig: Terminal, shop: Path
) -> None:
    policy = veilig.folder / "operator.yaml"
    policy.write_text("agent: {commands: [{argv: [make, '**'], verdict: ask}]}\n")
    law = ("--policy", str(policy))
    said = alone(veilig, "explain why `make it` fails", *law)
    assert said.code == 4
    assert "waits for" in said.err
    waits = veilig("approvals", "--json", *law).json
    assert veilig("approvals", "approve", waits[0]["approval"], *law).code == 0
    session = veilig("sessions", "--json", *law).json[0]["session"]
    again = veilig("resume", session, *law)
    assert again.code == 1, again.err
    assert "why     " in again.out
