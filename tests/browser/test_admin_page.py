"""Can somebody with a seat decide an appeal with the keyboard alone, on a page that runs no script?"""

import asyncio
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateways import POLICY, rules_of
from page_driver import chromium, serious, window
from terminal import Terminal
from veilig.access.seats import Duty
from veilig.app import access, cases, seats
from veilig.app.access import Office
from veilig.app.safeguards import Desk
from veilig.core.actor import Actor
from veilig.core.clock import SystemClock
from veilig.core.ledger import Ledger
from veilig.monitor.ladder import Level

pytestmark = [pytest.mark.outside_gate, pytest.mark.browser, pytest.mark.slow]
KEYS_MAX = 60  # Tab presses to reach anything on one page
SAID = "<img src=x onerror=document.title='owned'>"


def prepare(home: Path) -> tuple[str, str]:
    """A suspended key whose holder appealed; the case, and the key of a reviewer's seat."""
    home.mkdir(parents=True, exist_ok=True)
    with Ledger.open(home / "ledger.db", anchor_dir=home / "anchors") as ledger:
        rules = rules_of(POLICY)
        desk = Desk(ledger, rules, SystemClock())
        alice, ann = (Office(desk, rules, Actor(name), str) for name in ("alice", "ann"))
        access.add_subject(alice, "ann", "acme", "person")
        made, _ = access.issue_key(alice, "ann", 1e6)
        case = asyncio.run(
            cases.set_level(alice, f"key:{made.id}", Level.SUSPEND, 3600, "scans of others")
        ).case
        asyncio.run(cases.appeal(ann, case, SAID))
        return case, seats.give(alice, "bob", Duty.REVIEWER, 3600)[1]


@contextmanager
def served(veilig: Terminal) -> Generator[str]:
    """The page's address, while `veilig gateway admin` runs."""
    argv = veilig.argv("gateway", "admin", "--at", "127.0.0.1:8097")
    with subprocess.Popen(
        argv, cwd=veilig.folder, env=veilig.environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("admin"), line
            yield line.split()[1]
        finally:
            process.terminate()


def tab_to(page: Any, selector: str) -> None:
    """Press Tab until this has the focus, and the focus can be seen."""
    for _ in range(KEYS_MAX):
        page.keyboard.press("Tab")
        if page.evaluate(f"document.activeElement.matches({selector!r})"):
            outline = "getComputedStyle(document.activeElement).outlineStyle"
            assert page.evaluate(outline) != "none", f"the focus on {selector} cannot be seen"
            return
    raise AssertionError(f"{selector} is not reached with the keyboard")


def test_a_reviewer_decides_an_appeal_with_the_keyboard_alone(tmp_path: Path) -> None:
    veilig = Terminal(tmp_path)
    case, key = prepare(veilig.home)
    with served(veilig) as address, chromium() as browser:
        here = window(browser)
        page = here.page
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.goto(address)
        page.keyboard.type(key)
        page.keyboard.press("Enter")
        page.wait_for_selector("nav")
        assert serious(here) == []
        here.shot("admin-waiting")
        tab_to(page, f"a[href='/cases/{case}']")
        page.keyboard.press("Enter")
        page.wait_for_selector("dl")
        assert SAID in page.inner_text("dl")
        assert serious(here) == []
        here.shot("admin-case")
        tab_to(page, "select[name=decision]")
        page.keyboard.type("grant")
        tab_to(page, "input[name=reason]")
        page.keyboard.type("their own machines")
        page.keyboard.press("Enter")
        page.wait_for_selector("[role=status]")
        assert "granted" in page.inner_text("dl >> nth=0")
        for path in ("", "cases", "subjects", "subjects/ann", "budgets", "safeguards"):
            page.goto(address + path)
            assert serious(here) == []
            assert page.evaluate("document.scripts.length") == 0
        assert page.title() != "owned"
        assert here.errors == []
        assert not [text for text in said if "Content Security Policy" in text]
    assert veilig("cases", "list", "--json").json[0]["appeal"] == "granted"
