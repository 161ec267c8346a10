"""Does the law in force refuse what it cannot keep, and can a project only tighten it?"""

import os
from pathlib import Path

import pytest

from veilig.core.action import ReadFile, RestartService, RunCommand, WriteFile
from veilig.core.actor import Actor, ActorKind
from veilig.core.errors import PolicyError
from veilig.core.policy import Facts
from veilig.core.provider import strictness
from veilig.law import Laws, find_laws


def laws(folder: Path, operator: str, project: str = "") -> Laws:
    first, second = folder / "operator.yaml", folder / "project.yaml"
    first.write_text(operator)
    second.write_text(project)
    return Laws(first, second if project else None)


@pytest.mark.parametrize(
    ("operator", "mode"),
    [("", "act"), ("mode: propose\n", "propose"), ("mode: observe\n", "observe"), ("mode: act\n", "act")],
)
def test_act_at_the_terminal_fills_a_silence_and_loosens_no_word(
    tmp_path: Path, operator: str, mode: str
) -> None:
    plain = laws(tmp_path, operator + "ledger: {}\n")
    acting = Laws(tmp_path / "operator.yaml", None, act=True)
    assert acting.operator.mode == mode
    assert (acting.digest() == plain.digest()) == bool(operator)


def test_act_at_the_terminal_does_not_loosen_the_built_in_policy() -> None:
    assert Laws(None, None, act=True).operator.mode == "propose"


@pytest.mark.parametrize("operator", ["observe", "propose", "act"])
@pytest.mark.parametrize("project", ["observe", "propose", "act"])
def test_a_projects_own_policy_never_loosens_the_operators(
    tmp_path: Path, operator: str, project: str
) -> None:
    alone = laws(tmp_path, f"mode: {operator}\n")
    both = laws(tmp_path, f"mode: {operator}\n", f"mode: {project}\n")
    agent = Actor("agent:fix", ActorKind.AGENT)
    for action in (ReadFile("a.py"), RunCommand(("ls",)), WriteFile("a.py", "x"), RestartService("web")):
        was, now = (law.decide(action, agent, Facts()).verdict for law in (alone, both))
        assert strictness(now) >= strictness(was), action


@pytest.mark.parametrize("whose", ["operator", "project"])
@pytest.mark.parametrize("how", ["dangling link", "loop", "pipe", "folder", "other suffix"])
def test_a_policy_that_stands_there_and_cannot_be_read_is_not_no_policy(
    tmp_path: Path, whose: str, how: str
) -> None:
    config, source = tmp_path / "config", tmp_path / "source"
    place = (config / "veilig" if whose == "operator" else source) / "veilig.yaml"
    for folder in (config / "veilig", source):
        folder.mkdir(parents=True)
    environment = {"XDG_CONFIG_HOME": str(config)}
    assert find_laws(source, None, environment).project is None
    match how:
        case "dangling link":
            place.symlink_to(tmp_path / "gone")
        case "loop":
            place.symlink_to(place)
        case "pipe":
            os.mkfifo(place)
        case "folder":
            place.mkdir()
        case _:
            place.with_suffix(".yml").write_text("mode: observe\n")
    with pytest.raises(PolicyError):
        find_laws(source, None, environment)
