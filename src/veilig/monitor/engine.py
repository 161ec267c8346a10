"""What does a request or a tool call look like? Indicators, features of actions and the classifier, together.

Pure: it finds and weighs, and remembers nothing. Text that a person wrote can hardly show more than interest;
what a tool would do can. So indicators in texts are soft, and only those in tool arguments stop anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from veilig.monitor.actions import Seen as Step
from veilig.monitor.actions import in_scope, look
from veilig.monitor.indicators import Hit, IndicatorSet, Sort
from veilig.monitor.items import Item, Source
from veilig.monitor.ladder import HARD_CONFIDENCE, Kind, Signal
from veilig.monitor.stream import ToolCall

MONITOR_SEVERITY: Final = 1.0  # of a score at the threshold; twice that at 1
TEXT_SEVERITY: Final = 0.5  # an indicator in a text: people who defend write about them
CALL_SEVERITY: Final = 6.0  # an indicator in a tool's arguments: throttle at once when it is sure
ACCOUNT_SEVERITY: Final = 15.0  # the account itself is the indicator: suspend at once when it is sure


class Scorer(Protocol):
    """A classifier: how much a text sounds like intent to harm, in [0, 1]."""

    id: str

    def score(self, text: str) -> float: ...


@dataclass(slots=True)
class Found:
    """What was found. denied: why the call may not run; "" where it may.

    scores: of each user text; steps: rules that fit tool calls. What they add up to, `trails` knows.
    """

    signals: list[Signal] = field(default_factory=list[Signal])
    score: float = 0.0
    scores: list[float] = field(default_factory=list[float])
    steps: list[Step] = field(default_factory=list[Step])
    denied: str = ""
    shown: list[str] = field(default_factory=list[str])  # evidence as it may be shown


class Engine:
    """One set of detectors; `indicators` may be replaced while requests run."""

    def __init__(self, indicators: IndicatorSet, scorer: Scorer | None, threshold: float) -> None:
        self.indicators = indicators
        self.scorer = scorer
        self.threshold = threshold

    def read(self, items: Sequence[Item], hosts: tuple[str, ...], now_s: float) -> Found:
        """A request's new items: user texts, tool arguments and tool outputs, each apart."""
        found = Found()
        for item in items:
            if item.source is Source.CALL:
                self._actions(item.text, hosts, found, now_s)
                continue
            hits = self.indicators.find(item.text, now_s)
            self._hits(hits, TEXT_SEVERITY, HARD_CONFIDENCE - 1, found)
            if item.source is Source.USER and self.scorer is not None and item.text:
                self._scored(self.scorer, item.text, found)
        return found

    def judge(self, call: ToolCall, hosts: tuple[str, ...], now_s: float) -> Found:
        """A complete tool call, before anybody can run it."""
        found = Found()
        self._actions(call.arguments, hosts, found, now_s)
        return found

    def hear(self, text: str, now_s: float) -> list[Hit]:
        """Indicators in what the model says: evidence for people, no signal about who asked."""
        return self.indicators.find(text, now_s)

    def account(self, user: str, key_hash: str, now_s: float) -> Found:
        """Is who asks an indicator themselves?"""
        found = Found()
        hits = [h for h in (self.indicators.account(v, now_s) for v in (user, key_hash)) if h is not None]
        self._hits(hits, ACCOUNT_SEVERITY, 100, found)
        return found

    def _actions(self, arguments: str, hosts: tuple[str, ...], found: Found, now_s: float) -> None:
        for seen in look(arguments, hosts):
            rule = seen.rule
            found.steps.append(seen)
            evidence = (f"rule:{rule.id}", f"attack:{rule.technique}")
            found.signals.append(Signal(Kind.RULE, rule.severity, rule.confidence, evidence))
            found.shown.append(f"{rule.what} ({rule.technique})")
            if rule.denied and not found.denied:
                found.denied = f"a tool call was not let through: {rule.denied} ({rule.technique})"
        hits = [h for h in self.indicators.find(arguments, now_s) if not in_scope(h.value, hosts)]
        self._hits(hits, CALL_SEVERITY, 100, found)
        sure = next((h for h in hits if h.confidence >= HARD_CONFIDENCE), None)
        if sure is not None and not found.denied:
            found.denied = f"a tool call was not let through: it names the indicator {sure.shown}"

    def _hits(self, hits: Sequence[Hit], severity: float, most: int, found: Found) -> None:
        for hit in hits:
            if hit.sort in (Sort.ACCOUNT, Sort.KEY) or hit.confidence:
                confidence = min(hit.confidence, most)
                found.signals.append(Signal(Kind.INDICATOR, severity, confidence, (hit.id,)))
                found.shown.append(hit.shown)

    def _scored(self, scorer: Scorer, text: str, found: Found) -> None:
        score = scorer.score(text)
        found.score = max(found.score, score)
        found.scores.append(score)
        if score >= self.threshold:
            part = (score - self.threshold) / max(1e-6, 1 - self.threshold)
            severity = MONITOR_SEVERITY * (1 + part)
            evidence = (f"model:{scorer.id}", f"score:{score:.3f}")
            found.signals.append(Signal(Kind.MONITOR, severity, round(score * 100), evidence))
            found.shown.append(f"the classifier's score is {score:.2f}")
