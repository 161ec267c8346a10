"""Which detectors does the policy ask for? Feeds, classifier and engine, made from veilig.yaml."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from veilig.core.policy_safeguards import Feed, MonitorRules
from veilig.monitor.classifier import Classifier
from veilig.monitor.engine import Engine
from veilig.monitor.indicators import IndicatorSet
from veilig.monitor.stix import Harvest, read_feed


@dataclass(frozen=True, slots=True)
class Loaded:
    """A set of indicators and how it came to be."""

    indicators: IndicatorSet
    refused: dict[str, int]
    digest: str


def stamp(feeds: tuple[Feed, ...]) -> str:
    """Changes when a file of a feed does."""
    seen = hashlib.sha256()
    for feed in feeds:
        place = Path(feed.path).expanduser()
        files = sorted(place.rglob("*")) if place.is_dir() else [place]
        for file in files:
            try:
                info = file.stat()
                seen.update(f"{feed.name}\0{file}\0{info.st_size}\0{info.st_mtime_ns}\0".encode())
            except OSError:
                seen.update(f"{feed.name}\0{file}\0gone\0".encode())
    return seen.hexdigest()


def load_indicators(rules: MonitorRules) -> Loaded:
    """Every indicator of every feed, as one automaton. Raises UsageError for a feed that cannot be read."""
    harvest, digest = Harvest(), stamp(rules.feeds)
    for feed in rules.feeds:
        read_feed(feed, rules.allow, harvest)
    return Loaded(IndicatorSet(harvest.live()), dict(harvest.refused), digest)


def load_scorer() -> Classifier:
    """The classifier that is shipped. Raises UsageError when its weights are not there or not whole."""
    return Classifier.shipped()


def make_engine(rules: MonitorRules, loaded: Loaded) -> Engine:
    """All detectors together."""
    return Engine(loaded.indicators, load_scorer(), rules.threshold)
