"""How bad is a vulnerability, from its CVSS vector or its publisher's word?"""

import importlib
import math
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import Any


class Severity(StrEnum):
    """CVSS 3 qualitative rating; `unknown` says that nobody rated it, not that it is harmless."""

    UNKNOWN = "unknown"
    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


WORD = "word:"  # a publisher's own rating, kept beside the vectors
_WORDS = {
    "LOW": Severity.LOW,
    "MODERATE": Severity.MEDIUM,
    "MEDIUM": Severity.MEDIUM,
    "HIGH": Severity.HIGH,
    "CRITICAL": Severity.CRITICAL,
}


def rank(severity: Severity) -> int:
    """0 (unknown) to 5 (critical), for comparing."""
    return tuple(Severity).index(severity)


def worded(ratings: Iterable[str]) -> Severity:
    """The worst of the publishers' own words; `unknown` when there is none."""
    words = [
        _WORDS.get(item.removeprefix(WORD), Severity.UNKNOWN) for item in ratings if item.startswith(WORD)
    ]
    return max(words, key=rank, default=Severity.UNKNOWN)


def base_score(vector: str) -> float | None:
    """The base score of a CVSS 3.0, 3.1 or 4.0 vector; None for anything else.

    4.0 needs the package `cvss`; without it the publisher's word is all there is.
    """
    return cvss4_base_score(vector) if vector.startswith("CVSS:4.0/") else cvss3_base_score(vector)


@lru_cache(maxsize=4096)
def cvss4_base_score(vector: str) -> float | None:
    """The CVSS 4.0 base score, None when it is no such vector or `cvss` is not installed.

    Source: FIRST, CVSS v4.0 specification, section 8, as the package `cvss` computes it.
    """
    try:
        library: Any = importlib.import_module("cvss")
    except ImportError:
        return None
    try:
        return float(library.CVSS4(vector).base_score)
    except library.exceptions.CVSSError:
        return None


_METRICS: dict[str, dict[str, float]] = {
    "AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2},
    "AC": {"L": 0.77, "H": 0.44},
    "UI": {"N": 0.85, "R": 0.62},
    "C": {"H": 0.56, "L": 0.22, "N": 0.0},
    "I": {"H": 0.56, "L": 0.22, "N": 0.0},
    "A": {"H": 0.56, "L": 0.22, "N": 0.0},
}
_PRIVILEGES = {"U": {"N": 0.85, "L": 0.62, "H": 0.27}, "C": {"N": 0.85, "L": 0.68, "H": 0.5}}


def cvss3_base_score(vector: str) -> float | None:
    """The CVSS 3.0 or 3.1 base score of a vector, None when it is none.

    Source: FIRST, CVSS v3.1 specification, section 7.1 and appendix A (rounding up).
    """
    if not vector.startswith(("CVSS:3.0/", "CVSS:3.1/")):
        return None
    parts = dict(item.split(":", 1) for item in vector.split("/")[1:] if ":" in item)
    try:
        value = {metric: table[parts[metric]] for metric, table in _METRICS.items()}
        scope = parts["S"]
        privileges = _PRIVILEGES[scope][parts["PR"]]
    except KeyError:
        return None
    impact = 1 - (1 - value["C"]) * (1 - value["I"]) * (1 - value["A"])
    exploit = 8.22 * value["AV"] * value["AC"] * privileges * value["UI"]
    total = 6.42 * impact if scope == "U" else 7.52 * (impact - 0.029) - 3.25 * (impact - 0.02) ** 15
    if total <= 0:
        return 0.0
    return _round_up(min(total + exploit if scope == "U" else 1.08 * (total + exploit), 10.0))


def _round_up(value: float) -> float:
    whole = round(value * 100_000)
    return whole / 100_000 if whole % 10_000 == 0 else (math.floor(whole / 10_000) + 1) / 10


def rating(score: float | None) -> Severity:
    """The qualitative rating of a base score. Source: CVSS v3.1 specification, section 5."""
    if score is None:
        return Severity.UNKNOWN
    if score >= 9.0:
        return Severity.CRITICAL
    if score >= 7.0:
        return Severity.HIGH
    if score >= 4.0:
        return Severity.MEDIUM
    return Severity.LOW if score > 0 else Severity.NONE
