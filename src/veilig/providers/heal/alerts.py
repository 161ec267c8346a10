"""Which alerts are firing for a service? A receiver of Alertmanager's webhook.

Of an alert three things are used: whether it fires, its fingerprint (the key of the incident), and the
labels that name a service, compared whole. Its other texts are not kept: whoever can write an alert could
write anything.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from veilig.core.errors import UsageError
from veilig.core.service import Inventory
from veilig.providers.heal.metrics_http import Reply, Request, address, bearer, is_loopback, serve

BODY_BYTES = 1 << 20
ALERTS_MAX = 1000
FORGET_S = 5 * 3600.0  # Alertmanager repeats what still fires every 4 hours
_LABELS = ("service", "job", "name", "container", "instance")


@dataclass(slots=True)
class Alerts:
    """Firing alerts by service. now_s: a clock nobody can set. news: called when something changed."""

    inventory: Inventory
    now_s: Callable[[], float]
    news: Callable[[], None] = lambda: None
    dropped: int = 0
    _firing: dict[str, tuple[str, float]] = field(default_factory=dict[str, tuple[str, float]])

    def of(self, service: str) -> tuple[str, ...]:
        """Fingerprints of what fires for it, sorted."""
        limit_s = self.now_s() - FORGET_S
        return tuple(
            sorted(key for key, (name, at_s) in self._firing.items() if name == service and at_s > limit_s)
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What was sent and is not used."""
        said = f"{self.dropped} alerts named no service of the file, or were too many"
        return (said,) if self.dropped else ()

    def take(self, body: bytes) -> int:
        """One notification; how many of its alerts name a service. Raises UsageError for anything else."""
        try:
            message = json.loads(body)
            alerts = cast(list[dict[str, Any]], message["alerts"])
            read = [_read(alert) for alert in alerts]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UsageError("this is no notification of Alertmanager", why=type(error).__name__) from error
        before = dict(self._firing)
        known = 0
        for fingerprint, firing, labels in read:
            name = self._service(labels)
            if not name:
                self.dropped += 1  # it is somebody else's
                continue
            known += 1
            if not firing:
                self._firing.pop(fingerprint, None)
            elif fingerprint in self._firing or len(self._firing) < ALERTS_MAX:
                self._firing[fingerprint] = (name, self.now_s())
            else:
                self.dropped += 1
        self._forget()
        if before.keys() != self._firing.keys():
            self.news()
        return known

    def _forget(self) -> None:
        limit_s = self.now_s() - FORGET_S
        for key in [key for key, (_, at_s) in self._firing.items() if at_s <= limit_s]:
            del self._firing[key]

    def _service(self, labels: Mapping[str, str]) -> str:
        """The one service that the labels name, as a whole; an instance by its port on this machine."""
        for label in _LABELS:
            value = labels.get(label, "")
            if self.inventory.get(value) is not None:
                return value
            host, _, port = value.rpartition(":")
            if label == "instance" and port.isascii() and port.isdecimal() and is_loopback(host):
                found = [one.name for one in self.inventory.services if one.port == int(port)]
                if len(found) == 1:
                    return found[0]
        return ""


def _read(alert: Mapping[str, Any]) -> tuple[str, bool, dict[str, str]]:
    fingerprint, status = alert["fingerprint"], alert["status"]
    if not (
        isinstance(fingerprint, str)
        and fingerprint.isascii()
        and fingerprint.isalnum()
        and len(fingerprint) <= 64
    ):
        raise ValueError("fingerprint")
    if status not in ("firing", "resolved"):
        raise ValueError("status")
    labels = cast(Mapping[str, Any], alert["labels"])
    return (
        fingerprint,
        status == "firing",
        {key: value for key, value in labels.items() if isinstance(value, str)},
    )


async def receiver(where: str, alerts: Alerts, *, token: str = "") -> asyncio.Server:
    """Take POST /alerts at HOST:PORT; beyond this machine only with a bearer token. Raises UsageError."""
    host, port = address(where)
    if not token and not is_loopback(host):
        raise UsageError(
            f"alerts from the network at {host} need a token",
            why="an alert that anybody can send is evidence of nothing",
            fix="use 127.0.0.1, or set a token and give it to Alertmanager as http_config.authorization",
        )

    async def answer(request: Request) -> Reply:
        if request.path != "/alerts":
            return Reply(404, "see /alerts\n")
        if request.method != "POST":
            return Reply(405, "POST it\n")
        if token and not bearer(request, token):
            return Reply(401, "a bearer token is needed\n")
        try:
            return Reply(200, f"{alerts.take(request.body)}\n")
        except UsageError as error:
            return Reply(400, f"{error.what}\n")

    return await serve(host, port, answer, body_bytes=BODY_BYTES)
