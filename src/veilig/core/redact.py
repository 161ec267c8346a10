"""How does a secret stay out of what is stored, shown and sent, and yet reach the place where it is needed?

A `Redactor` knows values (environment, files, user-marked) and shapes (provider tokens, key blocks,
assignments). `seal` puts handles `‹secret:NAME#n›` in their place, `expand` puts values back, only where
the caller allows that handle. n is the beginning of an HMAC of the value: the same secret has the same
handle after a resume, and values are never stored. A handle with a tail, `‹secret:NAME#n~hex›`, stands for
a part or an encoding of the value and cannot be expanded.
"""

import hashlib
import hmac
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import accumulate

from veilig.core.canonical import JSON
from veilig.core.errors import SecretRefused, UsageError
from veilig.core.redact_assignments import assignment_spans, boring, key_says_secret, looks_random
from veilig.core.redact_forms import utf8
from veilig.core.redact_hold import SHOWN_CHARS_MAX, growing
from veilig.core.redact_index import VALUES_MAX, FormIndex
from veilig.core.redact_patterns import Span, provider_spans
from veilig.core.redact_places import Handle, Known, Origin, OriginKind, Place, blanked, merge
from veilig.core.redact_stream import StreamRedactor as _StreamRedactor

__all__ = ["Handle", "Origin", "OriginKind", "Place", "Redactor", "Span", "StreamRedactor", "find"]

KEY_BYTES_MIN = 16  # below this the key of the handles could be guessed
MARK_CHARS_MIN = 4  # a user may mark a PIN; three characters stand in every text
INDEXED_CHARS_MAX = 65_536  # of a longer value the first part is looked for; no credential is as long
SIGHTINGS_MAX = (
    10_000  # secrets known by shape alone whose handles can be expanded; later ones are masked only
)
NAME_CHARS_MAX = 64
_FORGOTTEN = -1  # a handle whose value was not kept

_HANDLE = re.compile(r"‹secret:([A-Za-z0-9_.\-]{1,64})#([0-9a-f]{6,64})(~[a-z0-9]{1,16})?›")
_LITERAL_FILES = re.compile(
    r"(?:^|[/\\.])(?:env|properties|ini|cfg|netrc|pgpass)(?:\.[\w\-]+)?$", re.IGNORECASE
)
_ENV_LINE = re.compile(
    r"^[ \t]*(?:export[ \t]+)?([A-Za-z_][\w.\-]*)[ \t]*=[ \t]*(.*?)[ \t]*$", re.MULTILINE | re.ASCII
)


type StreamRedactor = _StreamRedactor[Place]


def find(text: str) -> list[Span]:
    """Secrets that `text` gives away by their shape or by the words beside them: disjoint, in order, in
    characters.
    """
    merged: list[Span] = []
    for span in sorted(_shapes(text), key=lambda s: (s.start, -s.end)):
        last = merged[-1] if merged else None
        if last is None or span.start >= last.end:
            merged.append(span)
        elif span.end > last.end:
            merged[-1] = Span(last.start, span.end, last.kind, last.key)
    return merged


def _shapes(text: str) -> list[Span]:
    found = [*provider_spans(text), *assignment_spans(text)]
    if not found or "‹secret:" not in text:
        return found
    # `secret:` before a name looks like an assignment, in a handle that another process made, too.
    handles = [m.span() for m in _HANDLE.finditer(text)]
    return [s for s in found if s.kind != "assignment" or not _inside(s, handles)]


def _inside(span: Span, places: list[tuple[int, int]]) -> bool:
    return any(start <= span.start and span.end <= end for start, end in places)


_FOLDERS = frozenset({"PWD", "OLDPWD"})  # where a shell stands: names that look like a password's


