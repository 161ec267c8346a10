"""How does a watch look on a terminal? One line when something begins, is done, changes or ends."""

import json
import time
from typing import Any, TextIO, cast

from veilig.cli.style import Style, cut, printable
from veilig.core.action import Action, WatchSignals
from veilig.core.provider import Outcome, Status

QUIET = frozenset({"degraded", "starting"})  # on the way to a cause
VERDICT = {
    Status.DONE: ("good", "done"),
    Status.FAILED: ("bad", "failed"),
    Status.REFUSED: ("warn", "refused"),
    Status.HELD: ("warn", "asked"),
    Status.IN_DOUBT: ("bad", "in doubt"),
}


class HealView:
    """A core.session.Watcher that also hears what the planner knows. lines: JSON lines instead of text."""

    def __init__(self, stream: TextIO, *, lines: bool = False) -> None:
        self.style = Style(stream)
        self._stream = stream
        self._lines = lines
        self._causes: dict[str, tuple[str, str]] = {}
        self._notes: list[str] = []
        self._guesses: set[str] = set()
        self._refused: dict[str, str] = {}
        self._waits = False

    def say(self, text: str) -> None:
        """One line, now."""
        if not self._lines:
            print(text, file=self._stream, flush=True)

    def _event(self, event: str, /, **body: Any) -> None:
        if self._lines:
            line = {"event": event, "at": round(time.time(), 3), **body}
            print(json.dumps(line, ensure_ascii=False), file=self._stream, flush=True)

    def began(self, session: str, law: str) -> None:
        """The law and the session."""
        self._event("began", session=session, law=law)
        self.say(f"law      {law}\nsession  {session}")

    def standing_by(self, why: str) -> None:
        """Another healer is at work on the same services; said once."""
        if not self._waits:
            self._event("standing_by", why=why)
            self.say(f"standby  {why}; takes over when it ends")
        self._waits = True

    def wall(self, wall: object) -> None:
        """No wall: nothing of a project runs here."""

    def armed(self, lines: list[str], notes: list[str]) -> None:
        """What acts, what is watched, and what in the services file was not used."""
        self._event("armed", lines=lines, notes=notes)
        for line in lines:
            self.say(line)
        for note in notes:
            self.say(self.style("warn", f"note     {printable(note)}"))

    def proposed(self, action: Action) -> None:
        """Said when its outcome is known."""

    def observed(self, action: Action, outcome: Outcome) -> None:
        """One act and what came of it; looks say nothing."""
        if isinstance(action, WatchSignals):
            return
        colour, word = VERDICT[outcome.status]
        if outcome.status is Status.REFUSED:
            key = f"{action.kind} {action.target}"
            if self._refused.get(key) == outcome.detail:
                return
            self._refused[key] = outcome.detail
        self._event(
            "act", kind=action.kind, target=action.target, status=str(outcome.status), detail=outcome.detail
        )
        what = f"{action.kind} {action.target}"
        said = outcome.detail
        if outcome.status is Status.REFUSED:  # what allowed it does not matter any more
            said = "; ".join(p for p in said.split("; ") if p.startswith("deny")) or said
        detail = cut(printable(said), 140)
        self.say(f"{_now()} {what:40} {self.style(colour, word)}  {detail}")
        if outcome.status is Status.HELD:
            approval = outcome.data.get("approval", "")
            self.say(f"         next: veilig approvals show {approval}")

    def noted(self, state: dict[str, Any]) -> None:
        """Causes that are new, changed or over; what could not be seen."""
        open_ = cast(dict[str, dict[str, Any]], state.get("incidents", {}))
        for name, incident in open_.items():
            self._guess(name, incident)
            now = (str(incident.get("cause", "")), str(incident.get("subject", "")))
            if now == self._causes.get(name) or now[0] in QUIET or not now[0]:
                continue
            self._causes[name] = now
            evidence = [str(one) for one in incident.get("evidence", [])]
            self._event(
                "cause", service=name, cause=now[0], subject=now[1], evidence=evidence, id=incident["id"]
            )
            about = f" ({printable(now[1])})" if now[1] else ""
            self.say(f"{_now()} {name:14} {self.style('bad', now[0].replace('_', ' '))}{about}")
            for line in evidence[:3]:
                self.say(f"           {cut(printable(line), 110)}")
        for name in [name for name in self._causes if name not in open_]:
            del self._causes[name]
            past = cast(list[dict[str, Any]], state.get("closed", []))
            ended: dict[str, Any] = next(
                (c for c in reversed(past) if c["service"] == name), dict[str, Any]()
            )
            self._event("closed", service=name, id=ended.get("id", ""), ended=ended.get("ended", ""))
            lasted = float(ended.get("closed_s", 0)) - float(ended.get("opened_s", 0))
            end = str(ended.get("ended", "over"))
            self.say(f"{_now()} {name:14} {self.style('good', end)}  after {lasted:.1f} s")
        notes = [str(note) for note in state.get("notes", [])]
        for note in notes:
            if note not in self._notes:
                self._event("note", text=note)
                self.say(self.style("warn", f"{_now()} note: {cut(printable(note), 150)}"))
        self._notes = notes

    def _guess(self, name: str, incident: dict[str, Any]) -> None:
        """What a model believes: once, and never as a cause."""
        guess = incident.get("hypothesis")
        if guess is None or incident["id"] in self._guesses:
            return
        self._guesses.add(str(incident["id"]))
        self._event("hypothesis", service=name, id=incident["id"], model=guess["model"], text=guess["text"])
        self.say(f"{_now()} {name:14} {self.style('dim', "model's hypothesis")} ({guess['model']})")
        self.say(f"           {cut(printable(guess['text']), 110)}")


def _now() -> str:
    return time.strftime("%H:%M:%S")
