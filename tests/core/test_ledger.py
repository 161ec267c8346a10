"""What does the ledger keep, count, claim and refuse in ordinary use, in a file?"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger_conformance import *  # noqa: F403  # the tests that every store passes
from ledger_conformance import Check, Reopen, SetClock
from veilig.core.clock import SystemClock
from veilig.core.ledger import Ledger
from veilig.core.ledger_head import Head
from veilig.core.ledger_tree import EMPTY
from veilig.core.ledger_tx import ledger_time
from veilig.core.ledger_verify import verify


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def ledger(tmp_path: Path, clock: SetClock) -> Iterator[Ledger]:
    with Ledger.open(
        tmp_path / "ledger.db", anchor_dir=tmp_path / "state" / "anchors", clock=clock
    ) as opened:
        yield opened


@pytest.fixture
def reopen(tmp_path: Path) -> Reopen:
    return lambda: Ledger.open(tmp_path / "ledger.db", anchor_dir=tmp_path / "state" / "anchors")


@pytest.fixture
def check(tmp_path: Path) -> Check:
    return lambda: verify(tmp_path / "ledger.db", tmp_path / "state" / "anchors")


@given(st.lists(st.tuples(st.floats(0, 5000), st.booleans(), st.floats(0, 5000)), max_size=30))
def test_ledger_time_never_exceeds_the_real_time_that_passed(steps: list[tuple[float, bool, float]]):
    """steps: seconds that pass, whether the machine then reboots, seconds it stays off."""
    real = booted = 0.0
    boot, boots, head, first = 0, dict[str, tuple[int, int]](), Head(b""), 0.0
    for passed, reboots, off in steps:
        real += passed
        if reboots:
            real += off
            booted, boot = real, boot + 1
        first = first if head.size else real
        t_ms, up_ms = ledger_time(head, boots.get(str(boot)), int((real - booted) * 1000))
        boots[str(boot)] = (t_ms, up_ms)
        assert (
            head.t_ms <= t_ms <= (real - first) * 1000 + 1 + boot
        )  # whole milliseconds are cut once per boot
        head = Head(b"", t_ms, str(boot), up_ms, EMPTY.push(b"") if not head.size else head.frontier)


def test_the_system_clock_names_this_boot_and_runs():
    clock = SystemClock()
    assert clock.boot_id() == SystemClock().boot_id() != ""
    assert 0 < clock.boottime_s() <= clock.boottime_s()
    assert clock.wall_s() > 1_700_000_000


def test_importing_the_ledger_does_not_import_cryptography():
    code = "import sys, veilig.core.ledger; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
