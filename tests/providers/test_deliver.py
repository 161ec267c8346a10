"""The way back to the user's tree: exactly what was approved, or nothing at all."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from veilig.core.action import Action, ApplyPatch, CommitBranch
from veilig.core.action_json import digest
from veilig.core.clock import SystemClock
from veilig.core.errors import VeiligError
from veilig.core.provider import Found, Outcome, Permit
from veilig.core.redact import Redactor
from veilig.providers.deliver import DeliverProvider
from veilig.providers.tree import sha256
from veilig.repair.edit import unified

SECRET = "correct-horse-" + "battery-staple-7"


class Tray:
    """A user's tree and the provider that delivers to it."""

    def __init__(self, source: Path) -> None:
        self.source = source
        source.mkdir()
        self.redactor = Redactor(b"k" * 32)
        self.clock = SystemClock()
        self.provider = DeliverProvider(source, self.clock, self.redactor.seal)

    async def do(self, action: Action) -> Outcome:
        permit = Permit(
            "r", digest(action), self.clock.boottime_s() + 60, "p", "s",
            lambda text: self.redactor.expand(text, lambda _: True), self.redactor.seal, lambda *_: None,
        )  # fmt: skip
        outcome = await self.provider.perform(action, permit)
        return await self.provider.verify(action, outcome, permit)

    def change(self, after: dict[str, str | None]) -> tuple[str, tuple[tuple[str, str], ...]]:
        """The diff from the tree to `after` as a planner sees it, and its base."""
        seal = self.redactor.seal
        before = {p: seal(f.read_bytes().decode()) for p in after if (f := self.source / p).exists()}
        wanted = {p: seal(text) for p, text in after.items() if text is not None}
        base = tuple((p, sha256(before[p]) if p in before else "") for p in sorted(after))
        return unified(before, wanted), base

    def apply(self, after: dict[str, str | None]) -> ApplyPatch:
        return ApplyPatch(str(self.source), *self.change(after))

    def branch(self, after: dict[str, str | None], name: str = "fix/veilig") -> CommitBranch:
        diff, base = self.change(after)
        return CommitBranch(str(self.source), name, diff, "Fix it", base)

    def texts(self) -> dict[str, bytes]:
        found = sorted(p for p in self.source.rglob("*") if p.is_file() and ".git" not in p.parts)
        return {p.relative_to(self.source).as_posix(): p.read_bytes() for p in found}

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "init.defaultBranch=main"]
        argv = ["git", *who, "-C", str(self.source), *arguments]
        return subprocess.run(argv, check=True, capture_output=True).stdout.decode()


@pytest.fixture
def tray(tmp_path: Path) -> Tray:
    tray = Tray(tmp_path / "project")
    (tray.source / "a.py").write_bytes(b"x = 1\n")
    (tray.source / "b.txt").write_bytes(b"one\r\ntwo\r\n")
    (tray.source / "c.sh").write_bytes(b"echo hi")
    (tray.source / "c.sh").chmod(0o755)
    return tray


@pytest.fixture
def repository(tray: Tray) -> Tray:
    tray.git("init", "-q")
    tray.git("add", ".")
    tray.git("commit", "-q", "-m", "first")
    return tray


CHANGE: dict[str, str | None] = {"a.py": "x = 2\n", "b.txt": "one\r\n2\r\n", "c.sh": None, "d/new.py": "y"}


async def test_a_diff_arrives_byte_for_byte(tray: Tray) -> None:
    action = tray.apply(CHANGE)
    assert await tray.provider.inspect(action) is Found.NOT_DONE
    assert (await tray.do(action)).ok
    assert tray.texts() == {"a.py": b"x = 2\n", "b.txt": b"one\r\n2\r\n", "d/new.py": b"y"}
    assert await tray.provider.inspect(action) is Found.DONE