class Redactor:
    """Knows secrets and shows handles; one per session, its key kept beside the session's ledger, never in
    it.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < KEY_BYTES_MIN:
            raise UsageError(
                f"the redaction key has {len(key)} bytes",
                why=f"handles are keyed hashes; below {KEY_BYTES_MIN} bytes the key can be guessed",
                fix="create it with secrets.token_bytes(32)",
            )
        self._key = key
        self._known: list[Known] = []
        self._numbers: dict[str, int] = {}
        self._handles: dict[tuple[str, str], int] = {}
        self._index = FormIndex()
        self._counts: Counter[str] = Counter()
        self._sightings = 0

    def __repr__(self) -> str:
        return f"Redactor({sum(k.indexed for k in self._known)} secrets)"

    # --- learning --------------------------------------------------------------------------------

    def learn_environment(self, variables: Mapping[str, str]) -> tuple[Handle, ...]:
        """Handles of the variables whose name or value says secret; short and ordinary values are left
        alone.
        """
        learnt: list[Handle] = []
        for name, value in variables.items():
            origin = Origin(OriginKind.ENV, name)
            folder = name in _FOLDERS and value.startswith("/")
            if key_says_secret(name) and not boring(value) and not folder:
                learnt.append(self._learn(value, name, origin))
                continue
            learnt += [self._learn(value[s.start : s.end], name, origin) for s in find(value)]
        return tuple(learnt)

    def learn_text(self, path: str, text: str) -> tuple[Handle, ...]:
        """Handles of the secrets that the file `path` holds: by shape, or assigned to a key that names a
        secret.
        """
        origin = Origin(OriginKind.FILE, path)
        values = {text[s.start : s.end]: self._name(s) for s in find(text)}
        if _LITERAL_FILES.search(path):
            values |= {text[s.start : s.end]: self._name(s) for s in assignment_spans(text, literal=True)}
            for line in _ENV_LINE.finditer(text):
                value = line[2].strip("\"'")
                if key_says_secret(line[1]) and not boring(value):
                    values[value] = line[1]
        return tuple(self._learn(value, name, origin) for value, name in values.items())

    def mark(self, value: str, name: str) -> Handle:
        """The handle of a value that a user calls secret; four characters suffice, and no value is too
        ordinary.
        """
        if len(value) < MARK_CHARS_MIN or not value.strip():
            raise UsageError(
                f"the value marked as {_clean(name)!r} has {len(value)} characters",
                why=f"a value of fewer than {MARK_CHARS_MIN} characters stands in every text",
                fix="mark a longer value",
            )
        return self._learn(value, name, Origin(OriginKind.MARK))

    def _learn(self, value: str, name: str, origin: Origin) -> Handle:
        known = self._known[self._number(value, _clean(name), origin)]
        if not known.indexed:
            if sum(k.indexed for k in self._known) >= VALUES_MAX:
                raise UsageError(
                    f"more than {VALUES_MAX} secrets",
                    why="every one of them is looked for in every output",
                    fix="start the session with fewer variables or a smaller workspace",
                )
            known.indexed, known.name, known.origins = True, _clean(name), [origin]
            self._index.add(self._numbers[value], value[:INDEXED_CHARS_MAX])
        elif origin not in known.origins:
            known.origins.append(origin)
        return Handle(_clean(name), known.n, origin)

    def _number(self, value: str, name: str, origin: Origin) -> int:
        """The number of `value`, new or known; afterwards it can be reached under `name`, too."""
        number = self._numbers.get(value)
        if number is None:
            number = self._numbers[value] = len(self._known)
            digest = hmac.new(self._key, utf8(value), hashlib.sha256).hexdigest()
            taken = {k.n for k in self._known if k.n.startswith(digest[:6])}
            n = next(digest[:size] for size in range(6, 65) if digest[:size] not in taken)
            self._known.append(Known(value, name, n, [origin], indexed=False))
        self._handles[name, self._known[number].n] = number
        return number

    # --- hiding ----------------------------------------------------------------------------------

    def find(self, text: str) -> list[Span]:
        """Known secrets and secrets by shape: disjoint, in order, in characters."""
        return [Span(p.start, p.end, p.kind, p.name) for p in self.places(text)]

    def seal(self, text: str) -> str:
        """`text` with a handle for every secret; never raises, and sealing again changes nothing."""
        return self.replace(text, self.places(text), 0, len(text))

    def seal_value(self, value: JSON) -> JSON:
        """`value` with every string in it sealed, names of fields too; a field named password hides its
        value.
        """
        if isinstance(value, str):
            return self.seal(value)
        if isinstance(value, list):
            return [self.seal_value(item) for item in value]
        if isinstance(value, dict):
            return {self.seal(name): self._seal_field(name, item) for name, item in value.items()}
        return value

    def _seal_field(self, name: str, value: JSON) -> JSON:
        sealed = self.seal_value(value)
        suspect = (
            isinstance(value, str) and sealed == value and key_says_secret(name) and not _HANDLE.search(value)
        )
        if (
            suspect
            and isinstance(value, str)
            and not boring(value)
            and looks_random(value)
            and not re.search(r"\s", value)
        ):
            return self.replace(
                value,
                [Place(0, len(value), "assignment", self._name(Span(0, 0, "assignment", name)))],
                0,
                len(value),
            )
        return sealed

    def stream(self) -> StreamRedactor:
        """A redactor of one stream of bytes, for secrets that are cut across chunks."""
        return _StreamRedactor(self)

    def counts(self) -> dict[str, int]:
        """How many places were replaced, by kind of secret; never which."""
        return dict(sorted(self._counts.items()))

    @property
    def kinds_seen(self) -> frozenset[str]:
        """The kinds of secrets that were replaced."""
        return frozenset(self._counts)

    def places(self, text: str, start: int = 0) -> list[Place]:
        """Disjoint places to replace, in order, without those that begin before `start`."""
        found = self._found(text)
        fresh = found
        while fresh:  # a handle is an edge: beside it a token may stand that was part of a longer word
            taken = merge(text, found, self._known)
            fresh = self._found(blanked(text, taken))
            found += fresh
        return merge(text, [p for p in found if p.start >= start], self._known)

    def _found(self, text: str) -> list[Place]:
        """Places that may overlap, none of them inside a handle."""
        found = [Place(s.start, s.end, s.kind, self._name(s)) for s in _shapes(text)]
        found += self._known_places(text)
        if not found:
            return found
        handles = [m.span() for m in _HANDLE.finditer(text) if (m[1], m[2]) in self._handles]
        return [p for p in found if not any(a <= p.start and p.end <= b for a, b in handles)]

    def _name(self, span: Span) -> str:
        """The text's own name for a secret found by shape, unless that name holds a secret itself."""
        name = _clean(span.key)
        return (
            name if span.key and not provider_spans(name) and not self._index.find(utf8(name)) else span.kind
        )

    def _known_places(self, text: str) -> Iterable[Place]:
        data = utf8(text)
        hits = self._index.find(data)
        if not hits:
            return
        ends = None if text.isascii() else _char_ends(text)
        for hit in hits:
            known = self._known[hit.secret]
            start = hit.start if ends is None else bisect_right(ends, hit.start)
            end = hit.end if ends is None else bisect_left(ends, hit.end) + 1
            kind, form = known.origins[0].kind.value, hit.name
            if hit.whole:
                form = "part" if hit.name == "part" else hit.name
                # separators at the value's ends are not in the view: look for the exact value around the run
                lead = len(known.value) - len(known.value.lstrip(" \t\r\n\v\f\0'\"`,+\\[](){}:%"))
                if text.startswith(known.value, max(0, start - lead)) and start >= lead:
                    start, end, form = start - lead, start - lead + len(known.value), ""
            yield Place(start, end, kind, known.name, hit.secret, form)

    def unfinished(self, text: str) -> int:
        """From where the end of `text` may begin a known secret; len(text) when it cannot."""
        return self._chars(text, self._index.unfinished)

    def _chars(self, text: str, look: Callable[[bytes], int]) -> int:
        """What `look` says of the end of the text in bytes, in characters: rather too few."""
        data = utf8(text)
        at = look(data)
        if len(data) == len(text) or at == len(data):
            return at if len(data) == len(text) else len(text)
        return max(0, len(text) - len(data[at:].decode("utf-8", "surrogateescape")))

    def presentable(self, text: str, word: int) -> int:
        """Up to where `text` may be shown although its last word (from `word` on) may go on: no more than
        SHOWN_CHARS_MAX characters of what could become a secret.
        """
        upto = self._chars(text, self._index.beginning)
        shape = growing(text, word)
        return upto if len(text) - shape <= SHOWN_CHARS_MAX else min(upto, shape)

    def replace(self, text: str, places: list[Place], start: int, end: int) -> str:
        """text[start:end] with handles for the places that end inside it; of a place that begins before
        `start` the rest becomes the handle of a part.
        """
        pieces: list[str] = []
        at = start
        for whole in places:
            if start < whole.end <= end:
                place = (
                    whole if whole.start >= start else replace(whole, start=start, form=whole.form or "part")
                )
                pieces += (text[at : place.start], self._handle_text(place, text[place.start : place.end]))
                at = place.end
                self._counts[place.kind] += 1
        return "".join([*pieces, text[at:end]]) if pieces else text[start:end]

    def _handle_text(self, place: Place, value: str) -> str:
        if place.known is not None:
            tail = f"~{place.form}" if place.form else ""
            return f"‹secret:{place.name}#{self._known[place.known].n}{tail}›"
        number = self._numbers.get(value)
        if place.form or (number is None and self._sightings >= SIGHTINGS_MAX):
            digest = hmac.new(self._key, utf8(value), hashlib.sha256).hexdigest()
            self._handles[place.name, digest[:6]] = _FORGOTTEN
            return f"‹secret:{place.name}#{digest[:6]}~part›"
        self._sightings += number is None
        number = self._number(value, place.name, Origin(OriginKind.PATTERN))
        return f"‹secret:{place.name}#{self._known[number].n}›"

    # --- giving back -----------------------------------------------------------------------------

    def expand(self, text: str, allow: Callable[[Handle], bool]) -> str:
        """`text` with values in place of handles, for the provider that needs them.

        allow: is asked for every place where the secret was learnt; one yes suffices, since the value
        stands there.
        Raises SecretRefused for a handle that is unknown, not allowed, or of a part or an encoding of a
        secret.
        """

        def value(match: re.Match[str]) -> str:
            number = self._handles.get((match[1], match[2]))
            if number is None or number == _FORGOTTEN:
                raise SecretRefused(
                    f"no secret has the handle {match[0]}",
                    why="it was not learnt in this session, or somebody made the handle up",
                    fix="read the place again where the secret stands",
                )
            if match[3]:
                raise SecretRefused(
                    f"the handle {match[0]} cannot be turned back",
                    why="it stands for a part or an encoding of the secret",
                    fix="change the lines around it without rewriting that place",
                )
            known = self._known[number]
            if not any(allow(Handle(match[1], match[2], origin)) for origin in known.origins):
                origins = ", ".join(map(str, known.origins))
                raise SecretRefused(
                    f"the secret {match[0]} may not go there",
                    why=f"it was learnt from {origins}, and no rule lets it go into this action",
                    fix="let the operator grant the handle, or do it without the secret",
                )
            return known.value

        return _HANDLE.sub(value, text)


def _clean(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.\-]+", "-", name)[:NAME_CHARS_MAX].strip("-") or "secret"


def _char_ends(text: str) -> list[int]:
    """For each character of `text` the position just after it in `utf8(text)`."""
    errors = "surrogateescape"
    try:
        text.encode("utf-8", errors)
    except UnicodeEncodeError:
        errors = "surrogatepass"
    return list(accumulate(len(c.encode("utf-8", errors)) for c in text))
