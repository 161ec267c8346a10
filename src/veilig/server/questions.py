"""What else can one ask the gateway? Health, metrics, the models, and one's own safety cases."""

import secrets
import time
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Final, cast

import orjson

from veilig import __version__
from veilig.access.rules import No
from veilig.app.notices import Alert
from veilig.app.safeguards import Caller
from veilig.core.errors import LedgerError, UsageError
from veilig.core.redact import Redactor
from veilig.monitor import ladder
from veilig.monitor.ladder import Case
from veilig.server import wire
from veilig.server.wire import Answer

APPEAL_BYTES_MAX: Final = 32 << 10  # 4000 characters, escaped as badly as JSON allows
ROW_EVENTS_MAX: Final = 100  # a request's row is written a tenth of a second after it ended

if TYPE_CHECKING:
    from veilig.server.gateway import Gateway


async def answer(gateway: "Gateway", method: str, path: str, key: bytes) -> Answer:
    """To anything that is no question to a model."""
    if method != "GET":
        return wire.error(404, "not_found", f"{method} {path} is not served here")
    if path == "/healthz":
        return Answer(200, b'{"status":"ok"}', (wire.JSON_TYPE,))
    if path == "/readyz":
        ready = gateway.ready and not gateway.draining and await _recorded(gateway)
        state = {"ready": ready, "safeguards": gateway.working}
        return Answer(200 if ready else 503, orjson.dumps(state), (wire.JSON_TYPE,))
    if path == "/metrics":
        return Answer(200, _scrape(gateway).encode(), ((b"content-type", b"text/plain; version=0.0.4"),))
    try:
        caller = await gateway.desk.identify(key, "")
        if isinstance(caller, No):
            return wire.refuse(caller)
        if path.startswith("/v1/safety/alerts/"):
            return await _alert(gateway, path.rsplit("/", 1)[1], caller)
    except LedgerError as error:
        return wire.unrecorded(error)
    if path == "/v1/models" or path.startswith("/v1/models/"):
        return _models(gateway, path.removeprefix("/v1/models").removeprefix("/"))
    if path.startswith("/v1/safety/cases/"):
        return _case(gateway, path.rsplit("/", 1)[1], caller)
    return wire.error(404, "not_found", f"GET {path} is not served here")


async def _recorded(gateway: "Gateway") -> bool:
    """Can the record be read now? Without it every request is refused, so others should be sent elsewhere."""
    try:
        await gateway.desk.fresh()
    except LedgerError:
        return False
    return True


def appealed(path: str) -> str:
    """The case that a path appeals in; "" for any other path."""
    head, _, name = path.removesuffix("/appeal").rpartition("/")
    return name if path.endswith("/appeal") and head == "/v1/safety/cases" else ""


async def appeal(gateway: "Gateway", name: str, key: bytes, raw: bytes | None) -> Answer:
    """An objection by whoever holds the key, also while it is suspended: {"reason": TEXT}."""
    desk = gateway.desk
    try:
        caller = await desk.identify(key, "")
        if isinstance(caller, No):
            return wire.refuse(caller)
        if not _shown(desk.ladder.cases.get(name), caller):
            return wire.error(404, "case_not_found", f"There is no case {name!r} of yours")
        said = _reason(raw)
        if said is None:
            return wire.error(400, "reason_missing", 'An appeal says why: send {"reason": "..."}')
        # What people type may hold a secret; the record is kept, so it is hidden before.
        said, who = Redactor(secrets.token_bytes(32)).seal(said), caller.subject.id
        await desk.change(lambda known, _: (ladder.appeal(known.cases.get(name), who, said), None))
    except UsageError as error:
        return wire.error(409, "appeal_refused", f"{error.what}: {error.why}. {error.fix}")
    except LedgerError as error:
        return wire.unrecorded(error)
    return _case(gateway, name, caller)


