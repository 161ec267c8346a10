"""Starting up: fast, helpful, and without a traceback for what people get wrong."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable

import pytest

from terminal import Said, Terminal
from veilig.cli.main import COMMANDS

START_CPU_S_MAX = 0.15
HEAVY = ("yaml", "cryptography", "sqlite3", "packaging", "veilig.app", "veilig.audit.scan")


def test_the_version_is_told_within_its_time(veilig: Terminal) -> None:
    def cpu_s() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert veilig("--version").out.startswith("veilig ")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(cpu_s() for _ in range(3)) <= START_CPU_S_MAX


def test_building_one_command_imports_nothing_heavy(veilig: Terminal) -> None:
    for name in COMMANDS:
        code = f"import sys, json; from veilig.cli.main import build_parser; build_parser({name!r}); "
        code += f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
        done = subprocess.run(
            [sys.executable, "-c", code], env=dict(os.environ), capture_output=True, check=True
        )
        assert json.loads(done.stdout) == [], name


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(inside: Callable[..., Said], command: str) -> None:
    said = inside(command, "--help")
    assert said.code == 0
    assert said.out.startswith(f"usage: veilig {command}")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("heal-everything",),
        ("sessions", "explode"),
        ("audit",),
        ("grants", "give", "command.run", "ls"),
        ("ledger", "prove", "first"),
    ],
    ids=lambda w: " ".join(w) or "nothing",
)
def test_wrong_use_ends_with_2_and_says_what_can_be_given(
    inside: Callable[..., Said], words: tuple[str, ...]
) -> None:
    said = inside(*words)
    assert said.code == 2
    assert "help" in said.out + said.err or "COMMAND" in said.out


@pytest.mark.parametrize(("words", "meant"), [(("audti", "."), "audit"), (("policy", "chek"), "check")])
def test_a_slip_of_the_hand_is_named(inside: Callable[..., Said], words: tuple[str, ...], meant: str) -> None:
    assert f"did you mean '{meant}'?" in inside(*words).err


def test_a_word_that_is_near_nothing_gets_no_guess(inside: Callable[..., Said]) -> None:
    assert "did you mean" not in inside("heal-everything").err


@pytest.mark.parametrize(
    "words",
    [
        ("sessions",),
        ("sessions", "show", "fix-1"),
        ("sessions", "clean"),
        ("approvals",),
        ("approvals", "approve", "1"),
        ("grants",),
        ("grants", "revoke", "1"),
        ("ledger", "verify"),
        ("ledger", "export"),
        ("ledger", "adopt"),
    ],
    ids=" ".join,
)
def test_without_a_ledger_nothing_is_made_and_it_is_said(
    inside: Callable[..., Said], veilig: Terminal, words: tuple[str, ...]
) -> None:
    said = inside(*words)
    assert said.code == 4
    assert "there is no ledger at" in said.err
    assert not (veilig.home / "ledger.db").exists()


def test_a_reader_that_goes_away_is_no_error(veilig: Terminal) -> None:
    items = veilig.folder / "items"
    items.write_text("".join(f'{{"id": {i}, "text": "nothing to see"}}\n' for i in range(20_000)))
    with items.open("rb") as source:
        process = subprocess.Popen(
            veilig.argv("redact", "--jsonl"),
            env=veilig.environment(),
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(30) == 130
