"""Do two `veilig serve` processes on one PostgreSQL have the same people, rooms, votes and sessions, live?"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from people_page import PASSWORD, Browser, S, browser, events_with, planted, running, until
from postgres import NoPostgres
from server_ledger import Server
from veilig.collab.accounts import Accounts
from veilig.collab.roles import Role

pytestmark = pytest.mark.outside_gate


@pytest.fixture
def server() -> Iterator[Server]:
    try:
        found = Server()
    except NoPostgres as error:
        pytest.skip(f"no PostgreSQL here: {error}")
    try:
        yield found
    finally:
        found.close()


def veilig(*words: str) -> str:
    argv = [sys.executable, "-m", "veilig.cli.main", *words]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_it_does_not_matter_at_which_server_one_is(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    org = server.org()
    address = server.address(org, "server")
    monkeypatch.setenv("VEILIG_LEDGER", f"{address.conninfo}?org={org}")
    monkeypatch.setenv("VEILIG_HOME", str(tmp_path / "terminal"))
    file = tmp_path / "terminal" / "people.db"
    file.parent.mkdir()
    here = Accounts(file)
    for name in ("ann", "ben", "pia"):
        here.add(name, name, Role.OWNER if name == "ann" else Role.APPROVER, password=PASSWORD)
    here.close()
    assert "brought 3 accounts" in veilig("people", "bring")  # from one machine's file to the database
    assert "brought 0 accounts" in veilig("people", "bring")
    with server.open(org, tmp_path / "anchors", role="server") as ledger:
        planted(ledger, S, events_with("x")[:6])
    homes = [tmp_path / name for name in ("one", "two")]
    with running(homes[1], [tmp_path]) as two:
        with running(homes[0], [tmp_path]) as one:
            async with browser(one.url, "ann") as ann, browser(two.url, "ben") as ben:
                await _hear_each_other(ann, ben)
                await _vote(ann, ben, one.url, two.url)
                async with ann.http.get(f"{two.url}/readyz") as answer:
                    assert (answer.status, await answer.json()) == (200, {"ready": True})
                cookies = {morsel.key: morsel.value for morsel in ann.http.cookie_jar}
                await _join_and_leave(ann, two.url)
        # One is gone: whoever was there goes on at the other, with the same sign-in.
        async with browser(two.url) as again:
            again.http.cookie_jar.update_cookies(cookies)
            assert (await again.me())["person"]["id"] == "ann"
            assert (await again.get(f"/sessions/{S}"))[1]["control"]["holder"] == "ann"
            async with browser(two.url, "pia") as pia, pia.live(S) as socket:
                await until(socket, "hello")
                veilig("people", "change", "pia", "--block")  # in a third process
                assert "blocked" in (await until(socket, "bye"))["why"]
                assert (await pia.get("/me"))[0] == 401


async def _hear_each_other(ann: Browser, ben: Browser) -> None:
    async with ann.live(S) as here, ben.live(S) as there:
        await until(here, "hello")
        await until(there, "hello")
        assert (await ben.post(f"/sessions/{S}/comments", {"text": "look here"}))[0] == 201
        while "look here" not in str((heard := await until(here, "event"))["e"]):
            pass
        assert heard["e"]["kind"] == "comment.added"
        assert (await ann.post(f"/sessions/{S}/control", {"act": "take"}))[0] == 200
        while (heard := await until(there, "event"))["e"]["kind"] != "control.passed":
            pass
    listed = [await person.get("/sessions") for person in (ann, ben)]
    assert [s["id"] for s in listed[0][1]["sessions"]] == [s["id"] for s in listed[1][1]["sessions"]] == [S]


async def _vote(ann: Browser, ben: Browser, one: str, two: str) -> None:
    """One voice at each server is a quorum of two; the same voice at both is one."""
    yes = {"verdict": "approve", "reason": "read it"}
    status, question = await ben.post("/approvals/ap01", yes)
    assert (status, question["state"], [v["actor"] for v in question["votes"]]) == (200, "open", ["ben"])
    async with browser(one, "ben") as also:
        assert (await also.post("/approvals/ap01", yes))[0] == 409
        assert [v["actor"] for v in (await also.get("/approvals/ap01"))[1]["votes"]] == ["ben"]
    async with browser(one, "pia") as pia:
        status, question = await pia.post("/approvals/ap01", yes)
    assert (status, question["state"]) == (200, "approved")
    async with browser(two, "pia") as pia:
        assert (await pia.get("/approvals/ap01"))[1]["state"] == "approved"
    assert (await ann.get("/approvals/ap01"))[1]["state"] == "approved"


async def _join_and_leave(ann: Browser, two: str) -> None:
    """A link of one server opens at the other; it is closed at the one, and the guest is out at the other."""
    status, link = await ann.post(f"/sessions/{S}/invites", {"role": "commenter", "expires_s": 600})
    assert status == 201, link
    async with browser(two, token=link["token"], shown="Gus") as gus, gus.live(S) as socket:
        assert (await until(socket, "hello"))["role"] == "commenter"
        assert (await ann.delete(f"/sessions/{S}/invites/{link['id']}"))[0] == 200
        assert "not in this session" in (await until(socket, "bye"))["why"]
    async with browser(two) as guess:
        for _ in range(5):
            wrong = {"name": "ben", "password": "not-the-one-of-ben"}
            assert (await guess.post("/auth/sign-in", wrong))[0] == 401
    right = {"name": "ben", "password": PASSWORD}
    assert (await ann.post("/auth/sign-in", right))[0] == 429, "guesses at one server count at the other"
