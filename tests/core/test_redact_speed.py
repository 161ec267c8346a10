"""The shortcuts that make redaction fast: do they leave anything out?"""

from re import _parser as parser  # type: ignore[attr-defined]  # the only one that knows widths

import pytest

from veilig.core.redact import find
from veilig.core.redact_patterns import PATTERNS, WORD_CHARS_MIN, Pattern


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
