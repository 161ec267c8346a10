"""Does a request know what was recorded before it came, and does it give up in time?"""

import asyncio

import pytest

from veilig.app.looking import SharedLook
from veilig.core.errors import LedgerError


class Record:
    """What a look brings; `door` is closed while the database is slow."""

    def __init__(self) -> None:
        self.written = self.known = self.looks = 0
        self.door = asyncio.Event()
        self.door.set()

    async def look(self) -> None:
        self.looks += 1
        found = self.written
        await self.door.wait()
        if self.written < 0:
            raise LedgerError("broken")
        self.known = found


async def test_who_asks_during_a_look_waits_for_the_next_one_and_all_of_them_share_it() -> None:
    record = Record()
    look = SharedLook(record.look, 60)
    record.door.clear()
    first = asyncio.create_task(look.fresh())
    await asyncio.sleep(0.01)
    record.written = 7  # after the first look began
    rest = [asyncio.create_task(look.fresh()) for _ in range(100)]
    await asyncio.sleep(0.01)
    assert (record.looks, first.done()) == (1, False)
    record.door.set()
    await asyncio.gather(first, *rest)
    assert (record.known, record.looks) == (7, 2)


async def test_a_database_that_is_away_is_waited_for_once_and_then_by_nobody() -> None:
    record = Record()
    look = SharedLook(record.look, 0.05)
    record.door.clear()
    with pytest.raises(LedgerError, match="cannot be reached"):
        await look.fresh()
    with pytest.raises(LedgerError, match="cannot be reached"):
        await asyncio.wait_for(look.fresh(), 60)
    assert record.looks == 1, "nobody asks again while nothing came back"
    record.door.set()
    record.written = 3
    async with asyncio.timeout(60):
        while record.known != 3:
            try:
                await look.fresh()
            except LedgerError:
                await asyncio.sleep(0.01)


async def test_an_error_of_a_look_is_that_of_all_who_waited_for_it_and_of_no_other() -> None:
    record = Record()
    look = SharedLook(record.look, 60)
    record.written = -1
    said = await asyncio.gather(look.fresh(), look.fresh(), return_exceptions=True)
    assert all(isinstance(one, LedgerError) for one in said)
    record.written = 1
    await look.fresh()
    assert record.known == 1
