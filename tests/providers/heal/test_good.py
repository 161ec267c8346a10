"""Is a state recorded while a service is well, a change told, and do exactly the recorded bytes come back?"""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from good_world import World
from veilig.core.errors import ProviderError
from veilig.core.service import Service
from veilig.core.signal import Change
from veilig.providers.heal.good import FIRST_S, REPLACE_S, GoodStates
from veilig.providers.heal.good_files import kind_of, named_by_command
from veilig.providers.heal.good_parse import changed_keys, parse
from veilig.providers.heal.good_restore import restore, undo


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_state_is_recorded_after_a_while_of_being_well(world: World) -> None:
    world.start()
    assert world.well_for(FIRST_S - 0.1) == ""
    world.tell(well=False)
    assert world.well_for(FIRST_S - 0.1) == ""  # it counts from the last failure
    digest = world.well_for(FIRST_S)
    state = world.good.state(world.service, digest)
    assert state is not None
    assert [Path(kept.path).name for kept in state.files] == ["config.json", "run.sh", "version"]
    assert all(kept.proven for kept in state.files)
    assert world.changes() == []
    assert GoodStates(world.state, world.inventory).digest(world.service) == digest


def test_changes_are_told_with_what_they_do(world: World) -> None:
    world.start()
    world.well_for(FIRST_S)
    world.write("config.json", '{"db": {"port": 5433, "password": "hunter2"}}')
    world.write("version", "v2")
    assert world.changes() == [
        ("config.json", "config", True, "changed: db.password, db.port"),
        ("version", "version", None, ""),
    ]
    world.write("config.json", "{ oops")
    assert world.changes()[0] == (
        "config.json", "config", False,
        "not JSON: line 1 column 3: Expecting property name enclosed in double quotes",
    )  # fmt: skip
    (world.base / "config.json").unlink()
    found = world.good.changes(world.service)
    assert {(c.path, c.after) for c in found if c.kind == "config"} == {(str(world.base / "config.json"), "")}
    world.write("store.sql", "other")
    world.write("logs/app.log", "other")
    world.write("web.pid", "8")
    assert [name for name, *_ in world.changes()] == ["config.json", "version"]


def test_a_change_that_no_start_has_loaded_is_not_good(world: World) -> None:
    world.start()
    first = world.well_for(FIRST_S)
    world.write("config.json", '{"db": {"port": 1}}')
    assert world.well_for(REPLACE_S * 3) == first
    world.start()
    assert world.well_for(REPLACE_S - 0.1) == first
    assert len(world.changes()) == 1
    assert world.well_for(0.2) not in ("", first)
    assert world.changes() == []


def test_a_first_state_keeps_what_was_changed_after_the_start_as_not_proven(world: World) -> None:
    world.start()
    world.ahead_s -= 1.0  # the edit comes after the start
    world.write("config.json", '{"a": 2}')
    state = world.good.state(world.service, world.well_for(FIRST_S))
    assert state is not None
    assert {Path(kept.path).name: kept.proven for kept in state.files} == {
        "config.json": False, "run.sh": True, "version": True,
    }  # fmt: skip


def test_what_a_service_writes_itself_is_no_change_until_a_start_finds_it(world: World) -> None:
    world.start()
    world.ahead_s -= 1.0  # written after the start
    world.write("runtime.conf", "a = 1")
    state = world.good.state(world.service, world.well_for(FIRST_S))
    assert state is not None
    assert [Path(path).name for path in state.aside] == ["runtime.conf"]
    world.write("runtime.conf", "a = 2")
    assert world.changes() == []
    assert GoodStates(world.state, world.inventory).changes(world.service) == ()
    world.start()
    world.well_for(REPLACE_S)
    world.write("runtime.conf", "a = 3")
    assert world.changes() == [("runtime.conf", "config", None, "")]


def test_a_deploy_that_fails_after_some_seconds_is_not_its_own_way_back(world: World) -> None:
    world.start()
    first = world.well_for(FIRST_S)
    world.write("version", "v2")
    world.start()
    assert world.well_for(REPLACE_S - 1) == first
    world.tell(well=False)
    assert [name for name, *_ in world.changes()] == ["version"]


