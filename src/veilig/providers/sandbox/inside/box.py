"""How is a command started, watched and ended inside the wall? This runs there, as process 1 of the box.

It obeys one socket and nothing else; the commands never hold that socket. Output does not pass through
this process: the outside sends the write ends of its pipes along with each command (SCM_RIGHTS).

Without a process namespace (the Landlock wall) it runs outside the domain of the commands, as their
subreaper, and puts each command behind the wall between fork and exec.
"""

import array
import json
import math
import os
import resource
import select
import signal
import socket
import sys
import time
from typing import Any, NoReturn

from . import confine, table

POLL_S = 0.1  # how often CPU use is looked at; a command that ends earlier is never scanned
SETTLE_ROUNDS = 40  # stop-then-kill rounds before everything in the box is killed instead
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_RESET = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGCHLD)  # Python changed these for itself

Message = dict[str, Any]


class Command:
    """A command that runs: its main process, its bound, and the CPU seen so far in its processes."""

    def __init__(self, number: int, pid: int, cpu_s: float) -> None:
        self.number = number
        self.pid = pid
        self.cpu_s = cpu_s
        self.started_s = time.monotonic()
        main = table.look(pid)
        self.born = main.key[1] if main is not None else 0
        self.killed = ""
        self.seen: dict[table.Key, int] = {}
        self.cpu_seen_s = 0.0

    def count(self, members: list[table.Process]) -> None:
        """Own ticks of all processes seen, or those of the living with reaped children: the larger."""
        for process in members:
            self.seen[process.key] = process.own
        ticks = max(sum(self.seen.values()), sum(process.total for process in members))
        self.cpu_seen_s = max(self.cpu_seen_s, ticks / _TICKS_PER_S)


