"""The hands on files: nothing outside the copy is touched, edits are fenced and can be taken back."""

import contextlib
import os
import stat
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from veilig.core.action import (
    Action,
    DeleteFile,
    OpenWorkspace,
    PatchFile,
    ReadDiff,
    ReadFile,
    TextEdit,
    WriteFile,
)
from veilig.core.action_json import digest, from_json
from veilig.core.actor import Actor, ActorKind
from veilig.core.canonical import canonical_text
from veilig.core.clock import SystemClock
from veilig.core.errors import ProviderError, VeiligError
from veilig.core.gate import Gate
from veilig.core.gate_case import Law
from veilig.core.ledger import Ledger
from veilig.core.policy_model import Decision, Finding
from veilig.core.provider import Found, Outcome, Permit, Verdict
from veilig.core.redact import Redactor
from veilig.providers.copying import copy_tree
from veilig.providers.files import FilesProvider
from veilig.providers.testing import project_files
from veilig.providers.tree import Tree, sha256
from veilig.providers.workspace import Workspace

SECRET = "correct-horse-" + "battery-staple-7"


class Desk:
    """A project, its copy, and the provider with a permit that lets every secret go back into files."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "project"
        self.source.mkdir(parents=True)
        self.workspace = Workspace(folder / "session", self.source)
        self.redactor = Redactor(b"k" * 32)
        self.clock = SystemClock()
        self.files = FilesProvider(self.workspace, self.clock, lambda _: True, self.redactor.learn_text)
        self.work = self.workspace.tree.root

    async def do(self, action: Action) -> Outcome:
        """Perform and verify, as the gate does."""
        permit = Permit(
            "r", digest(action), self.clock.boottime_s() + 60, "p", "s",
            lambda text: self.redactor.expand(text, lambda _: True), self.redactor.seal, lambda *_: None,
        )  # fmt: skip
        outcome = await self.files.perform(action, permit)
        return await self.files.verify(action, outcome, permit)

    async def open(self) -> Outcome:
        return await self.do(OpenWorkspace(str(self.source)))


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    (desk.source / "a.py").write_text("x = 1\n")
    assert (await desk.open()).ok
    return desk


def undone(action: Action, outcome: Outcome) -> Action:
    from veilig.agent.fix_state import undo_of

    return from_json(undo_of(action, outcome))


# --- nothing outside the copy ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file link", "folder link", "link to a link", "hard name"])
async def test_a_link_planted_in_the_copy_leads_nowhere(desk: Desk, tmp_path: Path, kind: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim.py").write_text("secret\n")
    path = "planted.py"
    match kind:
        case "file link":
            (desk.work / path).symlink_to(outside / "victim.py")
        case "folder link":
            (desk.work / "d").symlink_to(outside)
            path = "d/victim.py"
        case "link to a link":
            (desk.work / "one").symlink_to(outside / "victim.py")
            (desk.work / path).symlink_to("one")
        case _:
            (desk.work / "d").symlink_to("../../outside")
            path = "d/victim.py"
    before = sha256("secret\n")
    edit = PatchFile(path, before, (TextEdit(0, 1, "X"),))
    for action in (ReadFile(path), WriteFile(path, "new"), edit, DeleteFile(path, before)):
        with pytest.raises(ProviderError):
            await desk.do(action)
    assert (outside / "victim.py").read_text() == "secret\n"
    assert sorted(p.name for p in outside.iterdir()) == ["victim.py"]


@pytest.mark.parametrize("path", ["../outside.txt", "a/../../outside.txt", "..", "a/..", "", "a/", "a\0b"])
def test_a_path_that_leaves_the_tree_is_refused_whoever_asks(tmp_path: Path, path: str) -> None:
    (tmp_path / "outside.txt").write_text("secret")
    tree = Tree(tmp_path / "tree")
    (tree.root / "a").mkdir(parents=True)
    for touch in (lambda: tree.read(path), lambda: tree.write(path, "x"), lambda: tree.delete(path)):
        with pytest.raises(ProviderError):
            touch()
    assert (tmp_path / "outside.txt").read_text() == "secret"


@pytest.mark.parametrize("name", ["x" * 300, "a" * 255 + "/f"], ids=["name", "folder"])
def test_a_name_no_file_system_takes_is_our_own_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ProviderError):
        Tree(tmp_path).write(f"{name}{'y' * 300}", "text")


def test_a_pipe_in_the_copy_makes_nobody_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "conftest.py")
    (tmp_path / "test_a.py").write_text("def test(): pass\n")
    (tmp_path / "test_b.py").symlink_to("/etc/passwd")
    found = project_files(tmp_path)
    assert found == {"conftest.py": "", "test_a.py": "def test(): pass\n", "test_b.py": ""}


def test_a_replaced_file_keeps_its_mode_and_owner(tmp_path: Path) -> None:
    file = tmp_path / "run.sh"
    file.write_text("old")
    file.chmod(0o751)
    if os.geteuid() == 0:
        os.chown(file, 1234, 4321)
    Tree(tmp_path, (99, 99) if os.geteuid() == 0 else None).write("run.sh", "new")
    info = file.stat()
    assert (file.read_text(), stat.S_IMODE(info.st_mode)) == ("new", 0o751)
    assert os.geteuid() != 0 or (info.st_uid, info.st_gid) == (1234, 4321)


async def test_what_programs_outside_obey_is_not_edited(desk: Desk) -> None:
    for path in ("veilig.yaml", ".git/hooks/pre-commit", ".vscode/tasks.json"):
        with pytest.raises(ProviderError, match="protected"):
            await desk.do(WriteFile(path, "x"))


# --- fences ------------------------------------------------------------------------------------------


async def test_an_edit_for_another_text_is_refused(desk: Desk) -> None:
    stale = PatchFile("a.py", sha256("x = 2\n"), (TextEdit(0, 1, "y"),))
    with pytest.raises(ProviderError, match="not what the change was made for"):
        await desk.do(stale)
    assert (desk.work / "a.py").read_text() == "x = 1\n"


@pytest.mark.parametrize(
    ("action", "fits"),
    [
        (WriteFile("a.py", "n"), False),
        (WriteFile("new.py", "n"), True),
        (WriteFile("a.py", "n", sha256("x = 1\n")), True),
        (DeleteFile("a.py", sha256("other")), False),
        (DeleteFile("a.py", sha256("x = 1\n")), True),
        (PatchFile("new.py", "", (TextEdit(0, 0, "x"),)), False),
        (PatchFile("a.py", sha256("x = 1\n"), (TextEdit(5, 99, "x"),)), False),
    ],
)
async def test_a_change_happens_when_its_fence_fits(desk: Desk, action: Action, fits: bool) -> None:
    try:
        assert (await desk.do(action)).ok == fits
    except VeiligError:
        assert not fits
    assert (desk.work / "a.py").exists() == (not isinstance(action, DeleteFile) or not fits)


async def test_a_crash_after_a_write_is_seen_and_never_called_undone(desk: Desk) -> None:
    action = WriteFile("new.py", "text")
    assert await desk.files.inspect(action) is Found.NOT_DONE
    await desk.do(action)
    assert await desk.files.inspect(action) is Found.DONE
    (desk.work / "new.py").write_text("something else")
    assert await desk.files.inspect(action) is Found.UNKNOWN


async def test_a_crash_after_a_patch_is_seen(desk: Desk) -> None:
    action = PatchFile("a.py", sha256("x = 1\n"), (TextEdit(4, 5, "2"),))
    assert await desk.files.inspect(action) is Found.NOT_DONE
    await desk.do(action)
    assert await desk.files.inspect(action) is Found.DONE
    (desk.work / "a.py").write_text("x = 3\n")
    assert await desk.files.inspect(action) is Found.UNKNOWN


# --- undo --------------------------------------------------------------------------------------------

TEXTS = st.lists(
    st.sampled_from(["a", "\r\n", "\n", "\r", "\ufeff", "é", "\u2028", "x = 1", "  ", "\t", "‹secret:x›"]),
    max_size=12,
).map("".join)


@st.composite
def edited(draw: st.DrawFn) -> tuple[str, tuple[TextEdit, ...]]:
    text = draw(TEXTS)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), min_size=2, max_size=6, unique=True)
                       if text else st.just([0, 0])))  # fmt: skip
    spans = list(zip(cuts[::2], cuts[1::2], strict=False))
    return text, tuple(TextEdit(a, b, draw(TEXTS)) for a, b in spans)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edited(), st.booleans())
async def test_an_undo_gives_the_same_bytes_back(
    desk: Desk, case: tuple[str, tuple[TextEdit, ...]], has: bool
) -> None:
    text, edits = case
    text = f"{text}token = '{SECRET}'\n" if has else text
    desk.redactor.mark(SECRET, "TOKEN")
    file = desk.work / "p.py"
    file.write_bytes(text.encode())
    action = PatchFile("p.py", sha256(desk.redactor.seal(text)), edits)
    outcome = await desk.do(action)
    assert outcome.ok
    if outcome.data["undo"]:
        assert (await desk.do(undone(action, outcome))).ok
    assert file.read_bytes() == text.encode()


async def test_an_edit_that_completes_the_shape_of_a_secret_is_still_verified_and_undone(desk: Desk) -> None:
    """The new text shows a handle where the edit wrote plain words."""
    value = "zq8Lw3Rt7Yp2" + "Kd9Xv5Bn1"
    (desk.work / "c.py").write_text(f"colour = '{value}'\n")
    action = PatchFile("c.py", sha256(f"colour = '{value}'\n"), (TextEdit(0, 6, "password"),))
    outcome = await desk.do(action)
    assert outcome.ok
    assert value in (desk.work / "c.py").read_text()
    assert (await desk.do(undone(action, outcome))).ok
    assert (desk.work / "c.py").read_text() == f"colour = '{value}'\n"


# --- secrets -----------------------------------------------------------------------------------------


async def test_a_secret_survives_a_patch_on_disk_and_never_reaches_planner_or_ledger(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    token = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    (desk.source / "s.py").write_text(f"TOKEN = '{token}'\nx = 1\n")
    allow = Decision(Verdict.ALLOW, "test", (Finding(Verdict.ALLOW, "test", "x"),))
    actor = Actor("agent:test", ActorKind.AGENT)
    with Ledger.open(tmp_path / "l.db", anchor_dir=tmp_path / "anchors") as ledger:
        law = Law(lambda *_: allow, lambda: "p", lambda *_: True)
        gate = Gate(
            session="s",
            ledger=ledger,
            law=law,
            providers=[desk.files],
            redactor=desk.redactor,
            clock=desk.clock,
        )
        assert (await gate.submit(OpenWorkspace(str(desk.source)), actor)).ok
        seen = (await gate.submit(ReadFile("s.py"), actor)).detail
        assert token not in seen
        at = seen.index("x = 1")
        edit = PatchFile("s.py", sha256(seen), (TextEdit(at, at + 5, "x = 2"),))
        assert (await gate.submit(edit, actor)).ok
        diff = (await gate.submit(ReadDiff(), actor)).detail
        assert "+x = 2" in diff
        assert token not in diff
        recorded = b"".join(f.read_bytes() for f in tmp_path.glob("l.db*"))
        assert token.encode() not in recorded
    assert (desk.work / "s.py").read_text() == f"TOKEN = '{token}'\nx = 2\n"


# --- the copy ----------------------------------------------------------------------------------------


def test_what_a_copy_leaves_out_is_said(tmp_path: Path) -> None:
    source = tmp_path / "project"
    for folder in (".git", "env", "src", "node_modules"):
        (source / folder).mkdir(parents=True)
    (source / "env" / "pyvenv.cfg").write_text("")
    (source / "src" / "a.py").write_text("x")
    (source / "denied.key").write_text("x")
    (source / "inside").symlink_to("src/a.py")
    (source / "outside").symlink_to("/etc/passwd")
    (source / "relative").symlink_to("../../etc")
    (source / "loop").symlink_to("loop")
    os.mkfifo(source / "pipe")
    copied = copy_tree(source, tmp_path / "copy", lambda path: not path.endswith(".key"))
    assert sorted(p.relative_to(tmp_path / "copy").as_posix() for p in (tmp_path / "copy").rglob("*")) == [
        "inside",
        "src",
        "src/a.py",
    ]
    assert {path for path, _ in copied.skipped} == {
        ".git", "env", "node_modules", "denied.key", "outside", "relative", "loop", "pipe"
    }  # fmt: skip
    assert all(reason for _, reason in copied.skipped)
    assert copied.files == 1


@contextlib.contextmanager
def as_nobody() -> Generator[None]:
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_cannot_be_listed_stops_the_copy() -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        top.chmod(0o777)
        (top / "project" / "closed").mkdir(parents=True)
        (top / "project" / "closed" / "a.py").write_text("x")
        (top / "project" / "closed").chmod(0)
        with as_nobody(), pytest.raises(ProviderError, match="cannot copy"):
            copy_tree(top / "project", top / "copy")
        (top / "project" / "closed").chmod(0o700)


def test_a_copy_inside_its_own_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    with pytest.raises(ProviderError, match="inside"):
        copy_tree(tmp_path / "project", tmp_path / "project" / "copy")


async def test_a_file_name_that_is_no_text_is_copied_or_said(desk: Desk) -> None:
    (desk.source / os.fsdecode(b"b\xff.py")).write_text("x = 1\n")
    os.mkfifo(desk.source / os.fsdecode(b"p\xff"))
    outcome = await desk.open()
    assert outcome.ok
    canonical_text(dict(outcome.data)).encode()
