"""How much does a text sound like intent to harm? A linear model over words and classes of words.

On sources it has not seen it is right often, not always: a score alone raises a standing a little, and never
suspends anybody. Classes (harm, victim, concealment, own systems, defence, ...) and their order carry over to
words and styles that training has not seen. All of it is in a gzipped JSON file beside this one; no library
is needed.
"""

import gzip
import hashlib
import json
import math
import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final, Self

from veilig.core.errors import UsageError

WORD: Final = re.compile(r"[^\W\d_][\w+#'-]*|\d+")
TEXT_CHARS_MAX: Final = 60_000  # about 15k tokens: the head and the tail of a longer text
WORD_CHARS_MAX: Final = 40  # longer ones are no words
SCALE: Final = 1000.0  # weights are stored in thousandths of the largest of their kind
NEAR: Final = 8  # words: how far apart two classes may stand to count as a pair
KNOWN_MAX: Final = 4096
WORDS_MAX: Final = 20_000  # whose classes are remembered
FILE: Final = "classifier.json.gz"


def words_of(text: str) -> list[str]:
    """Lower-case words, in order."""
    if len(text) > TEXT_CHARS_MAX:
        text = text[: TEXT_CHARS_MAX // 2] + " " + text[-TEXT_CHARS_MAX // 2 :]
    return WORD.findall(text.lower())


class Classes:
    """Which classes a word belongs to. An entry that ends in `*` is the beginning of a word."""

    def __init__(self, table: Mapping[str, Sequence[str]]) -> None:
        self.names = sorted(table)
        self._whole: dict[str, set[int]] = {}
        self._start: dict[str, set[int]] = {}
        for number, name in enumerate(self.names):
            for entry in table[name]:
                kind, word = (self._start, entry[:-1]) if entry.endswith("*") else (self._whole, entry)
                kind.setdefault(word, set()).add(number)
        self._longest = max(map(len, self._start), default=0)
        self._known: dict[str, tuple[int, ...]] = {}

    def of(self, word: str) -> tuple[int, ...]:
        """Numbers of a lower-case word's classes, in order; () for most words."""
        if (known := self._known.get(word)) is not None:
            return known
        found = set(self._whole.get(word, ()))
        for end in range(2, min(len(word), self._longest) + 1):
            found |= self._start.get(word[:end], set())
        if len(self._known) >= WORDS_MAX:
            self._known.clear()
        made = self._known[word] = tuple(sorted(found))
        return made


@dataclass(frozen=True, slots=True)
class Features:
    """What the model sees of a text; the values of a kind are its part times the kind's factor.

    words: distinct words and pairs of words. classes: how often each class occurs. pairs: (earlier, later)
    class within eight words.
    """

    words: frozenset[str]
    classes: Mapping[int, int]
    pairs: frozenset[tuple[int, int]]
    length: int

    def word_part(self) -> float:
        return 4.0 / math.sqrt(len(self.words) or 1)

    def class_part(self, count: int) -> float:
        return math.log1p(count) / math.sqrt(math.log1p(self.length)) / 1.5

    def pair_part(self) -> float:
        return 2.0 / math.sqrt(len(self.pairs) or 1)


def features(words: Sequence[str], classes: Classes) -> Features:
    """Of the words of a text."""
    placed = [(at, found) for at, word in enumerate(words) if (found := classes.of(word))]
    counts: dict[int, int] = {}
    near: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()
    for n, (at, found) in enumerate(placed):
        for number in found:
            counts[number] = counts.get(number, 0) + 1
        for later, others in placed[n + 1 : n + 1 + NEAR]:
            if later - at > NEAR:
                break
            near.add((found, others))
    pairs = frozenset((a, b) for first, second in near for a in first for b in second)
    distinct = set(words)
    distinct.update(map(" ".join, zip(words, words[1:], strict=False)))
    return Features(frozenset(distinct), counts, pairs, len(words))


class Classifier:
    """score = logistic(bias + what the words, the classes and the pairs of classes of a text weigh)."""

    def __init__(self, model: Mapping[str, Any], name: str) -> None:
        """model: as `bench/monitor/train.py` writes it. Raises KeyError, TypeError or ValueError."""
        self.id = name
        self.classes = Classes(model["classes"])
        self._words: dict[str, int] = model["words"]
        self._word_scale = float(model["word_scale"]) / SCALE
        self._of_class = array("d", model["class_weights"])
        size = len(self.classes.names)
        self._of_pair = {(p // size, p % size): float(w) for p, w in zip(*model["pair_weights"], strict=True)}
        self._bias = float(model["bias"])
        self._known: dict[int, float] = {}  # clients send the same texts again; kept by hash, not as texts

    @classmethod
    def shipped(cls) -> Self:
        """The one that comes with veilig. Raises UsageError when it is missing or broken."""
        try:
            data = resources.files("veilig.monitor").joinpath(FILE).read_bytes()
            return cls(json.loads(gzip.decompress(data)), f"linear-{hashlib.sha256(data).hexdigest()[:12]}")
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
        """The score before it is squeezed into [0, 1]; -60 where there are no words."""
        words = words_of(text)
        if not words:
            return -60.0  # nothing was said
        seen = features(words, self.classes)
        get = self._words.get
        total = sum(get(word, 0) for word in seen.words) * self._word_scale * seen.word_part()
        total += sum(self._of_class[c] * seen.class_part(count) for c, count in seen.classes.items())
        of_pair = self._of_pair.get
        return self._bias + total + sum(of_pair(p, 0.0) for p in seen.pairs) * seen.pair_part()

    def strongest(self, text: str, most: int = 8) -> list[tuple[str, float]]:
        """What weighs most in a text: words, pairs of words, [classes] and [pairs > of classes]."""
        seen = features(words_of(text), self.classes)
        names = self.classes.names
        words = self._word_scale * seen.word_part()
        found = [(w, self._words[w] * words) for w in seen.words if w in self._words]
        found += [(f"[{names[c]}]", self._of_class[c] * seen.class_part(n)) for c, n in seen.classes.items()]
        found += [
            (f"[{names[a]} > {names[b]}]", self._of_pair.get((a, b), 0.0) * seen.pair_part())
            for a, b in seen.pairs
        ]
        return sorted(found, key=lambda pair: -abs(pair[1]))[:most]
