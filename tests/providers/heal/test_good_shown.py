"""Do people see what a rollback would change before they vote, and no secret in it?"""

from pathlib import Path

from good_world import World
from veilig.core.action import RollBack
from veilig.core.redact import Redactor
from veilig.providers.heal.good import FIRST_S, REPLACE_S
from veilig.providers.heal.good_shown import shown


def broken(tmp_path: Path) -> World:
    """Two good states, then a bad edit, a new file and a binary one."""
    world = World(tmp_path)
    world.start()
    world.well_for(FIRST_S)
    world.write("config.json", '{"db": {"port": 5433}}')
    world.start()
    world.well_for(REPLACE_S)
    world.write("config.json", '{"db": {"port": 1, "password": "' + "hunter2" * 3 + '"}}')
    world.write("version", "v2\n")
    world.tell(well=False)
    return world


def proposed(world: World, kind: str) -> RollBack:
    files = tuple((c.path, c.after, c.before) for c in world.good.changes(world.service) if c.kind == kind)
    what = "config" if kind == "config" else "version"
    return RollBack("web", "1", what, world.good.digest(world.service), files)


def test_the_diff_goes_from_now_to_the_good_content(tmp_path: Path) -> None:
    world = broken(tmp_path)
    text = shown(proposed(world, "config"), world.service, world.good)
    head, *diff = text.splitlines()
    assert head.startswith("back to the good state of 20")
    assert "; also kept, of: 20" in head
    path = world.base / "config.json"
    assert diff[:2] == [f"--- {path} (now)", f"+++ {path} (good)"]
    assert '+{"db": {"port": 5433}}' in diff


def test_a_file_that_changed_meanwhile_is_said(tmp_path: Path) -> None:
    world = broken(tmp_path)
    action = proposed(world, "config")
    world.write("config.json", "{}")
    assert "config.json: cannot be shown: it is not what it was when this was proposed" in shown(
        action, world.service, world.good
    )


def test_a_binary_file_is_told_by_its_size(tmp_path: Path) -> None:
    world = broken(tmp_path)
    (world.base / "version").write_bytes(b"\0\1\2")
    assert "version: 3 bytes become the 2 bytes it was well with" in shown(
        proposed(world, "version"), world.service, world.good
    )


def test_a_secret_in_the_diff_is_a_handle_once_sealed(tmp_path: Path) -> None:
    world = broken(tmp_path)
    text = shown(proposed(world, "config"), world.service, world.good)
    assert "hunter2" in text
    assert "hunter2" not in Redactor(b"k" * 32).seal(text)
