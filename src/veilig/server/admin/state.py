"""What do safeguards, feeds and gateways say of themselves? The newest word of each in the ledger."""

from dataclasses import dataclass, field
from pathlib import Path

from veilig.app.safeguards import Desk
from veilig.core.canonical import JSON
from veilig.core.ledger_event import Event
from veilig.core.policy_safeguards import Feed

EVENTS = frozenset(
    {
        "gateway.started",
        "gateway.stopped",
        "safeguard.tested",
        "indicators.loaded",
        "monitor.failed",
        "webhook.failed",
    }
)
TROUBLE_MAX = 20


@dataclass(frozen=True, slots=True)
class Tested:
    """A safeguard's last self-test that changed something."""

    name: str
    passed: bool
    detail: str
    at_ms: int


@dataclass(slots=True)
class State:
    """A fold; it is asked at each page and reads what is new."""

    desk: Desk
    seen: int = 0
    started_ms: int = 0
    running: bool = False
    listen: str = ""
    tested: dict[str, Tested] = field(default_factory=dict[str, Tested])
    live: int = 0
    refused: dict[str, int] = field(default_factory=dict[str, int])
    loaded_ms: int = 0
    trouble: list[tuple[int, str, str]] = field(default_factory=list[tuple[int, str, str]])

    def catch_up(self) -> None:
        """Take in what was appended."""
        for event in self.desk.ledger.events(after=self.seen, names=EVENTS):
            self.seen = event.seq
            self._apply(event)

    def _apply(self, event: Event) -> None:
        body, at_ms = event.body, event.wall_ms
        match event.name:
            case "gateway.started":
                self.started_ms, self.running, self.listen = at_ms, True, str(body["listen"])
            case "gateway.stopped":
                self.running = False
            case "safeguard.tested":
                name = str(body["safeguard"])
                self.tested[name] = Tested(name, body["passed"] is True, str(body["detail"]), at_ms)
            case "indicators.loaded":
                self.live, self.loaded_ms = _whole(body["live"]), at_ms
                refused = body["refused"]
                self.refused = {k: _whole(v) for k, v in refused.items()} if isinstance(refused, dict) else {}
            case "monitor.failed":
                said = "passed unread" if body["passed"] is True else "refused"
                self._note(at_ms, f"monitor, {body['stage']}", f"{body['error']}; the request was {said}")
            case "webhook.failed" if body["final"] is True:
                self._note(at_ms, f"webhook {body['to']}", f"given up: {body['why']}")
            case _:
                return

    def _note(self, at_ms: int, what: str, why: str) -> None:
        self.trouble = [(at_ms, what, why), *self.trouble][:TROUBLE_MAX]


def feed_facts(feed: Feed) -> dict[str, JSON]:
    """One feed as the policy names it, and when its files came."""
    place = Path(feed.path).expanduser()
    files = [p for p in place.rglob("*") if p.suffix in (".json", ".stix")] if place.is_dir() else [place]
    times = [p.stat().st_mtime for p in files if p.exists()]
    return {
        "feed": feed.name,
        "from": feed.taxii or feed.path,
        "files": len(times),
        "newest_s": int(max(times)) if times else 0,
    }


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
