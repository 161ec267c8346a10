"""What does a service need, and is it there? Declared, named in its configuration, or seen as connections.

Only what the operator wrote (the services file, the configuration) or the service itself did (a connection)
is ever asked; an address in a log line or an answer is not.
"""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from veilig.core.service import Dependency, Inventory, Service
from veilig.core.signal import Answer, DependencySeen
from veilig.providers.heal.good_parse import PARSED_BYTES, parse
from veilig.providers.heal.probes import reachable

NEEDS_MAX = 12  # of one service, declared ones not counted
REACH_S = 1.0  # a dependency that takes longer to accept is not there
_NODES = 2000
_PORTS = {
    "http": 80, "https": 443, "redis": 6379, "rediss": 6379, "postgres": 5432, "postgresql": 5432,
    "mysql": 3306, "mariadb": 3306, "mongodb": 27017, "amqp": 5672, "amqps": 5671, "memcached": 11211,
    "nats": 4222, "ldap": 389,
}  # fmt: skip
_OWN = re.compile(
    r"(?:^|_)(?:listen|bind|serve|server|own|self|admin|metrics|debug|public|external|advertise)(?:$|_)"
)
_NEED = re.compile(
    r"(?:^|_)(?:dep|deps|depends?|dependenc(?:y|ies)|upstreams?|backends?|databases?|db|dsn|redis|cache|queues?|amqp|rabbit\w*"
    r"|kafka|mongo\w*|mysql|maria\w*|postgres\w*|pg|sql|elastic\w*|memcached?|nats|brokers?|remote|target|peers?|api|auth"
    r"|smtp|ldap|consul|etcd|zookeeper|proxy|origin|parent|primary|master|leader|store|storage|service)(?:$|_)"
)  # fmt: skip
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?):(\d{1,5})")
_URL = re.compile(r"[a-z][a-z0-9+]{1,20}://[^\s'\"<>,]+")
_LOOPBACK = ("127.0.0.1", "localhost", "::1", "0.0.0.0")  # noqa: S104  # a name to compare with

type State = Callable[[str], tuple[bool, str]]
type Address = tuple[str, int]


@dataclass(slots=True)
class Needs:
    """The needs of all services of one inventory. state: is that service of the file up, and why not?"""

    inventory: Inventory
    state: State
    _seen: dict[str, dict[Address, None]] = field(default_factory=dict[str, dict[Address, None]])
    _read: dict[str, tuple[tuple[int, ...], tuple[Address, ...]]] = field(
        default_factory=dict[str, tuple[tuple[int, ...], tuple[Address, ...]]]
    )

    def connected(self, service: Service, addresses: tuple[Address, ...]) -> None:
        """While it was well, it talked to these."""
        known = self._seen.setdefault(service.name, {})
        for address in addresses:
            if len(known) < NEEDS_MAX and not self._own(service, address):
                known[address] = None

    async def look(self, service: Service) -> tuple[DependencySeen, ...]:
        """Each need once, declared ones first. Those that are no services of the file are asked."""
        wanted: dict[str, tuple[str, Address | None]] = {}
        for one in service.depends_on:
            wanted.setdefault(
                self._name(one.host, one.port) if one.host else one.service, ("declared", _place(one))
            )
        found = [("config", address) for address in self._configured(service)]
        found += [("connection", address) for address in self._seen.get(service.name, {})]
        for how, address in found[:NEEDS_MAX]:
            if not self._own(service, address):
                wanted.setdefault(self._name(*address), (how, address))
        return tuple(await asyncio.gather(*(self._ask(name, how, at) for name, (how, at) in wanted.items())))

    async def _ask(self, name: str, how: str, address: Address | None) -> DependencySeen:
        if self.inventory.get(name) is not None:
            up, why = self.state(name)
            return DependencySeen(name, up, how, why)
        if address is None:
            return DependencySeen(name, False, how, "no service of this name is in the services file")
        seen = await reachable(address[0], address[1], REACH_S)
        return DependencySeen(
            name, seen.answer == Answer.OK, how, "" if seen.answer == Answer.OK else seen.said
        )

    def _name(self, host: str, port: int) -> str:
        """The service of the file that is reached there, or the address."""
        if host in _LOOPBACK or host.startswith("127."):
            for service in self.inventory.services:
                if service.port == port:
                    return service.name
        return f"{host}:{port}"

    def _own(self, service: Service, address: Address) -> bool:
        return self._name(*address) == service.name or (
            address[1] == service.port and address[0] in _LOOPBACK
        )

    def _configured(self, service: Service) -> tuple[Address, ...]:
        """Addresses in its configuration; a broken file stands for what was last read of it."""
        found: list[Address] = [*addresses_in(dict(service.env)), *addresses_in(options(service.cmd))]
        for path in service.config:
            try:
                state = Path(path).stat()
                mark = (state.st_ino, state.st_size, state.st_mtime_ns)
                known = self._read.get(path)
                if known is None or known[0] != mark:
                    data = Path(path).read_bytes() if state.st_size <= PARSED_BYTES else b""
                    parsed = parse(path, data)
                    listed = (
                        ()
                        if parsed.valid is False and known
                        else tuple(addresses_in(_value(parsed.value, data)))
                    )
                    known = self._read[path] = (
                        mark,
                        listed or (known[1] if parsed.valid is False and known else listed),
                    )
                found += known[1]
            except OSError:
                found += self._read.get(path, ((), ()))[1]
        return tuple(dict.fromkeys(found))


