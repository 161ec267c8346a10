"""Does /proc tell the truth about real processes and sockets?"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.core.clock import SystemClock
from veilig.providers.heal import proc, proc_net

LISTEN = """
import socket, sys
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen(5)
print(s.getsockname()[1], flush=True); sys.stdin.read()
"""
PARENT = """
import subprocess, sys
code = "import sys; x = bytearray(40 << 20); print(1, flush=True); sys.stdin.read()"
child = subprocess.Popen([sys.executable, "-c", code])
sys.stdin.read()
"""


@contextmanager
def running(code: str) -> Generator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            yield child
        finally:
            os.kill(child.pid, signal.SIGCONT)
            child.kill()


def test_a_process_is_named_by_pid_and_start() -> None:
    before = SystemClock().boottime_s()
    with running("import sys; print(1, flush=True); sys.stdin.read()") as child:
        seen = proc.process(child.pid)
        assert seen is not None
        assert seen.incarnation == f"{child.pid}:{seen.start_ticks}"
        assert before - 0.02 <= seen.started_s <= SystemClock().boottime_s()
        assert (seen.parent, seen.ended, seen.stopped) == (os.getpid(), False, False)
        assert proc.command_line(child.pid)[:2] == (sys.executable, "-c")
        assert proc.link(child.pid, "cwd") == str(Path.cwd())
        assert proc.described(child.pid).startswith(f"pid {child.pid} python")
    gone = proc.process(child.pid)
    assert gone is None or gone.start_ticks != seen.start_ticks
    assert proc.command_line(child.pid) == ()


def test_a_stopped_and_an_ended_process_are_told_apart() -> None:
    with running("import sys; print(1, flush=True); sys.stdin.read()") as child:
        os.kill(child.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
        seen = proc.process(child.pid)
        assert seen is not None
        assert (seen.stopped, seen.ended) == (True, False)
        os.kill(child.pid, signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        seen = proc.process(child.pid)
        assert seen is not None
        assert (seen.stopped, seen.ended) == (False, True)
        assert proc.table().tree([child.pid]) == ()


def test_a_tree_counts_what_its_children_hold() -> None:
    with running(PARENT) as parent:  # its child's line comes first: both run then
        found = proc.table().tree([parent.pid])
        assert len(found) == 2
        assert sum(row.rss_bytes for row in found) > 45 << 20
        assert {row.parent for row in found} == {os.getpid(), parent.pid}
        for row in found:
            if row.pid != parent.pid:
                os.kill(row.pid, signal.SIGKILL)


def test_a_name_may_hold_blanks_and_parentheses() -> None:
    rest = " ".join(
        ["S", "1", "2", "3", *["0"] * 7, "40", "2", "0", "0", "20", "0", "7", "0", "99", "0", "5", "0"]
    )
    seen = proc.parse_stat(f"12 (a) b (c)) {rest}")
    assert seen is not None
    assert (seen.pid, seen.name, seen.parent, seen.start_ticks) == (12, "a) b (c)", 1, 99)
    assert (seen.cpu_ticks, seen.threads) == (42, 7)


@given(st.text(max_size=200))
def test_any_row_is_a_process_or_none(text: str) -> None:
    seen = proc.parse_stat(text)
    assert seen is None or isinstance(seen, proc.Process)


def test_the_owner_of_a_port_is_found_with_what_waits_there() -> None:
    with running(LISTEN) as child:
        port = next(
            one.port
            for one in proc_net.sockets().listeners
            if one.inode in getattr(proc.open_files(child.pid), "sockets", ())
        )
        (found,) = proc_net.sockets().on(port)
        assert (found.host, found.waiting) == ("127.0.0.1", 0)
        assert proc_net.owner([found.inode]) == child.pid
        with closing(socket.create_connection(("127.0.0.1", port))):
            (found,) = proc_net.sockets().on(port, "localhost")
            assert found.waiting == 1
            mine = getattr(proc.open_files(os.getpid()), "sockets", frozenset[int]())
            assert ("127.0.0.1", port) in proc_net.sockets().outgoing(mine)
        assert proc_net.sockets().on(port, "10.1.2.3") == ()
    assert proc_net.sockets().on(port) == ()
    assert proc_net.owner([found.inode]) is None


def test_who_came_in_is_no_dependency() -> None:
    with closing(socket.create_server(("::1", 0), family=socket.AF_INET6)) as server:
        port = server.getsockname()[1]
        with closing(socket.create_connection(("::1", port))), closing(server.accept()[0]) as came_in:
            mine = getattr(proc.open_files(os.getpid()), "sockets", frozenset[int]())
            listening = {one.inode for one in proc_net.sockets().on(port, "::1")}
            assert listening == {os.fstat(server.fileno()).st_ino}
            inside = {os.fstat(server.fileno()).st_ino, os.fstat(came_in.fileno()).st_ino}
            assert proc_net.sockets().outgoing(inside) == ()
            out = proc_net.sockets().outgoing(mine - inside)
            assert out.count(("::1", port)) == 1  # beside what earlier tests of this process left open


def test_open_files_and_their_limit_are_counted() -> None:
    first = proc.open_files(os.getpid())
    with Path(__file__).open("rb"):
        second = proc.open_files(os.getpid())
    assert first is not None
    assert second is not None
    assert second.count == first.count + 1
    assert os.path.realpath(__file__) in second.paths
    assert second.limit > 0
    assert proc.open_files(2**22 + 1) is None


@pytest.mark.parametrize("word", [b"0100007F:1F90", b"00000000000000000000000001000000:1F90"])
def test_addresses_are_read_as_the_kernel_writes_them(word: bytes) -> None:
    assert proc_net._address(word) in (("127.0.0.1", 8080), ("::1", 8080))
