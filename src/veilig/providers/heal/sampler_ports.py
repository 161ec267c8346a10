"""Who listens where a service should, who waits there, and whom does it talk to? The sockets of a look."""

from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from veilig.core.service import Service
from veilig.core.signal import Run
from veilig.providers.heal import proc, proc_net
from veilig.providers.heal.sampler_life import Life

WELL_S = 5.0  # so old the table of sockets may be for a service that is well: the kernel takes 12 ms for it
ILL_S = 0.2
_PIDS_MAX = 64  # of one service, whose open files are counted


class Ports:
    """The table of sockets, read anew when it is too old for the one who asks."""

    def __init__(self, seal: Callable[[str], str] = str) -> None:
        self._seal = seal
        self._at_s = -WELL_S
        self._table = proc_net.Sockets((), ())

    def look(self, life: Life, now_s: float) -> None:
        """Count what the service has open, see which logs it writes, and who has its port."""
        inodes: set[int] = set()
        fullest = (0, 0)
        for pid in life.seen.pids[:_PIDS_MAX]:
            held = proc.open_files(pid)
            if held is not None:
                inodes |= held.sockets
                # Each process has a limit of its own: the one nearest to it counts.
                if not fullest[1] or held.count * fullest[1] > fullest[0] * held.limit > 0:
                    fullest = held.count, held.limit
                if pid == life.seen.pids[0]:
                    life.log.follow(proc.outputs(pid, held))
        life.fds = fullest
        if now_s - self._at_s >= (WELL_S if life.well else ILL_S):
            self._read(now_s)
        there, own = self._listeners(life.service, inodes)
        if there and not own and self._at_s < now_s:
            self._read(now_s)  # what an older look saw may be gone, or be the service itself
            there, own = self._listeners(life.service, inodes)
        life.backlog = max((one.waiting for one in own), default=-1)
        life.port_holder = ""
        seen = life.seen
        elsewhere = not seen.pids and seen.run in (Run.RUNNING, Run.STARTING)  # its keeper names no process
        if there and (own or life.well):
            life.fronted = not own  # a proxy, or the engine of a container, listens for it
        if there and not own and not life.well and not elsewhere and not life.fronted:
            life.port_holder = self._holder([one.inode for one in there], life)
        life.connections = self._table.outgoing(inodes) if inodes else ()

    def _read(self, now_s: float) -> None:
        self._at_s, self._table = now_s, proc_net.sockets()

    def _listeners(
        self, service: Service, inodes: Collection[int]
    ) -> tuple[tuple[proc_net.Listener, ...], list[proc_net.Listener]]:
        """All who listen where it should, and those of them that are its own."""
        there = self._table.on(service.port, _host(service)) if service.port else ()
        return there, [one for one in there if one.inode in inodes]

    def _holder(self, inodes: Collection[int], life: Life) -> str:
        """Who holds these listening sockets, if it is not the service: its children listen for it."""
        holder = proc_net.owner(inodes)
        if holder is None:
            again = {one.inode for one in proc_net.sockets().listeners}
            return "" if again.isdisjoint(inodes) else "a process that we may not look at"
        groups = {row.group for pid in life.seen.pids if (row := proc.process(pid)) is not None}
        row = proc.process(holder)
        if holder in life.seen.pids or (row is not None and row.group in groups):
            return ""
        return self._seal(proc.described(holder))


def _host(service: Service) -> str:
    """Where it listens, as its health address says; "" when nobody says."""
    return urlsplit(service.health).hostname or "" if service.health else ""
