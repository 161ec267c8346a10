"""Does the ledger survive kills, full disks and several writers, and say so when it cannot go on?"""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from veilig.core.errors import LedgerError
from veilig.core.ledger import Draft, Ledger
from veilig.core.ledger_file import create_file
from veilig.core.ledger_verify import verify

pytestmark = pytest.mark.faults

# Appends events, four callers at a time, and says each number once it is durable.
WRITER = """
import asyncio, sys
from pathlib import Path
from veilig.core.ledger import Ledger
place, session, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
async def main():
    with Ledger.open(place / "l.db", anchor_dir=place / "anchors", checkpoint_events=64) as ledger:
        async def one(n):
            body = {"n": n, "budget_keys": [session], "claims": [f"{session}:{n}"]}
            await ledger.submit(lambda tx: tx.append("action.started", session, body))
            print(n, flush=True)
        for n in range(0, count, 4):
            await asyncio.gather(*(one(n + i) for i in range(4)))
asyncio.run(main())
"""


def writer(place: Path, session: str, count: int) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", WRITER, str(place), session, str(count)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("said", [1, 2, 7, 40, 101])
def test_a_killed_writer_loses_nothing_it_had_confirmed_and_the_ledger_goes_on(tmp_path: Path, said: int):
    with writer(tmp_path, "killed", 100_000) as process:
        assert process.stdout is not None
        confirmed = [int(process.stdout.readline()) for _ in range(said)]
        process.send_signal(signal.SIGKILL)
        confirmed += [int(line) for line in process.stdout if line.endswith("\n")]
    assert process.returncode == -signal.SIGKILL
    found = verify(tmp_path / "l.db", tmp_path / "anchors")
    with Ledger.open(tmp_path / "l.db", anchor_dir=tmp_path / "anchors") as ledger:
        kept = [event.body["n"] for event in ledger.events("killed")]
        assert kept == list(range(len(kept)))
        assert set(confirmed) <= set(kept)
        assert ledger.transact(lambda tx: tx.count("killed", 0)) == len(kept)
        assert ledger.append([Draft("action.decided", "after", {})])[0].seq >= found.events + 1
    assert verify(tmp_path / "l.db", tmp_path / "anchors").warnings == ()


# Dies by its own hand at the Nth statement, in the middle of whatever the ledger was doing then.
SUICIDE = """
import os, signal, sqlite3, sys
from pathlib import Path
from veilig.core.ledger import Draft, Ledger
place, left = Path(sys.argv[1]), int(sys.argv[2])
class Dying:
    def __init__(self, db):
        self.db = db
    def __getattr__(self, name):
        return getattr(self.db, name)
    def execute(self, *args):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.db.execute(*args)
ledger = Ledger.open(place / "l.db", anchor_dir=place / "anchors", checkpoint_events=3)
ledger._store._committer._db = Dying(ledger._store._committer._db)
real_write = type(ledger._store._committer._anchor).write
def dying_write(self, anchored):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real_write(self, anchored)
type(ledger._store._committer._anchor).write = dying_write
for n in range(6):
    intent = Draft("action.started", "s", {"n": n, "claims": [f"c{n}"]})
    ledger.append([intent, Draft("action.verified", "s", {})])
    print(n, flush=True)
"""


