"""Does the page work without a mouse, with ten thousand events, and when the server is not there?"""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from page_driver import Window, chromium, chromium_path, serious, window
from people_page import PASSWORD, Running, add_person, running, started
from veilig.home import Home

pytestmark = [pytest.mark.outside_gate, pytest.mark.browser, pytest.mark.slow]

MANY = 2500  # acts of four events each
LONG, SMALL = "fix-00000001", "fix-00000002"
QUESTION = {
    "ref": "r-ask", "approval": "0123456789ab", "digest": "d" * 64, "proposer": "agent:fix",
    "needs": [{"gateway": "changes", "roles": ["owner"], "quorum": 1, "expiry_ms": 900_000}],
    "why": ["applies the changes to the source"], "preview": "apply to /srv/shop\n--- a/x.py\n+++ b/x.py",
}  # fmt: skip


def proposed(ref: str, action: dict[str, Any], digest: str) -> tuple[str, dict[str, Any]]:
    return "action.proposed", {"ref": ref, "action": action, "digest": digest, "actor": "agent:fix"}


def act(ref: str, action: dict[str, Any], detail: str) -> list[tuple[str, dict[str, Any]]]:
    rule = {"rule": "agent.paths.read[0]", "reasons": ["allow reading"], "policy": "p"}
    begun = {"digest": "0" * 64, "policy": "p", "timeout_ms": 1000}
    done = {"status": "done", "detail": detail, "data": {}, "wall_ms": 2}
    return [
        proposed(ref, action, "0" * 64),
        ("action.decided", {"ref": ref, "verdict": "allow", **rule}),
        ("action.started", {"ref": ref, **begun}),
        ("action.verified", {"ref": ref, **done}),
    ]


def sessions(home: Path) -> None:
    """A long session, and a small one with a denial and a question; written as another process would."""
    with Home(home).open_ledger() as ledger:
        long: list[tuple[str, dict[str, Any]]] = [started()]
        for i in range(MANY):
            long += act(f"r{i}", {"kind": "file.view", "path": f"src/file{i}.py"}, f"{i} lines")
        refused = {"ref": "r-no", "rule": "protected", "why": "the record is not for agents"}
        delete = {"kind": "file.delete", "path": ".git/config", "before": ""}
        apply = {"kind": "workspace.apply", "root": "/srv/shop", "diff": "", "base": []}
        small: list[tuple[str, dict[str, Any]]] = [
            started(),
            *act("r-one", {"kind": "tests.run", "tests": []}, "3 passed"),
            proposed("r-no", delete, "1" * 64),
            ("action.refused", refused),
            proposed("r-ask", apply, "d" * 64),
            ("approval.asked", QUESTION),
            ("action.held", {"ref": "r-ask", "approval": "0123456789ab", "why": "1 of owner"}),
        ]
        for name, events in ((LONG, long), (SMALL, small)):
            for at in range(0, len(events), 500):
                some = events[at : at + 500]
                ledger.transact(lambda tx, n=name, s=some: [tx.append(e, n, body) for e, body in s])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    chromium_path()
    home = tmp_path_factory.mktemp("home")
    add_person(home, "ann", "owner")
    sessions(home)
    with running(home, [tmp_path_factory.mktemp("projects")]) as told:
        yield told


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as made:
        yield made


def by_keys(one: Window, url: str) -> None:
    """Sign in with nothing but a keyboard."""
    one.page.goto(url)
    one.page.get_by_label("Name").focus()
    for words, key in (("ann", "Tab"), (PASSWORD, "Enter")):
        one.page.keyboard.type(words)
        one.page.keyboard.press(key)
    one.page.get_by_role("heading", name="Sessions").wait_for()


