"""Do the parts of a box do what they say: filter, output, protected paths, owner, toolchain, ladder?"""

import errno
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilig.core.errors import ProviderError, SandboxUnavailable
from veilig.providers.sandbox import (
    Bounds,
    Feature,
    Mounts,
    cgroup,
    own,
    preflight,
    seccomp,
    stand,
    toolchain,
    workspace,
)
from veilig.providers.sandbox.stream import Kept

X86, ARM = 0xC000003E, 0xC00000B7
ALLOW, KILL = "allow", "kill"


def judged(program: bytes, arch: int, number: int, *arguments: int) -> str:
    """What a kernel would answer: the few BPF instructions the filter uses, interpreted."""
    data = struct.pack("=iIQ6Q", number, arch, 0, *(*arguments, *([0] * (6 - len(arguments)))))
    code = [struct.unpack_from("=HBBI", program, offset) for offset in range(0, len(program), 8)]
    accumulator = at = 0
    while True:
        operation, jump_true, jump_false, k = code[at]
        at += 1
        if operation == 0x20:
            accumulator = struct.unpack_from("=I", data, k)[0]
        elif operation == 0x06:
            return {0x7FFF0000: ALLOW, 0x80000000: KILL}.get(k) or errno.errorcode[k & 0xFFFF]
        else:
            holds = {0x15: accumulator == k, 0x35: accumulator >= k, 0x45: accumulator & k != 0}[operation]
            at += jump_true if holds else jump_false


@pytest.mark.parametrize(
    ("machine", "arch", "number", "arguments", "verdict"),
    [
        ("x86_64", X86, 0, (), ALLOW),  # read
        ("x86_64", X86, 101, (), "EPERM"),  # ptrace
        ("x86_64", X86, 100, (), ALLOW),  # times, its neighbour
        ("x86_64", X86, 435, (), "ENOSYS"),  # clone3
        ("x86_64", X86, 56, (0x01200011,), ALLOW),  # clone as fork does
        ("x86_64", X86, 56, (0x10000011,), "EPERM"),  # clone into a new user namespace
        ("x86_64", X86, 272, (0x80,), "EPERM"),  # unshare of the time namespace
        ("x86_64", X86, 272, (0x400,), ALLOW),  # unshare of the file table
        ("x86_64", X86, 16, (0, 0x5412), "EPERM"),  # ioctl TIOCSTI
        ("x86_64", X86, 16, (0, 0x1_0000_5412), "EPERM"),  # the kernel looks at the low half only
        ("x86_64", X86, 16, (0, 0x5413), ALLOW),
        ("x86_64", X86, 41, (2,), ALLOW),  # AF_INET
        ("x86_64", X86, 41, (40,), "EPERM"),  # AF_VSOCK
        ("x86_64", X86, 53, (1,), ALLOW),  # a pair of AF_UNIX
        ("x86_64", X86, 0x40000000, (), "ENOSYS"),  # x32
        ("x86_64", X86, 0x40000065, (), "ENOSYS"),
        ("x86_64", 0x40000003, 26, (), KILL),  # 32-bit calls
        ("aarch64", ARM, 117, (), "EPERM"),
        ("aarch64", ARM, 63, (), ALLOW),  # read
        ("aarch64", ARM, 198, (38,), "EPERM"),  # AF_ALG
        ("aarch64", X86, 63, (), KILL),
    ],
)
def test_the_filter_judges(
    machine: str, arch: int, number: int, arguments: tuple[int, ...], verdict: str
) -> None:
    program = seccomp.program(families=seccomp.OWN_NETWORK, machine=machine)
    assert judged(program, arch, number, *arguments) == verdict


def test_without_a_network_of_its_own_only_pairs_are_made() -> None:
    program = seccomp.program(families=seccomp.NO_SOCKETS, own_ipc=False, machine="x86_64")
    assert [judged(program, X86, 41, family) for family in (1, 2, 10)] == ["EPERM"] * 3
    assert judged(program, X86, 53, 1) == ALLOW
    assert judged(program, X86, 29) == "EPERM"  # shmget


