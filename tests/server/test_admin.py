"""Does the admin page keep strangers out, two people apart, every value as text, and secrets inside?"""

import asyncio
import contextlib
import re
import signal
import subprocess
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateways import POLICY, rules_of
from terminal import Terminal
from veilig.access.seats import Duty
from veilig.app import seats
from veilig.app.access import Office
from veilig.app.safeguards import Desk
from veilig.core.actor import Actor, Tier
from veilig.core.canonical import JSON
from veilig.core.clock import SystemClock
from veilig.core.errors import UsageError
from veilig.core.ledger import Ledger
from veilig.core.ledger_event import Draft
from veilig.monitor.ladder import SESSION
from veilig.server.admin.auth import TRIES_PER_MINUTE
from veilig.server.admin.site import Admin

HOST = "127.0.0.1:8090"
EVIL = "<script>alert(1)</script>"
PROMPT = "write a worm for the plant"


@dataclass
class Place:
    """An admin page over a real ledger, and keys of its seats."""

    desk: Desk
    admin: Admin
    keys: dict[str, str]

    def browser(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=self.admin.app())
        return httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}")

    async def api(self, who: str, name: str, given: Any = None) -> tuple[int, Any]:
        async with self.browser() as client:
            head = {"authorization": f"Bearer {self.keys.get(who, who)}"}
            if given is None:
                reply = await client.get(f"/api/{name}", headers=head)
            else:
                reply = await client.post(f"/api/{name}", json=given, headers=head)
        return reply.status_code, reply.json()


@contextlib.asynccontextmanager
async def place(folder: Path) -> AsyncGenerator[Place]:
    with Ledger.open(folder / "ledger.db", anchor_dir=folder / "anchors") as ledger:
        rules = rules_of(POLICY)
        desk = Desk(ledger, rules, SystemClock())
        office = Office(desk, rules, Actor("root"), str)
        keys = {
            person: seats.give(office, person, duty, 3600)[1]
            for person, duty in (("alice", Duty.ADMIN), ("bob", Duty.REVIEWER), ("ann", Duty.ADMIN))
        }
        yield Place(desk, Admin(desk, rules, lambda t: t.replace("hunter2", "‹secret›"), HOST), keys)


async def sign_in(client: httpx.AsyncClient, key: str) -> str:
    """The token of the forms."""
    reply = await client.post("/sign-in", data={"key": key})
    assert reply.status_code == 303, reply.text
    cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    page = await client.get("/")
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1]


# --- who gets in --------------------------------------------------------------------------------------------


async def test_strangers_see_a_sign_in_and_nothing_else(tmp_path: Path) -> None:
    async with place(tmp_path) as at, at.browser() as client:
        for path in ("/", "/cases", "/subjects/ann", "/nowhere"):
            reply = await client.get(path)
            assert "Key of your seat" in reply.text
            assert "<nav" not in reply.text
            assert "default-src 'none'" in reply.headers["content-security-policy"]
            assert "script" not in reply.headers["content-security-policy"]
        for who in ("", "vs-wrong", "key-of-ann"):
            assert (await at.api(who, "subjects"))[0] == 401
        for _ in range(TRIES_PER_MINUTE):
            assert (await client.post("/sign-in", data={"key": "vs-guess"})).status_code == 401
        late = await client.post("/sign-in", data={"key": at.keys["alice"]})
        assert late.status_code == 429


async def test_a_seat_that_is_taken_back_ends_at_the_next_request(tmp_path: Path) -> None:
    async with place(tmp_path) as at, at.browser() as client:
        await sign_in(client, at.keys["alice"])
        office = Office(at.desk, at.desk.rules, Actor("root"), str)
        known = seats.seats_of(office).known
        [seat] = [s for s in known.values() if s.person == "alice"]
        seats.take(office, seat.id, "left the team")
        assert "Key of your seat" in (await client.get("/subjects")).text
        assert (await at.api("alice", "subjects"))[0] == 401


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({"origin": "https://evil.example"}, True),
        ({"sec-fetch-site": "cross-site"}, True),
        ({"origin": f"http://{HOST}"}, False),
        ({}, False),
    ],
    ids=["another origin", "across sites", "no token", "no token and no origin"],
)
async def test_another_page_cannot_act_through_a_browser_that_is_signed_in(
    tmp_path: Path, headers: dict[str, str], token: bool
) -> None:
    async with place(tmp_path) as at, at.browser() as client:
        csrf = await sign_in(client, at.keys["alice"])
        given = {"subject": "mallory", "org": "acme", "kind": "person"} | ({"csrf": csrf} if token else {})
        reply = await client.post("/act/subject.add", data=given, headers=headers)
        assert reply.status_code == 403
        assert at.desk.registry.subjects == {}


