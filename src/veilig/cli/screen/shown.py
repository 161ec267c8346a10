"""What does a session look like at this moment? A fold of its events into what a screen shows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from veilig.cli.run_view import NAMES, what_of
from veilig.cli.style import printable
from veilig.core.action_json import from_json
from veilig.core.canonical import JSON
from veilig.core.delta import apply
from veilig.core.errors import InvalidAction
from veilig.core.event import CLOSING
from veilig.core.ledger_event import Event

TAIL_CHARS = 6000  # of what an act says, on the screen
SAID_CHARS = 4000
QUIET = frozenset({"workspace.open"})  # the beginning is said by the wall's line


@dataclass(slots=True)
class Row:
    """One line of the timeline: an act with its verdict and rule, or words.

    end: how the act ended, empty while it runs. text: all there is to say about it.
    """

    word: str
    what: str
    ref: str = ""
    verdict: str = ""
    rule: str = ""
    end: str = ""
    seconds: float = 0.0
    reasons: tuple[str, ...] = ()
    text: str = ""
    mark: str = ""  # the number of the model's answer; for a child, which child


@dataclass(slots=True)
class Asked:
    """A question that waits for people."""

    approval: str
    ref: str
    preview: str
    why: tuple[str, ...]
    votes: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class Shown:
    """The session so far; `take` one event after another, in their order."""

    session: str = ""
    source: str = ""
    model: str = ""
    wall: str = ""
    ended: str = ""
    summary: str = ""
    last_seq: int = 0
    rows: list[Row] = field(default_factory=list[Row])
    changed: set[int] = field(default_factory=set[int])
    asked: Asked | None = None
    planner: dict[str, JSON] = field(default_factory=dict[str, JSON])
    diff: str = ""
    _acts: dict[str, int] = field(default_factory=dict[str, int])
    _asks: dict[str, Row] = field(default_factory=dict[str, Row])
    inside: str = ""  # the mark of a child among its siblings
    live: str = ""  # what a model is saying right now

    def take(self, event: Event) -> None:
        """Count one event in; one that a newer veilig wrote and this one does not know changes nothing."""
        body: dict[str, Any] = event.body
        self.last_seq = event.seq
        match event.name:
            case "session.started":
                self.session, self.source = event.session, str(body["source"])
                self.model = str(body["options"].get("model", ""))
            case "session.noted":
                self.planner = apply(self.planner, body["delta"])
            case "session.told":
                self._add(Row("hears", f"{body['actor']}: {body['text']}", text=str(body["text"])))
            case "session.rewound":
                self._add(Row("undone", "files and conversation are as they were before"))
            case "session.resumed":
                self.ended, self.summary = "", ""
            case "session.ended":
                self._ended(body)
            case "wall.stood":
                self.wall = str(body["wall"])
            case "action.proposed":
                self._proposed(body)
            case "approval.asked":
                why = tuple(str(one) for one in body["why"])
                self.asked = Asked(str(body["approval"]), str(body["ref"]), str(body["preview"]), why)
            case "approval.voted" if self.asked and self.asked.approval == body["approval"]:
                self.asked.votes.append(f"{body['actor']} says {body['vote']}")
            case _:
                self._of_act(event.name, body)

    def child(self, session: str) -> "Shown":
        """The same for a session that this one started; its lines stand among this one's."""
        return Shown(
            session=session, rows=self.rows, changed=self.changed, inside=f".{session.rpartition('.')[2]}"
        )

    def _add(self, row: Row) -> int:
        row.mark = f"{self.inside}{self.turns or ''}"
        self.rows.append(row)
        self.changed.add(len(self.rows) - 1)
        return len(self.rows) - 1

    def _ended(self, body: Mapping[str, Any]) -> None:
        self.ended, self.summary = str(body["state"]), str(body["summary"])
        result = cast(Mapping[str, Any], body.get("result") or {})
        self.diff = str(result.get("diff") or "")
        self.asked = None
        said = [self.summary, *(f"not proven: {one}" for one in result.get("wrong") or ())]
        said += [f"proof: {one}" for one in result.get("proof") or ()]
        said += [f"not heard: {one}" for one in result.get("unheard") or ()]
        if result.get("applied"):
            said.append(str(result["applied"]))
        self._add(Row("ends", printable(self.summary), end=self.ended, text="\n".join(said)))

    def _proposed(self, body: Mapping[str, Any]) -> None:
        ref = str(body["ref"])
        try:
            action = from_json(body["action"])
        except InvalidAction:  # of a newer veilig: its kind is all that can be said
            row = Row(str(body["action"].get("kind")), "", ref)
        else:
            row = Row(NAMES.get(action.kind, action.kind), printable(what_of(action)), ref)
            if action.kind == "model.ask":
                self._asks[ref], self.live = Row("asks", printable(what_of(action)), ref), ""
                return
            if action.kind in QUIET:
                self._asks[ref] = row
                return
        self._acts[ref] = self._add(row)

    def _of_act(self, name: str, body: Mapping[str, Any]) -> None:
        ref = str(body.get("ref", ""))
        row = self._asks.get(ref)
        if row is None:
            place = self._acts.get(ref)
            if place is None:
                return
            row = self.rows[place]
            self.changed.add(place)
        if name == "action.decided":
            row.verdict, row.rule = str(body["verdict"]), str(body["rule"])
            row.reasons = tuple(str(one) for one in body["reasons"])
        elif name == "guard.tightened":
            row.reasons = (*row.reasons, f"{body['guard']}: {body['why']}")
        elif name == "action.output":
            if body["stream"] == "model":
                self.live = (self.live + str(body["text"]))[-TAIL_CHARS:]
            else:
                row.text = (row.text + str(body["text"]))[-TAIL_CHARS:]
        elif name in CLOSING:
            self._closed(name, body, row)

    def _closed(self, name: str, body: Mapping[str, Any], row: Row) -> None:
        if self.asked is not None and self.asked.ref == row.ref:
            self.asked = None
        data = cast(Mapping[str, Any], body.get("data") or {})
        row.seconds = int(body.get("wall_ms", 0)) / 1000
        detail = str(body.get("detail") or body.get("why") or "")
        row.text = detail[-TAIL_CHARS:] if detail else row.text
        code = data.get("exit_code")
        words = {"action.refused": "refused", "action.held": "waits", "action.doubted": "in doubt"}
        ended = "ok" if name == "action.verified" else words.get(name, "failed")
        row.end = f"exit {code}" if isinstance(code, int) and name not in words else ended
        if error := str(data.get("stderr") or "").strip():
            row.text = f"{row.text}\n{error}"[-TAIL_CHARS:]
        if row.ref in self._asks:
            self._answered(self._asks.pop(row.ref), data, ok=name == "action.verified")

    def _answered(self, row: Row, data: Mapping[str, Any], *, ok: bool) -> None:
        self.live = ""
        message = cast(Mapping[str, Any], data.get("message") or {})
        text = str(message.get("text") or "")
        if ok and text.strip():
            row.word, row.what, row.text = "says", printable(text), text[:SAID_CHARS]
            self._add(row)
        elif not ok and not data.get("unknown_thread"):
            row.what = row.what or printable(row.text)
            self._add(row)

    # --- what the planner knows ------------------------------------------------------------------------

    @property
    def turns(self) -> int:
        """How often the model has answered."""
        return cast(int, self.planner.get("turns", 0))

    def meter(self) -> str:
        """Context, tokens and cost, in one line."""
        usage = cast(Mapping[str, Any], self.planner.get("usage") or {})
        if not usage:
            return ""
        window = cast(int, self.planner.get("window") or 0) or 128_000
        full = 100 * cast(int, self.planner.get("context") or 0) // window
        cost = f"{usage['cost_usd']:.4f} USD" if usage.get("price_known") else "price unknown"
        tokens = f"{usage['tokens_in']:,} in, {usage['tokens_out']:,} out"
        return f"context {full} %  {tokens}  {cost}"

    def plan(self) -> str:
        """The model's plan and notes."""
        steps = cast(list[Mapping[str, Any]], self.planner.get("plan") or [])
        lines = [
            f"{'done ' if step.get('done') else 'open '} {printable(str(step.get('step')))}" for step in steps
        ]
        if notes := str(self.planner.get("notes") or ""):
            lines += ["", *(printable(line) for line in notes.splitlines())]
        return "\n".join(lines) or "no plan yet"