def test_a_machine_without_a_table_is_refused() -> None:
    with pytest.raises(SandboxUnavailable, match="riscv64"):
        seccomp.program(families=(), machine="riscv64")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(1, 64))
def test_what_is_kept_is_the_head_and_the_tail_and_nothing_is_lost_from_the_count(
    parts: list[bytes], size: int
) -> None:
    kept = Kept(size)
    for part in parts:
        kept.add(part)
    whole = b"".join(parts)
    assert kept.total == len(whole)
    if len(whole) <= size:
        assert kept.content() == whole
        return
    head, _, tail = kept.content().partition(f"\n[veilig: {len(whole) - size} bytes left out]\n".encode())
    assert len(head) + len(tail) == size
    assert whole.startswith(head)
    assert whole.endswith(tail)


def test_bounds_must_be_positive_and_only_tighten() -> None:
    with pytest.raises(ProviderError, match="processes"):
        Bounds(processes=0)
    tight = Bounds(processes=10).tightened(Bounds(processes=20, open_files=5))
    assert (tight.processes, tight.open_files) == (10, 5)


@pytest.mark.parametrize(
    "path", ["/", "/usr", "/etc", "/proc/self", "/home" if Path.home().parent == Path("/home") else "~"]
)
def test_a_workspace_that_opens_up_the_machine_is_refused(path: str) -> None:
    with pytest.raises(ProviderError, match="cannot be a workspace"):
        workspace.check_workspace(Path(path).expanduser())


@pytest.mark.parametrize("path", ["/etc", "../up", "a/../../b", ""])
def test_a_protected_path_outside_the_workspace_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ProviderError, match="not inside the workspace"):
        workspace.protect(tmp_path, (path,))
    assert list(tmp_path.iterdir()) == []


def test_protection_makes_placeholders_and_takes_them_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    space = tmp_path / "space"
    (space / ".git" / "hooks").mkdir(parents=True)
    (space / "AGENTS.md").symlink_to("elsewhere")
    first = workspace.protect(space, (".git/hooks", "veilig.yaml", "AGENTS.md", ".idea/x"))
    second = workspace.protect(space, ("veilig.yaml",))
    assert first.readonly == [space / ".git/hooks"]
    assert first.pinned == [space / ".git"]
    assert first.placeholders == [space / "veilig.yaml", space / ".idea"]
    assert [path for path, _ in first.weak] == ["AGENTS.md"]
    assert second.placeholders == [space / "veilig.yaml"]
    first.undo()
    assert (space / "veilig.yaml").is_dir()  # the other box still stands on it
    second.undo()
    assert sorted(entry.name for entry in space.iterdir()) == [".git", "AGENTS.md"]


