"""Where in a text does any form of any known secret appear, whole or in part?

Every 4-byte window of every readable form, and every 8-byte window of every encoded form, is a key. A
text's compact view is probed at every fourth position: a run of 7 (readable) or 11 (encoded) matching bytes
cannot fall between two probes. A hit is extended to both sides; runs as long as the form's `least` are
reported.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from veilig.core import redact_view
from veilig.core.limits import SECRET_CHARS_MIN
from veilig.core.redact_forms import SHORTEST_RUN, Form, forms, utf8

VALUES_MAX = 2_000  # 0.15 MB of index each (40 characters); more secrets are a vault, not an environment
_STEP = 4
_OFFSET_BITS = 24  # the longest form of the longest value fits many times
_OFFSET_MASK = (1 << _OFFSET_BITS) - 1
_WORDLIKE_RUN = 12  # fewer letters of one case in a row are also words


@dataclass(frozen=True, slots=True)
class Hit:
    """Raw bytes [start, end) show secret number `secret` in the form `name`; `whole` when nothing of it is
    missing.
    """

    start: int
    end: int
    secret: int
    name: str
    whole: bool


class FormIndex:
    """All forms of all known secrets, searchable in one pass; `repr` shows only how many."""

    def __init__(self) -> None:
        self._forms: list[Form] = []
        self._short: list[tuple[int, bytes]] = []
        self._readable: dict[int, int | list[int]] = {}
        self._encoded: dict[int, int | list[int]] = {}
        self._small: set[bytes] = set()
        self._blob = bytearray()

    def __repr__(self) -> str:
        return f"FormIndex({len(self._forms)} forms)"

    def add(self, secret: int, value: str) -> None:
        """Make every form of `value` findable under the number `secret`."""
        raw = utf8(value)
        made = forms(secret, value)
        if len(redact_view.compact(raw)) < SHORTEST_RUN:
            self._short.append((secret, raw))
        for form in made:
            self._insert(form)

    def _insert(self, form: Form) -> None:
        number = len(self._forms)
        self._forms.append(form)
        self._blob += form.data + b"\n"
        width, table = (8, self._encoded) if form.least > 10 else (4, self._readable)
        for at in range(len(form.data) - width + 1):
            key = int.from_bytes(form.data[at : at + width], sys.byteorder)
            entry, before = number << _OFFSET_BITS | at, table.get(key)
            if before is None:
                table[key] = entry  # most windows stand in one form: a bare number takes half the memory
            elif isinstance(before, int):
                table[key] = [before, entry]
            else:
                before.append(entry)
        for size in (1, 2, 3):
            self._small.update(form.data[i : i + size] for i in range(len(form.data) - size + 1))

    def find(self, data: bytes) -> list[Hit]:
        """Every place in the raw bytes `data` that shows a known secret; linear in `data` when it shows
        none.
        """
        hits = list(self._find_short(data))
        if not self._forms:
            return hits
        folding = redact_view.needs_folding(data)
        view = redact_view.build(data) if folding else None
        flat = view.data if view else redact_view.compact(data)
        runs = [*self._runs(flat, 4, self._readable), *self._runs(flat, 8, self._encoded)]
        if not runs:
            return hits
        view = view or redact_view.build(data)
        for start, end, number, _at in runs:
            form = self._forms[number]
            for left, right in view.pieces(start, end):
                first, last = view.raw(left), view.raw(right - 1) + 1
                if right - left >= form.least and not _is_word(form, first, last, data):
                    whole = right - left == len(form.data)
                    hits.append(Hit(first, last, form.secret, form.name, whole))
        return hits

    def _runs(
        self, flat: bytes, width: int, table: dict[int, int | list[int]]
    ) -> Iterator[tuple[int, int, int, int]]:
        """(start, end, form number, offset in the form) of every maximal run that a probe hits."""
        for phase in range(0, width, _STEP):
            usable = (len(flat) - phase) // width * width
            if usable <= 0 or not table:
                continue
            probes = memoryview(flat)[phase : phase + usable]
            words = probes.cast("I") if width == 4 else probes.cast("Q")
            present = table.keys() & words
            if not present:
                continue
            done: dict[tuple[int, int], int] = {}
            for index, word in enumerate(words):
                if word not in present:
                    continue
                probe = phase + index * width
                entries = table[word]
                for entry in (entries,) if isinstance(entries, int) else entries:
                    number, offset = entry >> _OFFSET_BITS, entry & _OFFSET_MASK
                    diagonal = (number, probe - offset)
                    if done.get(diagonal, -1) >= probe:
                        continue
                    start, end = _extend(flat, probe, self._forms[number].data, offset, width)
                    done[diagonal] = end
                    if end - start >= self._forms[number].least:
                        yield start, end, number, offset - (probe - start)

    def _find_short(self, data: bytes) -> Iterator[Hit]:
        for secret, value in self._short:
            at = data.find(value)
            while at >= 0:
                yield Hit(at, at + len(value), secret, "part", True)
                at = data.find(value, at + len(value))

    def unfinished(self, data: bytes) -> int:
        """The raw position from which the end of `data` may be the beginning of a known secret, len(data)
        if nothing is.
        """
        least = self.unfinished_short(data, 1)
        if not self._forms:
            return least
        # Only the last stretch matters, and seldom all of it: try a short one first.
        for reach in (512, 8192, len(data)):
            window = data[-reach:]
            view = redact_view.build(window)
            length = self._suffix(view.data)
            if length < len(view.data) or len(window) == len(data):
                break
        if not length:
            return least
        for left, right in reversed(view.pieces(len(view.data) - length, len(view.data))):
            gap = len(window) - view.raw(right - 1) - 1
            if gap > redact_view.GAP_BYTES_MAX:
                return least
            return min(least, len(data) - len(window) + view.raw(left))
        return least

    def unfinished_short(self, data: bytes, least: int = 0) -> int:
        """The same for short values, of which `least` characters stand there; 0: more than a quarter."""
        found = len(data)
        for _, value in self._short:
            for size in range(min(len(value) - 1, len(data)), (least or len(value) // 4 + 1) - 1, -1):
                if data.endswith(value[:size]):
                    found = min(found, len(data) - size)
                    break
        return found

    def _suffix(self, flat: bytes) -> int:
        """Length of the longest end of `flat` that stands inside some form."""
        length = 0
        while length < len(flat):
            end = flat[len(flat) - length - 1 :]
            if end not in self._small if length < 3 else end not in self._blob:
                break
            length += 1
        return length


def _is_word(form: Form, start: int, end: int, data: bytes) -> bool:
    """A short part of a secret that is a word or a number: it is as likely a word or a date of the text."""
    run = data[start:end].translate(None, redact_view.SEPARATORS)
    if len(run) >= min(_WORDLIKE_RUN, len(form.data)) or form.least > SECRET_CHARS_MIN:
        return False
    return run.isdigit() or (run.isalpha() and (run[1:].islower() or run.isupper()))


def _extend(flat: bytes, at: int, form: bytes, offset: int, width: int) -> tuple[int, int]:
    """The maximal run [start, end) of `flat` around `at` that equals `form` around `offset`."""
    start, end = at, at + width
    left = offset - 1
    while left >= 0 and start > 0 and flat[start - 1] == form[left]:
        start -= 1
        left -= 1
    right = offset + width
    while right < len(form) and end < len(flat) and flat[end] == form[right]:
        end += 1
        right += 1
    return start, end
