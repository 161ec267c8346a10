"""Which indicators does a STIX 2.1 bundle hold? Patterns of single observables; everything else is counted.

A pattern is read only when it says `object:property = 'value'`, or several of these joined by OR. What is
more (AND, FOLLOWEDBY, LIKE, time windows) is refused and counted with its reason, never guessed.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

import orjson

from veilig.core.errors import UsageError
from veilig.core.policy_safeguards import Feed
from veilig.monitor import bundle_stream
from veilig.monitor.indicators import LIFE_S, Indicator, Sort, Tlp, allowed, fold_value, newest

FILE_BYTES_MAX: Final = 512 << 20
SORT_OF: Final = {
    "domain-name:value": Sort.DOMAIN,
    "ipv4-addr:value": Sort.IP,
    "ipv6-addr:value": Sort.IP,
    "url:value": Sort.URL,
    "email-addr:value": Sort.MAIL,
    "file:hashes.md5": Sort.HASH,
    "file:hashes.'sha-1'": Sort.HASH,
    "file:hashes.'sha-256'": Sort.HASH,
    "file:hashes.sha1": Sort.HASH,
    "file:hashes.sha256": Sort.HASH,
    "software:name": Sort.PACKAGE,
    "user-account:account_login": Sort.ACCOUNT,
    "user-account:user_id": Sort.ACCOUNT,
    "x-veilig-key:value": Sort.KEY,
}
VALUE_CHARS_MIN: Final = 4  # shorter ones are found everywhere
_ONE: Final = re.compile(r"\s*([\w-]+:[\w.'-]+)\s*=\s*'((?:[^'\\]|\\.)*)'\s*")
_MARKING_TLP: Final = {  # the fixed ids of STIX 2.1
    "marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9": Tlp.CLEAR,
    "marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da": Tlp.GREEN,
    "marking-definition--f88d31f6-486f-44da-b317-01333bde0b82": Tlp.AMBER,
    "marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed": Tlp.RED,
    "marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487": Tlp.CLEAR,
    "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb": Tlp.GREEN,
    "marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421": Tlp.AMBER,
    "marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003": Tlp.AMBER_STRICT,
    "marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1": Tlp.RED,
}
TLP_RANK: Final = {tlp: i for i, tlp in enumerate(Tlp)}


@dataclass(slots=True)
class Harvest:
    """What feeds brought: (modified, indicator) pairs, and how many objects were refused for which reason."""

    found: list[tuple[float, Indicator]] = field(default_factory=list[tuple[float, Indicator]])
    refused: Counter[str] = field(default_factory=Counter[str])
    withdrawn: dict[str, float] = field(default_factory=dict[str, float])

    def live(self) -> Iterator[Indicator]:
        """The newest version of each, without what was revoked since."""
        gone = self.withdrawn
        return newest((m, i) for m, i in self.found if gone.get(i.id.partition("#")[0], -1.0) < m)


def read_pattern(pattern: str) -> list[tuple[Sort, str]] | None:
    """The observables that a pattern names; None for a pattern that says more than that."""
    text = pattern.strip()
    found: list[tuple[Sort, str]] = []
    at = 0
    while True:
        if text[at : at + 1] != "[":
            return None
        at += 1
        while True:
            match = _ONE.match(text, at)
            sort = SORT_OF.get(match[1].lower()) if match else None
            if match is None or sort is None:
                return None
            found.append((sort, re.sub(r"\\(.)", r"\1", match[2])))
            at = match.end()
            if text[at : at + 3] != "OR ":
                break
            at += 3
        if text[at : at + 1] != "]":
            return None
        rest = text[at + 1 :].lstrip()
        if not rest:
            return found
        if not rest.startswith("OR"):
            return None
        at = len(text) - len(rest[2:].lstrip())


def read_bundle(data: bytes, feed: Feed, allow: Iterable[str], harvest: Harvest) -> None:
    """Add a bundle's (or TAXII envelope's) indicators to `harvest`. Raises UsageError for no such JSON."""
    try:
        value: object = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise UsageError(
            f"feed {feed.name!r}: not JSON", why=str(error), fix="give a STIX 2.1 bundle"
        ) from error
    objects = cast(dict[str, Any], value).get("objects") if isinstance(value, dict) else None
    if not isinstance(objects, list):
        raise UsageError(f"feed {feed.name!r} holds no `objects`", fix="give a STIX 2.1 bundle")
    _take(cast(list[object], objects), feed, tuple(allow), harvest)


def _take(objects: Iterable[object], feed: Feed, allow: tuple[str, ...], harvest: Harvest) -> None:
    for one in objects:
        if isinstance(one, dict) and cast(dict[str, Any], one).get("type") == "indicator":
            _read_indicator(cast(dict[str, Any], one), feed, allow, harvest)


def read_feed(feed: Feed, allow: Iterable[str], harvest: Harvest) -> None:
    """A file, or every .json and .stix file of a folder. Raises UsageError when it cannot be read."""
    place = Path(feed.path).expanduser()
    files = (
        sorted(p for p in place.rglob("*") if p.suffix in (".json", ".stix")) if place.is_dir() else [place]
    )
    if not files or (feed.taxii and not place.is_dir()):
        fix = "run `veilig monitor feeds sync`" if feed.taxii else "check monitor.feeds"
        raise UsageError(f"feed {feed.name!r}: no .json file is in {place}", fix=fix)
    for file in files:
        try:
            if file.stat().st_size > FILE_BYTES_MAX:
                raise UsageError(f"{file} is larger than {FILE_BYTES_MAX >> 20} MiB", fix="cut it in pieces")
            with file.open(encoding="utf-8") as text:
                _take(bundle_stream.objects(text), feed, tuple(allow), harvest)
        except OSError as error:
            raise UsageError(f"feed {feed.name!r}: {file} cannot be read", why=str(error)) from error
        except LookupError as error:
            raise UsageError(
                f"feed {feed.name!r} holds no `objects`", why=f"{file}: {error}", fix="give a STIX 2.1 bundle"
            ) from error
        except (ValueError, RecursionError) as error:
            raise UsageError(
                f"feed {feed.name!r}: not JSON", why=f"{file}: {error}", fix="give a STIX 2.1 bundle"
            ) from error


def _read_indicator(one: dict[str, Any], feed: Feed, allow: tuple[str, ...], harvest: Harvest) -> None:
    name, pattern = one.get("id"), one.get("pattern")
    modified = seconds(one.get("modified") or one.get("created"))
    if not isinstance(name, str) or not isinstance(pattern, str) or modified is None:
        harvest.refused["no id, pattern or date"] += 1
        return
    if one.get("revoked") is True:
        harvest.withdrawn[name] = max(modified, harvest.withdrawn.get(name, -1.0))
        harvest.refused["revoked"] += 1
        return
    if one.get("pattern_type", "stix") != "stix":
        harvest.refused["another pattern language"] += 1
        return
    values = read_pattern(pattern)
    if values is None:
        harvest.refused["a pattern of more than single observables"] += 1
        return
    start = seconds(one.get("valid_from"))
    end = seconds(one.get("valid_until"))
    confidence = one.get("confidence")
    confidence = confidence if isinstance(confidence, int) and 0 <= confidence <= 100 else feed.confidence
    tlp = _tlp(one)
    for at, (sort, raw) in enumerate(values):
        value = fold_value(sort, raw)
        if len(value) < VALUE_CHARS_MIN:
            harvest.refused["a value shorter than four characters"] += 1
        elif allowed(sort, value, allow):
            harvest.refused["allow-listed"] += 1
        else:
            first = modified if start is None else start
            until = first + LIFE_S[sort] if end is None else end
            own = name if len(values) == 1 else f"{name}#{at}"
            harvest.found.append(
                (modified, Indicator(own, sort, value, first, until, confidence, tlp, feed.name))
            )


def _tlp(one: dict[str, Any]) -> Tlp:
    """The strictest marking; an unknown one counts as amber."""
    refs = one.get("object_marking_refs") or ()
    marks = [_MARKING_TLP.get(ref, Tlp.AMBER) for ref in refs if isinstance(ref, str)]
    return max(marks, key=lambda t: TLP_RANK[t], default=Tlp.CLEAR)


def seconds(text: object) -> float | None:
    """Seconds since 1970 of an RFC 3339 time in UTC; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