def test_what_a_killed_box_left_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    left, used = tmp_path / "veilig.yaml", tmp_path / ".git"
    plan = workspace.protect(tmp_path, ("veilig.yaml", ".git"))
    assert plan.note is not None
    used.chmod(0o755)
    (used / "HEAD").write_text("somebody made a repository meanwhile")
    workspace.sweep()
    assert left.is_dir()  # its maker lives
    plan.note.rename(plan.note.with_name("placeholders-999999999-0.json"))
    workspace.sweep()
    assert (left.exists(), used.exists()) == (False, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_giving_the_workspace_away_spares_what_is_linked_from_outside(tmp_path: Path) -> None:
    space = tmp_path / "space"
    (space / ".git").mkdir(parents=True)
    (tmp_path / "cache").write_text("shared")
    (space / "linked").hardlink_to(tmp_path / "cache")
    (space / "own").write_text("")
    (space / "twin").hardlink_to(space / "own")
    (space / "way").symlink_to(tmp_path)
    assert own(space, 64321, protected=(".git",)) == (space / "linked",)
    owners = {name: (space / name).lstat().st_uid for name in (".git", "linked", "own", "twin", "way")}
    assert owners == {".git": 0, "linked": 0, "own": 64321, "twin": 64321, "way": 64321}
    assert tmp_path.stat().st_uid == 0


def test_a_toolchain_is_what_the_interpreter_needs_and_no_home() -> None:
    mounts = toolchain.toolchain_mounts(Path(sys.executable))
    assert Path("/usr") in mounts
    for needed in (Path(sys.prefix), Path(sys.base_prefix)):
        assert any(needed.is_relative_to(mount) for mount in mounts), needed
    for path in (Path.home(), Path("/"), Path("/etc")):
        assert not any(path.is_relative_to(mount) for mount in mounts), path


@pytest.fixture
def space(tmp_path: Path) -> Path:
    (tmp_path / "space").mkdir()
    return tmp_path / "space"


async def test_when_no_wall_stands_every_rung_and_its_reason_is_named(space: Path) -> None:
    with pytest.raises(SandboxUnavailable) as refusal:
        await stand(Mounts(space), hide=frozenset({"bubblewrap", "landlock", "container"}))
    for name in ("bubblewrap", "landlock", "container"):
        assert name in refusal.value.why
    assert list(space.iterdir()) == []


async def test_a_wall_that_lacks_what_is_required_is_not_taken(space: Path) -> None:
    with pytest.raises(SandboxUnavailable, match="private_tmp"):
        await stand(
            Mounts(space),
            require=frozenset({Feature.PRIVATE_TMP}),
            hide=frozenset({"bubblewrap", "container"}),
        )


async def test_a_protected_link_is_named_when_protection_is_required(space: Path) -> None:
    (space / "AGENTS.md").symlink_to("other")
    with pytest.raises(SandboxUnavailable, match=r"AGENTS\.md"):
        await stand(Mounts(space), hide=frozenset({"landlock", "container"}))


async def test_an_unknown_wall_is_an_error(space: Path) -> None:
    with pytest.raises(ProviderError, match="no wall is called 'bubble'"):
        await stand(Mounts(space), prefer="bubble")


async def test_the_preflight_says_of_every_rung_what_it_holds_and_lacks() -> None:
    probes = await preflight(hide=frozenset({"container"}))
    assert [probe.rung for probe in probes] == ["bubblewrap", "landlock-strict", "container"]
    for probe in probes:
        assert (probe.wall is None) == bool(probe.why_not)
        if probe.wall is not None:
            assert probe.wall.enforces | {feature for feature, _ in probe.wall.missing} == frozenset(Feature)
            assert all(reason for _, reason in probe.wall.missing)


def test_no_process_is_not_us_when_a_group_is_joined(tmp_path: Path) -> None:
    group = cgroup.Group(tmp_path, tmp_path, 1)
    with pytest.raises(ProcessLookupError):  # the kernel would read a zero as whoever writes it
        group.join(0)
    assert list(tmp_path.iterdir()) == []
    group.join(4711)
    assert (tmp_path / "cgroup.procs").read_text() == "4711"


AS_INIT = """
import asyncio, json, os
from veilig.providers.sandbox import preflight
probes = asyncio.run(preflight(hide=frozenset({"container"})))
missing = {p.rung: sorted(f for f, _ in p.wall.missing) if p.wall else p.why_not for p in probes}
print(json.dumps([os.getpid(), missing]))
"""


@pytest.mark.outside_gate
def test_a_wall_probed_by_process_1_of_a_container_holds_what_it_holds_elsewhere(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    if unshare is None or os.geteuid() != 0:
        pytest.skip("a process namespace of our own wants root and util-linux")
    probed: list[dict[str, Any]] = []
    for number, argv in enumerate(([], [unshare, "--pid", "--fork", "--mount-proc"])):
        environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / str(number))}
        said = subprocess.run(
            [*argv, sys.executable, "-c", AS_INIT], env=environment, check=True, capture_output=True
        )
        pid, missing = json.loads(said.stdout)
        assert (pid == 1) == bool(argv)
        probed.append(missing)
    assert "signals" not in probed[1]["bubblewrap"] and "pid_namespace" not in probed[1]["bubblewrap"]
    assert probed[0]["bubblewrap"] == probed[1]["bubblewrap"]