def _place(one: Dependency) -> Address | None:
    return (one.host, one.port) if one.host else None


def _value(value: object, data: bytes) -> object:
    """What was parsed, or the lines of a file whose form we do not parse (nginx, redis)."""
    return value if value is not None else {"": data.decode("utf-8", "replace")}


def addresses_in(value: object) -> Iterator[Address]:
    """Where others are: URLs, host:port, a host beside a port, a port under the name of a need."""
    left: list[tuple[str, object]] = [("", value)]
    looked = 0
    while left and looked < _NODES:
        name, part = left.pop()
        looked += 1
        if isinstance(part, Mapping):
            inner = {_words(str(k)): v for k, v in cast(Mapping[object, object], part).items()}
            for key, address in _beside(name, inner):
                del inner[key]
                yield address
            left += [(f"{name}_{key}" if name else key, item) for key, item in reversed(inner.items())]
        elif isinstance(part, list | tuple):
            left += [(name, item) for item in reversed(cast(list[object], part))]
        elif isinstance(part, str):
            yield from _in_text(name, part)
        elif isinstance(part, int) and not isinstance(part, bool) and _needs(name) and 0 < part < 65536:
            yield "127.0.0.1", part


def options(argv: Sequence[str]) -> dict[str, object]:
    """What a command line sets: {"db-port": "5432"} of --db-port 5432; other arguments under "args"."""
    found: dict[str, object] = {}
    plain: list[str] = []
    name = ""
    for word in argv:
        option, equals, value = word.partition("=")
        if word.startswith("-"):
            name = "" if equals else word.lstrip("-")
            if equals:
                found[option.lstrip("-")] = value
        elif name:
            found[name], name = word, ""
        else:
            plain.append(word)
    return {**found, "args": [word for word in plain if "://" in word]}


def _words(key: str) -> str:
    """The words of a key, camelCase too, joined by underscores."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower()).strip("_")


def _needs(name: str) -> bool:
    """Is a number under this name the port of something needed? db, dep_port; not db_pool or dep_mode."""
    last = name.rpartition("_")[2]
    return bool(_NEED.search(name)) and not _OWN.search(name) and (last == "port" or bool(_NEED.search(last)))


def _beside(name: str, inner: Mapping[str, object]) -> list[tuple[str, Address]]:
    """The keys of ports that stand beside a host: {"host": "cache", "port": 6379}, DB_HOST and DB_PORT."""
    found: list[tuple[str, Address]] = []
    for key, value in inner.items():
        stem = key.removesuffix("port").rstrip("_")
        if (
            key not in ("port", f"{stem}_port")
            or not str(value).isdecimal()
            or not 0 < int(str(value)) < 65536
        ):
            continue
        host = inner.get(f"{stem}_host" if stem else "host", inner.get(f"{stem}_addr" if stem else "addr"))
        whole = f"{name}_{stem}".strip("_")
        if isinstance(host, str) and host and whole and not _OWN.search(whole):
            found.append((key, (host, int(str(value)))))
    return found


def _in_text(name: str, text: str) -> Iterator[Address]:
    if _OWN.search(name):
        return
    for url in cast(list[str], _URL.findall(text)):
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme.partition("+")[0], 0)
        except ValueError:
            continue
        if parts.hostname and port:
            yield parts.hostname, port
    if not name:  # a whole file of a form we do not parse: too much in it looks like an address
        return
    whole = _ADDRESS.fullmatch(text.strip())
    if whole and 0 < int(whole.group(2)) < 65536 and _is_host(whole.group(1).strip("[]")):
        yield whole.group(1).strip("[]"), int(whole.group(2))
    elif _needs(name) and text.isascii() and text.isdecimal() and 0 < int(text) < 65536:
        yield "127.0.0.1", int(text)


def _is_host(text: str) -> bool:
    if any(c.isalpha() for c in text) and ":" not in text:
        return True
    try:
        return bool(ip_address(text))
    except ValueError:
        return False
