"""Does anything get out of, or into, a box? Escapes, each beside its allowed twin."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from veilig.core.errors import SandboxUnavailable
from veilig.providers.sandbox import PROTECTED_PATHS, Feature
from walls import Open, Place


@pytest.fixture
async def place(open_box: Open) -> Place:
    return await open_box()


async def test_a_command_writes_in_the_workspace(place: Place) -> None:
    result = await place.sh("echo hello > src/new && cat src/new && mkdir -p src/deep/er && rm src/a.py")
    assert (result.exit_code, result.stdout) == (0, b"hello\n")
    assert (place.workspace / "src/new").read_text() == "hello\n"
    assert not (place.workspace / "src/a.py").exists()


@pytest.mark.parametrize(
    "script",
    [
        "echo x > ../outside/new",
        "ln -s ../../outside src/way; echo x > src/way/new",
        "ln -s ../../outside/new src/link; echo x > src/link",
        "cp /proc/self/cwd/../outside/canary src/copy && mv src/copy ../outside/new",
        "ln ../outside/canary src/hard && echo x >> src/hard",
        "echo x > /proc/1/root{outside}/new",
        "echo x > /proc/self/root{outside}/new",
        "rm -f {outside}/canary; mv {outside} {outside}2",
        "touch /usr/bin/veilig-test /etc/veilig-test /veilig-test /var/veilig-test",
        "chmod 777 /usr/bin; mkdir /usr/veilig-test",
    ],
)  # fmt: skip
async def test_nothing_outside_the_workspace_is_written(place: Place, script: str) -> None:
    await place.sh(script.replace("{outside}", str(place.outside)))
    assert sorted(entry.name for entry in place.outside.iterdir()) == ["canary"]
    assert (place.outside / "canary").read_text() == "canary"
    for path in ("/usr/bin/veilig-test", "/etc/veilig-test", "/veilig-test", "/usr/veilig-test"):
        assert not Path(path).exists()
    assert place.holds(Feature.FILES_WRITE)


@pytest.mark.parametrize(
    "path",
    [
        "{outside}/canary", "../outside/canary", "/proc/1/root{outside}/canary", "/proc/1/cwd/etc/shadow",
        "/etc/shadow", "/root/.bashrc", "/proc/1/environ", "/proc/1/mem", "/proc/kcore", "/dev/kmsg",
    ],
)  # fmt: skip
async def test_nothing_outside_workspace_and_toolchain_is_read(place: Place, path: str) -> None:
    wanted = path.replace("{outside}", str(place.outside))
    result = await place.sh(
        f'ln -s "{wanted}" src/way 2>/dev/null; head -c 64 "{wanted}" || head -c 64 src/way'
    )
    assert (result.exit_code != 0, result.stdout) == (True, b"")
    assert place.holds(Feature.FILES_READ)


async def test_homes_are_not_listed(place: Place) -> None:
    result = await place.sh("ls -A /root /home/* | grep -v -e : -e '^$' -e pyenv; true")
    assert b"." not in result.stdout.replace(b".pyenv", b"")


@pytest.mark.parametrize(
    "script",
    [
        "echo x > .git/hooks/pre-commit", "echo x > .git/config", "rm -rf .git", "mv .git moved",
        "mv .git/hooks moved", "ln -s /tmp veilig.yaml", "echo x > veilig.yaml", "mkdir veilig.yaml/x",
        "ln .git/config src/other; echo x >> src/other", "cp -r .git src/g && mv src/g veilig.yaml/",
        "rmdir veilig.yaml .veilig; mkdir .veilig; echo x > .veilig/x", "mv src .veilig",
        "chmod 777 .git; : > .git/x", "mv src/a.py veilig.yaml", "ln src/a.py veilig.yaml",
        "mkdir -p .vscode; echo {} > .vscode/tasks.json",
        "mount -t tmpfs none .git; echo x > .git/x", "umount .git; echo x > .git/x",
    ],
)  # fmt: skip
async def test_protected_paths_stay_as_they_are(place: Place, script: str) -> None:
    await place.sh(script)
    if place.holds(Feature.PROTECTED):
        kept = [place.workspace / name for name in PROTECTED_PATHS]
        files = [path for top in kept for path in top.rglob("*") if not path.is_dir()]
        names = sorted(str(path.relative_to(place.workspace)) for path in files)
        assert names == [".git/config", ".git/hooks/sample"]
        assert (place.workspace / ".git/config").read_text() == ""
        assert not any(path.is_symlink() or path.is_file() for path in kept)


async def test_a_nested_protected_path_does_not_move_with_its_parent(open_box: Open) -> None:
    try:
        place = await open_box(protected=(".git/hooks", ".git/config"))
    except SandboxUnavailable as refusal:  # Landlock cannot, and then refuses where it is required
        assert ".git/hooks: below the top directory" in str(refusal)
        return
    await place.sh(
        "mv .git moved; mkdir -p .git/hooks; echo x > .git/hooks/pre-commit; echo x > .git/config; true"
    )
    if place.holds(Feature.PROTECTED):
        assert not (place.workspace / ".git/hooks/pre-commit").exists()
        assert (place.workspace / ".git/config").read_text() == ""
        written = await place.sh("echo x > .git/index && cat .git/index")
        assert written.stdout == b"x\n", written.stderr  # the rest of .git can still be written


async def test_closing_leaves_no_mount_points_in_the_workspace(place: Place) -> None:
    await place.box.close()
    assert sorted(entry.name for entry in place.workspace.iterdir()) == [".git", "src"]


async def test_servers_inside_reach_each_other_or_the_wall_says_that_they_cannot(place: Place) -> None:
    started = await place.sh(
        "cd src && (/usr/bin/python3 -m http.server 8765 --bind 127.0.0.1 >/dev/null 2>&1 &)"
    )
    assert started.exit_code == 0
    fetch = (
        "import time, urllib.request\n"
        "for _ in range(100):\n"
        "    try: print(urllib.request.urlopen('http://127.0.0.1:8765/a.py').read().decode()); break\n"
        "    except OSError: time.sleep(0.05)\n"
    )
    if place.holds(Feature.LOOPBACK):
        result = await place.box.run(["/usr/bin/python3", "-c", fetch])
        assert result.stdout == b"a = 1\n\n", result.stderr
    else:
        refused = await place.python("import socket; socket.socket()")
        assert b"PermissionError" in refused.stderr


async def test_no_listener_of_the_host_is_reached(place: Place) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as named,
    ):
        name = f"veilig-test-{os.getpid()}"
        abstract.bind(f"\0{name}")
        abstract.listen()
        named.bind(str(place.outside / "socket"))
        named.listen()
        (place.outside / "socket").chmod(0o777)
        script = (
            "import socket, sys\n"
            "from socket import AF_INET, AF_UNIX\n"
            "for family, address in ((AF_INET, ('127.0.0.1', int(sys.argv[1]))),\n"
            "                        (AF_UNIX, chr(0) + sys.argv[2]), (AF_UNIX, sys.argv[3])):\n"
            "    try: socket.socket(family).connect(address); print('reached', address)\n"
            "    except OSError: pass\n"
        )
        port = str(tcp.getsockname()[1])
        result = await place.python(script, port, name, str(place.outside / "socket"))
    assert (result.exit_code, result.stdout) == (0, b"")
    assert place.holds(Feature.NETWORK)
    assert place.holds(Feature.UNIX_SOCKETS)


@pytest.mark.parametrize("family", ["AF_PACKET", "AF_VSOCK", "AF_ALG", "AF_BLUETOOTH", "AF_CAN"])
async def test_families_that_know_no_namespace_are_refused(place: Place, family: str) -> None:
    kind = "SEQPACKET" if family == "AF_ALG" else "RAW" if family in ("AF_PACKET", "AF_CAN") else "STREAM"
    result = await place.python(f"import socket; socket.socket(socket.{family}, socket.SOCK_{kind})")
    assert b"PermissionError" in result.stderr


async def test_no_process_outside_is_signalled(place: Place) -> None:
    with subprocess.Popen(["sleep", "60"]) as victim:
        result = await place.sh(f"kill -9 {victim.pid} {os.getpid()}; kill -9 -1; kill -9 -{os.getpgid(0)}")
        assert victim.poll() is None
        victim.kill()
    assert result.exit_code != 0
    assert place.holds(Feature.SIGNALS)


async def test_a_command_signals_what_another_command_started_and_not_the_watcher(place: Place) -> None:
    started = await place.sh("sleep 60 >/dev/null 2>&1 & echo $!")
    result = await place.sh(f"kill -9 1; kill -9 $PPID; kill {int(started.stdout)} && echo done")
    again = await place.sh("echo alive")
    assert again.stdout == b"alive\n"
    if os.geteuid() == 0 or place.holds(Feature.PID_NAMESPACE):
        assert result.stdout == b"done\n"


CALLS = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def tried(name, result): print(name, result, ctypes.get_errno())
tried("ptrace attach", libc.ptrace(16, int(os.getppid()), 0, 0))
tried("ptrace me", libc.ptrace(0, 0, 0, 0))
tried("unshare user", libc.unshare(0x10000000))
tried("unshare mount", libc.unshare(0x20000))
tried("mount", libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
tried("chroot", libc.chroot(b"/"))
tried("setns", libc.setns(0, 0))
tried("keyctl", libc.syscall({"x86_64": 250, "aarch64": 219}[os.uname().machine], 0, 0))
tried("setuid", libc.setuid(0))
buffer = ctypes.create_string_buffer(8)
tried("TIOCSTI", libc.ioctl(0, 0x5412, buffer))
tried("process_vm_readv", libc.process_vm_readv(os.getppid(), 0, 0, 0, 0, 0))
tried("io_uring", libc.syscall(425, 1, 0))
"""


