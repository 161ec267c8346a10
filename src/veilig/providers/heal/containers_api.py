"""What does a Docker-compatible engine say when asked over its Unix socket? Engine, Missing, default_socket.

Spoken with Docker and podman alike; the paths carry no version, so each engine answers in its own newest.
"""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from veilig.core.errors import ProviderError
from veilig.providers.heal.unix_http import Answer, ask

SOCKETS = ("/run/podman/podman.sock", "{runtime}/podman/podman.sock", "/var/run/docker.sock")
_FINE = frozenset({200, 201, 204, 304})  # 304: it is so already


class Missing(ProviderError):
    """The engine has nothing of this name."""


class Forbidden(ProviderError):
    """Somebody before the engine (a proxy, an authorisation plugin) lets this request not through."""


def default_socket(environment: Mapping[str, str]) -> str:
    """Where an engine listens: DOCKER_HOST, else the first usual place that is there, else podman's.

    Raises ProviderError when DOCKER_HOST names anything but a Unix socket.
    """
    host = environment.get("DOCKER_HOST", "")
    if host:
        if not host.startswith("unix://"):
            raise ProviderError(f"DOCKER_HOST is {host}", why="only Unix sockets are spoken with")
        return host.removeprefix("unix://")
    runtime = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    places = [place.replace("{runtime}", runtime) for place in SOCKETS]
    return next((place for place in places if Path(place).exists()), places[0])


class Engine:
    """One engine. Every method raises ProviderError when it says no, or nothing."""

    def __init__(self, socket: str) -> None:
        self.socket = socket
        self._podman: bool | None = None

    async def call(self, method: str, target: str, body: Mapping[str, Any] | None = None) -> Any:
        """The parsed answer, None for an empty one."""
        answer = await self._ask(method, target, body)
        if not answer.body or answer.status == 304:
            return None
        try:
            return json.loads(answer.body)
        except ValueError as error:
            raise ProviderError(f"the engine at {self.socket} speaks no JSON", why=answer.text) from error

    async def inspect(self, name: str) -> dict[str, Any]:
        """All of one container, by its full name or id: engines take the beginning of an id as well."""
        found = cast(dict[str, Any], await self.call("GET", f"/containers/{quote(name, safe='')}/json"))
        if found.get("Id") != name and str(found.get("Name", "")).removeprefix("/") != name:
            raise Missing(f"the engine knows no container {name!r}")
        return found

    async def labelled(self, label: str, value: str) -> list[dict[str, Any]]:
        """A short description of every container that carries this label, running or not."""
        filters = quote(json.dumps({"label": [f"{label}={value}"]}), safe="")
        found = await self.call("GET", f"/containers/json?all=1&filters={filters}")
        return [one for one in cast(list[dict[str, Any]], found or []) if _carries(one, label, value)]

    async def events(self, container: str, since_s: float) -> list[dict[str, Any]]:
        """What was done with one container since then (wall clock), the oldest first."""
        filters = quote(json.dumps({"container": [container]}), safe="")
        # podman says nothing when `until` is now, Docker streams for ever when it is not given
        until = "stream=false" if await self._is_podman() else f"until={time.time():.0f}"
        target = f"/events?since={int(since_s)}&{until}&filters={filters}"
        answer = await self._ask("GET", target, None)
        try:
            lines = [json.loads(line) for line in answer.body.splitlines() if line.strip()]
        except ValueError as error:
            raise ProviderError(f"the engine at {self.socket} speaks no JSON", why=answer.text) from error
        mine = [one for one in cast(list[dict[str, Any]], lines) if _of(one) == container]
        return sorted(mine, key=lambda one: int(one.get("timeNano") or 0))

    async def _is_podman(self) -> bool:
        if (
            self._podman is None
        ):  # not by /version: a rootless podman takes three seconds to tell all of its own
            answer = await ask(self.socket, "GET", "/libpod/_ping")
            if answer.status not in (200, 404):
                raise ProviderError(f"the engine at {self.socket} does not say who it is", why=answer.text)
            self._podman = answer.status == 200
        return self._podman

    async def _ask(self, method: str, target: str, body: Mapping[str, Any] | None) -> Answer:
        data = json.dumps(body).encode() if body is not None else b""
        answer = await ask(self.socket, method, target, data)
        if answer.status in _FINE:
            return answer
        what = f"the engine refuses {method} {target.partition('?')[0]}"
        if answer.status == 404:
            raise Missing(what, why=_message(answer))
        if answer.status in (401, 403, 405):
            raise Forbidden(what, why=f"it answers {answer.status}: {_message(answer)}")
        raise ProviderError(what, why=f"it answers {answer.status}: {_message(answer)}")


def _carries(one: dict[str, Any], label: str, value: str) -> bool:
    return cast(dict[str, Any], one.get("Labels") or {}).get(label) == value


def _of(event: dict[str, Any]) -> str:
    return str(cast(dict[str, Any], event.get("Actor") or {}).get("ID") or event.get("id") or "")


def _message(answer: Answer) -> str:
    """What the engine says to people, in one line."""
    try:
        said = json.loads(answer.body)
    except ValueError:
        said = None
    text = str(cast(dict[str, Any], said).get("message", "")) if isinstance(said, dict) else answer.text
    return " ".join(text.split())[:300]