def test_a_restore_brings_exactly_the_recorded_bytes_and_can_be_undone(world: World) -> None:
    world.start()
    digest = world.well_for(FIRST_S)
    world.write("config.json", "{ oops", 0o600)
    world.write("run.sh", "exec other", 0o700)
    (world.base / "version").unlink()
    named = world.named()
    assert len(named) == 3
    done = restore(world.good, world.service, named, digest)
    assert (world.base / "config.json").read_text() == '{"db": {"port": 5432}}'
    assert (world.base / "config.json").stat().st_mode & 0o777 == 0o644
    assert (world.base / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (world.base / "version").read_text() == "v1"
    assert world.changes() == []
    undo(world.good, world.service, done.undo)
    assert (world.base / "config.json").read_text() == "{ oops"
    assert (world.base / "config.json").stat().st_mode & 0o777 == 0o600
    assert not (world.base / "version").exists()
    assert not [path for path in world.base.rglob(".*") if path.is_file()]


def test_a_file_that_is_not_what_was_believed_stops_all(world: World) -> None:
    world.start()
    digest = world.well_for(FIRST_S)
    world.write("config.json", "{ oops")
    world.write("version", "v2")
    named = world.named()
    world.write("version", "v3")
    with pytest.raises(ProviderError, match="version is not what it was"):
        restore(world.good, world.service, named, digest)
    assert (world.base / "config.json").read_text() == "{ oops"


@pytest.mark.parametrize("wrong", ["state", "path", "then"])
def test_only_what_a_kept_state_holds_can_be_restored(world: World, wrong: str) -> None:
    world.start()
    digest = world.well_for(FIRST_S)
    world.write("config.json", "{ oops")
    ((path, now, then),) = world.named()
    stranger = world.write("store.sql", "data")
    sha = world.good.files.read(str(stranger), "version")
    assert sha is not None
    case = {
        "state": ([(path, now, then)], "0" * 64),
        "path": ([(str(stranger), sha.sha, sha.sha)], digest),
        "then": ([(path, now, sha.sha)], digest),
    }[wrong]
    with pytest.raises(ProviderError):
        restore(world.good, world.service, *case)
    assert (world.base / "config.json").read_text() == "{ oops"


def test_damaged_content_is_noticed_before_anything_is_written(world: World) -> None:
    world.start()
    digest = world.well_for(FIRST_S)
    world.write("config.json", "{ oops")
    ((path, now, then),) = world.named()
    (world.state / "web/objects" / then).write_text("{}")
    with pytest.raises(ProviderError, match="not what was kept"):
        restore(world.good, world.service, [(path, now, then)], digest)
    assert Path(path).read_text() == "{ oops"


def test_a_folder_swapped_for_a_link_is_not_followed(world: World) -> None:
    world.write("conf/app.toml", "a = 1")
    world.start()
    digest = world.well_for(FIRST_S)
    world.write("conf/app.toml", "a = ")
    named = world.named()
    other = world.base.parent / "elsewhere"
    (world.base / "conf").rename(other)
    (world.base / "conf").symlink_to(other)
    with pytest.raises(ProviderError):
        restore(world.good, world.service, named, digest)
    assert (other / "app.toml").read_text() == "a = "


def test_a_release_by_link_goes_back_by_the_link_alone(tmp_path: Path) -> None:
    world = World(tmp_path, cmd=("current/run.sh",))
    for number in (1, 2):
        world.write(f"releases/{number}/run.sh", f"exec v{number}", 0o755)
        world.write(f"releases/{number}/app.py", f"print({number})")
    (world.base / "current").symlink_to("releases/1")
    world.start()
    digest = world.well_for(FIRST_S)
    (world.base / "next").symlink_to("releases/2")
    (world.base / "next").rename(world.base / "current")
    assert world.changes() == [("current", "version", None, "points to releases/2")]
    restore(world.good, world.service, world.named(), digest)
    assert str((world.base / "current").readlink()) == "releases/1"
    assert world.changes() == []


def test_files_of_neighbours_and_files_the_service_writes_itself_are_not_its_state(tmp_path: Path) -> None:
    other = Service("web-2", folder=str(tmp_path / "web"), config=(str(tmp_path / "web/two.toml"),))
    below = Service("deep", folder=str(tmp_path / "web/deep"))
    world = World(tmp_path, other, below)
    for name in ("two.toml", "web-2.conf", "deep/app.py", "web.conf", "generated.conf"):
        world.write(name, "a = 1")
    world.start()
    state = world.good.state(world.service, world.well_for(FIRST_S))
    assert state is not None
    names = [Path(kept.path).name for kept in state.files]
    assert names == ["config.json", "generated.conf", "run.sh", "version", "web.conf"]
    for content in "234":
        world.write("generated.conf", f"a = {content}")
        world.good.changes(world.service)
    assert world.good.changes(world.service) == ()


def test_contents_that_no_state_needs_go(world: World) -> None:
    world.start()
    world.well_for(FIRST_S)
    for number in range(8):
        world.write("version", f"v{number + 2}")
        world.start()
        world.well_for(REPLACE_S)
    assert len(list((world.state / "web/objects").iterdir())) == 2 + 5
    assert all(path.stat().st_mode & 0o077 == 0 for path in world.state.rglob("*"))


def test_a_damaged_record_means_that_nothing_is_known_to_be_good(world: World) -> None:
    world.start()
    world.well_for(FIRST_S)
    place = world.state / "web/good.json"
    place.write_text(place.read_text().replace('"sha": "', '"sha": "0'))
    fresh = GoodStates(world.state, world.inventory)
    assert (fresh.digest(world.service), fresh.changes(world.service)) == ("", ())
    assert "unreadable" in fresh.notes["web"]


def test_what_the_command_names_is_the_program_and_not_its_data(tmp_path: Path) -> None:
    for name in ("app.py", "server.toml", "store.db", "rows.csv", "odd.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/daemon").write_bytes(b"\x7fELF")
    (tmp_path / "bin/daemon").chmod(0o755)

    def names(*cmd: str) -> list[str]:
        found = named_by_command(Service("s", cmd=cmd, folder=str(tmp_path)))
        return [os.path.relpath(path, tmp_path) for path in found]

    assert names("python3", "app.py", "--port", "80", "--db", "store.db", "rows.csv") == ["app.py"]
    assert names("/usr/bin/env", "python3", "-u", str(tmp_path / "app.py")) == ["app.py"]
    assert names("bin/daemon", "--config=server.toml") == ["bin/daemon", "server.toml"]
    assert names("/bin/sh", "-c", "exec python3 app.py >> out.log") == ["app.py"]
    assert names("bin/daemon", "--config", "odd.txt") == ["bin/daemon", "odd.txt"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("app.py", "version"), ("VERSION", "version"), ("version", "version"), ("package.json", "version"),
        ("config.json", "config"), ("app.conf", "config"), (".env", "config"), ("settings", "config"),
        ("state.json", ""), ("starts.log", ""), ("web.pid", ""), ("data.csv", ""), ("app.py.bak", ""),
        ("STOPPED_BY_OPERATOR", ""), ("users.db", ""), ("app-config.yaml", "config"), ("reconfigure", ""),
    ],
)  # fmt: skip
def test_a_name_says_what_a_file_is(name: str, kind: str) -> None:
    assert kind_of(f"/srv/{name}") == kind