async def test_calls_that_reach_other_processes_or_the_kernel_are_refused(place: Place) -> None:
    result = await place.python(CALLS)
    lines = result.stdout.decode().splitlines()
    assert len(lines) == 12
    for line in lines:
        *name, returned, number = line.split()
        allowed = {"38"} if name == ["io_uring"] else {"1", "22"} if name == ["setuid"] else {"1"}
        assert (returned, number in allowed) == ("-1", True), line
    assert place.holds(Feature.SECCOMP)


async def test_threads_and_pairs_still_work(place: Place) -> None:
    script = (
        "import threading, socket, subprocess\n"
        "t = threading.Thread(target=print, args=('thread',)); t.start(); t.join()\n"
        "a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))\n"
        "print(subprocess.run(['echo', 'child'], capture_output=True).stdout)\n"
    )
    result = await place.box.run(["/usr/bin/python3", "-c", script])
    assert result.stdout == b"thread\nb'x'\nb'child\\n'\n", result.stderr


async def test_a_set_user_id_program_gives_nothing(place: Place) -> None:
    result = await place.sh("id -u; su -c id; mount; passwd -S; id -u")
    ids = [line for line in result.stdout.split(b"\n") if line.isdigit()]
    assert ids[0] == ids[-1] != b"0"
    assert place.holds(Feature.PRIVILEGES)