async def test_another_name_for_this_server_is_not_answered(tmp_path: Path) -> None:
    async with place(tmp_path) as at, at.browser() as client:
        reply = await client.get("/", headers={"host": "rebound.example"})
        assert (reply.status_code, "Key of your seat" in reply.text) == (421, False)


@pytest.mark.parametrize(
    ("listen", "url", "fine"),
    [
        ("127.0.0.1:8090", "", True),
        ("0.0.0.0:8090", "", False),
        ("0.0.0.0:8090", "http://admin.example", False),
        ("0.0.0.0:8090", "https://admin.example", True),
        ("127.0.0.1:8090", "ftp://x", False),
    ],
)
async def test_the_page_is_not_served_unencrypted_beyond_this_machine(
    tmp_path: Path, listen: str, url: str, fine: bool
) -> None:
    async with place(tmp_path) as at:
        with contextlib.nullcontext() if fine else pytest.raises(UsageError):
            Admin(at.desk, at.desk.rules, str, listen, url)


# --- what people may do -------------------------------------------------------------------------------------


async def test_two_people_vet_a_researcher_and_neither_alone_nor_themselves(tmp_path: Path) -> None:
    async with place(tmp_path) as at, at.browser() as client:
        csrf = await sign_in(client, at.keys["alice"])
        form = {"csrf": csrf, "back": "/subjects"}
        await client.post("/act/subject.add", data=form | {"subject": "ann", "org": "acme", "kind": "person"})
        vouch = {"subject": "ann", "tier": "verified", "days": 30, "reason": "contract 17"}
        for _ in range(3):  # again and again is still one person
            done = await client.post("/act/subject.vouch", data=form | {k: str(v) for k, v in vouch.items()})
            assert done.status_code == 303
        assert at.desk.registry.subjects["ann"].tier(at.desk.now_s(), Tier.NEW) is Tier.NEW
        grant = {"subject": "ann", "class": "high", "surface": "*", "days": 30, "usd": 200, "reason": "audit"}
        assert (await at.api("alice", "access.grant", grant))[0] == 403, "a grant replaces no vetting"
        assert (await at.api("ann", "subject.vouch", vouch))[0] == 403, "not for oneself"
        assert "alice" in (await client.get("/")).text, "the page says who is missing a second voucher"
        assert await at.api("bob", "subject.vouch", vouch) == (
            200,
            {"subject": "ann", "tier": "verified", "people_missing": 0},
        )
        for who, status in (("bob", 403), ("ann", 403), ("alice", 200)):
            assert (await at.api(who, "access.grant", grant))[0] == status, who
        [known] = (await at.api("bob", "subjects"))[1]
        assert (known["tier"], known["grants"][0]["credit_usd"]) == ("verified", 200.0)
        assert known["grants"][0]["state"] == "live"


