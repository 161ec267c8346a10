"""When the record is not what was written, the page stops showing it, and says so."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from people_page import S, add_person, browser, plant, running, started, until

pytestmark = pytest.mark.outside_gate


async def test_a_changed_ledger_ends_the_watching_and_every_answer(tmp_path: Path) -> None:
    plant(tmp_path, S, [started()])
    add_person(tmp_path, "vic", "viewer")
    with running(tmp_path, [tmp_path]) as server:
        async with browser(server.url, "vic") as vic, vic.live(S) as socket:
            await until(socket, "hello")
            with sqlite3.connect(tmp_path / "ledger.db", timeout=30) as db:
                # A row that nobody signed, as somebody with the file would write it.
                row = list(db.execute("SELECT * FROM events ORDER BY seq DESC LIMIT 1").fetchone())
                row[0] += 1
                db.execute(f"INSERT INTO events VALUES ({','.join('?' * len(row))})", row)
            db.close()
            assert "record" in (await until(socket, "bye"))["why"]
            status, found = await vic.get("/sessions")
            assert status == 503, found
            async with asyncio.timeout(60), vic.http.get(f"{server.url}/healthz") as answer:
                assert answer.status == 200, "the process lives; what it would show is not to be believed"