class Box:
    """The commands of this box and the one socket that rules them."""

    def __init__(self, control: socket.socket, config: Message) -> None:
        self.control = control
        self.uid: int | None = config["uid"]  # None: stay who we are
        self.gid: int = config["gid"]
        self.alone: bool = config["pid_namespace"]
        self.oom: bool = config["oom_score_adj"]
        self.filter = confine.Filter(bytes.fromhex(config["seccomp"])) if config["seccomp"] else None
        self.ruleset = confine.landlock_ruleset(config["landlock"]) if config["landlock"] else None
        self.running: dict[int, Command] = {}
        self.owner: dict[table.Key, Command] = {}

    # starting

    def start(self, number: int, fds: list[int]) -> None:
        """Fork and exec what the first descriptor describes; the others become 0, 1 and 2."""
        request = json.loads(_content(fds[0]))
        told_r, told_w = os.pipe2(os.O_CLOEXEC)
        try:
            pid = os.fork()
        except OSError as error:
            os.close(told_r)
            os.close(told_w)
            self.say({"op": "failed", "id": number, "errno": error.errno, "step": "fork", "text": str(error)})
            return
        if pid == 0:
            self.become(request, fds, told_w)
        os.close(told_w)
        told = os.read(told_r, 4096)  # ends with exec, which closes the other end
        os.close(told_r)
        if told:
            os.waitpid(pid, 0)
            self.say({"op": "failed", "id": number, **json.loads(told)})
            return
        self.running[pid] = Command(number, pid, request["limits"]["cpu_s"])

    def become(self, request: Message, fds: list[int], told: int) -> NoReturn:
        """In the child: bounds first, then rights, then the wall, then the program."""
        step = "prepare"
        try:
            os.setsid()
            for source, target in zip(fds[1:], (0, 1, 2), strict=True):
                os.dup2(source, target, inheritable=True)
            for number in _RESET:
                signal.signal(number, signal.SIG_DFL)
            os.umask(0o022)
            step = "limits"
            self.limit(request["limits"])
            step = "rights"
            self.drop()
            step = "cwd"
            os.chdir(request["cwd"])
            step = "wall"
            self.enter()
            step = "exec"
            os.execvpe(request["argv"][0], request["argv"], request["env"])  # noqa: S606  # our whole purpose
        except BaseException as error:  # noqa: BLE001  # reported, and the child must end here whatever it was
            number = getattr(error, "errno", None) or 0
            os.write(told, json.dumps({"errno": number, "step": step, "text": repr(error)[:400]}).encode())
        os._exit(127)

    def limit(self, bounds: Message) -> None:
        """Resource limits of this process; a hard limit that is lower already stays."""
        cpu = math.ceil(bounds["cpu_s"])
        wanted = {
            resource.RLIMIT_CPU: (cpu, cpu + 1),
            resource.RLIMIT_FSIZE: (bounds["file_bytes"], bounds["file_bytes"]),
            resource.RLIMIT_NOFILE: (bounds["open_files"], bounds["open_files"]),
            resource.RLIMIT_CORE: (0, 0),
        }
        if bounds["processes"]:
            wanted[resource.RLIMIT_NPROC] = (bounds["processes"], bounds["processes"])
        if bounds["address_space"]:
            wanted[resource.RLIMIT_AS] = (bounds["address_space"], bounds["address_space"])
        for kind, (soft, hard) in wanted.items():
            ceiling = resource.getrlimit(kind)[1]
            if ceiling != resource.RLIM_INFINITY:
                soft, hard = min(soft, ceiling), min(hard, ceiling)
            resource.setrlimit(kind, (soft, hard))
        if self.oom:
            fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
            os.write(fd, b"300")  # the command goes before the process that watches it
            os.close(fd)

    def drop(self) -> None:
        """Become the user of this session, for good."""
        if self.uid is not None:
            os.setgroups([])
            os.setresgid(self.gid, self.gid, self.gid)
            os.setresuid(self.uid, self.uid, self.uid)

    def enter(self) -> None:
        """Step behind the wall, where the box itself is not behind it already."""
        confine.prctl(confine.PR_SET_NO_NEW_PRIVS, 1)
        if self.ruleset is not None:
            confine.landlock_enter(self.ruleset)
        if self.filter is not None:
            self.filter.load()

    # watching

    def reap(self) -> None:
        """Report what ended. Orphans are only buried: nobody asked for them."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            command = self.running.pop(pid, None)
            if command is None:
                continue
            cpu_s = max(usage.ru_utime + usage.ru_stime, command.cpu_seen_s)
            self.say({"op": "exit", "id": command.number, "status": status, "killed": command.killed,
                      "cpu_s": cpu_s, "max_rss_kib": usage.ru_maxrss})  # fmt: skip

    def members(self) -> dict[Command, list[table.Process]]:
        """The processes of each running command: by session, by ancestry, as seen before, or by age."""
        everyone = table.everyone()
        by_pid = {command.pid: command for command in self.running.values()}
        found: dict[Command, list[table.Process]] = {command: [] for command in by_pid.values()}
        alive: dict[table.Key, Command] = {}
        for process in everyone.values():
            command = self.owner.get(process.key) or by_pid.get(process.session)
            if command is None:
                command = self.ancestor(table.chain(process, everyone), by_pid)
            if command is not None:
                alive[process.key] = command
                if command in found:
                    found[command].append(process)
        self.owner = alive
        return found

    def ancestor(self, chain: list[table.Process], by_pid: dict[int, Command]) -> Command | None:
        """The command this line of parents leads to.

        A line that ends at the box was orphaned before it was ever seen. It belongs to the youngest running
        command that is older than it: a process that changes its session and loses its parent is not lost.
        """
        for process in chain:
            command = by_pid.get(process.pid) or self.owner.get(process.key)
            if command is not None:
                return command
        if chain[-1].parent != os.getpid():
            return None
        older = [command for command in by_pid.values() if command.born <= chain[-1].key[1]]
        return max(older, key=lambda command: command.born, default=None)

    def watch(self) -> None:
        """Count CPU, and end what is over its bound."""
        for command, members in self.members().items():
            command.count(members)
            if command.cpu_seen_s > command.cpu_s and not command.killed:
                self.kill(command, "cpu")

    # ending

    def kill(self, command: Command, reason: str) -> None:
        """Stop, then kill: a stopped process keeps its place, so a fork bomb cannot outrun the loop."""
        command.killed = command.killed or reason
        members: list[table.Process] = []
        for _ in range(SETTLE_ROUNDS):
            members = [process for process in self.members().get(command, []) if not process.gone]
            moving = [process for process in members if not process.stopped]
            if not moving:
                break
            for process in moving:
                _signal(process.pid, signal.SIGSTOP)
        else:
            self.kill_all()
        for process in members:
            _signal(process.pid, signal.SIGKILL)
        _signal(command.pid, signal.SIGKILL)

    def kill_all(self) -> None:
        """Every process of the box but this one."""
        if self.alone:
            _signal(-1, signal.SIGKILL)
        elif self.uid is not None:
            pid = os.fork()
            if pid == 0:
                try:
                    self.drop()
                    os.kill(-1, signal.SIGKILL)  # the user is this session's alone
                finally:
                    os._exit(0)
            os.waitpid(pid, 0)
        else:
            _kill_below()

    # talking

    def say(self, message: Message) -> None:
        """Tell the outside; it may be gone, which the next look at the socket will say."""
        try:
            self.control.send(json.dumps(message).encode())
        except (BrokenPipeError, ConnectionResetError):
            return

    def obey(self) -> bool:
        """One message; False when the outside is gone or says so."""
        data, fds = _receive(self.control)
        if not data:
            return False
        message: Message = json.loads(data)
        try:
            if message["op"] == "run":
                self.start(message["id"], fds)
            elif message["op"] == "kill":
                for command in list(self.running.values()):
                    if command.number == message["id"]:
                        self.kill(command, message["reason"])
        finally:
            for fd in fds:
                os.close(fd)
        return message["op"] != "end"

    def serve(self) -> None:
        """Until the outside is gone or says end."""
        bell_r, bell_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(bell_w, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _ring)
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(bell_r, select.POLLIN)
        looked_s = time.monotonic()
        while True:
            events = dict(poll.poll(POLL_S * 1000 if self.running else None))
            if bell_r in events:
                os.read(bell_r, 4096)
            self.reap()
            if self.control.fileno() in events and not self.obey():
                return
            now_s = time.monotonic()
            if now_s - looked_s >= POLL_S:
                looked_s = now_s
                if any(now_s - command.started_s >= POLL_S for command in self.running.values()):
                    self.watch()


def _ring(_number: int, _frame: object) -> None:
    """Nothing: the wake-up descriptor has the news."""


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # ended by itself: that is what was wanted


def _kill_below() -> None:
    """Stop, then kill every descendant, where neither a namespace nor a user of our own sets them apart."""
    for ending in (signal.SIGSTOP, signal.SIGKILL):
        for _ in range(1000):
            everyone = table.everyone()
            below = [p for p in everyone.values() if table.chain(p, everyone)[-1].parent == os.getpid()]
            moving = [p for p in below if not p.gone and (ending == signal.SIGKILL or not p.stopped)]
            for process in moving:
                _signal(process.pid, ending)
            if not moving:
                break
            time.sleep(0.001)  # the kernel needs a moment to carry the signal out


def _content(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """One message and the descriptors that came with it, all of them close-on-exec."""
    space = socket.CMSG_SPACE(4 * array.array("i").itemsize)
    data, ancillary, _, _ = control.recvmsg(65536, space, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    return data, list(fds)


def main() -> None:
    """Take the socket named on the command line (a descriptor or a path), read the configuration, serve."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    confine.prctl(confine.PR_SET_DUMPABLE, 0)
    place = sys.argv[1]
    if place.isdigit():
        control = socket.socket(fileno=int(place))
    else:
        control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control.connect(place)
    control.set_inheritable(False)
    control.send(b'{"op": "hello"}')  # the kernel adds our process id as the outside sees it
    data, fds = _receive(control)
    if not data:
        return
    config = json.loads(_content(fds[0]))
    os.close(fds[0])
    if not config["pid_namespace"]:
        confine.prctl(confine.PR_SET_CHILD_SUBREAPER, 1)
    box = Box(control, config)
    box.say({"op": "ready"})
    try:
        box.serve()
    finally:
        box.kill_all()
