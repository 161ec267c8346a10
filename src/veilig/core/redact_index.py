"""Where in a text does any form of any known secret appear, whole or in part?

Short pieces of the forms are looked for in the text's compact view (`redact_grams`); a piece that is found is
extended to both sides; runs as long as the form's `least` are reported.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from veilig.core import redact_view
from veilig.core.limits import SECRET_CHARS_MIN
from veilig.core.redact_forms import SHORTEST_RUN, Form, forms, utf8
from veilig.core.redact_grams import UNSEEN_RUN, Grams

VALUES_MAX = 2_000  # 0.1 MB of index each (40 characters); more secrets are a vault, not an environment
_WORDLIKE_RUN = 12  # fewer letters of one case in a row are also words
_REACHES = (128, 1024, 8192)  # bytes from the end of a text that are looked at for the beginning of a secret
EXACT_BYTES_MAX = 1 << 14  # of forms, five to ten secrets: to search them costs less than to hold text back
FEW = 3  # characters of a beginning that may be seen
_FEW_INSIDE = 7  # of the inside of an encoded form, where four characters stand in every text


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
        self._grams = Grams()
        self._readable = bytearray()  # all forms of each sort, for exact looks at the end of a text
        self._encoded = bytearray(b"\n")

    def __repr__(self) -> str:
        return f"FormIndex({len(self._forms)} forms)"

    def add(self, secret: int, value: str) -> None:
        """Make every form of `value` findable under the number `secret`."""
        raw = utf8(value)
        if len(redact_view.compact(raw)) < SHORTEST_RUN:
            self._short.append((secret, raw))
        for form in forms(secret, value):
            self._grams.add(len(self._forms), form)
            self._forms.append(form)
            blob = self._encoded if form.wide else self._readable
            blob += form.data + b"\n"

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
        runs = [run for run in self._runs(flat) if run[1] - run[0] >= self._forms[run[2]].least]
        if not runs:
            return hits
        view = view or redact_view.build(data)
        for start, end, number in runs:
            form = self._forms[number]
            for left, right in view.pieces(start, end):
                first, last = view.raw(left), view.raw(right - 1) + 1
                if right - left >= form.least and not _is_word(form, first, last, data):
                    whole = right - left == len(form.data)
                    hits.append(Hit(first, last, form.secret, form.name, whole))
        return hits

    def _runs(self, flat: bytes) -> Iterator[tuple[int, int, int]]:
        """(start, end, form number) of every maximal run that a piece of a form is part of."""
        done: dict[tuple[int, int], int] = {}
        for at, width, number, offset in self._grams.found(flat):
            diagonal = (number, at - offset)
            if done.get(diagonal, -1) > at:
                continue
            start, end = _extend(flat, at, self._forms[number].data, offset, width)
            done[diagonal] = end
            yield start, end, number

    def _find_short(self, data: bytes) -> Iterator[Hit]:
        for secret, value in self._short:
            at = data.find(value)
            while at >= 0:
                yield Hit(at, at + len(value), secret, "part", True)
                at = data.find(value, at + len(value))

    # --- the end of a text, which may go on ------------------------------------------------------

    def unfinished(self, data: bytes) -> int:
        """A raw position before which nothing that the end of `data` shows can become a known secret.

        Longer beginnings are held from where they begin; where many secrets are known, the last UNSEEN_RUN
        characters are held without a closer look.
        """
        data = data[: redact_view.open_escape(data)]
        least = self._short_beginning(data, 1)
        if not self._forms:
            return least
        length = unseen = 0
        flat, window, view = b"", b"", None
        for reach in (*_REACHES, len(data)):  # only the last stretch matters, and seldom all of it
            window = data[-reach:]
            view = redact_view.build(window) if redact_view.needs_folding(window) else None
            flat = view.data if view else redact_view.compact(window)
            begun = [start for start, end, _ in self._runs(flat) if end == len(flat)]
            unseen = self._unseen(flat)
            length = max(unseen, len(flat) - min(begun, default=len(flat)))
            if length < len(flat) or len(window) == len(data):
                break
        if view is None and length == unseen < len(flat):
            return min(least, len(data) - len(window) + _back(window, length))
        return min(least, _tail(view or redact_view.build(window), min(length, len(flat)), window, data))

    def _unseen(self, flat: bytes) -> int:
        """How many characters at the end of `flat` may begin a secret although no piece of one is whole."""
        if len(self._readable) + len(self._encoded) > EXACT_BYTES_MAX:
            return UNSEEN_RUN
        flat = flat[-UNSEEN_RUN:]
        return max(_suffix(flat, self._readable), _suffix(flat, self._encoded))

    def beginning(self, data: bytes) -> int:
        """From where the end of `data` shows more of a known secret than may be seen of its beginning;
        len(data) when it does not.
        """
        size = len(data)
        data = data[: redact_view.open_escape(data)]
        short = self._short_beginning(data, 0)
        window = data[-_REACHES[-1] :]
        view = redact_view.build(window)
        readable, encoded = _suffix(view.data, self._readable), _suffix(view.data, self._encoded)
        begun = max((n for n in range(encoded + 1) if b"\n" + view.data[-n:] in self._encoded), default=0)
        inside = encoded if encoded > _FEW_INSIDE else 0
        length = max(inside, *(n if n > FEW else 0 for n in (readable, begun)))
        least = min(short, _tail(view, length, window, data))
        return least if least < len(data) else size

    def _short_beginning(self, data: bytes, least: int) -> int:
        """From where a short value begins of which `least` bytes stand there; 0: more than a quarter."""
        found = len(data)
        for _, value in self._short:
            for size in range(min(len(value) - 1, len(data)), (least or len(value) // 4 + 1) - 1, -1):
                if data.endswith(value[:size]):
                    found = min(found, len(data) - size)
                    break
        return found


def _suffix(flat: bytes, blob: bytearray) -> int:
    """Length of the longest end of `flat` that stands in `blob`."""
    length = 0
    while length < len(flat) and flat[len(flat) - length - 1 :] in blob:
        length += 1
    return length


def _back(data: bytes, count: int) -> int:
    """Where the last `count` bytes begin that are no separators; nothing among them is folded."""
    at = len(data)
    while at and count:
        at -= 1
        count -= data[at] not in redact_view.SEPARATORS
    return at


def _tail(view: redact_view.View, length: int, window: bytes, data: bytes) -> int:
    """Where in `data` the last `length` bytes of the view of its end `window` begin, or those of them that
    stand near each other and near the end.
    """
    if not length:
        return len(data)
    left, right = view.pieces(len(view.data) - length, len(view.data))[-1]
    gap = len(window) - view.raw(right - 1) - 1
    return len(data) if gap > redact_view.GAP_BYTES_MAX else len(data) - len(window) + view.raw(left)


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