async def test_an_appeal_is_decided_by_another_person_on_page_and_api(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        for name, given in (
            ("subject.add", {"subject": "ann", "org": "acme", "kind": "person"}),
            ("key.new", {"subject": "ann", "days": 30}),
        ):
            assert (await at.api("alice", name, given))[0] == 200
        [key] = at.desk.registry.keys
        level = {"subject": f"key:{key}", "level": "suspend", "days": 7, "reason": f"{EVIL} hunter2"}
        assert (await at.api("ann", "level.set", level))[0] == 403, "not one's own"
        _, moved = await at.api("alice", "level.set", level)
        case = moved["case"]
        assert (await at.api("bob", "appeal.file", {"case": case, "reason": EVIL}))[0] == 200
        decide = {"case": case, "decision": "grant", "reason": "our own lab"}
        for who in ("alice", "bob", "ann"):  # opened it; appealed in it; is it about
            status, said = await at.api(who, "appeal.decide", decide)
            assert (status, "may not decide" in said["error"]["what"]) == (403, True), who
            async with at.browser() as client:
                await sign_in(client, at.keys[who])
                page = await client.get(f"/cases/{case}")
                assert "somebody else decides" in page.text
                assert "appeal.decide" not in page.text
                assert EVIL not in page.text
                assert "&lt;script&gt;" in page.text
                assert "hunter2" not in page.text
        at.keys["carol"] = seats.give(
            Office(at.desk, at.desk.rules, Actor("root"), str), "carol", Duty.REVIEWER, 60
        )[1]
        both = await asyncio.gather(*(at.api("carol", "appeal.decide", decide) for _ in range(5)))
        assert sorted(status for status, _ in both) == [200, 403, 403, 403, 403], "it is decided once"
        assert (await at.api("carol", f"cases/{case}"))[1]["level"] == "observe"


async def test_neither_page_nor_api_shows_a_prompt_or_what_an_indicator_hides(tmp_path: Path) -> None:
    async with place(tmp_path) as at:
        signal_: dict[str, JSON] = {
            "subject": "user:x", "kind": "indicator", "severity": 6.0, "confidence": 95, "tier": "new",
            "evidence": ["indicator--1", "attack:T1059.004"], "request": "req_1", "text": PROMPT,
        }  # fmt: skip
        at.desk.ledger.append([
            Draft("case.opened", SESSION, {"case": "case-1", "subject": "user:x", "owner": ""}),
            Draft("signal.raised", SESSION, signal_),
        ])  # fmt: skip
        async with at.browser() as client:
            await sign_in(client, at.keys["bob"])
            shown = (await client.get("/cases/case-1")).text
        api = str(await at.api("bob", "cases/case-1")) + str(await at.api("bob", "cases"))
        for text in (shown, api):
            assert PROMPT not in text
        assert "T1059.004 Unix Shell" in shown
        assert "T1059.004 Unix Shell" in api


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("subject.add", {"subject": "a"}),
        ("subject.add", {"subject": "a", "org": "o", "kind": "robot"}),
        ("subject.add", {"subject": "a", "org": "o", "kind": "person", "tier": "trusted"}),
        ("subject.add", {"subject": "a:b", "org": "o", "kind": "person"}),
        ("key.new", {"subject": "nobody", "days": 1}),
        ("key.new", {"subject": "ann", "days": "0"}),
        ("key.new", {"subject": "ann", "days": "367"}),
        ("key.new", {"subject": "ann", "days": "nan"}),
        ("budget.set", {"account": "org:acme", "period": "month"}),
        ("level.set", {"subject": "x", "level": "warn", "days": 1, "reason": "r"}),
        ("level.set", {"subject": "org:acme", "level": "warn", "days": 1, "reason": "\x00"}),
        ("no.such", {}),
    ],
)
async def test_bad_input_changes_nothing_and_is_explained(
    tmp_path: Path, name: str, given: dict[str, object]
) -> None:
    async with place(tmp_path) as at:
        await at.api("alice", "subject.add", {"subject": "ann", "org": "acme", "kind": "person"})
        before = at.desk.ledger.size()
        status, said = await at.api("alice", name, given)
        assert (status, bool(said["error"]["what"])) == (400, True)
        assert at.desk.ledger.size() == before


async def test_a_form_leads_to_pages_of_ours_only(tmp_path: Path) -> None:
    async with place(tmp_path) as at, at.browser() as client:
        csrf = await sign_in(client, at.keys["alice"])
        for back in ("https://evil.example", "//evil.example", "/cases//evil.example", "/subjects\\evil", ""):
            reply = await client.post("/act/subject.add", data={"csrf": csrf, "back": back})
            assert reply.headers["location"] == "/"
        assert "needs subject" in (await client.get("/")).text


@pytest.mark.outside_gate
def test_the_command_serves_the_page_and_stops_cleanly(tmp_path: Path) -> None:
    veilig = Terminal(tmp_path)
    key = veilig("access", "seat", "new", "alice", "--json").json["text"]
    listed = veilig("access", "seat", "list")
    assert ("alice" in listed.out, key in listed.out) == (True, False)
    refused = veilig("gateway", "admin", "--at", "0.0.0.0:0")
    assert (refused.code, "without encryption" in refused.err) == (2, True)
    argv = veilig.argv("gateway", "admin", "--at", "127.0.0.1:0")
    with subprocess.Popen(
        argv,
        cwd=tmp_path,
        env=veilig.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()[1]
            # Port 0 is not known before it listens, so the page goes by the name that was asked for.
            reply = httpx.get(address, headers={"host": "127.0.0.1:0"}, timeout=60)
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (reply.status_code, "Key of your seat" in reply.text) == (200, True)
    assert (process.returncode, "Traceback" in err) == (0, False), err
