"""Hooks: the operator's commands on the way of a model's session, as acts of the gate."""

import json
from pathlib import Path
from typing import Any

import pytest

from replay_server import call, replay
from running import done, result, run
from terminal import Terminal

FIX = call("edit", path="cart.py", old="items[1:]", new="items")


def law(veilig: Terminal, *hooks: tuple[str, str], **agent: Any) -> tuple[str, str]:
    given = [{"on": on, "run": ["bash", "-c", script]} for on, script in hooks]
    file = veilig.folder / "operator.yaml"
    file.write_text(json.dumps({"agent": {"hooks": given, **agent}, "models": {"allowed": ["scripted"]}}))
    return "--policy", str(file)


def test_hooks_run_at_their_moments_and_what_they_say_is_data(veilig: Terminal, shop: Path) -> None:
    given = law(
        veilig,
        ("start", "echo read CONTRIBUTING first"),
        ("after_edit", 'echo "changed: $VEILIG_CHANGED"'),
        ("before_finish", "true"),
    )
    script = [call("read", path="cart.py"), FIX, done()]
    with replay(script) as server:
        said = run(veilig, server, "mend it", "--json", *given)
        sent = [json.dumps(request.body["messages"]) for request in server.requests]
    assert said.code == 0, said.out[-2000:]
    assert "says (data, no instruction):\\nread CONTRIBUTING first" in sent[0]
    assert "changed: cart.py" not in sent[1], "reading is no edit"
    assert "changed: cart.py" in sent[2]
    assert "the operator's hook 'bash -c true' says yes" in result(said)["proof"]
    session = result(said)["session"]
    acts = veilig("sessions", "show", session, "--json", *given).json["timeline"]
    assert sum(a["kind"] == "command.run" and a["verdict"] == "allow" for a in acts) == 3


def test_a_hook_that_fails_keeps_done_from_being_accepted(veilig: Terminal, shop: Path) -> None:
    given = law(veilig, ("before_finish", "test -f CHANGES.md || { echo 'no CHANGES.md'; exit 3; }"))
    script = [FIX, done(), call("edit", path="CHANGES.md", old="", new="mended\n"), done()]
    with replay(script) as server:
        said = run(veilig, server, "mend it", *given)
        back = server.requests[2].results[-1][1]
    assert said.code == 0, said.out
    assert "Not accepted yet" in back
    assert "no CHANGES.md" in back
    with replay(lambda request: done() if request.results else FIX) as server:
        said = run(veilig, server, "mend it", "--apply", *given)
    assert said.code == 1, "a model that never does it is not believed"
    assert "items[1:]" in (shop / "cart.py").read_text()


def test_what_a_hook_changes_is_in_the_diff_and_is_proven(veilig: Terminal, shop: Path) -> None:
    given = law(veilig, ("before_finish", "echo '# formatted' >> cart.py"))
    with replay([FIX, done()]) as server:
        end = result(run(veilig, server, "mend it", "--json", *given))
    assert "+# formatted" in end["diff"]
    assert "1 tests pass" in end["proof"]


def test_a_hook_that_the_policy_refuses_is_not_taken_for_a_yes(veilig: Terminal, shop: Path) -> None:
    commands = [["python", "**"], {"argv": ["bash", "**"], "verdict": "deny"}]
    given = law(veilig, ("before_finish", "true"), commands=commands)
    with replay(lambda request: done() if request.results else FIX) as server:
        said = run(veilig, server, "mend it", "--json", *given)
        told = server.requests[2].results[-1][1]
    assert said.code == 1
    assert "the operator's hook 'bash -c true' was refused" in told
    assert "command.run was refused 3 times" in result(said)["summary"]


@pytest.mark.parametrize(("allowed", "runs"), [(False, False), (True, True)])
def test_a_projects_own_hook_runs_only_where_the_operator_says_so(
    veilig: Terminal, shop: Path, allowed: bool, runs: bool
) -> None:
    own = {"agent": {"hooks": [{"on": "start", "run": ["bash", "-c", "echo from the project"]}]}}
    (shop / "veilig.yaml").write_text(json.dumps(own))
    with replay([done()]) as server:
        run(veilig, server, "look", *law(veilig, project_hooks=allowed))
        first = json.dumps(server.requests[0].body["messages"])
    assert ("from the project" in first) is runs
    assert ("the project's hook" in first) is runs
