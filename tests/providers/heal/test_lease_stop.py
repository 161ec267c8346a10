"""Does one healer act at a time, and does a stop hold?"""

import subprocess
import sys
from pathlib import Path

import pytest

from veilig.core.errors import LedgerError
from veilig.providers.heal.lease import Lease
from veilig.providers.heal.stop import go_on, stop, stopped

HOLDER = """
import sys, time
from pathlib import Path
from veilig.providers.heal.lease import Lease
print(repr(Lease(Path(sys.argv[1])).hold()), flush=True)
time.sleep(600)
"""


@pytest.fixture
def services(tmp_path: Path) -> Path:
    place = tmp_path / "services.json"
    place.write_text("{}")
    return place


def test_the_second_healer_is_told_who_acts_and_takes_over_when_that_one_dies(services: Path) -> None:
    first = subprocess.Popen([sys.executable, "-c", HOLDER, str(services)], stdout=subprocess.PIPE)
    assert first.stdout is not None
    assert first.stdout.readline() == b"''\n"
    lease = Lease(services)
    try:
        held = lease.hold()
        assert held.startswith(f"another healer acts here: pid {first.pid} python")
        assert "s after boot" in held
    finally:
        first.kill()
        first.wait()
        first.stdout.close()
    assert lease.hold() == ""
    assert lease.hold() == ""
    lease.release()


def test_a_lease_holds_under_every_name_of_the_file(services: Path) -> None:
    (services.parent / "link.json").symlink_to(services)
    first, second = Lease(services), Lease(services.parent / "link.json")
    assert first.hold() == ""
    assert "another healer" in second.hold()
    first.release()
    assert second.hold() == ""
    second.release()


def test_who_holds_the_old_file_must_take_the_new_one(services: Path) -> None:
    first, second = Lease(services), Lease(services)
    assert first.hold() == ""
    fresh = services.with_suffix(".tmp")
    fresh.write_text("{}")
    fresh.rename(services)
    assert second.hold() == ""
    assert "another healer" in first.hold()
    second.release()
    assert first.hold() == ""
    first.release()


def test_a_services_file_that_is_gone_is_nobodys(services: Path) -> None:
    services.unlink()
    assert "cannot be read" in Lease(services).hold()


def test_a_stop_holds_until_it_is_taken_back(tmp_path: Path) -> None:
    folder = tmp_path / "heal"
    assert stopped(folder) is None
    stop(folder, "ann", "maintenance of the switch")
    found = stopped(folder)
    assert str(found) == "healing was stopped by ann: maintenance of the switch"
    assert found is not None
    assert found.at_s > 1e9
    assert go_on(folder)
    assert stopped(folder) is None
    assert not go_on(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"who": 1}'])
def test_a_stop_file_that_cannot_be_understood_is_a_stop(tmp_path: Path, text: str) -> None:
    (tmp_path / "STOP").write_text(text)
    assert "somebody" in str(stopped(tmp_path))


def test_a_stop_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="cannot write"):
        stop(tmp_path / "file", "ann", "")


def test_healers_of_parts_act_beside_each_other_but_not_beside_one_of_the_whole(services: Path) -> None:
    whole, one, two, again = Lease(services), *(Lease(services, part) for part in ("1", "2", "1"))
    assert (one.hold(), two.hold(), one.hold()) == ("", "", "")
    assert "another healer acts on part 1" in again.hold()
    assert "another healer" in whole.hold()
    one.release()
    assert again.hold() == ""
    again.release()
    two.release()
    assert whole.hold() == ""
    assert "another healer" in one.hold()
    whole.release()