@pytest.mark.parametrize(
    ("name", "fine", "broken"),
    [
        ("a.json", '{"a": 1}', '{"a": }'),
        ("a.yaml", "a: [1, 2]\n", "a: [1, 2\nb: 3"),
        ("a.toml", "a = 1", "a = "),
        ("a.ini", "[a]\nb = 1", "b = 1"),
        (".env", "# x\nexport A=1\nB='2'\n\n", "A=1\nthis is no setting"),
        ("a.xml", "<a><b/></a>", "<a><b></a>"),
    ],
)
def test_forms_are_parsed_by_their_names(name: str, fine: str, broken: str) -> None:
    assert parse(name, fine.encode()).valid is True
    assert parse(name, b"").valid is (name not in ("a.json", "a.xml"))
    bad = parse(name, broken.encode())
    assert bad.valid is False
    assert bad.why
    assert parse("a.conf", broken.encode()).valid is None
    assert parse(name, b"\xff\xfe\x00").valid is False


@given(st.binary(max_size=300), st.sampled_from(["a.json", "a.yaml", "a.toml", "a.ini", ".env", "a.xml"]))
def test_any_bytes_get_an_answer(data: bytes, name: str) -> None:
    assert parse(name, data).valid in (True, False)


def test_an_alias_bomb_does_not_grow() -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]
    begun = time.process_time()
    parsed = parse("a.yaml", "\n".join(lines).encode())
    assert parsed.valid is True
    changed_keys(parsed.value, None)
    assert time.process_time() - begun < 1.0


def test_no_value_is_told_of_a_change() -> None:
    assert changed_keys({"a": "hunter2", "b": [1, {"c": 2}]}, {"a": "other", "b": [1, {"c": 3}], "d": 1}) == (
        "a", "b[1].c", "d",
    )  # fmt: skip
    assert Change("/a", "config", "", "").valid is None
