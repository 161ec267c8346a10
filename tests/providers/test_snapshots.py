"""States of a copy: whatever programs do to it, it can be brought back, and nothing outside is touched."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilig.core.errors import ProviderError
from veilig.providers.snapshots import Snapshots
from veilig.providers.tree import Tree

NAMES = st.sampled_from(["a.py", "b.txt", "sub/c.py", "sub/deep/d", "e"])
TEXTS = st.sampled_from([b"", b"one\n", b"two\n", b"\x00\xff", b"three" * 50])
FILES = st.dictionaries(NAMES, TEXTS, max_size=4)


def lay(root: Path, files: dict[str, bytes]) -> None:
    """Make the folder hold exactly these files."""
    for path in [p for p in root.rglob("*") if p.is_file() or p.is_symlink()]:
        if str(path.relative_to(root)) not in files:
            path.unlink()
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def held(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def made(folder: Path, files: dict[str, bytes]) -> tuple[Snapshots, Path]:
    source, root = folder / "source", folder / "work"
    for place in (source, root):
        place.mkdir(parents=True)
        lay(place, files)
    return Snapshots(Tree(root), folder / "session", source), root


@settings(max_examples=40, deadline=None)
@given(FILES, st.lists(FILES, min_size=1, max_size=4), st.data())
def test_any_state_can_be_come_back_to(
    tmp_path_factory: pytest.TempPathFactory,
    first: dict[str, bytes],
    later: list[dict[str, bytes]],
    data: st.DataObject,
) -> None:
    states, root = made(tmp_path_factory.mktemp("states"), first)
    known = [(states.begin(), first)]
    for number, files in enumerate(later):
        lay(root, files)
        for path in root.rglob("*"):
            if path.is_file():
                os.utime(path, ns=(number + 1, number + 1))
        known.append((states.take().tree, files))
    tree, files = data.draw(st.sampled_from(known))
    states.restore(tree)
    assert held(root) == files
    states.restore(known[-1][0])
    assert held(root) == later[-1]


def test_a_text_that_the_user_has_changed_since_is_never_guessed(tmp_path: Path) -> None:
    states, root = made(tmp_path, {"a.py": b"one\n"})
    first = states.begin()
    (root / "a.py").write_bytes(b"two, and longer\n")
    states.take()
    (tmp_path / "source" / "a.py").write_bytes(b"the user's own\n")
    with pytest.raises(ProviderError, match="is lost"):
        states.restore(first)
    assert (root / "a.py").read_bytes() == b"two, and longer\n"


def test_a_link_to_the_outside_is_neither_read_nor_written(tmp_path: Path) -> None:
    states, root = made(tmp_path, {"sub/a.py": b"one\n"})
    first = states.begin()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.py").write_text("secret")
    (root / "sub" / "a.py").unlink()
    (root / "sub").rmdir()
    (root / "sub").symlink_to(outside)
    taken = states.take()
    assert taken.gone == ("sub/a.py",)
    with pytest.raises(ProviderError):
        states.restore(first)
    assert (outside / "a.py").read_text() == "secret"
    assert b"secret" not in b"".join(p.read_bytes() for p in (tmp_path / "session").rglob("*") if p.is_file())


def test_another_process_knows_the_states_too(tmp_path: Path) -> None:
    states, root = made(tmp_path, {"a.py": b"one\n"})
    first = states.begin()
    (root / "a.py").write_bytes(b"two, and longer\n")
    states.take()
    again = Snapshots(Tree(root), tmp_path / "session", tmp_path / "source")
    again.restore(first)
    assert held(root) == {"a.py": b"one\n"}
    with pytest.raises(ProviderError, match="knows no state"):
        again.restore("../../etc/passwd")


def test_a_new_process_does_not_take_an_untouched_copy_for_changed(tmp_path: Path) -> None:
    states, root = made(tmp_path, {"a.py": b"one\n", "b.txt": b"two\n"})
    first = states.begin()
    lay(root, {"a.py": b"three\n", "b.txt": b"two\n"})
    states.take()
    later = Snapshots(Tree(root), tmp_path / "session", tmp_path / "source")
    assert later.differing(first) == ["a.py"]
