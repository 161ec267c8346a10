"""How much does a text sound like intent to harm? A linear model over words and pairs; see MODEL_CARD.md.

On sources it has not seen it is right often, not always: a score alone raises a standing a little, and never
suspends anybody. Weights are whole numbers in a gzipped JSON file beside this one; no library is needed.
"""

import gzip
import hashlib
import json
import math
import re
from importlib import resources
from typing import Final, Self

from veilig.core.errors import UsageError

WORD: Final = re.compile(r"[a-z][a-z0-9_+#'-]*|\d+")
TEXT_CHARS_MAX: Final = 60_000  # about 15k tokens: the head and the tail of a longer text
SCALE: Final = 1000.0  # weights are stored in thousandths
KNOWN_MAX: Final = 4096
FILE: Final = "classifier.json.gz"


def words_of(text: str) -> list[str]:
    """Lower-case words, in order."""
    if len(text) > TEXT_CHARS_MAX:
        text = text[: TEXT_CHARS_MAX // 2] + " " + text[-TEXT_CHARS_MAX // 2 :]
    return WORD.findall(text.lower())


class Classifier:
    """score = logistic(bias + scale x sum of weights of distinct features / sqrt of their number)."""

    def __init__(self, weights: dict[str, int], bias: float, sharpness: float, name: str) -> None:
        self.id = name
        self._weights = weights
        self._bias = bias
        self._sharpness = sharpness
        self._known: dict[int, float] = {}  # clients send the same texts again; kept by hash, not as texts

    @classmethod
    def shipped(cls) -> Self:
        """The one that comes with veilig. Raises UsageError when it is missing or broken."""
        try:
            data = resources.files("veilig.monitor").joinpath(FILE).read_bytes()
            value = json.loads(gzip.decompress(data))
            name = f"linear-{hashlib.sha256(data).hexdigest()[:12]}"
            return cls(value["weights"], float(value["bias"]), float(value["sharpness"]), name)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                "the monitor's classifier cannot be read", why=str(error), fix="install veilig again"
            ) from error

    def score(self, text: str) -> float:
        """In [0, 1]; 0 where there are no words."""
        key = hash(text)
        if (known := self._known.get(key)) is not None:
            return known
        if not WORD.search(text.lower()):
            return 0.0
        score = 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, self.margin(text)))))
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        self._known[key] = score
        return score

    def margin(self, text: str) -> float:
        """The score before it is squeezed into [0, 1]; 0 where there are no words."""
        words = words_of(text)
        if not words:
            return -60.0  # nothing was said
        get = self._weights.get
        seen = set(words)
        seen.update(map(" ".join, zip(words, words[1:], strict=False)))
        total = sum(get(feature, 0) for feature in seen)
        return self._bias + self._sharpness * total / SCALE / math.sqrt(len(seen))

    def strongest(self, text: str, most: int = 8) -> list[tuple[str, float]]:
        """Which words and pairs weigh most in a text, with their weights."""
        words = words_of(text)
        seen = {*words, *map(" ".join, zip(words, words[1:], strict=False))}
        found = [(f, self._weights[f] / SCALE) for f in seen if f in self._weights]
        return sorted(found, key=lambda pair: -abs(pair[1]))[:most]
