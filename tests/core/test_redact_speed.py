"""The shortcuts that make redaction fast: do they leave anything out?"""

import random
import sys
from collections.abc import Iterator
from re import _parser as parser  # type: ignore[attr-defined]  # the only one that knows widths

import pytest

from veilig.core import redact_assignments, redact_patterns
from veilig.core.redact import Redactor, find
from veilig.core.redact_forms import forms
from veilig.core.redact_patterns import PATTERNS, WORD_CHARS_MIN, Pattern

KNOWN = ("Koala48" + "21!gRove-x", "90" + "71", "Zp2LmW9sK4" * 4, "ünïcode-Pass9")


@pytest.mark.parametrize("pattern", [p for p in PATTERNS if p.kind not in ("private-key", "url-password")],
                         ids=lambda p: p.anchors[0])  # fmt: skip
def test_a_shape_fits_into_no_word_that_the_search_for_long_words_leaves_out(pattern: Pattern) -> None:
    least, _ = parser.parse(pattern.expression.pattern).getwidth()
    assert least >= WORD_CHARS_MIN


def test_a_flag_keeps_its_value_and_a_handle_of_another_process_is_no_assignment() -> None:
    assert [s.key for s in find("deploy --app.token Zx81kQ0vLm2n now")] == ["app.token"]
    assert find("the token Zx81kQ0vLm2n") == []
    assert find("it is ‹secret:DB_PASSWORD#1a2b3c› there") == []
    assert [s.kind for s in find("‹secret:" + "ghp_" + "a1" * 18 + "#1a2b3c›")] == ["github-token"]


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As installed without `veilig[server]`."""
    monkeypatch.setitem(sys.modules, "ahocorasick_rs", None)
    redact_patterns.provider_spans.__globals__["_anchor_scan"].cache_clear()
    redact_assignments.assignment_spans.__globals__["_key_scan"].cache_clear()
    yield
    monkeypatch.undo()
    redact_patterns.provider_spans.__globals__["_anchor_scan"].cache_clear()
    redact_assignments.assignment_spans.__globals__["_key_scan"].cache_clear()


def texts(dice: random.Random) -> list[str]:
    """Texts with secrets known and unknown, whole and in parts, disguised, beside words and half pairs."""
    pieces = [
        *KNOWN, *(form.data.decode() for value in KNOWN for form in forms(0, value)),
        "DB_PASSWORD=Zx81kQ0vLm2n ", "ghp_" + "a1B2" * 9 + " ", "curl -u me:Zx81kQ0vLm2n ",
        "Authorization: Bearer Zx81kQ0vLm2nPq9w ", "\n", " ", "\ud800",
        "é", "key=", "https://u:Pw9Xk2@h/", "tokens: 5", "İ", "\x1b[31m",
    ]  # fmt: skip
    made: list[str] = []
    for _ in range(25):
        words = dice.choices(pieces, k=6)
        made.append("".join(w[dice.randrange(3) : len(w) - dice.randrange(3)] for w in words))
    return made


def everything(dice: random.Random) -> list[object]:
    redactor = Redactor(b"k" * 32)
    found: list[object] = []
    for number, value in enumerate(KNOWN):
        redactor.mark(value, f"S{number}")
        for text in texts(dice):
            stream = redactor.stream()
            raw = text.encode("utf-8", "surrogatepass")
            shown = b"".join(stream.feed(raw[i : i + 5]) for i in range(0, len(raw), 5)) + stream.flush()
            found += [redactor.find(text), find(text), shown]
    return found


def test_with_and_without_the_library_the_same_is_found(request: pytest.FixtureRequest) -> None:
    pytest.importorskip("ahocorasick_rs")
    fast = everything(random.Random(5))
    request.getfixturevalue("without_library")
    assert everything(random.Random(5)) == fast
