"""Which sessions are there, in what state, with whom? A fold of the ledger, kept while the server runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from veilig.collab.room import Recorded, Room

BOARD_EVENTS: Final = (
    "session.started", "session.resumed", "session.ended", "action.proposed", "approval.asked",
    "approval.voted", "approval.expired", "action.started", "action.held", "room.opened", "room.invited",
    "room.uninvited", "room.joined", "room.assigned", "control.asked", "control.offered", "control.declined",
    "control.passed",
)  # fmt: skip
FINAL: Final = frozenset({"done", "failed", "over_budget", "stuck"})


@dataclass(slots=True)
class Card:
    """One session as its list shows it. ended: how, empty while it has not; waiting: open questions."""

    id: str
    room: Room
    kind: str = ""
    source: str = ""
    task: str = ""
    model: str = ""
    started_at: int = 0
    last_at: int = 0
    last_seq: int = 0
    ended: str = ""
    summary: str = ""
    steps: int = 0
    waiting: set[str] = field(default_factory=set[str])

    @property
    def parent(self) -> str:
        """The session that started it, or nothing."""
        return self.id.rpartition(".")[0]

    def state(self, *, driven: bool) -> str:
        """What the page calls it: waiting, running, held, stopped, done, failed ..."""
        if self.ended and self.ended not in ("held", "stopped"):
            return self.ended
        if driven:
            return "waiting" if self.waiting else "running"
        return self.ended or "stopped"


class Board:
    """Every session by its id. Sessions are those that were started, or opened on the page."""

    def __init__(self) -> None:
        self.cards: dict[str, Card] = {}
        self.asked: dict[str, str] = {}  # approval -> session
        self.spent: set[str] = set()  # approvals whose act has started

    def take(self, event: Recorded) -> bool:
        """Count one event in; whether it changed the room of its session."""
        card = self.cards.get(event.session)
        if card is None:
            if event.name not in ("session.started", "room.opened"):
                return False
            card = self.cards[event.session] = Card(event.session, Room(event.session))
        card.last_seq, card.last_at = event.seq, event.wall_ms
        card.started_at = card.started_at or event.wall_ms
        self._count(card, event)
        return card.room.take(event)

    def _count(self, card: Card, event: Recorded) -> None:
        body = event.body
        match event.name:
            case "session.started":
                options = cast(Mapping[str, Any], body.get("options") or {})
                card.kind, card.source = str(body["kind"]), str(body["source"])
                card.task, card.model = str(options.get("task") or ""), str(options.get("model") or "")
            case "session.ended":
                card.ended, card.summary = str(body["state"]), str(body["summary"])
            case "session.resumed":
                card.ended, card.summary = "", ""
            case "action.proposed":
                card.steps += 1
            case "approval.asked":
                card.waiting.add(str(body["approval"]))
                self.asked[str(body["approval"])] = event.session
            case "approval.expired":
                card.waiting.discard(str(body["approval"]))
            case "approval.voted" if body.get("vote") == "deny":
                card.waiting.discard(str(body["approval"]))
            case "action.started" if body.get("approval"):
                card.waiting.discard(str(body["approval"]))
                self.spent.add(str(body["approval"]))
            case _:
                return

    def room(self, session: str) -> Room:
        """The room of a session, empty for an unknown one."""
        card = self.cards.get(session)
        return card.room if card is not None else Room(session)