def test_everything_needed_can_be_reached_by_keys(server: Running, browser: Any) -> None:
    ann = window(browser)
    page, press = ann.page, ann.page.keyboard.press
    by_keys(ann, server.url)
    assert serious(ann) == []
    press("/")
    page.keyboard.type(SMALL)
    page.locator("tbody tr").first.get_by_text(SMALL).wait_for()
    page.locator("tbody tr").nth(1).wait_for(state="detached")
    press("Escape")
    press("Enter")
    page.locator(".l-live").wait_for()
    page.get_by_text("Apply the changes to /srv/shop").first.wait_for()  # the rows come after the socket
    for _ in range(2):
        press("k")
    press("Enter")
    page.locator(".detail").get_by_text("the record is not for agents").first.wait_for()
    press("j")
    press("a")
    page.get_by_test_id("approval").wait_for()
    assert serious(ann) == []
    press("Escape")
    press("g")
    page.get_by_role("heading", name="Sessions").wait_for()
    press("?")
    page.get_by_role("dialog", name="Keys and marks").wait_for()
    assert serious(ann) == []
    press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    press("Tab")
    shown = ann.script("getComputedStyle(document.activeElement).outlineStyle")
    assert shown != "none", "where the keys are is visible"
    assert ann.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_of_the_work_is_accessible(server: Running, browser: Any, scheme: str) -> None:
    ann = window(browser, scheme=scheme)
    by_keys(ann, server.url)
    ann.page.goto(f"{server.url}/#/s/{SMALL}")
    ann.page.locator(".l-live").wait_for()
    for key in "123456":
        ann.page.keyboard.press(key)
        ann.page.locator(f"[role=tab]:nth-child({key})[aria-selected=true]").wait_for()
        assert serious(ann) == []
    assert ann.errors == []


def test_ten_thousand_events_stay_few_rows_and_one_is_found(server: Running, browser: Any) -> None:
    ann = window(browser)
    by_keys(ann, server.url)
    ann.page.goto(f"{server.url}/#/s/{LONG}")
    ann.page.locator(".l-live").wait_for()
    ann.page.get_by_test_id("row-count").get_by_text(f"{MANY + 1} rows").wait_for()
    seqs = ann.seqs()
    assert len(seqs) == MANY * 4 + 1
    assert seqs == sorted(set(seqs))
    assert ann.page.locator(".tl-item").count() < 80
    ann.page.keyboard.press("/")
    ann.page.keyboard.type("file1234.py")
    ann.page.get_by_test_id("row-count").get_by_text(f"1 of {MANY + 1}").wait_for()
    ann.page.keyboard.press("Escape")
    assert ann.errors == []


def test_what_is_not_there_is_said_with_what_to_do(server: Running, browser: Any) -> None:
    ann = window(browser)
    by_keys(ann, server.url)
    ann.page.goto(f"{server.url}/#/s/fix-ffffffff")
    ann.page.get_by_role("alert").get_by_text("no such session").wait_for()
    ann.page.goto(f"{server.url}/#/join/not-a-link-of-ours")
    ann.page.get_by_role("button", name="Join").click()
    ann.page.get_by_role("alert").wait_for()


def test_where_sockets_are_blocked_the_page_lives_on_server_sent_events(
    server: Running, browser: Any
) -> None:
    ann, bob = window(browser), window(browser)
    bob.page.add_init_script(
        "window.WebSocket = class { constructor() { setTimeout(() => this.onclose(), 0) } close() {} }"
    )
    for one in (ann, bob):
        by_keys(one, server.url)
        one.page.goto(f"{server.url}/#/s/{SMALL}")
        one.page.locator(".l-live").wait_for()
    ann.page.keyboard.press("c")
    ann.page.get_by_label("Comment", exact=True).fill("Do you hear me?")
    ann.page.keyboard.press("Enter")
    bob.page.get_by_test_id("said").get_by_text("Do you hear me?").wait_for()
    ann.page.get_by_test_id("said").get_by_text("Do you hear me?").wait_for()
    assert bob.seqs() == ann.seqs()


def test_a_server_that_stops_leaves_the_page_readable_and_is_found_again(
    server: Running, browser: Any, tmp_path: Path
) -> None:
    """Last in this file: it ends the server that the others use."""
    ann = window(browser)
    by_keys(ann, server.url)
    ann.page.goto(f"{server.url}/#/s/{SMALL}")
    ann.page.locator(".l-live").wait_for()
    before = ann.seqs()
    server.process.send_signal(signal.SIGTERM)
    try:
        server.process.wait(60)
    except subprocess.TimeoutExpired:
        pytest.fail("the server did not stop with an open page")
    ann.page.locator(".l-reconnecting").wait_for()
    assert ann.seqs() == before
    ann.page.get_by_text("Delete .git/config").first.wait_for()
    port = server.url.rpartition(":")[2]
    with running(server.home, [tmp_path], "--listen", f"127.0.0.1:{port}"):
        ann.page.locator(".l-live").wait_for()
        assert ann.seqs()[: len(before)] == before
