"""Which detectors does the policy ask for? Feeds, classifier and engine, made from veilig.yaml."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from veilig import __version__
from veilig.core.policy_safeguards import Feed, MonitorRules
from veilig.home import Home
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


def placed(rules: MonitorRules, home: Home) -> MonitorRules:
    """The same, where each feed that is fetched names the folder that it is kept in."""
    feeds = (replace(f, path=str(home.feeds / f.name)) if f.taxii else f for f in rules.feeds)
    return replace(rules, feeds=tuple(feeds))


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


def load_indicators(rules: MonitorRules, cache: Path | None = None) -> Loaded:
    """Every indicator of every feed, as one set. Raises UsageError for a feed that cannot be read.

    cache: a folder for the compiled form: reading that takes a tenth of the time and of the memory.
    """
    digest = stamp(rules.feeds)
    if cache is None or not rules.feeds:
        return _read(rules, digest)
    said = repr((digest, rules.feeds, rules.allow, __version__)).encode()
    file = cache / f"indicators-{hashlib.sha256(said).hexdigest()[:32]}"
    try:
        known, _, data = file.read_bytes().partition(b"\n")
        return Loaded(IndicatorSet.load(data), json.loads(known), digest)
    except (OSError, ValueError, KeyError):
        made = _read(rules, digest)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for old in cache.glob("indicators-*"):
            old.unlink()
        made_file = file.with_suffix(".new")
        made_file.write_bytes(json.dumps(made.refused).encode() + b"\n" + made.indicators.dump())
        made_file.replace(file)
    except OSError:
        return made  # no room for it: slower next time, and nothing else
    return made


def _read(rules: MonitorRules, digest: str) -> Loaded:
    harvest = Harvest()
    for feed in rules.feeds:
        read_feed(feed, rules.allow, harvest)
    return Loaded(IndicatorSet(harvest.live()), dict(harvest.refused), digest)


def load_scorer() -> Classifier:
    """The classifier that is shipped. Raises UsageError when its weights are not there or not whole."""
    return Classifier.shipped()


def make_engine(rules: MonitorRules, loaded: Loaded) -> Engine:
    """All detectors together."""
    return Engine(loaded.indicators, load_scorer(), rules.threshold)
