"""The law, the disk or the ledger fails: nothing is done, and it is said. Never the last good policy."""

import os
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from kernel import AGENT, Script, World
from veilig.core import ledger_open
from veilig.core.action import RestartService, RunCommand
from veilig.core.errors import LedgerError
from veilig.core.gate import Gate
from veilig.core.ledger import Draft, Ledger
from veilig.core.ledger_anchor import Anchored
from veilig.core.ledger_verify import verify
from veilig.core.policy import Capability, Facts
from veilig.core.provider import Status
from veilig.core.session import Budget, Session
from veilig.law import Laws

pytestmark = [pytest.mark.faults, pytest.mark.outside_gate]

RESTART = RestartService("web", "1")
POLICY = """
mode: act
autonomous_healing:
  enabled: true
  scope:
    services:
      - {name: web, actions: [restart], max_restarts_per_hour: 60}
"""
KNOWN = Facts(
    capability=Capability.READ_WRITE,
    managed=True,
    known=True,
    last_healthy=False,
    foreign_starts=0,
    live=frozenset({"web", "other"}),
    unhealthy=frozenset({"web"}),
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def gate_under(world: World, laws: Laws) -> Gate:
    return Gate(
        session="s1",
        ledger=world.ledger,
        law=laws.law(world.clock, lambda _: KNOWN),
        providers=[world.services],
        redactor=world.redactor,
        clock=world.clock,
    )


def rewrite(file: Path, text: str) -> None:
    """As an editor saves: a new file in the old one's place."""
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(file)


BROKEN = {
    "not YAML": "mode: [act\n",
    "an unknown key": POLICY + "autonomus: 1\n",
    "another type": "mode: 7\n",
}


@pytest.mark.parametrize("kind", [*BROKEN, "bytes that are no text", "gone", "a folder"])
async def test_while_the_policy_cannot_be_read_every_act_is_refused_and_then_it_works_again(
    world: World, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "veilig.yaml"
    file.write_text(POLICY)
    gate = gate_under(world, Laws(file, None))
    assert (await gate.submit(RESTART, AGENT)).ok
    match kind:
        case "gone":
            file.unlink()
        case "a folder":
            file.unlink()
            file.mkdir()
        case "bytes that are no text":
            file.write_bytes(b"mode: \xff\xfe")
        case _:
            rewrite(file, BROKEN[kind])
    refused = await gate.submit(RESTART, AGENT)
    assert refused.status is Status.REFUSED
    assert "veilig.yaml" in refused.detail
    if kind == "a folder":
        file.rmdir()
    rewrite(file, POLICY)
    assert (await gate.submit(RESTART, AGENT)).ok
    assert world.services.acts("web") == ["1", "1"]


async def test_an_empty_policy_allows_no_restart(world: World, tmp_path: Path) -> None:
    (tmp_path / "veilig.yaml").write_text("")
    outcome = await gate_under(world, Laws(tmp_path / "veilig.yaml", None)).submit(RESTART, AGENT)
    assert outcome.status is Status.REFUSED
    assert world.services.acts("web") == []


async def test_a_project_s_policy_takes_away_and_never_gives(world: World, tmp_path: Path) -> None:
    operator, project = tmp_path / "operator.yaml", tmp_path / "veilig.yaml"
    operator.write_text("mode: act\n")
    project.write_text(POLICY)
    assert not (await gate_under(world, Laws(operator, project)).submit(RESTART, AGENT)).ok
    operator.write_text(POLICY)
    project.write_text("mode: observe\n")
    assert not (await gate_under(world, Laws(operator, project)).submit(RESTART, AGENT)).ok
    assert world.services.acts("web") == []


async def test_a_broken_project_policy_stops_every_change_too(world: World, tmp_path: Path) -> None:
    operator, project = tmp_path / "operator.yaml", tmp_path / "veilig.yaml"
    operator.write_text(POLICY)
    project.write_text("mode: [\n")
    outcome = await gate_under(world, Laws(operator, project)).submit(RESTART, AGENT)
    assert outcome.status is Status.REFUSED
    assert (
        await gate_under(world, Laws(operator, project)).submit(RunCommand(("true",)), AGENT)
    ).status is Status.REFUSED


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A file system of 1 MiB; only root can make one."""
    if os.geteuid() != 0:
        pytest.skip(
            "only root can mount a small disk; tests/faults/test_ledger_faults limits file sizes instead"
        )
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this container may not mount a file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


async def test_on_a_full_disk_nothing_is_done_and_it_is_said(tmp_path: Path, small_disk: Path) -> None:
    world = World(tmp_path)
    world.ledger.close()
    world.ledger = Ledger.open(small_disk / "l.db", anchor_dir=small_disk / "anchors", clock=world.clock)
    assert (await world.gate().submit(RESTART, AGENT)).ok
    (small_disk / "filler").write_bytes(b"")
    with (small_disk / "filler").open("ab", buffering=0) as filler:
        try:
            while filler.write(b"x" * 4096):
                pass
        except OSError:
            pass
    acts = 1
    with pytest.raises(LedgerError) as caught:
        for _ in range(100):
            await world.gate().submit(RESTART, AGENT)
            acts += 1
    assert caught.value.fix
    started = [e.name for e in world.ledger.events()].count("action.started")
    assert acts <= len(world.services.acts("web")) <= started, "no act without a durable intent"
    (small_disk / "filler").unlink()
    assert (await world.gate().submit(RESTART, AGENT)).ok
    world.ledger.close()


@pytest.mark.parametrize("how", ["replaced", "removed"])
async def test_a_ledger_that_is_swapped_under_a_running_session_stops_it(
    world: World, tmp_path: Path, how: str
) -> None:
    assert (await world.gate().submit(RESTART, AGENT)).ok
    place = tmp_path / "ledger.db"
    if how == "replaced":
        with Ledger.open(tmp_path / "other.db", anchor_dir=tmp_path / "b", clock=world.clock) as other:
            other.transact(lambda tx: tx.append("session.noted", "s", {"state": {}}))
        (tmp_path / "other.db").replace(place)
    else:
        place.unlink()
    with pytest.raises(LedgerError):
        await world.gate().submit(RESTART, AGENT)
    assert world.services.acts("web") == ["1"]


DRIVER = """
import sys
from pathlib import Path
from veilig.core.errors import SessionError
from veilig.core.lock import SessionLock
try:
    with SessionLock(Path(sys.argv[1])):
        print("driving", flush=True)
        sys.stdin.readline()
except SessionError as error:
    print("refused", error.retry_after_s, flush=True)
"""


def driver(folder: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", DRIVER, str(folder)]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_one_process_drives_a_session_and_a_dead_one_lets_go_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "s1"
    with driver(folder) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "driving\n"
        with driver(folder) as second:
            assert second.communicate()[0] == "refused 5.0\n"
        first.kill()
        first.wait()
    with driver(folder) as third:
        assert third.communicate("\n")[0] == "driving\n"


RUNNER = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from kernel import AGENT, World
from veilig.core.action import RestartService
from veilig.core.policy_model import BudgetClaim
world = World(Path(sys.argv[1]))
world.rules.budgets = (BudgetClaim("restart:web", 5, 3600),)
async def main():
    done = [await world.gate().submit(RestartService("web", str(n)), AGENT) for n in range(6)]
    print(sum(o.ok for o in done))
asyncio.run(main())
"""


def test_two_processes_on_one_ledger_share_one_budget(tmp_path: Path) -> None:
    support = str(Path(__file__).parent.parent / "support")
    argv = [sys.executable, "-c", RUNNER, str(tmp_path), support]
    runs = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    done = [int(run.communicate(timeout=60)[0]) for run in runs]
    assert sum(done) == 5
    assert len((tmp_path / "world" / "web").read_text().splitlines()) == 5


async def test_a_session_whose_ledger_fails_half_way_raises_and_its_resume_goes_on(
    world: World, tmp_path: Path
) -> None:
    def session() -> Session:
        return Session(
            "s1", gate=world.gate(), ledger=world.ledger, planner=Script(3), actor=AGENT, budget=Budget(),
            policy=lambda: "p",
        )  # fmt: skip

    def close() -> None:
        if world.services.acts("svc-0"):
            world.ledger.close()

    world.services.before_act = close
    with pytest.raises(LedgerError):
        await session().run("script", "/", {}, "t")
    world.services.before_act = lambda: None
    world.open()
    assert (await session().resume("t")).ok
    assert [world.services.acts(f"svc-{i}") for i in range(3)] == [["act-0"], ["act-1"], ["act-2"]]


def test_a_ledger_opened_while_another_process_makes_it_is_not_called_tampered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen once in a real run: the anchor appeared, and went on, between two looks of the second process."""
    real, looks = ledger_open.read_anchor, [0]
    with Ledger.open(tmp_path / "l.db", anchor_dir=tmp_path / "anchors") as maker:
        append = lambda: maker.append([Draft("session.noted", "s", {"state": {}})])  # noqa: E731
        append()

        def look(place: Path) -> Anchored | None:
            looks[0] += 1
            if looks[0] == 1:
                return None  # not made yet
            append()
            return real(place)

        monkeypatch.setattr(ledger_open, "read_anchor", look)
        with Ledger.open(tmp_path / "l.db", anchor_dir=tmp_path / "anchors") as other:
            assert other.size() == 2


WRITER = """
import sys
from pathlib import Path
from veilig.core.ledger import Draft, Ledger
place = Path(sys.argv[1])
with Ledger.open(place / "l.db", anchor_dir=place / "anchors") as ledger:
    for line in sys.stdin:
        ledger.append([Draft("session.noted", "s", {"state": {"n": int(line)}})])
        print("written", flush=True)
"""


def test_looking_at_a_ledger_takes_nothing_from_the_process_that_writes_it(tmp_path: Path) -> None:
    """A look that came and went once deleted the write-ahead log under the writer: events were lost."""
    argv = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        for n in range(5):
            writer.stdin.write(f"{n}\n")
            assert writer.stdout.readline() == "written\n"
            with Ledger.open(tmp_path / "l.db", anchor_dir=tmp_path / "anchors", create=False) as look:
                assert [e.body["state"] for e in look.events("s")] == [{"n": i} for i in range(n + 1)]
        writer.kill()
    assert verify(tmp_path / "l.db", tmp_path / "anchors").events == 5
