"""Where does a text hold a piece of a form of a known secret, so that it is worth a closer look?

With ahocorasick_rs every fourth 4-byte piece of a readable form, and every fifth 8-byte piece of an encoded
one, is looked for at every place of the text. Without it every piece of the forms is a key, and the text is
probed at every fourth place. Either way no run longer than UNSEEN_RUN is missed, and no readable one of 7.
"""

import sys
from collections.abc import Iterator

from veilig.core.redact_forms import Form
from veilig.core.redact_scan import ByteScan, byte_scan

UNSEEN_RUN = 11
_STEP = 4
_WIDE_STEP = 5  # a run of 12 holds one of these pieces of 8
_OFFSET_BITS = 24  # the longest form of the longest value fits many times
_OFFSET_MASK = (1 << _OFFSET_BITS) - 1

type Numbered = tuple[int, Form]
type Piece = tuple[int, int, int, int]  # where it stands, its width, number of the form, offset in the form
type _Entries = int | list[int]  # most pieces stand in one form: a bare number takes half the memory


class _Part:
    """Forms that were learnt together, with their automaton."""

    __slots__ = ("entries", "forms", "scan")

    def __init__(self, forms: list[Numbered]) -> None:
        self.forms = forms
        pieces: dict[bytes, _Entries] = {}
        for number, form in forms:
            width, step = (8, _WIDE_STEP) if form.wide else (4, _STEP)
            for at in range(0, len(form.data) - width + 1, step):
                _enter(pieces, form.data[at : at + width], number << _OFFSET_BITS | at)
        self.scan: ByteScan | None = byte_scan(list(pieces))
        self.entries = list(pieces.values())

    def found(self, flat: bytes) -> Iterator[Piece]:
        if self.scan is None:
            return
        for piece, start, end in self.scan(flat):
            entries = self.entries[piece]
            for entry in (entries,) if isinstance(entries, int) else entries:
                yield start, end - start, entry >> _OFFSET_BITS, entry & _OFFSET_MASK


class _Tables:
    """The same without the library."""

    __slots__ = ("narrow", "wide")

    def __init__(self) -> None:
        self.narrow: dict[int, _Entries] = {}
        self.wide: dict[int, _Entries] = {}

    def add(self, number: int, form: Form) -> None:
        width, table = (8, self.wide) if form.wide else (4, self.narrow)
        for at in range(len(form.data) - width + 1):
            key = int.from_bytes(form.data[at : at + width], sys.byteorder)
            _enter(table, key, number << _OFFSET_BITS | at)

    def found(self, flat: bytes) -> Iterator[Piece]:
        for width, table in ((4, self.narrow), (8, self.wide)):
            for phase in range(0, width, _STEP):
                usable = (len(flat) - phase) // width * width
                if usable <= 0 or not table:
                    continue
                probes = memoryview(flat)[phase : phase + usable]
                words = probes.cast("I") if width == 4 else probes.cast("Q")
                present = table.keys() & words
                if not present:
                    continue
                for index, word in enumerate(words):
                    if word in present:
                        entries = table[word]
                        for entry in (entries,) if isinstance(entries, int) else entries:
                            where = phase + index * width
                            yield where, width, entry >> _OFFSET_BITS, entry & _OFFSET_MASK


class Grams:
    """Pieces of all forms; what is added is taken in at the next search."""

    def __init__(self) -> None:
        self._fresh: list[Numbered] = []
        self._parts: list[_Part] = []
        self._tables: _Tables | None = None

    def __repr__(self) -> str:
        return f"Grams({sum(len(p.forms) for p in self._parts) + len(self._fresh)} forms)"

    def add(self, number: int, form: Form) -> None:
        """Make the form findable."""
        self._fresh.append((number, form))

    def found(self, flat: bytes) -> Iterator[Piece]:
        """Every piece in `flat`; of one form in the order of the text."""
        if self._fresh:
            self._take_in()
        if self._tables is not None:
            yield from self._tables.found(flat)
        for part in self._parts:
            yield from part.found(flat)

    def _take_in(self) -> None:
        forms, self._fresh = self._fresh, []
        # Parts double in size: a secret learnt alone does not make all the others be built again.
        while self._parts and len(self._parts[-1].forms) <= 2 * len(forms):
            forms = self._parts.pop().forms + forms
        part = _Part(forms) if self._tables is None else None
        if part is not None and part.scan is not None:
            self._parts.append(part)
            return
        self._tables = self._tables or _Tables()
        for number, form in forms:
            self._tables.add(number, form)


def _enter[K](table: dict[K, _Entries], key: K, entry: int) -> None:
    before = table.get(key)
    if before is None:
        table[key] = entry
    elif isinstance(before, int):
        table[key] = [before, entry]
    else:
        before.append(entry)
