"""`veilig run --desktop` with a scripted model: real windows, clicks and keys in the box, behind the wall."""

import base64
import json
from pathlib import Path

from desktops import NEEDS_DESKTOP, Patient
from replay_server import replay
from running import run, session_of
from terminal import Terminal

pytestmark = NEEDS_DESKTOP
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n\0").decode()


def test_a_model_works_at_a_desktop_and_sees_it_and_its_files_arrive_as_a_diff(
    veilig: Terminal, shop: Path
) -> None:
    model = Patient(
        {"do": "launch", "text": "mousepad notes.txt"},
        {"do": "click", "on": 'text ""', "picture": True},
        {"do": "fly"},
        {"do": "key", "keys": "ctrl+frobnicate"},
        {"do": "type", "text": "caf\u00e9 \u20ac 5\nsecond line"},
        {"do": "click", "on": 'menu "File"'},
        {"do": "click", "on": 'menu item "Save"'},
        {"do": "wait", "seconds": 1},
        {"do": "move", "on": 'frame "'},
    )
    with replay(model) as server:
        said = run(veilig, server, "write notes.txt in the editor", "--desktop", "--no-verify")
        seen = [request for request in server.requests if PNG in json.dumps(request.body)]
    assert said.code == 0, said.out + said.err + "\n".join(model.told)
    assert model.told[0].startswith("[a new desktop was stood up]")
    assert any("do is one of click" in text for text in model.told)
    assert any("No such key name" in text for text in model.told)
    assert seen, "a look with a picture shows the model one"
    diff = veilig("resume", session_of(said), "--diff").out
    assert "+caf\u00e9 \u20ac 5\n+second line" in diff
    assert not (shop / "notes.txt").exists(), "the user's own tree stays as it is"


def test_a_desktop_is_refused_where_the_policy_does_not_speak_of_it(veilig: Terminal, shop: Path) -> None:
    law = veilig.folder / "law.yaml"
    law.write_text("agent: {apply: ask}\nmodels: {allowed: ['*'], all: true}\n")
    model = Patient({"do": "launch", "text": "xterm"})
    with replay(model) as server:
        said = run(veilig, server, "open a terminal", "--desktop", "--no-verify", "--policy", str(law))
    assert "refused" in model.told[-1], said.out
    assert "agent.desktop" in model.told[-1]
