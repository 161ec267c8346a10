"""Is only that called regenerable which can go without loss?"""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.core.service import Service
from veilig.core.signal import Disk
from veilig.providers.heal.disk import TMP_AGE_S, disks, fullness, regenerable


def service(base: Path) -> Service:
    return Service(
        "web",
        folder=str(base),
        log=(str(base / "logs/app.log"),),
        data=(str(base / "data"),),
        config=(str(base / "app.conf.1"),),
    )


def put(base: Path, *names: str, age_s: float = 0.0) -> None:
    for name in names:
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x" * 10)
        when = time.time() - age_s
        os.utime(path, (when, when))


def names(base: Path) -> list[str]:
    return [os.path.relpath(row[0], base) for row in regenerable(service(base))]


ROTATED = [
    "logs/app.log.1", "logs/app.log.2.gz", "logs/app.log.old", "logs/app.log.1.old", "logs/app.log-20260101",
    "logs/app.log-20260101.gz", "logs/app-2026-01-01.log", "logs/app.1.log", "logs/app.log.2026-01-01",
]  # fmt: skip
STAYS = [
    "logs/app.log", "logs/other.log", "logs/app.log.config", "logs/audit-trail", "logs/applog.1",
    "app.conf.1", "data/app.log.1", "data/__pycache__/x.pyc", "app.py", "notes.old", "tmp/fresh",
    "dump.sql.1",
    "logs/app.log.1/x",
]  # fmt: skip


@pytest.mark.parametrize("name", ROTATED)
def test_a_rotated_log_can_go(tmp_path: Path, name: str) -> None:
    put(tmp_path, "logs/app.log", name)
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("name", STAYS)
def test_what_is_no_rotated_log_stays(tmp_path: Path, name: str) -> None:
    put(tmp_path, "logs/app.log", name)
    assert names(tmp_path) == []


def test_a_log_that_nobody_named_has_its_rotated_ones_too(tmp_path: Path) -> None:
    put(tmp_path, "trace.log", "trace.log.3")
    put(tmp_path, "orphan.log.3")
    assert names(tmp_path) == ["trace.log.3"]


def test_the_oldest_comes_first_with_what_a_later_look_compares(tmp_path: Path) -> None:
    put(tmp_path, "logs/app.log", "logs/app.log.1")
    put(tmp_path, "logs/app.log.2", age_s=100)
    found = regenerable(service(tmp_path))
    state = (tmp_path / "logs/app.log.2").stat()
    assert found[0] == (
        str(tmp_path / "logs/app.log.2"), 10, state.st_mtime_ns, state.st_ino, state.st_dev,
    )  # fmt: skip
    assert [Path(row[0]).name for row in found] == ["app.log.2", "app.log.1"]


def test_what_is_open_linked_or_of_another_owner_stays(tmp_path: Path) -> None:
    put(tmp_path, "logs/app.log", "logs/app.log.1", "logs/app.log.2", "logs/app.log.4", "elsewhere")
    (tmp_path / "logs/app.log.3").symlink_to(tmp_path / "elsewhere")
    os.link(tmp_path / "logs/app.log.2", tmp_path / "second-name")
    with (tmp_path / "logs/app.log.1").open("a"):
        if os.geteuid() == 0:
            os.chown(tmp_path / "logs/app.log.4", 12345, 12345)
        else:
            (tmp_path / "logs/app.log.4").unlink()
        assert names(tmp_path) == []
    assert names(tmp_path) == ["logs/app.log.1"]


def test_caches_by_convention_and_old_files_in_its_own_tmp_can_go(tmp_path: Path) -> None:
    put(tmp_path, "__pycache__/a.pyc", "lib/__pycache__/b.pyc", ".cache/x/y", "built/one", "not-a-cache/one")
    put(tmp_path, "tmp/old", "tmp/deep/old", "lib/tmp/old", age_s=TMP_AGE_S + 60)
    put(tmp_path, "tmp/edge", age_s=TMP_AGE_S - 60)
    (tmp_path / "built/CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
    (tmp_path / "not-a-cache/CACHEDIR.TAG").write_text("trust me\n")
    assert sorted(names(tmp_path)) == [
        ".cache/x/y", "__pycache__/a.pyc", "built/one", "lib/__pycache__/b.pyc", "tmp/deep/old", "tmp/old",
    ]  # fmt: skip


def test_a_folder_of_the_machine_is_not_searched() -> None:
    assert regenerable(Service("web", folder="/tmp")) == ()
    assert regenerable(Service("web")) == ()


def test_disks_are_named_once_with_their_room(tmp_path: Path) -> None:
    put(tmp_path, "logs/app.log", "logs/app.log.1")
    (tmp_path / "data").mkdir()
    (found,) = disks(service(tmp_path), deep=True)
    assert found.path == str(tmp_path / "logs")
    assert 0 < found.free_bytes < found.total_bytes
    assert disks(Service("none", folder=str(tmp_path / "absent"))) == ()


@pytest.mark.parametrize(
    ("free", "total", "inodes", "level"),
    [
        (100, 1000, -1, 2),  # small in bytes
        ((64 << 10) - 1, 1 << 20, -1, 2),
        (64 << 10, 1 << 20, -1, 1),
        (100 << 20, 1000 << 20, -1, 0),
        ((100 << 20) - 1, 1000 << 20, -1, 1),
        (10 << 20, 1000 << 20, -1, 1),
        ((10 << 20) - 1, 1000 << 20, -1, 2),
        (2 << 30, 1000 << 30, -1, 0),
        ((2 << 30) - 1, 1000 << 30, -1, 1),
        ((128 << 20) - 1, 1000 << 30, -1, 2),
        (100 << 20, 1000 << 20, 1, 2),
        (100 << 20, 1000 << 20, 2, 0),
    ],
)
def test_levels_turn_at_their_edges(free: int, total: int, inodes: int, level: int) -> None:
    assert fullness(Disk("/x", free, total, inodes)) == level


@given(st.text(alphabet="aplog.-0129z", min_size=1, max_size=16))
def test_a_live_log_is_never_its_own_rotation(name: str) -> None:
    from veilig.providers.heal.disk import _mark_of

    assert not _mark_of(name, name)