async def test_the_environment_is_clean(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEILIG_TEST_TOKEN", "not for the box")
    result = await place.box.run(["/usr/bin/env"], env={"GIVEN": "1"})
    names = {line.split(b"=")[0] for line in result.stdout.splitlines()}
    expected = {b"PATH", b"HOME", b"LANG", b"TERM", b"TMPDIR", b"GIVEN"}
    assert {name for name in names if not name.startswith(b"GIT_CONFIG_")} == expected


async def test_no_descriptor_of_ours_is_open_inside(place: Place) -> None:
    script = (
        "import os\n"
        "def open_(fd):\n"
        "    try: os.fstat(fd); return True\n"
        "    except OSError: return False\n"
        "print([fd for fd in range(1024) if open_(fd)])\n"
    )
    result = await place.python(script)
    assert result.stdout == b"[0, 1, 2]\n"


async def test_tmp_and_home_are_writable_and_not_the_machines(place: Place) -> None:
    result = await place.sh(
        'echo x > "$TMPDIR/x" && echo y > "$HOME/y" && cat "$TMPDIR/x" "$HOME/y"; ls /tmp'
    )
    assert result.stdout.startswith(b"x\ny\n")
    if place.holds(Feature.PRIVATE_TMP):
        assert b"veilig-probe" not in result.stdout
        filled = await place.sh(
            'head -c 7M /dev/zero > "$TMPDIR/1"; for i in 2 3 4 5 6; do cp $TMPDIR/1 $TMPDIR/$i; done'
        )
        assert filled.exit_code != 0
        assert b"space" in filled.stderr
