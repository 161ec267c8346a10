"""`veilig doctor` says what stands; `veilig redact` lets no secret through."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from terminal import Terminal, no_wall

TOKEN = "gh" + "p_" + "0zBANMAAcNPMMcv7FQw4U5K95EhDN03EebTy"


def test_doctor_tries_every_wall_and_ends_with_0_when_one_stands(veilig: Terminal) -> None:
    said = veilig("doctor", "--json")
    report = said.json
    assert said.code == 0
    assert [w["name"].removesuffix("-strict") for w in report["walls"]] == [
        "bubblewrap",
        "landlock",
        "container",
    ]
    taken = next(w for w in report["walls"] if w["name"] == report["wall"])
    assert {"network", "files_read", "seccomp"} <= set(taken["holds"])
    assert {c["name"] for c in report["checks"]} == {
        "python",
        "git",
        "advisories",
        "ledger",
        "policy",
        "desktop",
    }
    assert f"sessions run behind {report['wall']}" in veilig("doctor").out


def test_doctor_ends_with_4_when_no_wall_stands(veilig: Terminal) -> None:
    said = veilig("doctor", *no_wall())
    assert said.code == 4
    assert "no wall stands" in said.out


def test_doctor_names_advisory_data_that_is_not_there_and_goes_on(veilig: Terminal) -> None:
    said = veilig("doctor", "--json", VEILIG_ADVISORIES="/nonexistent.sqlite")
    states = {c["name"]: c["state"] for c in said.json["checks"]}
    assert (said.code, states["advisories"]) == (0, "missing")


def test_redact_replaces_secrets_and_leaves_the_rest(veilig: Terminal) -> None:
    said = veilig("redact", stdin=f"a line\nGITHUB_TOKEN={TOKEN}\nthe end\n")
    assert said.code == 0
    assert TOKEN not in said.out
    assert said.out.startswith("a line\nGITHUB_TOKEN=‹secret:")
    assert said.out.endswith("\nthe end\n")


def test_redact_knows_the_secrets_of_the_environment_and_names_them_the_same_each_time(
    veilig: Terminal,
) -> None:
    value = "correct-horse" + "-battery-9417"
    first = veilig("redact", stdin=f"log: {value}\n", DB_PASSWORD=value)
    assert value not in first.out
    assert "DB_PASSWORD" in first.out
    assert veilig("redact", stdin=f"log: {value}\n", DB_PASSWORD=value).out == first.out


def test_redact_passes_bytes_that_are_no_text(veilig: Terminal) -> None:
    assert veilig("redact", stdin="").out == ""
    said = veilig("redact", stdin="caf\u00e9 \u2603\n".encode())
    assert said.out == "caf\u00e9 \u2603\n"


def test_spans_are_in_characters_with_their_kind(veilig: Terminal) -> None:
    text = f"\u2603 token {TOKEN}"
    items = [{"id": "a", "text": text}, {"id": 2, "text": "nothing"}]
    said = veilig("redact", "--jsonl", stdin="\n".join(map(json.dumps, items)))
    first, second = [json.loads(line) for line in said.out.splitlines()]
    assert second == {"id": 2, "spans": []}
    (start, end, kind) = first["spans"][0]
    assert (text[start:end], kind) == (TOKEN, "github-token")


@pytest.mark.parametrize("line", ["{", "[]", '{"id": 1}', '{"text": "x"}', '{"id": 1, "text": 2}', "\u00e9"])
def test_a_line_that_is_no_item_ends_with_2_after_the_good_ones(veilig: Terminal, line: str) -> None:
    said = veilig("redact", "--jsonl", stdin=f'{{"id": 1, "text": "x"}}\n{line}\n')
    assert said.code == 2
    assert "line 2" in said.err
    assert json.loads(said.out) == {"id": 1, "spans": []}


@pytest.mark.outside_gate
def test_redact_live_shows_a_question_while_its_asker_waits(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "veilig.cli.main", "redact", "--live"]
    environment = {
        **os.environ,
        "VEILIG_HOME": str(tmp_path),
        "DB_PASSWORD": "correct-horse" + "-battery-9417",
    }
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"Password:")
        process.stdin.flush()
        seen = b""
        while seen != b"Password:":  # nothing more is written before this is read
            more = os.read(process.stdout.fileno(), 100)
            assert more, seen
            seen += more
        process.stdin.write(b" correct-horse" + b"-battery-9417\n")
        process.stdin.close()
        rest = process.stdout.read().decode()
        assert process.wait(60) == 0
    assert rest.startswith(" ‹secret:DB_PASSWORD#") and "horse" not in rest
