"""Which services does this file describe? JSON or YAML -> Inventory, or an error that says where.

One mapping per service, under its name or in a list with `name`; at the top, or under `services`. Paths may
be relative to the file. What is not known is not used, and `Inventory.notes` says so.
"""

import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, cast
from urllib.parse import urlsplit

from veilig.core.errors import UsageError
from veilig.core.service import (
    HEALTH_TIMEOUT_S,
    HOLD_FILE,
    WARMUP_S,
    Dependency,
    Inventory,
    MetricBound,
    Service,
    metric_bounds,
)
from veilig.core.service_entries import read_entries

BYTES_MAX = 1 << 20  # 1 MiB: some thousand services
SERVICES_MAX = 2000  # looked at every second by one process
PROVIDERS = ("process", "supervisord", "container", "systemd", "postgres", "aws", "kubernetes")

_PORTS = {"http": 80, "https": 443, "redis": 6379, "postgresql": 5432, "postgres": 5432, "amqp": 5672}
_SHELL = re.compile(r"[$`;|&<>*?~(){}\[\]\n]|^\w+=")
_ADDRESS = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9a-fA-F:]+\]):(?P<port>[0-9]{1,5})")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgKMG]?)(?:i?[bB])?")
_PASSWORD = re.compile(r"(?i)(?:^|[\s?&])password\s*=|://[^/@\s]*:[^/@\s]*@")
_KEYS = {
    **dict.fromkeys(("provider", "unit", "writer", "pidfile", "group"), "text"),
    **dict.fromkeys(("log", "logs", "config", "configs", "data", "tracked"), "paths"),
    **dict.fromkeys(("cmd", "command", "argv", "health_cmd"), "argv"),
    **dict.fromkeys(("dir", "folder", "cwd", "base"), "folder"),
    **dict.fromkeys(("deps", "depends_on"), "deps"),
    **dict.fromkeys(("health_timeout_s", "warmup_s"), "seconds"),
    **dict.fromkeys(("memory_max", "memory_max_bytes", "memory_max_mb"), "size"),
    "name": "text",
    "health": "health",
    "port": "port",
    "env": "env",
    "database": "flag",
    "promql": "bounds",
}


