"""Two people in one running `veilig fix`: does each see what is theirs, and do they decide together?

And then a watch over services, begun, decided and stopped on the same page.
"""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet import Fleet, until
from page_driver import Window, chromium, chromium_path, serious, window
from people_page import PASSWORD, Running, add_person, running
from veilig.providers.drivers import find_driver

pytestmark = [pytest.mark.outside_gate, pytest.mark.browser, pytest.mark.slow]

SECRET = "ghp_" + "R7tWq2Zk9LmX4bVn" + "8sYd3Fh6Jc1Pg5Ta0Ue2"  # assembled: nobody's key
POLICY = """\
mode: act
approvers:
  changes: {roles: [reviewer], quorum: 2}
collaboration:
  roles: {reviewer: [ann, eve]}
agent:
  apply: ask
autonomous_healing:
  enabled: true
  scope:
    services:
      - {name: "worker-*", actions: [restart], max_restarts_per_hour: 3}
approval_gateways:
  database_actions: always
"""
CART = f'''"""What a customer buys."""

PAYMENT_TOKEN = "{SECRET}"


def total(prices):
    amount = 0
    for i in range(len(prices) - 1):
        amount += prices[i]
    return amount
'''
ORDERS = '''"""Orders, by the name in the address."""

import sqlite3

from flask import Flask, request

app = Flask(__name__)


@app.get("/orders")
def orders():
    cursor = sqlite3.connect("shop.db").cursor()
    cursor.execute(f"SELECT id FROM orders WHERE customer = '{request.args['customer']}'")
    return {"orders": cursor.fetchall()}
'''
PYTEST = '[tool.pytest.ini_options]\npythonpath = ["."]\n'
TESTS = """from shop.cart import PAYMENT_TOKEN, total


def test_total():
    assert total([5, 7]) == 12, f"asked the bank with {PAYMENT_TOKEN}"


def test_nothing_costs_nothing():
    assert total([]) == 0
"""


def project(place: Path) -> Path:
    for name, text in {
        "shop/__init__.py": "",
        "shop/cart.py": CART,
        "shop/orders.py": ORDERS,
        "tests/test_cart.py": TESTS,
        "pyproject.toml": '[project]\nname = "shop"\nversion = "1"\n' + PYTEST,
    }.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    return place


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path / "fleet")
    for name in ("worker-1", "worker-db"):
        made.add(name, database=name == "worker-db")
        made.start(name)
    yield made
    made.close()


@pytest.fixture
def server(tmp_path: Path, fleet: Fleet) -> Iterator[tuple[Running, Path]]:
    chromium_path()
    home = tmp_path / "home"
    home.mkdir()
    source = project(tmp_path / "shop")
    policy = tmp_path / "veilig.yaml"
    policy.write_text(POLICY)
    for name, role in (("ann", "owner"), ("eve", "approver")):
        add_person(home, name, role)
    with running(home, [source], "--policy", str(policy), "--services", str(fleet.file)) as told:
        yield told, source
    for folder in (home / "sessions").glob("heal-*"):
        if pid := find_driver(folder.name):  # it outlives its server
            os.killpg(pid, signal.SIGKILL)


def sign_in(one: Window, url: str, name: str) -> None:
    one.page.goto(url)
    one.page.get_by_label("Name").fill(name)
    one.page.get_by_label("Password").fill(PASSWORD)
    one.page.get_by_role("button", name="Sign in").click()
    one.page.get_by_role("button", name="Sign out").wait_for()


def begin(ann: Window, source: Path) -> str:
    """Start a fix from the page; the session's id."""
    page = ann.page
    page.get_by_role("button", name="New session").click()
    page.get_by_role("radio", name="Fix").check()
    page.get_by_label("Repository on the server").fill(str(source))
    page.get_by_label("Afterwards").select_option("apply")
    page.get_by_role("button", name="Start").click()
    page.locator(".l-live").wait_for()
    return re.search(r"#/s/([\w-]+)", page.url)[1]  # type: ignore[index]


def invited(ann: Window, role: str) -> str:
    page = ann.page
    page.get_by_role("button", name="Invite").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Role").select_option(role)
    dialog.get_by_role("button", name="Make a link").click()
    link = dialog.get_by_test_id("invite-link").input_value()
    dialog.get_by_role("button", name="Close").click()
    return link


def join(bob: Window, link: str) -> None:
    bob.page.goto(link)
    bob.page.get_by_label("Your name").fill("Bob")
    bob.page.get_by_role("button", name="Join").click()
    bob.page.locator(".l-live").wait_for()


def pane(one: Window, name: str) -> None:
    one.page.locator(".panes").get_by_role("button", name=re.compile(f"^{name}")).click()


