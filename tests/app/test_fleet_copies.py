"""A copy that goes into the store comes out as it was, and nothing that was altered comes out at all."""

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilig.app.fleet_session import laid_out
from veilig.core.errors import ProviderError
from veilig.providers.fleet.copies import Copies
from veilig.providers.fleet.store import FolderStore, Store, open_store

NAMES = st.sampled_from(["a", "b.py", "é ü", "‹x›", "deep"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
FILES = st.dictionaries(
    PATHS, st.tuples(st.binary(max_size=50), st.sampled_from([0o600, 0o644, 0o755])), max_size=6
)


def state(folder: Path) -> dict[str, tuple[int, str | bytes]]:
    """Path -> (mode, text or target), the lock left out."""
    found: dict[str, tuple[int, str | bytes]] = {}
    for place in sorted(folder.rglob("*")):
        if place == folder / "lock":
            continue
        info = place.lstat()
        what = (
            str(place.readlink())
            if place.is_symlink()
            else place.read_bytes()
            if place.is_file()
            else "folder"
        )
        found[place.relative_to(folder).as_posix()] = (stat.S_IMODE(info.st_mode), what)
    return found


def write(folder: Path, files: dict[str, tuple[bytes, int]]) -> None:
    for path, (data, mode) in files.items():
        place = folder / path
        if place.is_dir() or any(p.is_file() for p in place.parents):
            continue  # the dice gave one name to a file and a folder
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        place.chmod(mode)


@given(FILES, FILES)
@settings(max_examples=12, deadline=None)
def test_what_is_kept_comes_back_on_another_machine(
    tmp_path_factory: pytest.TempPathFactory,
    first: dict[str, tuple[bytes, int]],
    then: dict[str, tuple[bytes, int]],
) -> None:
    base = tmp_path_factory.mktemp("copies")
    here, there, store = base / "here", base / "there", open_store(str(base / "store"))
    here.mkdir()
    write(here, first)
    copies = Copies(store, here)
    one, before = copies.save().tree, state(here)
    write(here, then)
    two, after = copies.save().tree, state(here)
    elsewhere = Copies(FolderStore(base / "store"), there)
    elsewhere.restore(two)
    assert state(there) == after
    assert elsewhere.save().tree == two
    elsewhere.restore(one)
    assert state(there) == before


@pytest.mark.parametrize("address", ["folder", "memory://fleet"])
def test_links_read_only_folders_and_odd_files_are_kept_or_named(tmp_path: Path, address: str) -> None:
    store = open_store(address if "://" in address else str(tmp_path / address))
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "work" / "shut").mkdir(parents=True)
    (here / "work" / "shut" / "file").write_text("x")
    (here / "work" / "shut").chmod(0o500)
    (here / "work" / "link").symlink_to("/etc/passwd")
    (here / "lock").write_text("of this machine")
    os.mkfifo(here / "work" / "pipe")
    saved = Copies(store, here).save()
    assert saved.left == (("work/pipe", "not a regular file"),)
    there.mkdir()
    (there / "lock").write_text("of that machine")
    (there / "old").write_text("goes")
    Copies(store, there).restore(saved.tree)
    (here / "work" / "pipe").unlink()
    assert state(there) == state(here)
    assert (there / "lock").read_text() == "of that machine"
    assert Copies(store, there).save() == Copies(store, here).save()
    (here / "work" / "shut").chmod(0o700)


@pytest.mark.parametrize("path", ["../out", "/etc/out", "a/../../out", "a//b", "", "a\0b"])
def test_a_list_that_leads_out_of_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    store = open_store(str(tmp_path / "store"))
    for kind, piece in (("f", store.put(b"evil")), ("d", ""), ("l", "x")):
        rows = [[path, kind, 0o644, 0, piece]]
        tree = store.put(json.dumps({"form": 1, "rows": rows}).encode())
        with pytest.raises(ProviderError, match="leave its folder"):
            Copies(store, tmp_path / "there").restore(tree)
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_through_a_link_of_the_list(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    rows = [["a", "l", 0o777, 0, str(tmp_path)], ["a/evil", "f", 0o644, 0, store.put(b"evil")]]
    tree = store.put(json.dumps({"form": 1, "rows": rows}).encode())
    with pytest.raises(ProviderError, match="lay out"):
        Copies(store, tmp_path / "there").restore(tree)
    assert not (tmp_path / "evil").exists()


def test_bytes_that_are_not_what_was_kept_are_refused(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "file").write_text("right")
    tree = Copies(store, tmp_path / "here").save().tree
    piece = store.put(b"right")
    (tmp_path / "store" / piece[:2] / piece).write_bytes(b"wrong")
    with pytest.raises(ProviderError, match="cannot give"):
        Copies(FolderStore(tmp_path / "store"), tmp_path / "there").restore(tree)
    with pytest.raises(ProviderError, match="no name"):
        store.get("../../etc/passwd")
    newer = store.put(json.dumps({"form": 2, "rows": []}).encode())
    with pytest.raises(ProviderError, match="form"):
        Copies(store, tmp_path / "there").restore(newer)


def test_a_project_is_laid_out_once_and_only_in_a_folder_of_ours(tmp_path: Path) -> None:
    store: Store = open_store(str(tmp_path / "store"))
    project = tmp_path / "project"
    (project / ".git").mkdir(parents=True)
    (project / "app.py").write_text("1")
    tree = Copies(store, project).save_source().tree
    place = laid_out(store, tmp_path / "sources", tree)
    assert [p.name for p in place.iterdir()] == ["app.py"]
    assert laid_out(store, tmp_path / "sources", tree) == place
    assert [p.name for p in (tmp_path / "sources").iterdir()] == [place.name]
    (tmp_path / "sources").chmod(0o777)
    with pytest.raises(ProviderError, match="alone"):
        laid_out(store, tmp_path / "sources", tree)
    (tmp_path / "link").symlink_to(tmp_path / "sources")
    with pytest.raises(ProviderError, match="alone"):
        laid_out(store, tmp_path / "link", tree)
    assert open_store(str(tmp_path / "store")).identity() == store.identity()