def _reason(raw: bytes | None) -> str | None:
    try:
        value: object = orjson.loads(raw or b"")
    except orjson.JSONDecodeError:
        return None
    said = cast(dict[str, object], value).get("reason") if isinstance(value, dict) else None
    return said if isinstance(said, str) and said.strip() else None


def _models(gateway: "Gateway", name: str) -> Answer:
    """Models with a plain name; a pattern names no model that one could ask for."""
    known: list[Mapping[str, object]] = [
        {"id": m.name, "object": "model", "created": 0, "owned_by": m.capability_class}
        for m in gateway.rules.models
        if "*" not in m.name
    ]
    if not name:
        return Answer(200, orjson.dumps({"object": "list", "data": known}), (wire.JSON_TYPE,))
    found = next((m for m in known if m["id"] == name), None)
    if found is None:
        return wire.error(404, "model_not_found", f"There is no model {name!r} here")
    return Answer(200, orjson.dumps(found), (wire.JSON_TYPE,))


async def _alert(gateway: "Gateway", name: str, caller: Caller) -> Answer:
    """What one request showed, as the public API says it: its sort and its ids, no prompt and no value."""
    alert = gateway.desk.alerts.known.get(name)
    if alert is None or not (alert.subject == caller.user or alert.subject.startswith("user:")):
        return wire.error(404, "alert_not_found", f"There is no alert {name!r} of yours")
    row = await gateway.desk.ledger.read(lambda: _row_of(gateway, alert))
    value = {
        "id": alert.id,
        "object": "safety.alert",
        "created_at": alert.at_s,
        "error_type": alert.kind,
        "model": row.get("served", ""),
        "reason": alert.kind.replace("_", " "),
        "request_id": alert.request,
        "request_paused": row.get("code") == "cyber_policy",
        "response_id": alert.request,
    }
    return Answer(200, orjson.dumps(value), (wire.JSON_TYPE,))


def _row_of(gateway: "Gateway", alert: Alert) -> Mapping[str, object]:
    """What was written of the request when it ended; {} while it has not, or was refused before it began."""
    events = gateway.desk.ledger.events(after=alert.seq, names=("gateway.served",))
    for event in islice(events, ROW_EVENTS_MAX):
        rows = event.body["requests"]
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, str) and alert.request in row:
                return orjson.loads(row)
    return {}


def _case(gateway: "Gateway", name: str, caller: Caller) -> Answer:
    desk = gateway.desk
    case = desk.ladder.cases.get(name)
    if case is None or not _shown(case, caller):
        return wire.error(404, "case_not_found", f"There is no case {name!r} of yours")
    value = wire.case_object(case, desk.ladder.standing(case.subject))
    return Answer(200, orjson.dumps(value), (wire.JSON_TYPE,))


def _shown(case: Case | None, caller: Caller) -> bool:
    """May this caller see the case, and appeal in it?

    An end user's case is shown to whoever was given its id: it is random, and the notice holds no prompt.
    """
    own = (caller.user, f"subject:{caller.subject.id}", f"org:{caller.subject.org}")
    return case is not None and (case.subject in own or case.subject.startswith("user:"))


def _scrape(gateway: "Gateway") -> str:
    now_s = time.monotonic()
    gauges = {
        "requests_under_way": float(gateway.under_way),
        "ready": float(gateway.ready),
        f'info{{version="{__version__}"}}': 1.0,
    }
    for upstream in gateway.pool.upstreams:
        gauges[f'upstream_requests_total{{upstream="{upstream.name}"}}'] = upstream.requests
        gauges[f'upstream_failed_total{{upstream="{upstream.name}"}}'] = upstream.failed
        gauges[f'upstream_rests{{upstream="{upstream.name}"}}'] = float(upstream.rests(now_s))
    for name, works in gateway.working.items():
        gauges[f'safeguard_works{{safeguard="{name}"}}'] = float(works)
    return gateway.metrics.text(gauges)