def vote_by_key(one: Window, url: str) -> None:
    """One look, and the keys: the second press is for acts that cannot be taken back."""
    one.page.goto(f"{url}/#/approvals")
    one.page.locator(".arow").first.wait_for()
    one.page.keyboard.press("Enter")
    one.page.get_by_test_id("approval").wait_for()
    one.page.get_by_role("button", name="Approve").wait_for()
    one.page.keyboard.press("a")
    if one.page.get_by_role("button", name="Press again to approve").is_visible():
        one.page.keyboard.press("a")


def exported(one: Window, word: str) -> str:
    one.page.get_by_text("Export", exact=True).click()
    with one.page.expect_download() as told:
        one.page.get_by_role("link", name=re.compile(f"^{word}")).click()
    one.page.get_by_text("Export", exact=True).click()
    return Path(told.value.path()).read_text()


def test_two_people_watch_decide_and_hand_over_and_the_secret_stays_with_its_owner(
    server: tuple[Running, Path], fleet: Fleet
) -> None:
    told, source = server
    with chromium() as browser:
        ann, bob, eve = window(browser), window(browser, width=390, height=844), window(browser)
        sign_in(ann, told.url, "ann")
        session = begin(ann, source)
        join(bob, invited(ann, "viewer"))
        _reconnects(bob)
        _decides_with_a_quorum(ann, eve, told.url, source)
        ann.page.goto(f"{told.url}/#/s/{session}")
        ann.page.locator(".shead .st-good").wait_for()
        bob.page.locator(".shead .st-good").wait_for()
        _reveals(ann, bob)
        _hands_over(ann, bob)
        _replays(ann)
        _verifies(ann)
        _saw_the_same(ann, bob, session)
        for one in (ann, bob):
            assert serious(one) == []
            assert one.errors == []
        for word in ("HTML", "JSON", "asciinema"):
            assert SECRET not in exported(bob, word)
        _heals(ann, told.url, fleet)
        everything = [bob.text(), *bob.wire]
        assert not [piece[:80] for piece in everything if SECRET in piece]
        assert any("‹secret:" in piece for piece in everything), "the handle takes its place"


def _reconnects(bob: Window) -> None:
    """The line is cut while the session works, twice; the page comes back by itself."""
    for _ in range(2):
        bob.script("veilig.connection.cut()")
        bob.page.locator(".l-reconnecting").wait_for()
        bob.page.locator(".l-live").wait_for()


def _decides_with_a_quorum(ann: Window, eve: Window, url: str, source: Path) -> None:
    before = (source / "shop" / "cart.py").read_text()
    vote_by_key(ann, url)
    ann.page.get_by_test_id("votes").get_by_text("ann").wait_for()
    ann.shot("approval")
    assert serious(ann) == []
    ann.page.get_by_text("still missing").wait_for()
    assert (source / "shop" / "cart.py").read_text() == before, "one of two is nobody"
    sign_in(eve, url, "eve")
    vote_by_key(eve, url)
    eve.page.get_by_test_id("votes").get_by_text("eve").wait_for()


def _reveals(ann: Window, bob: Window) -> None:
    """What stands behind a handle: for the owner's eyes, for a reason, seen by everybody that it happened."""
    page = ann.page
    page.get_by_label("Search in the timeline").fill("secret")
    page.locator(".tl-row").first.click()
    page.locator(".detail .handle").first.click()
    page.get_by_label("Why do you need it?").fill("is it the old key?")
    page.get_by_role("button", name="Reveal", exact=True).click()
    shown = page.get_by_test_id("revealed")
    assert shown.inner_text().strip() == SECRET
    assert SECRET not in bob.text()
    page.get_by_role("button", name="Hide now").click()
    assert SECRET not in ann.text()
    page.get_by_label("Search in the timeline").fill("")
    bob.page.get_by_label("Show").select_option("people")
    bob.page.locator(".tl-title", has_text="was shown").wait_for()
    assert bob.page.locator("button.handle").count() == 0, "a viewer is not even offered it"


def _hands_over(ann: Window, bob: Window) -> None:
    """A viewer may not drive; made a driver he asks, and she agrees."""
    pane(bob, "People")
    assert bob.page.get_by_role("button", name="Ask for control").count() == 0
    ann.page.get_by_label("Role of Bob").select_option("driver")
    bob.page.get_by_role("button", name="Ask for control").click()
    ann.page.get_by_role("button", name="Hand over to Bob").click()
    bob.page.get_by_test_id("control").get_by_text("You hold").wait_for()
    ann.page.get_by_test_id("control").get_by_text("Bob holds").wait_for()
    bob.page.get_by_label("Comment", exact=True).fill("Is 12 right with a discount?")
    bob.page.get_by_role("button", name="Comment", exact=True).click()
    ann.page.get_by_test_id("said").get_by_text("Is 12 right").wait_for()
    bob.shot("page-phone-people")
    ann.shot("page-session")
    pane(bob, "Timeline")
    bob.page.get_by_label("Show").select_option("acts")
    bob.shot("page-phone")