def read_services(path: Path) -> Inventory:
    """The services of the file `path`. Raises UsageError when it cannot be read or does not describe any."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot read the services file {str(path)!r}",
            why=error.strerror or str(error),
            fix="give the path of a JSON or YAML file with `--services`",
        ) from error
    return parse_services(data, str(path.resolve()))


def parse_services(data: bytes, path: str) -> Inventory:
    """The services `data` describes; `path` is absolute, relative paths in it count from its folder."""
    if len(data) > BYTES_MAX:
        raise UsageError(f"{path} has {len(data)} bytes", why=f"at most {BYTES_MAX} are read")
    entries = read_entries(data, path)
    if not entries:
        raise UsageError(
            f"{path} describes no service", fix="name at least one, with its `cmd` or `provider`"
        )
    if len(entries) > SERVICES_MAX:
        raise UsageError(f"{path} describes {len(entries)} services", why=f"at most {SERVICES_MAX}")
    notes: list[str] = []
    names = frozenset(entries)
    base = PurePosixPath(path).parent
    found = tuple(_Reader(name, body, base, names, notes, path).service() for name, body in entries.items())
    return Inventory(path, hashlib.sha256(data).hexdigest(), _held(found), tuple(notes))


class _Reader:
    """One entry of the file."""

    def __init__(
        self,
        name: str,
        body: dict[str, Any],
        base: PurePosixPath,
        names: frozenset[str],
        notes: list[str],
        path: str,
    ) -> None:
        self.name, self.body, self.base, self.names, self.notes, self.path = (
            name, body, base, names, notes, path,
        )  # fmt: skip

    def service(self) -> Service:
        for key in self.body:
            if key not in _KEYS:
                self.notes.append(f"{self.name}: {key!r} is no key of a service; not used")
        provider = self._text("provider") or "process"
        if provider not in PROVIDERS:
            raise self._wrong("provider", f"one of {', '.join(PROVIDERS)}")
        pidfile = self._path(self._text("pidfile"))
        config, logs, data = self._paths("config", "configs"), self._paths("log", "logs"), self._paths("data")
        folder = self._folder(pidfile, config, logs)
        cmd = self._argv("cmd", "command", "argv")
        if provider == "process" and not cmd:
            raise self._wrong("cmd", "the command that starts it")
        if provider == "postgres":
            self._connections()
        port = self._port()
        health, health_cmd = self._health(port)
        return Service(
            name=self.name,
            provider=provider,
            unit=self._text("unit"),
            writer=self._text("writer"),
            cmd=cmd,
            env=self._env(),
            folder=folder,
            pidfile=pidfile,
            health=health,
            health_cmd=health_cmd,
            port=port or _port_of(health),
            log=logs,
            config=config,
            data=data,
            tracked=self._paths("tracked"),
            depends_on=self._deps(),
            memory_max_bytes=self._size(),
            group=self._text("group"),
            database=self.body.get("database") is True,
            health_timeout_s=self._seconds("health_timeout_s", HEALTH_TIMEOUT_S),
            warmup_s=self._seconds("warmup_s", WARMUP_S),
            promql=self._promql(),
        )

    def _connections(self) -> None:
        """A database's connection strings: one to look, and none with a password in it."""
        if not self._text("unit"):
            raise self._wrong("unit", "a connection string: host=... dbname=... user=...")
        for key in ("unit", "writer"):
            if _PASSWORD.search(self._text(key)):
                raise UsageError(
                    f"{self.path}: {self.name}.{key} has a password in it",
                    why="whoever reads this file could write to the database",
                    fix="put it into a passfile that only the broker's user can read: passfile=PATH",
                )

    def _wrong(self, key: str, expected: str) -> UsageError:
        given = self.body.get(key)
        return UsageError(f"{self.path}: {self.name}.{key} is {given!r}", why=f"expected {expected}")

    def _text(self, key: str) -> str:
        value = self.body.get(key, "")
        if value is None:
            return ""
        if not isinstance(value, str) or "\0" in value:
            raise self._wrong(key, "text")
        return value

    def _path(self, text: str) -> str:
        """Absolute, without `..`; "" stays."""
        if not text:
            return ""
        if text.startswith("~"):
            text = str(Path(text).expanduser())
        parts: list[str] = []
        for part in (self.base / text).parts[1:]:
            if part == "..":
                del parts[-1:]
            else:
                parts.append(part)
        return "/" + "/".join(parts)

    def _paths(self, *keys: str) -> tuple[str, ...]:
        found: list[str] = []
        for key in keys:
            value = self.body.get(key)
            items = cast(list[Any], value) if isinstance(value, list) else [value] if value else []
            if not all(isinstance(item, str) and "\0" not in item for item in items):
                raise self._wrong(key, "a path, or a list of paths")
            found += [self._path(item) for item in items if item]
        return tuple(dict.fromkeys(found))

    def _folder(self, pidfile: str, config: Sequence[str], logs: Sequence[str]) -> str:
        for key in ("dir", "folder", "cwd", "base"):
            if text := self._text(key):
                return self._path(text)
        likely = next((path for path in (pidfile, *config, *logs) if path), "")
        return str(PurePosixPath(likely).parent) if likely else str(self.base)

    def _argv(self, *keys: str) -> tuple[str, ...]:
        for key in keys:
            value = self.body.get(key)
            if isinstance(value, str) and value.strip():
                if _SHELL.search(value):
                    return ("/bin/sh", "-c", value)
                try:
                    return tuple(shlex.split(value))
                except ValueError as error:
                    raise self._wrong(key, f"a command ({error})") from error
            if isinstance(value, list):
                items = cast(list[Any], value)
                if items and all(isinstance(i, str | int | float) and not isinstance(i, bool) for i in items):
                    return tuple(str(i) for i in items)
            if value:
                raise self._wrong(key, "a command, as text or as a list of arguments")
        return ()

    def _env(self) -> tuple[tuple[str, str], ...]:
        value: Any = self.body.get("env") or {}
        if not isinstance(value, Mapping):
            raise self._wrong("env", "a mapping of names to values")
        pairs = cast(Mapping[str, Any], value).items()
        return tuple((str(k), str(v)) for k, v in pairs if "=" not in str(k) and "\0" not in f"{k}{v}")

    def _port(self) -> int:
        value = self.body.get("port") or 0
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 65535:
            raise self._wrong("port", "a whole number from 1 to 65535")
        return value

    def _health(self, port: int) -> tuple[str, tuple[str, ...]]:
        """(URL, argv): a URL, a path of the port, or a command; mappings name `url` or `cmd`."""
        value = self.body.get("health")
        command = self._argv("health_cmd")
        if isinstance(value, Mapping):
            inner = cast(Mapping[str, Any], value)
            self.body["health_cmd"] = inner.get("cmd") or inner.get("command")
            command = self._argv("health_cmd") or command
            value = inner.get("url") or inner.get("http") or inner.get("path")
        if not value:
            return (f"tcp://127.0.0.1:{port}" if port and not command else ""), command
        if isinstance(value, list):
            self.body["health_cmd"] = value
            return "", self._argv("health_cmd")
        if isinstance(value, int) and not isinstance(value, bool):
            return f"tcp://127.0.0.1:{value}", command
        if isinstance(value, str) and value.startswith("/") and port:
            return f"http://127.0.0.1:{port}{value}", command
        parts = urlsplit(value) if isinstance(value, str) else None
        if parts is None or parts.scheme not in ("http", "https", "tcp") or not parts.hostname:
            raise self._wrong("health", "an http, https or tcp URL, or a path when `port` is given")
        return str(value), command

    def _deps(self) -> tuple[Dependency, ...]:
        value: Any = self.body.get("deps") or self.body.get("depends_on") or []
        if isinstance(value, Mapping):
            pairs = cast(Mapping[str, Any], value).items()
            items: list[Any] = [k if k in self.names else v for k, v in pairs]
        else:
            items = cast(list[Any], value) if isinstance(value, list) else [value]
        return tuple(dict.fromkeys(d for item in items if (d := self._dep(item)) is not None))

    def _dep(self, item: Any) -> Dependency | None:
        if isinstance(item, Mapping):
            inner = cast(Mapping[str, Any], item)
            named = inner.get("service") or inner.get("name")
            if named in self.names:
                return Dependency(service=str(named))
            item = f"{inner.get('host', '127.0.0.1')}:{inner.get('port', '')}"
        if isinstance(item, int) and not isinstance(item, bool) and 0 < item < 65536:
            return Dependency(host="127.0.0.1", port=item)
        if isinstance(item, str):
            if item in self.names:
                return Dependency(service=item)
            where = item
            if "://" in item:
                parts = urlsplit(item)
                where = f"{parts.hostname}:{_port_of(item)}"
            match = _ADDRESS.fullmatch(where)
            if match and 0 < int(match["port"]) < 65536:
                return Dependency(host=match["host"].strip("[]"), port=int(match["port"]))
        self.notes.append(f"{self.name}: {item!r} in deps is no service here and no address; not watched")
        return None

    def _promql(self) -> tuple[MetricBound, ...]:
        try:
            return metric_bounds(self.body.get("promql"))
        except ValueError as error:
            raise self._wrong("promql", str(error)) from error

    def _size(self) -> int:
        for key, unit in (("memory_max_bytes", 1), ("memory_max_mb", 1 << 20), ("memory_max", 1)):
            value = self.body.get(key)
            if value is None:
                continue
            match = _SIZE.fullmatch(str(value))
            if not match or isinstance(value, bool):
                raise self._wrong(key, "a size such as 200M")
            return int(float(match[1]) * unit * 1024 ** " kmg".index(match[2].lower() or " "))
        return 0

    def _seconds(self, key: str, default: float) -> float:
        value = self.body.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 3600:
            raise self._wrong(key, "seconds above 0, at most 3600")
        return float(value)


def _port_of(url: str) -> int:
    try:
        parts = urlsplit(url)
        return parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return 0


def _held(services: tuple[Service, ...]) -> tuple[Service, ...]:
    """Each with the places of a hold file: its folder (shared or not), and folders that are its alone."""
    places: dict[str, list[str]] = {}
    for service in services:
        near = (service.pidfile, *service.config, *service.log, *service.data)
        for folder in {service.folder, *(str(PurePosixPath(p).parent) for p in near if p), *service.data}:
            places.setdefault(folder, []).append(service.name)
    return tuple(
        replace(
            service,
            hold=tuple(
                f"{folder}/{HOLD_FILE}"
                for folder, names in places.items()
                if folder == service.folder or names == [service.name]
            ),
        )
        for service in services
    )
