"""`veilig people` and the refusals of `veilig serve`, as somebody at a terminal meets them."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from veilig.cli.main import main

PASSWORD = "correct-horse-battery-9"


def veilig(home: Path, *words: str, typed: str = "") -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "VEILIG_HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")}
    argv = [sys.executable, "-m", "veilig.cli.main", *words]
    return subprocess.run(argv, input=typed, text=True, capture_output=True, env=environment, check=False)


def test_people_are_added_changed_and_blocked_and_the_ledger_knows(tmp_path: Path) -> None:
    assert "nobody has an account yet" in veilig(tmp_path, "people").stdout
    added = veilig(tmp_path, "people", "add", "ann", "--role", "driver", typed=PASSWORD + "\n")
    assert (added.returncode, added.stdout) == (0, "added   ann as driver\n"), added.stderr
    blocked = veilig(tmp_path, "people", "change", "ann", "--block", "--role", "viewer")
    assert blocked.stdout == "changed ann: viewer, blocked\n", blocked.stderr
    listed = json.loads(veilig(tmp_path, "people", "--json").stdout)
    assert listed == [{"id": "ann", "name": "ann", "role": "viewer", "active": False, "subject": ""}]
    told = veilig(tmp_path, "ledger", "show", "--json").stdout
    assert "person.added" in told
    assert "person.changed" in told
    assert PASSWORD not in told


@pytest.mark.parametrize(
    ("words", "typed", "said"),
    [
        (("people", "add", "bob"), "short\n", "easy to guess"),
        (("people", "add", "bob"), "", "no password"),
        (("people", "add", "b/b", "--no-password"), "", "cannot be a person's name"),
        (("people", "change", "nobody", "--block"), "", "no account"),
        (("people", "change", "nobody"), "", "nothing is to be changed"),
        (("serve", "--listen", "0.0.0.0:0"), "", "--url"),
        (("serve", "--listen", "nonsense"), "", "--listen 'nonsense'"),
        (("serve", "--listen", "127.0.0.1:65536"), "", "no address"),
        (("serve", "--url", "example.org"), "", "address of a site"),
        (("serve", "no/such/folder"), "", "not a folder"),
        (("serve", "--oidc-issuer", "https://id.example.org"), "", "--oidc-client"),
        (("serve", "--webhook", "ftp://x"), "", "address for messages"),
        (("watch", "http://127.0.0.1:1/"), "", "no address of a session"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else None,
)
def test_what_cannot_be_is_refused_with_a_way_out(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    typed: str,
    said: str,
) -> None:
    monkeypatch.setenv("VEILIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert main(words) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.out == ""
