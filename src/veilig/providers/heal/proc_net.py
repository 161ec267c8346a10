"""Who listens where, who waits to be accepted, and whom does a service talk to? /proc/net tells."""

import socket
import struct
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from veilig.providers.heal.proc import PROC, open_files, pids

TABLE_BYTES = 4 << 20  # of one table: 25,000 connections; a busier machine is asked for its listeners only
_ESTABLISHED, _SYN_SENT, _LISTEN = b"01", b"02", b"0A"
_STATES = (_ESTABLISHED, _SYN_SENT, _LISTEN)
_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104  # we read it, we do not bind it


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket. waiting: connections that nobody has accepted yet."""

    host: str
    port: int
    waiting: int
    inode: int


@dataclass(frozen=True, slots=True)
class Connection:
    """One end of a connection (or of an attempt at one: `pending`)."""

    local_port: int
    host: str
    port: int
    inode: int
    pending: bool = False


@dataclass(frozen=True, slots=True)
class Sockets:
    """The TCP sockets of one network namespace. complete: the tables were read to their end."""

    listeners: tuple[Listener, ...]
    connections: tuple[Connection, ...]
    complete: bool = True

    def on(self, port: int, host: str = "") -> tuple[Listener, ...]:
        """Who listens where a service that binds `port` on `host` ("" any) would have to listen."""
        return tuple(one for one in self.listeners if one.port == port and _meets(one.host, host))

    def outgoing(self, inodes: Collection[int]) -> tuple[tuple[str, int], ...]:
        """Addresses that the owner of these sockets connected to; who came in through its ports is none."""
        own = {one.port for one in self.listeners if one.inode in inodes}
        found = {
            (one.host, one.port): None
            for one in self.connections
            if one.inode in inodes and one.local_port not in own
        }
        return tuple(found)


def _meets(there: str, wanted: str) -> bool:
    if not wanted or there == wanted or there in _WILDCARDS or wanted in _WILDCARDS:
        return True
    try:
        return ip_address(there) == ip_address(wanted)
    except ValueError:  # a name: localhost and the like
        return there.startswith("127.") or there == "::1"


def sockets(pid: int | None = None) -> Sockets:
    """The tables of our own network namespace, or of the one that `pid` lives in.

    The kernel walks its whole hash table for it (12 ms of CPU measured, with nine rows in it): not for
    every look at a healthy fleet.
    """
    folder = PROC / (str(pid) if pid is not None else "self") / "net"
    listeners: list[Listener] = []
    connections: list[Connection] = []
    complete = True
    for name in ("tcp", "tcp6"):
        try:
            with (folder / name).open("rb") as file:
                raw = file.read(TABLE_BYTES)
                complete = complete and not file.read(1)
        except OSError:
            continue  # no IPv6 here, or the process ended
        for line in raw.split(b"\n")[1:]:
            _add(line, listeners, connections)
    return Sockets(tuple(listeners), tuple(connections), complete)


def _add(line: bytes, listeners: list[Listener], connections: list[Connection]) -> None:
    state = line[line.find(b" ", line.find(b":", line.find(b":", line.find(b":") + 1) + 1)) + 1 :][:2]
    if state not in _STATES:  # closing ones are the most of a busy table
        return
    words = line.split(None, 10)
    if len(words) < 10:
        return
    if state == _LISTEN:
        host, port = _address(words[1])
        waiting = int(words[4].partition(b":")[2], 16)
        listeners.append(Listener(host, port, waiting, int(words[9])))
    else:
        host, port = _address(words[2])
        local = int(words[1].rpartition(b":")[2], 16)
        connections.append(Connection(local, host, port, int(words[9]), state == _SYN_SENT))


def _address(word: bytes) -> tuple[str, int]:
    """An address as the kernel writes it: words of four bytes in host order, then the port."""
    digits, _, port = word.partition(b":")
    raw = bytes.fromhex(digits.decode("ascii"))
    if len(raw) == 4:
        return socket.inet_ntop(socket.AF_INET, struct.pack("!I", struct.unpack("=I", raw)[0])), int(port, 16)
    packed = struct.pack("!4I", *struct.unpack("=4I", raw))
    mapped = IPv6Address(packed).ipv4_mapped
    return str(mapped or IPv6Address(packed)), int(port, 16)


def owner(inodes: Collection[int], first: Iterable[int] = ()) -> int | None:
    """A process that holds one of these sockets, `first` ones first; None when none may be seen."""
    looked = set[int]()
    for pid in (*first, *pids()):
        if pid in looked:
            continue
        looked.add(pid)
        held = open_files(pid)
        if held is not None and not held.sockets.isdisjoint(inodes):
            return pid
    return None