def _heals(ann: Window, url: str, fleet: Fleet) -> None:
    """A watch is begun; what the policy grants is done, the database waits for a person; it is stopped."""
    page = ann.page
    page.goto(url)
    page.get_by_role("button", name="New session").click()
    page.get_by_role("radio", name="Heal").check()
    until(lambda: page.get_by_label("Services file on the server").input_value() == str(fleet.file), 60)
    assert serious(ann) == []
    page.get_by_role("button", name="Start").click()
    page.locator(".l-live").wait_for()
    page.locator(".shead").get_by_text("running").wait_for()
    session = re.search(r"#/s/([\w-]+)", page.url)[1]  # type: ignore[index]
    fleet.kill("worker-1")
    fleet.kill("worker-db")
    until(lambda: fleet.answers("worker-1"), 120)
    page.locator(".shead").get_by_text("waiting").wait_for()
    vote_by_key(ann, url)
    until(lambda: fleet.answers("worker-db"), 120)
    page.goto(f"{url}/#/s/{session}")
    page.locator(".course").get_by_text("worker-db").first.wait_for()
    assert serious(ann) == []
    page.once("dialog", lambda asked: asked.accept())
    page.get_by_role("button", name="Stop", exact=True).click()
    page.locator(".shead").get_by_text("stopped").wait_for()
    page.get_by_role("button", name="Go on").wait_for()


def _replays(ann: Window) -> None:
    page = ann.page
    every = page.get_by_test_id("row-count").inner_text()
    page.get_by_label("Moment").focus()
    page.keyboard.press("Home")
    page.get_by_test_id("row-count").get_by_text("1 row", exact=True).wait_for()
    page.keyboard.press("ArrowRight")
    page.get_by_test_id("row-count").get_by_text("2 rows", exact=True).wait_for()
    page.get_by_role("tab", name="Diff").click()
    page.get_by_text("No file had changed yet.").wait_for()
    page.get_by_role("tab", name="Findings").click()
    page.get_by_text("No finding.").wait_for()
    _sees_the_diff_of_each_moment(ann)
    page.get_by_role("tab", name="Findings").click()
    page.get_by_role("button", name="Back to now").click()
    page.locator(".frow", has_text="CWE-89").wait_for()
    assert page.get_by_test_id("row-count").inner_text() == every


def _sees_the_diff_of_each_moment(ann: Window) -> None:
    """Right after the first change: that one and no other, though no diff was recorded yet."""
    page = ann.page
    page.get_by_role("tab", name="Diff").click()
    page.get_by_label("Moment").focus()
    first = ann.script("veilig.events.find(e => e.action?.kind === 'file.patch').seq")
    for _ in ann.script("veilig.events"):
        page.keyboard.press("ArrowRight")
        if page.get_by_test_id("moment").inner_text().endswith(f"#{first}"):
            break
    page.get_by_role("cell", name="for i in range(len(prices)):").wait_for()
    assert page.locator(".dfile").count() == 1


def _verifies(ann: Window) -> None:
    page = ann.page
    page.get_by_role("tab", name="Ledger").click()
    page.get_by_test_id("ledger").get_by_role("button", name=re.compile("^Verify$")).click()
    verdict = page.get_by_test_id("ledger-verdict")
    verdict.wait_for()
    proved = re.match(r"(\d+) of (\d+) events proved\.", verdict.inner_text())
    assert proved is not None
    assert proved[1] == proved[2] != "0"
    ann.shot("page-ledger")
    page.get_by_role("tab", name="Findings").click()
    page.locator(".frow", has_text="CWE-89").click()
    page.get_by_label("Data flow").wait_for()
    ann.shot("page-findings")
    page.get_by_role("tab", name="Diff").click()
    page.get_by_role("cell", name="for i in range(len(prices)):").wait_for()


def _saw_the_same(ann: Window, bob: Window, session: str) -> None:
    """After two cuts: no event lost, none twice, the same for both and for whoever asks by REST."""
    asked = ann.page.request.get(f"{ann.page.url.split('#')[0]}api/v1/sessions/{session}/events?limit=1000")
    record = [e["seq"] for e in json.loads(asked.text())["events"]]
    for one in (ann, bob):
        one.page.locator("[data-testid=moment]").wait_for()
        assert one.seqs() == record[: len(one.seqs())]
        assert len(one.seqs()) >= len(record) - 1