async def test_modes_and_owners_stay(tray: Tray) -> None:
    if os.geteuid() == 0:
        os.chown(tray.source / "c.sh", 1234, 4321)
    assert (await tray.do(tray.apply({"c.sh": "echo ho"}))).ok
    info = (tray.source / "c.sh").stat()
    assert stat.S_IMODE(info.st_mode) == 0o755
    assert os.geteuid() != 0 or (info.st_uid, info.st_gid) == (1234, 4321)


@pytest.mark.parametrize("path", ["a.py", "d/new.py", "c.sh"])
async def test_a_tree_that_changed_since_is_left_alone(tray: Tray, path: str) -> None:
    action = tray.apply(CHANGE)
    file = tray.source / path
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    before = tray.texts()
    with pytest.raises(VeiligError, match="changed since"):
        await tray.do(action)
    assert tray.texts() == before


async def test_a_failure_at_the_last_file_puts_all_of_them_back(tray: Tray) -> None:
    action = tray.apply({**CHANGE, f"z/{'n' * 300}": "no file system takes this name"})
    before = tray.texts()
    with pytest.raises(VeiligError, match="put back as it was"):
        await tray.do(action)
    assert tray.texts() == before


@pytest.mark.parametrize(
    "after", [{".git/hooks/pre-commit": "x"}, {"veilig.yaml": "mode: act"}, {".vscode/tasks.json": "{}"}]
)
async def test_what_programs_obey_is_never_delivered(tray: Tray, after: dict[str, str | None]) -> None:
    with pytest.raises(VeiligError, match="protected"):
        await tray.do(tray.apply(after))


async def test_a_diff_that_touches_more_than_its_base_is_refused(tray: Tray) -> None:
    diff, _ = tray.change(CHANGE)
    _, base = tray.change({"a.py": "x = 2\n"})
    with pytest.raises(VeiligError):
        await tray.do(ApplyPatch(str(tray.source), diff, base))
    assert tray.texts()["a.py"] == b"x = 1\n"


async def test_another_tree_than_the_session_s_is_refused(tray: Tray, tmp_path: Path) -> None:
    action = tray.apply(CHANGE)
    with pytest.raises(VeiligError, match="one session, one tree"):
        await tray.do(ApplyPatch(str(tmp_path), action.diff, action.base))


