"""Is every change of a real service told, soon and once, and nothing of a healthy fleet?"""

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.core.clock import SystemClock
from veilig.core.errors import ProviderError
from veilig.core.signal import Answer, Change, LogHit, LogKind, Run, Sample, from_json, to_json
from veilig.providers.heal.good import GoodStates
from veilig.providers.heal.sampler import Sampler
from veilig.providers.heal.watch import Watch, growth, restless, shape
from watched import Fleet


class Watcher:
    """A fleet with a watch on it that remembers the mark, as a planner does."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self.fleet = fleet
        self.answers: list[str] = []
        clock = SystemClock()
        good = GoodStates(folder, fleet.inventory)
        self.sampler = Sampler(fleet.inventory, fleet.look, clock, good=good, news=lambda: self.watch.news())
        self.watch = Watch(self.sampler, clock, answered=lambda: tuple(self.answers))
        self.mark = ""
        self.samples: dict[str, Sample] = {}
        self.reports = 0

    async def wait(self, timeout_s: float = 60.0) -> dict[str, Sample]:
        data = cast(dict[str, Any], await self.watch.wait(self.mark, timeout_s))
        json.dumps(data)
        self.mark = data["mark"]
        told = {one["service"]: from_json(one) for one in data["samples"]}
        self.samples |= told
        self.reports += 1
        return told

    async def until(self, name: str, what: Callable[[Sample], bool], within_s: float = 60.0) -> Sample:
        until_s = time.monotonic() + within_s
        while name not in self.samples or not what(self.samples[name]):
            assert time.monotonic() < until_s, self.samples.get(name)
            await self.wait(0.5)
        return self.samples[name]


@asynccontextmanager
async def watching(folder: Path, fleet: Fleet) -> AsyncGenerator[Watcher]:
    watcher = Watcher(fleet, folder / "state")
    try:
        yield watcher
    finally:
        await watcher.sampler.close()
        fleet.kill_all()


def well(sample: Sample) -> bool:
    return not sample.failing


async def test_a_healthy_fleet_is_told_once_and_then_silence(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, "a", "b", needs={"a": ("b",)})
    fleet.start("a", "b")
    async with watching(tmp_path, fleet) as watcher:
        told = await watcher.wait(0.0)
        assert sorted(told) == ["a", "b"]
        assert all(one.answer == Answer.OK and one.run == Run.RUNNING for one in told.values())
        assert told["a"].incarnation.startswith(f"{fleet.children['a'].pid}:")
        assert told["a"].rss_bytes > 5 << 20
        assert told["a"].threads >= 1
        await watcher.until("a", lambda one: len(one.needs) == 1)
        begun = time.monotonic()
        assert await watcher.wait(2.5) == {}
        assert time.monotonic() - begun >= 2.4


async def test_a_crash_is_told_at_once_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("veilig.providers.heal.sampler.CALM_S", 3600.0)  # no turn would see it
    fleet = Fleet(tmp_path, "a", "b")
    fleet.start("a", "b")
    async with watching(tmp_path, fleet) as watcher:
        await watcher.wait(0.0)
        with (tmp_path / "a/app.log").open("a") as log:
            log.write("MemoryError\n")
        waiting = asyncio.create_task(watcher.wait())
        await asyncio.sleep(0.2)
        fleet.kill("a")
        told = await waiting
        if told["a"].run != Run.DOWN:  # the line was seen before the end
            told = await watcher.wait()
        assert list(told) == ["a"]
        assert (told["a"].run, told["a"].incarnation, told["a"].exit) == (Run.DOWN, "", "signal 9")
        assert [hit.kind for hit in told["a"].log] == [LogKind.MEMORY]
        fleet.start("a")
        back = await watcher.until("a", well)
        assert len(back.starts) == 1
        assert back.log == ()


async def test_a_stopped_process_is_frozen_and_a_hang_times_out(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, "a", "b")
    fleet.start("a", "b")
    async with watching(tmp_path, fleet) as watcher:
        await watcher.wait(0.0)
        fleet.kill("a", signal.SIGSTOP)
        fleet.put("b", "hang")
        frozen = await watcher.until("a", lambda one: one.run == Run.FROZEN)
        assert frozen.alive
        hung = await watcher.until("b", lambda one: one.fails >= 2)
        assert hung.answer == Answer.TIMEOUT
        assert hung.answer_for_s >= 0.9
        fleet.kill("a", signal.SIGCONT)
        await watcher.until("a", well)


async def test_one_failed_probe_changes_no_picture_and_two_do(tmp_path: Path) -> None:
    fine = Sample("a", 1.0, run=Run.RUNNING, incarnation="1", answer=Answer.OK)
    once = Sample("a", 1.0, run=Run.RUNNING, incarnation="1", answer=Answer.TIMEOUT, fails=1)
    twice = Sample("a", 1.0, run=Run.RUNNING, incarnation="1", answer=Answer.TIMEOUT, fails=2)
    assert shape(fine) == shape(once, Answer.OK)
    assert shape(twice, Answer.OK) != shape(fine)
    assert shape(once, Answer.TIMEOUT) != shape(fine)
    assert restless(once)
    assert not restless(fine)


async def test_a_deploy_that_fails_is_told_with_what_changed(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, "a")
    fleet.start("a")
    async with watching(tmp_path, fleet) as watcher:
        await watcher.until("a", lambda _: watcher.sampler.samples["a"].good != "")
        fleet.put("a", "config.json", "{ oops")
        changed_s = SystemClock().boottime_s()
        fleet.kill("a")
        fleet.start("a")
        down = await watcher.until("a", lambda one: one.run == Run.DOWN and len(one.starts) == 1)
        (change,) = down.changes
        assert (Path(change.path).name, change.kind, change.valid) == ("config.json", "config", False)
        assert down.good
        for _ in range(3):  # its age grows with each look, also while the files are not read again
            await watcher.wait(0.3)
            later = watcher.samples["a"]
            assert later.t_s - later.changes[0].age_s == pytest.approx(changed_s, abs=0.4)
        assert LogKind.CONFIG in [hit.kind for hit in down.log]
        fleet.put("a", "config.json", "{}")
        fleet.start("a")
        back = await watcher.until("a", lambda one: well(one) and not one.changes)
        assert len(back.starts) == 2


async def test_a_leak_a_slow_answer_and_an_error_are_told(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, "leak", "slow", "bad")
    fleet.start("leak", "slow", "bad")
    async with watching(tmp_path, fleet) as watcher:
        await watcher.wait(0.0)
        await asyncio.sleep(1.5)
        fleet.put("leak", "leak")
        fleet.put("slow", "slow")
        fleet.put("bad", "bad")
        bad = await watcher.until("bad", lambda one: one.answer == Answer.ERROR and one.fails >= 2)
        assert (bad.status, bad.said) == (500, "bad")
        slow = await watcher.until("slow", lambda one: one.latency_ms >= 400)
        assert slow.answer == Answer.OK
        grown = await watcher.until("leak", lambda one: growth(one) >= 2)
        assert grown.rss_slope > 5 << 20
        assert grown.rss_base_bytes < 60 << 20


async def test_who_holds_the_port_is_told(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, "a")
    port = fleet.service("a").port
    with socket.create_server(("127.0.0.1", port)):
        async with watching(tmp_path, fleet) as watcher:
            fleet.start("a")
            fleet.children["a"].wait()
            taken = await watcher.until("a", lambda one: one.port_holder != "" and one.run == Run.DOWN)
            assert taken.port_holder.startswith("pid ")
            assert LogKind.PORT in [hit.kind for hit in taken.log]


async def test_a_need_that_goes_is_told_to_those_who_have_it(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, "a", "db", needs={"a": ("db",)})
    fleet.start("a", "db")
    async with watching(tmp_path, fleet) as watcher:
        await watcher.until("a", lambda one: len(one.needs) == 1 and one.needs[0].up)
        fleet.put("a", "bad")
        fleet.kill("db")
        lacking = await watcher.until("a", lambda one: bool(one.needs) and not one.needs[0].up)
        assert (lacking.needs[0].name, lacking.needs[0].how, lacking.needs[0].why) == (
            "db",
            "declared",
            "db is down",
        )
        fleet.start("db")
        await watcher.until("a", lambda one: one.needs[0].up)


async def test_nothing_between_two_waits_is_lost_and_answers_end_a_wait(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, "a")
    fleet.start("a")
    async with watching(tmp_path, fleet) as watcher:
        await watcher.wait(0.0)
        fleet.kill("a")
        fleet.start("a")
        first = fleet.children["a"].pid
        while not watcher.sampler.samples["a"].incarnation.startswith(f"{first}:"):
            await asyncio.sleep(0.05)
        told = await watcher.wait(0.0)
        assert told["a"].incarnation.startswith(f"{first}:")
        await watcher.until("a", well)
        watcher.answers.append("7c2")
        data = await watcher.watch.wait(watcher.mark, 5.0)
        assert data["answered"] == ["7c2"]
        other = await watcher.watch.wait("stranger:5", 0.0)
        assert len(cast(list[object], other["samples"])) == 1


async def test_keepers_that_say_nothing_leave_services_unseen(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, "a")
    fleet.start("a")
    look, broken = fleet.look, [False]

    async def sometimes() -> Any:
        if broken[0]:
            raise ProviderError("the broker is gone")
        return await look()

    fleet.look = sometimes
    async with watching(tmp_path, fleet) as watcher:
        await watcher.wait(0.0)
        broken[0] = True
        unseen = await watcher.until("a", lambda one: one.run == Run.UNKNOWN)
        assert "the broker is gone" in unseen.why
        broken[0] = False
        back = await watcher.until("a", well)
        assert back.starts == ()


async def test_a_log_that_nobody_named_is_found_by_who_writes_it(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, "a")
    fleet.start("a")
    nameless = replace(fleet.service("a"), log=())
    fleet.inventory = replace(fleet.inventory, services=(nameless,))
    async with watching(tmp_path, fleet) as watcher:
        await watcher.wait(0.0)
        with (tmp_path / "a/app.log").open("a") as log:
            log.write("MemoryError\n")
        told = await watcher.until("a", lambda one: bool(one.log))
        assert [hit.kind for hit in told.log] == [LogKind.MEMORY]


async def test_a_held_service_is_told_with_who_holds_it(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, "a")
    fleet.held["a"] = "STOPPED_BY_OPERATOR"
    async with watching(tmp_path, fleet) as watcher:
        told = await watcher.wait(0.0)
        assert (told["a"].run, told["a"].held_by) == (Run.STOPPED, "STOPPED_BY_OPERATOR")


async def test_looking_that_ended_is_an_error_and_no_silence(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, "a")

    async def bug() -> Any:
        raise ZeroDivisionError("a bug of a keeper")

    fleet.look = bug
    async with watching(tmp_path, fleet) as watcher:
        with pytest.raises(ProviderError, match="no longer looked at"):
            await watcher.wait(10.0)


async def test_names_that_are_no_text_stop_nothing(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, "a")
    base = tmp_path / "a"
    for name in (b"\xff.conf", b"\xfe.py", b"app.log.\xfd", b"x\ny.toml"):
        (base / os.fsdecode(name)).write_text("a = 1")
    (base / "current").symlink_to(os.fsdecode(b"\xff"))
    (base / os.fsdecode(b"\xfc")).mkdir()
    fleet.start("a")
    async with watching(tmp_path, fleet) as watcher:
        await watcher.until("a", lambda _: watcher.sampler.samples["a"].good != "")
        fleet.kill("a")
        down = await watcher.until("a", lambda one: one.run == Run.DOWN)
        json.dumps(to_json(down), ensure_ascii=False).encode()
        "".join(watcher.sampler.all_notes()).encode()


VOLATILE = st.fixed_dictionaries(
    {name: st.floats(0, 1e6) for name in ("t_s", "up_s", "answer_for_s", "latency_ms", "rss_slope", "cpu")}
    | {name: st.integers(0, 1000) for name in ("fds", "threads", "backlog")}
)


@given(VOLATILE, VOLATILE, st.floats(0, 100), st.integers(2, 50))
def test_what_changes_all_the_time_is_no_part_of_the_picture(
    one: dict[str, Any], other: dict[str, Any], age_s: float, fails: int
) -> None:
    told = Sample(
        "a", 0.0, run=Run.RUNNING, incarnation="1", answer=Answer.ERROR, status=500, fails=2,
        log=(LogHit(LogKind.DISK, "x"),), changes=(Change("/a", "config", "", "1"),),
    )  # fmt: skip
    later = replace(
        told, fails=fails, log=(LogHit(LogKind.DISK, "y", 7, "/d", age_s),),
        changes=(Change("/a", "config", "", "1", age_s=age_s),),
    )  # fmt: skip
    assert shape(replace(told, **one)) == shape(replace(later, **other))