@pytest.mark.parametrize("left", range(1, 96, 4))
def test_a_kill_at_any_statement_leaves_whole_transactions_only(tmp_path: Path, left: int):
    argv = [sys.executable, "-c", SUICIDE, str(tmp_path), str(left)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    verify(tmp_path / "l.db", tmp_path / "anchors")
    with Ledger.open(tmp_path / "l.db", anchor_dir=tmp_path / "anchors") as ledger:
        names = [event.name for event in ledger.events("s")]
        assert names == ["action.started", "action.verified"] * (len(names) // 2)
        assert len(names) // 2 >= len(done.stdout.splitlines())
        ledger.append([Draft("action.decided", "after", {})])
    assert verify(tmp_path / "l.db", tmp_path / "anchors").warnings == ()


def test_two_processes_write_one_chain_and_no_event_is_lost(tmp_path: Path):
    processes = [writer(tmp_path, name, 200) for name in ("left", "right")]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert [len(output.splitlines()) for output in outputs] == [200, 200]
    found = verify(tmp_path / "l.db", tmp_path / "anchors")
    with Ledger.open(tmp_path / "l.db", anchor_dir=tmp_path / "anchors") as ledger:
        per_session = {s.session: s.events for s in ledger.sessions()}
    assert (per_session["left"], per_session["right"]) == (200, 200)
    assert found.events == sum(per_session.values())
    assert found.checkpoints == per_session["ledger"] >= 3


ONE_CLAIM = """
import sys
from pathlib import Path
from veilig.core.ledger import Ledger
place, name = Path(sys.argv[1]), sys.argv[2]
def take(tx):
    if tx.claim("approval"):
        tx.append("action.started", name, {"claims": ["approval"]})
        return True
    return False
with Ledger.open(place / "l.db", anchor_dir=place / "anchors") as ledger:
    sys.stdin.readline()
    print(ledger.transact(take))
"""


def test_of_several_processes_one_gets_the_claim(tmp_path: Path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ONE_CLAIM, str(tmp_path), f"p{n}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(4)
    ]
    answers = sorted(process.communicate("go\n", timeout=60)[0].strip() for process in processes)
    assert answers == ["False", "False", "False", "True"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB; only root can make one."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk; the file size limit is tested instead")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this container may not mount; the file size limit is tested instead")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(ledger: Ledger) -> LedgerError:
    for n in range(200):
        try:
            ledger.append([Draft("action.proposed", "s1", {"n": n, "text": "x" * 8000})])
        except LedgerError as error:
            return error
    raise AssertionError("it never got full")


def test_a_full_disk_is_said_and_the_ledger_goes_on_when_there_is_space(small_disk: Path):
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 200_000)
    with Ledger.open(small_disk / "l.db", anchor_dir=small_disk / "anchors") as ledger:
        error = fill(ledger)
        assert "full" in error.why
        assert "space" in error.fix
        kept = ledger.size()
        assert kept > 0
        assert verify(ledger.path, small_disk / "anchors").events == kept
        filler.unlink()
        ledger.append([Draft("action.proposed", "s1", {"n": kept})])
        assert [e.body["n"] for e in ledger.events()] == list(range(kept + 1))
    assert verify(small_disk / "l.db", small_disk / "anchors").events == kept + 1


def test_a_file_that_may_not_grow_is_said_and_nothing_is_half_written(tmp_path: Path):
    with Ledger.open(tmp_path / "l.db", anchor_dir=tmp_path / "anchors") as ledger:
        ledger.append([Draft("action.proposed", "s1", {"n": 0})])
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            error = fill(ledger)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert "nothing was half-written" in error.fix
        kept = ledger.size()
        ledger.append([Draft("action.proposed", "s1", {})])
    assert verify(tmp_path / "l.db", tmp_path / "anchors").events == kept + 1


async def test_a_commit_that_fails_tells_every_waiting_caller(tmp_path: Path):
    with Ledger.open(tmp_path / "l.db", anchor_dir=tmp_path / "anchors") as ledger:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
        try:
            waiting = [
                ledger.submit(lambda tx: tx.append("action.proposed", "s1", {"text": "x" * 50_000}))
                for _ in range(8)
            ]
            results = await asyncio.gather(*waiting, return_exceptions=True)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        failed = [r for r in results if isinstance(r, LedgerError)]
        assert failed
        assert ledger.size() == len(results) - len(failed)
        await ledger.submit(lambda tx: tx.append("action.proposed", "s1", {}))
    verify(tmp_path / "l.db", tmp_path / "anchors")


# Imports first: the other user may not reach this interpreter's folders.
AS_NOBODY = """
import os, sys
from pathlib import Path
from veilig.core.errors import LedgerError
from veilig.core.ledger import Ledger
os.setgid(65534)
os.setuid(65534)
place = Path(sys.argv[1])
try:
    Ledger.open(place / "l.db", anchor_dir=place / "anchors")
except LedgerError as error:
    print(error)
"""


def test_a_user_without_write_permission_is_told_before_anything_is_done():
    if os.geteuid() != 0:
        pytest.skip("needs root to become another user")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        place.chmod(0o755)
        create_file(place / "l.db")
        (place / "l.db").chmod(0o644)
        argv = [sys.executable, "-c", AS_NOBODY, folder]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert "is read-only" in done.stdout, done.stderr
        assert sorted(f.name for f in place.iterdir()) == ["l.db"]
