"""What do many small requests of one subject add up to? Scores over time, steps in order, hosts out of scope.

Work is cut into small pieces that look harmless one by one, so each subject leaves a trail: the scores of its
latest texts, what its tool calls did, and at which hosts. Three things are read off it:

- scores: the mean of the five highest of the latest twenty, older ones weighing less (half in 12 hours);
- steps: stages of an intrusion that follow each other (scan, break in, run, stay, hide, take, destroy);
- hosts: how many hosts outside the subject's scope tools of attack were pointed at.

Each is said once, and again only when it grows. All are soft signals: scores alone suspend nobody. A trail is
kept in memory, bounded, and forgotten after a day or a restart.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from veilig.monitor.actions import Seen
from veilig.monitor.ladder import Kind, Signal

SCORES: Final = 20
TOP: Final = 5
HALF_LIFE_S: Final = 12 * 3600.0
LIFE_S: Final = 24 * 3600.0
MEAN_LEAST: Final = 0.8  # below 1 % of a security professional's sessions reach it; see MODEL_CARD.md
STEPS_MAX: Final = 64
HOSTS_MAX: Final = 256
TRAILS_MAX: Final = 10_000
CHAIN_LEAST: Final = 3  # two steps in order happen in any operations work
HOSTS_LEAST: Final = 5
# which stage of an intrusion a technique belongs to, in their usual order (tactics of MITRE ATT&CK)
STAGE: Final = {
    "T1595": 1, "T1046": 1,
    "T1190": 2, "T1110": 2,
    "T1059": 3, "T1105": 3,
    "T1543": 4,
    "T1562": 5, "T1027": 5,
    "T1003": 6, "T1552": 6,
    "T1048": 7,
    "T1490": 8, "T1561": 8, "T1496": 8,
}  # fmt: skip
MEAN_SEVERITY: Final = 2.0
CHAIN_SEVERITY: Final = 1.0  # for each step of the chain
HOSTS_SEVERITY: Final = 2.0


@dataclass(slots=True)
class _Trail:
    scores: deque[tuple[float, float]] = field(
        default_factory=lambda: deque[tuple[float, float]](maxlen=SCORES)
    )
    since_told: int = SCORES
    steps: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    hosts: dict[str, float] = field(default_factory=dict[str, float])
    chain_told: int = 0
    hosts_told: int = 0


class Trails:
    """Of every subject that was seen lately. threshold: of the mean of the highest scores, in [0, 1]."""

    def __init__(self, threshold: float = MEAN_LEAST) -> None:
        self.threshold = threshold
        self._of: OrderedDict[str, _Trail] = OrderedDict()

    def __len__(self) -> int:
        return len(self._of)

    def add(self, subject: str, scores: Sequence[float], steps: Sequence[Seen], now_s: float) -> list[Signal]:
        """Take in what is new of a subject; what its trail now says, as signals.

        scores: of new texts, each given once. steps: what new tool calls would do, hosts in scope left out.
        """
        if not scores and not steps:
            return []
        trail = self._of.get(subject)
        if trail is None:
            trail = self._of[subject] = _Trail()
            if len(self._of) > TRAILS_MAX:
                self._of.popitem(last=False)
        else:
            self._of.move_to_end(subject)
        _forget(trail, now_s)
        found: list[Signal] = []
        for score in scores:
            trail.scores.append((now_s, score))
            trail.since_told += 1
        if scores:
            found += self._mean(trail, now_s)
        if steps:
            found += _taken(trail, steps, now_s)
        return found

    def _mean(self, trail: _Trail, now_s: float) -> list[Signal]:
        if trail.since_told < SCORES:
            return []
        highest = sorted([score for _, score in trail.scores], reverse=True)[:TOP]
        if sum(highest) < self.threshold * TOP:
            return []  # also undecayed, which costs a fifth
        mean = top_mean(trail.scores, now_s)
        if mean < self.threshold:
            return []
        trail.since_told = 0
        evidence = ("trail:scores", f"mean:{mean:.3f}", f"of:{len(trail.scores)}")
        return [Signal(Kind.MONITOR, MEAN_SEVERITY, round(100 * mean), evidence)]


def top_mean(scores: Sequence[tuple[float, float]] | deque[tuple[float, float]], now_s: float) -> float:
    """The mean of the five highest (time, score), each decayed to now; missing ones count as 0."""
    decayed = sorted((s * 0.5 ** (max(0.0, now_s - at) / HALF_LIFE_S) for at, s in scores), reverse=True)
    return sum(decayed[:TOP]) / TOP


def chain(techniques: Sequence[str]) -> list[str]:
    """The longest run of techniques whose stages follow each other, in the order they were seen."""
    best: list[list[str]] = []
    for technique in techniques:
        stage = STAGE.get(technique.partition(".")[0], 0)
        if not stage:
            continue
        fits = [run for run in best if STAGE[run[-1].partition(".")[0]] < stage]
        best.append([*(max(fits, key=len) if fits else ()), technique])
    return max(best, key=len) if best else []


def _taken(trail: _Trail, steps: Sequence[Seen], now_s: float) -> list[Signal]:
    found: list[Signal] = []
    for seen in steps:
        if len(trail.steps) < STEPS_MAX and seen.rule.technique not in {t for _, t in trail.steps[-4:]}:
            trail.steps.append((now_s, seen.rule.technique))
        for host in seen.hosts[:HOSTS_MAX]:
            if len(trail.hosts) < HOSTS_MAX:
                trail.hosts[host] = now_s
    run = chain([technique for _, technique in trail.steps])
    if len(run) >= max(CHAIN_LEAST, trail.chain_told + 1):
        trail.chain_told = len(run)
        evidence = ("trail:steps", *(f"attack:{technique}" for technique in run))
        found.append(Signal(Kind.RULE, CHAIN_SEVERITY * len(run), 70, evidence))
    if len(trail.hosts) >= max(HOSTS_LEAST, 2 * trail.hosts_told):
        trail.hosts_told = len(trail.hosts)
        found.append(Signal(Kind.RULE, HOSTS_SEVERITY, 60, ("trail:hosts", f"count:{len(trail.hosts)}")))
    return found


def _forget(trail: _Trail, now_s: float) -> None:
    oldest = now_s - LIFE_S
    while trail.scores and trail.scores[0][0] < oldest:
        trail.scores.popleft()
    if trail.steps and trail.steps[0][0] < oldest:
        trail.steps = [step for step in trail.steps if step[0] >= oldest]
        trail.chain_told = min(trail.chain_told, len(chain([technique for _, technique in trail.steps])))
    if trail.hosts and min(trail.hosts.values()) < oldest:
        trail.hosts = {host: at for host, at in trail.hosts.items() if at >= oldest}
        trail.hosts_told = min(trail.hosts_told, len(trail.hosts))
