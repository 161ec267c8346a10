"""How does a broker come to life? It is told its charge over its socket, and serves."""

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from veilig.core.action_json import JSON
from veilig.core.clock import SystemClock
from veilig.core.errors import ProviderError, VeiligError
from veilig.core.service import Inventory, Service
from veilig.core.service_file import read_services
from veilig.core.signal import Answer
from veilig.providers.heal import broker_wire as wire
from veilig.providers.heal.broker import Broker, Means, Own
from veilig.providers.heal.broker_files import KeptFiles
from veilig.providers.heal.broker_starts import Starts
from veilig.providers.heal.journal import Journal
from veilig.providers.heal.lease import Lease
from veilig.providers.heal.places import Places
from veilig.providers.heal.substrate import Substrate

_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME", "SHELL", "XDG_CONFIG_HOME",
                "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "DOCKER_HOST", "KUBECONFIG", "PGPASSFILE",
                "PGSERVICEFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_PROFILE",
                "AWS_REGION", "AWS_ENDPOINT_URL")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Charge:
    """What a broker is for. policy: the file that the command line names, "" for the usual places.

    part, names: the share of the services file that it may touch; "": all of it.
    """

    services: str
    home: str
    policy: str = ""
    act: bool = False
    readonly: bool = False
    key: str = ""
    part: str = ""
    names: tuple[str, ...] = ()

    def to_json(self) -> dict[str, JSON]:
        """Plain values."""
        return {**asdict(self), "names": [*self.names]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Charge":
        """Raises ProviderError for what is no charge."""
        try:
            charge = cls(**value)
            charge = replace(charge, names=tuple(map(str, charge.names)))
            if len(bytes.fromhex(charge.key)) < wire.KEY_BYTES:
                raise ValueError("the key is too short")
        except (TypeError, ValueError) as error:
            raise ProviderError("a broker was told no usable charge", why=str(error)) from error
        return charge


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a broker may inherit: where programs and its own sockets are; no token, no VEILIG_*."""
    return {name: environment[name] for name in _ENVIRONMENT if name in environment}


def substrates(
    inventory: Inventory, places: Places, starts: Starts, *, readonly: bool = False
) -> dict[str, Substrate]:
    """The keepers that this inventory needs and this machine has; readonly: without a writer's credential."""
    wanted = {service.provider for service in inventory.services}
    found: dict[str, Substrate] = {}
    if "supervisord" in wanted:
        from veilig.providers.heal.supervisord import SupervisordSubstrate

        found["supervisord"] = SupervisordSubstrate()
    if "process" in wanted:
        from veilig.providers.heal.processes import ProcessSubstrate

        found["process"] = ProcessSubstrate(
            inventory.services,
            base=Path(inventory.path).parent,
            logs=places.logs,
            ours=lambda: journal.ours() if (journal := starts.usable()) else {},
        )
    if "container" in wanted:
        from veilig.providers.heal.containers import ContainerSubstrate

        found["container"] = ContainerSubstrate(inventory.services, places.state.name, os.environ)
    if "systemd" in wanted:
        from veilig.providers.heal.systemd import SystemdSubstrate

        found["systemd"] = SystemdSubstrate(SystemClock(), os.environ)
    if "kubernetes" in wanted:
        from veilig.providers.heal.kubernetes import KubernetesSubstrate

        found["kubernetes"] = KubernetesSubstrate(
            inventory.services, SystemClock(), os.environ, maker=places.state.name, readonly=readonly
        )
    if "aws" in wanted:
        from veilig.providers.heal.aws import AwsSubstrate

        found["aws"] = AwsSubstrate(inventory.services, os.environ, readonly=readonly)
    if "postgres" in wanted:
        from veilig.providers.heal.postgres import PostgresSubstrate

        found["postgres"] = PostgresSubstrate(
            inventory.services, SystemClock(), os.environ, readonly=readonly
        )
    return found


async def well(service: Service, limit_s: float) -> bool:
    """Does it answer as it should within `limit_s`? One that nobody can ask is well while it is alive."""
    from veilig.providers.heal.probes import probe

    try:
        async with asyncio.timeout(limit_s):
            answer = (await probe(service)).answer
    except TimeoutError:
        return False
    return answer in (Answer.OK, Answer.NONE)


async def serve(sock: socket.socket, own_of: Callable[[Charge], Own]) -> None:
    """One connection: the charge, then requests until the healer ends. Services go on whatever happens."""
    reader, writer = await asyncio.open_connection(sock=sock, limit=wire.LINE_BYTES_MAX)
    first = await wire.read_line(reader)
    if first is None:
        return
    try:
        broker, found = _made(Charge.from_json(first), own_of)
    except VeiligError as error:
        writer.write(wire.line({"ready": False, "what": error.what, "why": error.why}))
        await writer.drain()
        return
    writer.write(wire.line({"ready": True, "pid": os.getpid()}))
    try:
        await broker.serve(reader, writer)
    finally:
        broker.close()
        for substrate in found.values():
            await substrate.close()


async def listen(path: Path, charge: Charge, own_of: Callable[[Charge], Own], users: frozenset[int]) -> None:
    """A broker of its own user behind a socket, for healers that run as one of `users`, until cancelled.

    The kernel says who connects (SO_PEERCRED); the key is one that both can read. Raises ProviderError when
    the socket cannot be made, or something that is no socket lies there.
    """
    broker, found = _made(charge, own_of)

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uid = _peer(writer)
        if uid not in users:
            writer.write(wire.line({"ready": False, "what": "not for you", "why": f"uid {uid}"}))
            writer.close()
            return
        writer.write(wire.line({"ready": True, "pid": os.getpid()}))
        await broker.serve(reader, writer)

    try:
        server = await asyncio.start_unix_server(met, sock=_bound(path), limit=wire.LINE_BYTES_MAX)
    except OSError as error:
        broker.close()
        raise ProviderError(
            f"cannot listen on {path}", why=str(error), fix="remove what lies there"
        ) from error
    try:
        async with server:
            await server.serve_forever()
    finally:
        broker.close()
        for substrate in found.values():
            await substrate.close()
        _gone(path)


def _bound(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        if path.is_socket():
            path.unlink()
        sock.bind(str(path))
        # veilig: ignore[CWE-732] reason=the kernel is asked who speaks (SO_PEERCRED), not the file's mode
        path.chmod(0o666)
    except OSError:
        sock.close()
        raise
    return sock


def _gone(path: Path) -> None:
    path.unlink(missing_ok=True)


def _peer(writer: asyncio.StreamWriter) -> int:
    """The user id at the other end."""
    sock: socket.socket = writer.get_extra_info("socket")
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return uid


def _made(charge: Charge, own_of: Callable[[Charge], Own]) -> tuple[Broker, dict[str, Substrate]]:
    inventory = read_services(Path(charge.services))
    if charge.part:
        inventory = inventory.only(charge.names, charge.part)
    places = Places.of(Path(charge.home), inventory.path, charge.part)
    places.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    clock = SystemClock()
    lease = Lease(Path(inventory.path), charge.part)
    lease.hold()
    starts = Starts(lambda: Journal(places.journal, clock), clock)
    found = substrates(inventory, places, starts, readonly=charge.readonly)
    means = Means(
        inventory=inventory,
        substrates=found,
        own=own_of(charge),
        clock=clock,
        starts=starts,
        lease=lease,
        folder=places.heal,
        key=bytes.fromhex(charge.key),
        files=KeptFiles(places.good, inventory),
        well=well,
        readonly=charge.readonly,
    )
    return Broker(means), found
