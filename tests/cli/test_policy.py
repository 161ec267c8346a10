"""`veilig policy`: what is wrong with a file, what it decides, and what holds here."""

import json
from collections.abc import Callable

import pytest

from terminal import Said, Terminal

GOOD = """\
mode: propose
agent: {commands: [[make, test]], unlisted_commands: deny}
tests:
  - {name: make test runs, action: {kind: command.run, argv: [make, test]}, expect: allow}
  - {name: nothing else does, action: {kind: command.run, argv: [make, install]}, expect: deny}
"""
BAD = "mode: propose\nagnet: {}\n"


@pytest.fixture
def here(veilig: Terminal) -> Terminal:
    (veilig.folder / "good.yaml").write_text(GOOD)
    (veilig.folder / "bad.yaml").write_text(BAD)
    return veilig


def test_a_good_file_is_called_valid(here: Terminal) -> None:
    said = here("policy", "check", "good.yaml")
    assert (said.code, "valid" in said.out) == (0, True)


def test_a_mistake_is_shown_with_its_place_a_caret_and_the_nearest_key(here: Terminal) -> None:
    said = here("policy", "check", "bad.yaml")
    assert said.code == 2
    assert "bad.yaml:2:1" in said.err
    assert "^^^^^" in said.err
    assert "agent" in said.err
    told = here("policy", "check", "bad.yaml", "--json")
    assert (told.code, told.json["problems"][0]["line"]) == (2, 2)


def test_a_file_that_is_not_there_is_refused(here: Terminal) -> None:
    assert here("policy", "check", "none.yaml").code == 4
    assert here("policy", "test", "none.yaml").code == 4
    assert here("policy", "show", "--policy", "none.yaml").code == 4
    assert here("policy", "check", VEILIG_POLICY="/nonexistent/veilig.yaml").code == 4


def test_without_any_file_the_built_in_policy_holds(here: Terminal) -> None:
    assert "built-in" in here("policy", "check").out
    assert here("policy", "show", "--json").json["files"][0]["file"] == "built-in"


def test_examples_that_hold_end_with_0_and_one_that_does_not_with_1(here: Terminal) -> None:
    assert here("policy", "test", "good.yaml").code == 0
    (here.folder / "loose.yaml").write_text(GOOD.replace("unlisted_commands: deny", "unlisted_commands: ask"))
    said = here("policy", "test", "loose.yaml")
    assert said.code == 1
    assert "nothing else does" in said.out
    assert "1 of 2 examples" in said.out


def test_the_short_form_and_json_and_file_and_pipe_say_the_same(here: Terminal) -> None:
    action = json.dumps({"kind": "command.run", "argv": ["make", "test"]})
    (here.folder / "action.json").write_text(action)
    law = ("--policy", "good.yaml", "--json")
    short = here("policy", "explain", *law, "command.run", "make", "test").json
    assert short["verdict"] == "allow"
    assert here("policy", "explain", *law, "--action", action).json == short
    assert here("policy", "explain", *law, "--action", "@action.json").json == short
    assert here("policy", "explain", *law, "--action", "-", stdin=action).json == short


def test_the_explanation_names_the_rule_and_why_others_kept_silent(here: Terminal) -> None:
    said = here("policy", "explain", "--policy", "good.yaml", "--", "command.run", "rm", "-rf", "/")
    assert said.code == 0
    assert said.out.startswith("deny")
    assert "'make test' is another command" in said.out


def test_a_project_only_tightens_what_the_operator_allows(here: Terminal) -> None:
    (here.folder / "veilig.yaml").write_text("agent: {commands: [[git, status], [rm, '**']]}\n")
    operator = ("--policy", "good.yaml", "--json")
    assert here("policy", "explain", *operator, "command.run", "make", "test").json["verdict"] != "allow"
    assert here("policy", "explain", *operator, "command.run", "rm", "x").json["verdict"] == "deny"
    assert len(here("policy", "show", *operator).json["files"]) == 2


@pytest.mark.parametrize(
    "words",
    [
        ("policy", "explain"),
        ("policy", "explain", "--action", "{oops"),
        ("policy", "explain", "--action", "@nowhere.json"),
        ("policy", "explain", "--action", '{"kind": "world.end"}'),
        ("policy", "explain", "--action", '{"kind": "command.run", "argv": [], "extra": 1}'),
        ("policy", "explain", "--action", "{}", "command.run"),
        ("policy", "explain", "world.end", "now"),
        ("policy", "explain", "command.run"),
        ("policy", "explain", "service.restart"),
        ("policy", "explain", "service.restart", "worker-*"),
        ("policy", "explain", "container.scale_up", "web", "one", "2"),
        ("policy", "explain", "repair.propose", "x"),
        ("policy", "explain", "command.run", "ls", "--actor", "two words"),
    ],
    ids=" ".join,
)
def test_what_is_no_action_is_refused_with_2(inside: Callable[..., Said], words: tuple[str, ...]) -> None:
    said = inside(*words)
    assert said.code == 2
    assert said.err


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("file.read", ("a.py",)),
        ("file.write", ("a.py",)),
        ("file.delete", ("a.py",)),
        ("workspace.open", (".",)),
        ("workspace.diff", ()),
        ("workspace.apply", (".",)),
        ("git.branch", (".",)),
        ("tests.run", ()),
        ("audit.scan", ()),
        ("service.stop", ("web",)),
        ("container.scale_up", ("web", "1", "2")),
        ("security_group.change", ("g", "authorize", "tcp/22")),
        ("database.change", ("db", "restart")),
        ("model.ask", ("m",)),
    ],
)
def test_every_short_form_makes_an_action(
    inside: Callable[..., Said], kind: str, words: tuple[str, ...]
) -> None:
    assert inside("policy", "explain", "--json", kind, *words).json["verdict"] in {"allow", "ask", "deny"}
