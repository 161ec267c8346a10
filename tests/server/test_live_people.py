"""Several people on one real server: what each sees, may do, and hears; nothing lost, nothing leaked."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from people_page import CANARY, Browser, Running, S, browser, events_with, plant, started, until
from veilig.core.ledger_proof import verify_inclusion
from veilig.core.ledger_tree import leaf_hash

pytestmark = pytest.mark.outside_gate


async def everything(who: Browser, session: str) -> str:
    """All that this person can get at, as one text."""
    found: list[str] = []
    for path in ("", "/events", "/findings", "/diff", "/export?format=html", "/export?format=json",
                 "/export?format=asciinema"):  # fmt: skip
        status, value = await who.get(f"/sessions/{session}{path}")
        assert status == 200, (path, value)
        found.append(value if isinstance(value, str) else json.dumps(value))
    for path in ("/sessions", "/approvals?all=1", "/approvals/ap01"):
        status, value = await who.get(path)
        assert status == 200, (path, value)
        found.append(json.dumps(value))
    async with who.live(session) as socket:
        await until(socket, "hello")
        async with asyncio.timeout(60):
            while True:
                message = await socket.receive_json()
                found.append(json.dumps(message))
                if message["t"] == "event" and message["e"]["kind"] == "session.ended":
                    break
    async with who.http.get(f"{who.url}/api/v1/sessions/{session}/stream") as answer:
        async with asyncio.timeout(60):
            while b"session.ended" not in (line := await answer.content.readline()):
                found.append(line.decode())
            found.append(line.decode())
    return "\n".join(found)


async def test_what_a_viewer_may_not_see_reaches_them_through_no_way_out(server: Running) -> None:
    async with browser(server.url, "vic") as vic, browser(server.url, "own") as own:
        seen = await everything(vic, S)
        assert CANARY not in seen
        assert "‹masked›" in seen.encode().decode("unicode_escape", "ignore") or "\\u2039masked" in seen
        assert "\x1b" not in seen
        assert CANARY in await everything(own, S), "the owner sees a mere suspicion as it is"


async def test_strangers_and_forged_requests_are_turned_away(server: Running) -> None:
    async with browser(server.url) as nobody:
        for path in ("/me", "/sessions", f"/sessions/{S}", f"/sessions/{S}/events", "/approvals"):
            assert (await nobody.get(path))[0] == 401, path
        with pytest.raises(aiohttp.WSServerHandshakeError) as error:
            async with nobody.live(S):
                pass
        assert error.value.status == 403
    async with browser(server.url, "ann") as ann:
        comment = {"text": "hello"}
        refused = [
            await ann.post(f"/sessions/{S}/comments", comment, **{"X-CSRF-Token": "x"}),
            await ann.post(f"/sessions/{S}/comments", comment, Origin="https://evil.example"),
            await ann.post(f"/sessions/{S}/comments", comment, **{"Sec-Fetch-Site": "cross-site"}),
        ]
        assert [status for status, _ in refused] == [403, 403, 403]
        for origin in ("https://evil.example", "null", server.url.replace("127.0.0.1", "localhost")):
            with pytest.raises(aiohttp.WSServerHandshakeError):
                async with ann.live(S, headers={"Origin": origin}):
                    pass
        async with ann.live(S, headers={"Origin": server.url}) as socket:
            assert (await until(socket, "hello"))["role"] == "driver"
        status, _ = await ann.get("/me")
        assert status == 200
        async with ann.http.get(f"{server.url}/api/v1/me", headers={"Host": "evil.example"}) as answer:
            assert answer.status == 421


async def test_a_socket_has_no_authority(server: Running) -> None:
    async with browser(server.url, "vic") as vic:
        before = (await vic.get(f"/sessions/{S}"))[1]
        forged = [
            {"t": "role", "role": "owner"}, {"t": "say", "text": "x"}, {"t": "at", "seq": "1"},
            {"t": "at", "seq": 1, "role": "owner"}, {"t": "event", "e": {"kind": "approval.voted"}}, [], "x",
            {"t": "at", "seq": -1},
        ]  # fmt: skip
        for message in forged:
            async with vic.live(S) as socket:
                await until(socket, "hello")
                await socket.send_str(json.dumps(message))
                assert (await until(socket, "bye"))["why"]
        after = (await vic.get(f"/sessions/{S}"))[1]
        assert (after["role"], after["summary"]["last_seq"]) == ("viewer", before["summary"]["last_seq"])
        async with vic.live(S) as socket:
            await socket.send_json({"t": "ping"})
            await until(socket, "pong")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/sessions", {"kind": "audit", "source": {"path": "/"}}),
        (f"/sessions/{S}/comments", {"text": "x"}),
        (f"/sessions/{S}/say", {"text": "x"}),
        (f"/sessions/{S}/control", {"act": "take"}),
        (f"/sessions/{S}/stop", {}),
        (f"/sessions/{S}/resume", {}),
        (f"/sessions/{S}/invites", {"role": "owner"}),
        (f"/sessions/{S}/people/vic", {"role": "owner"}),
        (f"/sessions/{S}/reveal", {"handle": "‹secret:X#123456›", "reason": "x"}),
        ("/approvals/ap01", {"verdict": "approve"}),
    ],
)
async def test_a_viewer_changes_nothing(server: Running, path: str, body: dict[str, Any]) -> None:
    async with browser(server.url, "vic") as vic:
        status, found = await vic.post(path, body)
        assert status == 403, found
        assert set(found["error"]) == {"what", "why", "fix"}


async def test_people_talk_hand_over_and_vote_and_everybody_hears_it_in_order(server: Running) -> None:
    session = "fix-0b0b0b0b"
    plant(server.home, session, [started(), *events_with("x")[1:6]])
    async with (
        browser(server.url, "own") as own, browser(server.url, "ann") as ann,
        browser(server.url, "bob") as bob, browser(server.url, "pia") as pia,
        browser(server.url, "vic") as vic, vic.live(session) as socket,
    ):  # fmt: skip
        assert (await until(socket, "hello"))["control"] == {"holder": "", "offered": "", "asks": []}
        status, made = await ann.post(f"/sessions/{session}/comments", {"text": "look here", "anchor": 0})
        assert status == 201, made
        assert (await ann.post(f"/sessions/{session}/control", {"act": "ask"}))[0] == 200
        assert (await bob.post(f"/sessions/{session}/control", {"act": "ask"}))[1]["control"]["asks"] == [
            "bob"
        ]
        assert (await bob.post(f"/sessions/{session}/stop"))[0] == 409, "who does not drive does not stop"
        assert (await ann.post(f"/sessions/{session}/control", {"act": "offer", "to": "vic"}))[0] == 403
        status, moved = await ann.post(f"/sessions/{session}/control", {"act": "accept", "to": "bob"})
        assert moved["control"]["holder"] == "bob"
        assert (await own.post(f"/sessions/{session}/control", {"act": "take"}))[1]["control"][
            "holder"
        ] == "own"
        # A quorum of two: one voice, then the same again, then a second.
        assert (await ann.post("/approvals/ap01", {"verdict": "approve"}))[0] == 403, "a driver has no vote"
        question = await self_vote(pia, session)
        assert [v["actor"] for v in question["votes"]] == ["pia"]
        assert question["state"] == "open"
        status, again = await pia.post(f"/approvals/{question['id']}", {"verdict": "approve"})
        assert status == 409, again
        async with browser(server.url, "pam") as pam:
            status, question = await pam.post(
                f"/approvals/{question['id']}", {"verdict": "approve", "reason": "ok"}
            )
        assert (status, question["state"]) == (200, "approved")
        kinds: list[str] = []
        seqs: list[int] = []
        async with asyncio.timeout(60):
            while kinds.count("approval.voted") < 2:
                message = await socket.receive_json()
                if message["t"] == "event":
                    kinds.append(message["e"]["kind"])
                    seqs.append(message["e"]["seq"])
        told = [k for k in kinds if k.startswith(("comment", "control", "approval.voted"))]
        handed = ["control.passed", "control.asked", "control.passed", "control.passed"]
        assert told == ["comment.added", *handed, "approval.voted", "approval.voted"]
        assert seqs == sorted(set(seqs))


async def self_vote(who: Browser, session: str) -> dict[str, Any]:
    inbox = (await who.get("/approvals"))[1]["approvals"]
    ident = next(a["id"] for a in inbox if a["session"] == session)
    status, question = await who.post(f"/approvals/{ident}", {"verdict": "approve", "reason": "read it"})
    assert status == 200, question
    return question


async def test_a_link_lets_in_with_its_role_and_lets_out_at_once(server: Running) -> None:
    async with browser(server.url, "own") as own:
        status, link = await own.post(f"/sessions/{S}/invites", {"role": "commenter", "expires_s": 600})
        assert status == 201, link
        async with browser(server.url, token=link["token"], shown="Gus") as gus:
            assert [s["id"] for s in (await gus.get("/sessions"))[1]["sessions"]] == [S], (
                "a guest sees one room"
            )
            assert (await gus.post(f"/sessions/{S}/comments", {"text": "hi"}))[0] == 201
            assert (await gus.post(f"/sessions/{S}/control", {"act": "ask"}))[0] == 403
            assert (await gus.post("/sessions", {"kind": "audit", "source": {"path": "/"}}))[0] == 403
            async with gus.live(S) as socket:
                assert (await until(socket, "hello"))["role"] == "commenter"
                assert (await own.delete(f"/sessions/{S}/invites/{link['id']}"))[0] == 200
                assert "not in this session" in (await until(socket, "bye"))["why"]
            assert (await gus.get(f"/sessions/{S}"))[0] == 404
        async with browser(server.url) as late:
            status, found = await late.post("/invites/accept", {"token": link["token"], "name": "Late"})
            assert status == 410, found
        status, short = await own.post(f"/sessions/{S}/invites", {"role": "viewer", "expires_s": 1})
        await asyncio.sleep(1.1)  # the link's own clock: nothing can be waited for
        async with browser(server.url) as late:
            assert (await late.post("/invites/accept", {"token": short["token"], "name": "Late"}))[0] == 410
        assert link["token"] not in (server.home / "ledger.db").read_bytes().decode("latin-1")


async def test_a_reconnect_loses_and_doubles_nothing_and_the_proof_holds(server: Running) -> None:
    session = "fix-0c0c0c0c"
    plant(server.home, session, [started()])
    writer = asyncio.create_task(asyncio.to_thread(_write_many, server.home, session, 300))
    seen: list[int] = []
    async with browser(server.url, "vic") as vic:
        while len(seen) < 301:
            async with vic.live(session, seen[-1] if seen else 0) as socket:
                for _ in range(40):  # then the line breaks
                    async with asyncio.timeout(60):
                        message = await socket.receive_json()
                    if message["t"] == "event":
                        seen.append(message["e"]["seq"])
                    elif message["t"] == "resync":
                        _, found = await vic.get(f"/sessions/{session}/events?after={message['after']}")
                        seen += [e["seq"] for e in found["events"] if e["seq"] > (seen[-1] if seen else 0)]
                    if len(seen) >= 301:
                        break
        await writer
        whole = []
        after, more = 0, True
        while more:
            _, page = await vic.get(f"/sessions/{session}/events?after={after}&limit=100")
            whole += [e["seq"] for e in page["events"]]
            after, more = page["last"], page["more"]
        assert seen == whole
        _, proof = await vic.get(f"/sessions/{session}/proof?seq={whole[5]}")
        assert verify_inclusion(proof["leaf"], whole[5], proof["size"], proof["path"], proof["root"])
        _, last = await vic.get(f"/sessions/{session}/proofs?after={whole[-3]}")
        assert [p["seq"] for p in last["proofs"]] == whole[-2:] and not last["more"]
        proven: list[dict[str, Any]] = []
        after, more = 0, True
        while more:
            _, page = await vic.get(f"/sessions/{session}/proofs?after={after}&limit=200")
            proven += [{**p, "size": page["size"], "root": page["root"]} for p in page["proofs"]]
            after, more = page["last"], page["more"]
    assert [p["seq"] for p in proven] == whole
    for one in proven:
        assert verify_inclusion(one["leaf"], one["seq"], one["size"], one["path"], one["root"])
        assert leaf_hash(one["entry"].encode()).hex() == one["leaf"]
        assert json.loads(one["entry"])["seq"] == one["seq"]
        assert "line" not in one["entry"] and not {"salt", "body"} & set(one), "a viewer sees only hashes"
    async with browser(server.url, "own") as own:
        _, page = await own.get(f"/sessions/{session}/proofs?limit=1")
        first = page["proofs"][0]
        opened = hashlib.sha256(bytes.fromhex(first["salt"]) + first["body"].encode()).hexdigest()
        assert json.loads(first["entry"])["body"] == opened, "the owner can open what the leaf commits to"
        assert json.loads(first["body"])["kind"] == "fix"


def _write_many(home: Path, session: str, count: int) -> None:
    output = {"ref": "r", "stream": "stdout", "text": "line\n", "dropped_bytes": 0}
    plant(home, session, [("action.output", output)] * count)


async def test_a_session_started_on_the_page_is_a_normal_one_and_a_secret_is_shown_to_its_owner_alone(
    server: Running,
) -> None:
    value = "q7Rt" + "Zp2LmW9s" + "K4"
    project = next((server.home.parent).glob("projects*")) / "shop"
    (project / ".env").write_text(f"DB_PASSWORD={value}\n")
    async with browser(server.url, "own") as own, browser(server.url, "ann") as ann:
        status, found = await ann.get("/repositories")
        assert [r["name"] for r in found["repositories"]] == ["shop"]
        status, bad = await ann.post("/sessions", {"kind": "audit", "source": {"path": "/etc"}})
        assert status == 400, bad
        status, made = await ann.post("/sessions", {"kind": "audit", "source": {"path": str(project)}})
        assert status == 201, made
        session = made["id"]
        async with ann.live(session) as socket:
            hello = await until(socket, "hello")
            assert hello["role"] == "owner", "who starts a session owns its room"
            assert hello["control"]["holder"] == "ann"
            ended = None
            async with asyncio.timeout(120):
                while ended is None:
                    message = await socket.receive_json()
                    if message["t"] == "event" and message["e"]["kind"] == "session.ended":
                        ended = message["e"]
        assert ended["facts"]["state"] == "done", ended
        listed = next(s for s in (await own.get("/sessions?q=audit"))[1]["sessions"] if s["id"] == session)
        assert (listed["kind"], listed["state"]) == ("audit", "done")
        # A handle of that project, as an act would have shown it.
        handle = _handle(server.home, project, value)
        await own.post(f"/sessions/{session}/comments", {"text": f"what is {handle}?"})
        status, shown = await own.post(
            f"/sessions/{session}/reveal", {"handle": handle, "reason": "to rotate it"}
        )
        assert (status, shown.get("value")) == (200, value), shown
        last = (await own.get(f"/sessions/{session}/events?after=0"))[1]["events"][-1]
        assert (last["kind"], last["who"]["id"], last["reason"]) == ("secret.revealed", "own", "to rotate it")
        async with browser(server.url, "vic") as vic:
            assert (await vic.post(f"/sessions/{session}/reveal", {"handle": handle, "reason": "x"}))[
                0
            ] == 403
            assert value not in json.dumps((await vic.get(f"/sessions/{session}/events"))[1])
        status, gone = await own.post(
            f"/sessions/{session}/reveal", {"handle": "‹secret:NONE#abcdef›", "reason": "x"}
        )
        assert status == 404, gone


def _handle(home: Path, project: Path, value: str) -> str:
    from veilig.home import Home

    redactor = Home(home).redactor({})
    redactor.learn_text(".env", (project / ".env").read_text())
    return redactor.seal(value)


async def test_an_upload_is_a_project_of_its_sender_only(server: Running, tmp_path: Path) -> None:
    import io
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr("pkg/app.py", "print('hello')\n")
    uploads: list[str] = []
    async with browser(server.url, "ann") as ann, browser(server.url, "bob") as bob:
        for who, data, wanted in ((ann, out.getvalue(), 201), (ann, b"no archive", 400)):
            headers = {"X-CSRF-Token": who.csrf, "Content-Type": "application/zip"}
            async with who.http.post(f"{who.url}/api/v1/uploads", data=data, headers=headers) as answer:
                found = await answer.json()
                assert answer.status == wanted, found
                uploads.append(found.get("upload", ""))
        for given in (uploads[0], "../../etc", "0" * 16):
            status, made = await bob.post("/sessions", {"kind": "audit", "source": {"upload": given}})
            assert status in (400, 404), made
        status, made = await ann.post("/sessions", {"kind": "audit", "source": {"upload": uploads[0]}})
        assert status == 201, made