async def test_a_link_in_the_tree_is_not_written_through(tray: Tray, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    action = tray.apply({"d/new.py": "y"})
    (tray.source / "d").symlink_to(tmp_path / "victim")
    with pytest.raises(VeiligError):
        await tray.do(action)
    assert list((tmp_path / "victim").iterdir()) == []


async def test_a_secret_in_a_delivered_file_stays_and_a_crash_before_is_not_called_done(tray: Tray) -> None:
    (tray.source / "s.py").write_text(f"KEY = '{SECRET}'\nx = 1\n")
    tray.redactor.mark(SECRET, "KEY")
    action = tray.apply({"s.py": f"KEY = '{SECRET}'\nx = 2\n"})
    assert SECRET not in action.diff
    assert await tray.provider.inspect(action) is Found.NOT_DONE
    assert (await tray.do(action)).ok
    assert (tray.source / "s.py").read_text() == f"KEY = '{SECRET}'\nx = 2\n"
    assert await tray.provider.inspect(action) is Found.DONE


@pytest.mark.parametrize("done", range(1, 4))
async def test_a_crash_between_two_files_is_finished_on_resume(tray: Tray, done: int) -> None:
    action = tray.apply(CHANGE)
    for path, text in list(CHANGE.items())[:done]:  # what the killed attempt had written
        if text is None:
            (tray.source / path).unlink()
        else:
            (tray.source / path).write_bytes(text.encode())
    assert await tray.provider.inspect(action) is Found.NOT_DONE
    assert (await tray.do(action)).ok
    assert tray.texts() == {"a.py": b"x = 2\n", "b.txt": b"one\r\n2\r\n", "d/new.py": b"y"}


async def test_a_half_changed_tree_that_somebody_edited_is_left_to_a_person(tray: Tray) -> None:
    action = tray.apply(CHANGE)
    (tray.source / "a.py").write_text("x = 2\n")
    (tray.source / "b.txt").write_text("mine")
    before = tray.texts()
    assert await tray.provider.inspect(action) is Found.UNKNOWN
    with pytest.raises(VeiligError, match="changed since"):
        await tray.do(action)
    assert tray.texts() == before


# --- branches ---------------------------------------------------------------------------------------


def looks(tray: Tray) -> tuple[object, ...]:
    return tray.texts(), tray.git("status", "--porcelain"), tray.git("rev-parse", "HEAD")


async def test_a_branch_holds_the_change_and_tree_and_index_stay(repository: Tray) -> None:
    (repository.source / "staged.py").write_text("mine")
    repository.git("add", "staged.py")
    before = (
        repository.texts(),
        repository.git("status", "--porcelain"),
        repository.git("rev-parse", "HEAD"),
    )
    action = repository.branch(CHANGE)
    assert await repository.provider.inspect(action) is Found.NOT_DONE
    assert (await repository.do(action)).ok
    assert looks(repository) == before
    assert repository.git("show", "fix/veilig:b.txt") == "one\r\n2\r\n"
    assert repository.git("show", "fix/veilig:d/new.py") == "y"
    changed = repository.git("diff", "--name-status", "main", "fix/veilig").split()
    assert changed == ["M", "a.py", "M", "b.txt", "D", "c.sh", "A", "d/new.py"]
    assert await repository.provider.inspect(action) is Found.DONE


async def test_a_project_inside_a_repository_gets_its_branch(tmp_path: Path) -> None:
    top = Tray(tmp_path / "top")
    inner = Tray(tmp_path / "top" / "inner")
    (inner.source / "a.py").write_text("x = 1\n")
    (top.source / "other").write_text("stays")
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        top.git(*command)
    assert (await inner.do(inner.branch({"a.py": "x = 2\n"}))).ok
    assert top.git("show", "fix/veilig:inner/a.py") == "x = 2\n"
    assert top.git("show", "fix/veilig:other") == "stays"


async def test_an_executable_stays_executable_on_the_branch(repository: Tray) -> None:
    assert (await repository.do(repository.branch({"c.sh": "echo ho"}))).ok
    assert repository.git("ls-tree", "fix/veilig", "c.sh").startswith("100755")


async def test_a_branch_that_exists_is_not_moved(repository: Tray) -> None:
    repository.git("branch", "fix/veilig")
    before = repository.git("rev-parse", "fix/veilig")
    with pytest.raises(VeiligError, match="exists already"):
        await repository.do(repository.branch(CHANGE))
    assert repository.git("rev-parse", "fix/veilig") == before


async def test_changes_that_are_not_committed_are_not_lost_in_a_branch(repository: Tray) -> None:
    (repository.source / "a.py").write_text("x = 3\n")
    with pytest.raises(VeiligError, match="not committed"):
        await repository.do(repository.branch({"a.py": "x = 4\n"}))


async def test_no_repository_is_said(tray: Tray) -> None:
    with pytest.raises(VeiligError, match="no git repository"):
        await tray.do(tray.branch(CHANGE))


async def test_an_empty_repository_is_said(tray: Tray) -> None:
    tray.git("init", "-q")
    with pytest.raises(VeiligError, match="no commit yet"):
        await tray.do(tray.branch(CHANGE))


async def test_hooks_and_configured_programs_of_the_repository_do_not_run(repository: Tray) -> None:
    trap = repository.source / ".git" / "hooks" / "reference-transaction"
    trap.write_text(f"#!/bin/sh\ntouch {repository.source}/trapped\n")
    trap.chmod(0o755)
    repository.git("config", "core.fsmonitor", f"touch {repository.source}/trapped")
    repository.git("config", "filter.x.clean", f"touch {repository.source}/trapped")
    (repository.source / "trapped").unlink(missing_ok=True)
    assert (await repository.do(repository.branch({"a.py": "x = 2\n"}))).ok
    assert not (repository.source / "trapped").exists()
