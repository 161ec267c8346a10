"""How do healer and broker speak? One JSON object a line, bounded; what asks for an act is signed and fresh.

The healer reads logs, answers and perhaps a model's text; the broker reads only this. A line that is too long
or no JSON ends the connection: nobody repairs a message that asks for power.
"""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

from veilig.core.canonical import JSON, canonical
from veilig.core.errors import LedgerError, ProviderError
from veilig.core.policy import Capability
from veilig.core.signal import Backend, Change, Gauge, Run
from veilig.providers.heal.substrate import Seen

LINE_BYTES_MAX = 4 << 20  # two thousand services in one look
KEY_BYTES = 32


def sign(message: Mapping[str, JSON], key: bytes) -> dict[str, JSON]:
    """The message with its HMAC-SHA256 over everything else in it."""
    return {**message, "hmac": _mac(message, key)}


def verified(message: Mapping[str, JSON], key: bytes) -> bool:
    """Was this signed with the key that this broker was given?"""
    given = message.get("hmac")
    rest = {name: value for name, value in message.items() if name != "hmac"}
    try:
        return isinstance(given, str) and hmac.compare_digest(given.encode(), _mac(rest, key).encode())
    except LedgerError:  # a value that has no canonical form was never signed
        return False


def _mac(message: Mapping[str, JSON], key: bytes) -> str:
    return hmac.new(key, b"veilig.broker.v1\0" + canonical(dict(message)), hashlib.sha256).hexdigest()


async def read_line(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """The next message; None at the end. Raises ProviderError for what is none."""
    try:
        line = await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise ProviderError("half a message", why="the other side ended in the middle of it") from error
        return None
    except (asyncio.LimitOverrunError, ValueError) as error:
        raise ProviderError("a message is too long", why=f"more than {LINE_BYTES_MAX} bytes") from error
    except OSError:
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProviderError("a message is no JSON", why=str(error)[:200]) from error
    if not isinstance(value, dict):
        raise ProviderError("a message is no JSON object")
    return cast(dict[str, Any], value)


def line(message: Mapping[str, JSON]) -> bytes:
    """The message as it goes over the socket."""
    return json.dumps(message, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n"


def seen_to_json(seen: Seen) -> dict[str, JSON]:
    """Plain values."""
    plain: dict[str, JSON] = {**asdict(seen), "pids": list(seen.pids), "run": seen.run.value}
    for name in ("gauges", "backends", "changes"):
        if not plain[name]:
            del plain[name]  # most keepers count nothing
    return plain


def seen_from_json(value: dict[str, Any]) -> Seen:
    """The inverse. Raises ProviderError for what is no `Seen`."""
    try:
        whole: dict[str, Any] = {**value, "run": Run(value["run"])}
        whole["pids"] = tuple(int(p) for p in value["pids"])
        whole["gauges"] = tuple(Gauge(**one) for one in value.get("gauges", ()))
        whole["changes"] = tuple(Change(**one) for one in value.get("changes", ()))
        whole["backends"] = tuple(Backend(**one) for one in value.get("backends", ()))
        return Seen(**whole)
    except (TypeError, ValueError, KeyError) as error:
        raise ProviderError("the broker's look cannot be read", why=str(error)) from error


def capability_from_json(value: object) -> tuple[Capability, str]:
    """(what is held, what is not enforced)."""
    try:
        held, why = cast(list[str], value)
        return Capability(held), str(why)
    except (TypeError, ValueError) as error:
        raise ProviderError("the broker's capabilities cannot be read", why=str(error)) from error
