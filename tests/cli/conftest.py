"""What do the tests of the command line share? A terminal of their own, and a quick one in this process."""

import sys
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from running import CART, TEST
from terminal import Said, Terminal
from veilig.cli.main import main


@pytest.fixture
def veilig(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)


@pytest.fixture
def inside(
    veilig: Terminal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """The same command line without a new process: for the many ways to be refused."""
    for name, value in veilig.environment().items():
        monkeypatch.setenv(name, value)
    for name in ("VEILIG_POLICY", "VEILIG_ADVISORIES", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(veilig.folder)

    def call(*words: str, stdin: str = "") -> Said:
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(stdin.encode())))
        try:
            code = main(words)
        except SystemExit as end:  # argparse leaves so
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return call


@pytest.fixture
def shop(veilig: Terminal) -> Path:
    """A shop with a wrong sum, and the test that says so."""
    return veilig.project("shop", cart=CART, **{"tests/test_cart.py": TEST, "conftest.py": ""})
