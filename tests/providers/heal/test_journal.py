"""Does the broker's journal count every start in a sliding hour, whatever crashes or is set?"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kernel import Clock
from veilig.core.errors import LedgerError
from veilig.providers.heal.journal import HOUR_S, Counts, Journal


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def journal(place: Path, clock: Clock) -> Iterator[Journal]:
    with Journal(place, clock) as made:
        yield made


def act(journal: Journal, ref: str, service: str = "worker-1") -> None:
    keys = [f"service.restart/service:{service}"]
    journal.append("act", ref=ref, digest=f"d{ref}", starts=service, keys=[*keys])


def test_a_start_counts_for_exactly_one_hour(journal: Journal, clock: Clock) -> None:
    act(journal, "1")
    clock.boot_s += HOUR_S - 0.001
    assert journal.starts("worker-1") == Counts(own=1)
    clock.boot_s += 0.001
    assert journal.starts("worker-1") == Counts()


def test_starts_of_others_and_attempts_under_a_key_are_counted_apart(journal: Journal) -> None:
    act(journal, "1")
    journal.append("start", service="worker-1", incarnation="7:1", started_s=990.0)
    journal.append("seen", service="worker-2", incarnation="8:1")
    assert journal.starts("worker-1") == Counts(own=1, foreign=1)
    assert journal.starts("worker-2") == Counts()
    assert journal.spent("service.restart/service:worker-1", HOUR_S) == 1
    assert journal.times("worker-1") == ((990.0, 1000.0), (1000.0,))
    assert (journal.last_seen("worker-1"), journal.last_seen("worker-2")) == ("7:1", "8:1")


def test_everything_is_there_after_a_crash(place: Path, clock: Clock) -> None:
    with Journal(place, clock) as journal:
        act(journal, "1")
        journal.append("done", ref="1", ok=True, starts="worker-1", incarnation="9:9")
        act(journal, "2")
    with Journal(place, clock) as again:
        assert again.starts("worker-1") == Counts(own=2)
        assert again.ours() == {"worker-1": ["9:9"]}
        assert again.last_act("d2") is not None
        assert again.last_act("d1") is None
        assert again.result("2") is None


def test_a_torn_last_line_is_cut_off_and_the_rest_holds(place: Path, clock: Clock) -> None:
    with Journal(place, clock) as journal:
        act(journal, "1")
        act(journal, "2")
    data = place.read_bytes()
    for cut in range(data.index(b"\n") + 1, len(data)):
        place.write_bytes(data[:cut])
        with Journal(place, clock) as again:
            assert again.starts("worker-1") == Counts(own=1)
            act(again, "3")
        with Journal(place, clock) as again:
            assert again.starts("worker-1") == Counts(own=2)


@pytest.mark.parametrize("damage", ["flip", "drop", "swap", "junk"])
def test_a_journal_that_is_not_what_was_written_stops_everything(
    place: Path, clock: Clock, damage: str
) -> None:
    with Journal(place, clock) as journal:
        for ref in "1234":
            act(journal, ref)
    lines = place.read_bytes().splitlines(keepends=True)
    if damage == "flip":
        lines[1] = lines[1].replace(b"worker-1", b"worker-9")
    elif damage == "drop":
        del lines[1]
    elif damage == "swap":
        lines[1], lines[2] = lines[2], lines[1]
    else:
        lines[3] = b"{]\n"
    place.write_bytes(b"".join(lines))
    with pytest.raises(LedgerError, match="is not what was written"):
        Journal(place, clock)


def test_there_is_one_writer(journal: Journal, place: Path, clock: Clock) -> None:
    with pytest.raises(LedgerError, match="another process"):
        Journal(place, clock)


def test_a_full_disk_is_an_error_and_the_file_stays_whole(place: Path, clock: Clock) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("THIS MACHINE HAS NO /dev/full")
    with Journal(place, clock) as journal:
        act(journal, "1")
        kept, journal._descriptor = journal._descriptor, os.open("/dev/full", os.O_WRONLY)
        with pytest.raises(LedgerError, match="cannot write"):
            act(journal, "2")
        os.close(journal._descriptor)
        journal._descriptor = kept
        assert journal.starts("worker-1") == Counts(own=1)


def test_what_no_window_reaches_is_left_out_of_a_large_file(
    place: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("veilig.providers.heal.journal.COMPACT_BYTES", 4000)
    with Journal(place, clock) as journal:
        for number in range(30):
            act(journal, str(number))
            clock.boot_s += 600
    with Journal(place, clock) as again:
        assert again.starts("worker-1") == Counts(own=5)
        size = place.stat().st_size
        act(again, "last")
        assert place.stat().st_size > size  # it writes to the new file
        with pytest.raises(LedgerError, match="another process"):
            Journal(place, clock)
    with Journal(place, clock) as again:
        assert again.starts("worker-1").own >= 6
    assert size < 4000


class Budget(RuleBasedStateMachine):
    """Real time against the journal's count: never more than three starts in any real hour."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.place = Path(self.folder.name) / "journal"
        self.journal = Journal(self.place, self.clock)
        self.real_s = 0.0
        self.boots = 1
        self.starts: list[float] = []

    @rule(crash=st.sampled_from(["no", "before", "after"]))
    def restart(self, crash: str) -> None:
        counts = self.journal.starts("w")
        if counts.own + counts.foreign >= 3:
            return
        act(self.journal, str(len(self.starts)), "w")
        if crash != "before":
            self.starts.append(self.real_s)
        if crash != "no":
            self.crash()

    @rule()
    def started_by_others(self) -> None:
        self.journal.append("start", service="w", incarnation="1:1")

    @rule(seconds=st.sampled_from([0.5, 60.0, 1200.0, 3599.0, 3600.0]))
    def wait(self, seconds: float) -> None:
        self.real_s += seconds
        self.clock.boot_s += seconds

    @rule(jump=st.floats(-1e7, 1e7))
    def wall_clock_is_set(self, jump: float) -> None:
        self.clock.wall += jump

    @rule(off=st.floats(0, 7200), up=st.floats(0, 60))
    def reboot(self, off: float, up: float) -> None:
        self.real_s += off + up
        self.boots += 1
        self.clock.boot, self.clock.boot_s = f"boot-{self.boots}", up
        self.crash()

    @rule()
    def crash(self) -> None:
        self.journal.close()
        self.journal = Journal(self.place, self.clock)

    @invariant()
    def never_more_than_three_in_any_hour(self) -> None:
        for start in self.starts:
            assert len([s for s in self.starts if start <= s < start + HOUR_S]) <= 3

    def teardown(self) -> None:
        self.journal.close()
        self.folder.cleanup()


TestBudget = Budget.TestCase
TestBudget.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
