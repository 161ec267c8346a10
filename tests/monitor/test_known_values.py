"""Does a table find exactly what a search for every value at every place would find?"""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from veilig.monitor.indicators import Indicator, IndicatorSet, Sort, Tlp, fold
from veilig.monitor.known_values import Form, KnownValues, form_of

KEY = bytes(16)
NOW = 1e9
MD5, SHA1, SHA256 = "a1" * 16, "0b" * 20, "c" * 64
VALUES = [
    (Sort.DOMAIN, "bad.test"),
    (Sort.DOMAIN, "a.bad.test"),
    (Sort.DOMAIN, "x_y-z.co"),
    (Sort.DOMAIN, "nodots"),
    (Sort.DOMAIN, "bad.test"),  # the same name in two feeds
    (Sort.IP, "203.0.113.9"),
    (Sort.IP, "2001:db8::9"),
    (Sort.URL, "http://x.test/a"),
    (Sort.URL, "http://x.test/a?b=(c"),
    (Sort.URL, "x.test/no-scheme"),
    (Sort.HASH, MD5),
    (Sort.HASH, SHA1),
    (Sort.HASH, SHA256),
    (Sort.MAIL, "eve@bad.test"),
    (Sort.PACKAGE, "evil-package"),
    (Sort.DOMAIN, "bäd.test"),
]
EDGE = {
    Sort.DOMAIN: r"[\w-]", Sort.IP: r"[\w.:]", Sort.URL: r"\w", Sort.HASH: r"\w", Sort.MAIL: r"[\w.+-]",
    Sort.PACKAGE: r"[\w-]",
}  # fmt: skip
PIECES = (
    [v for _, v in VALUES]
    + list(" ./:-_@\n\"'aZ9é0f")
    + ["test", ".test", "http://", "bad", "[.]", "ab12" * 4]
)


def everything() -> IndicatorSet:
    return IndicatorSet(
        Indicator(f"i{n}", sort, value, 0, 9e9, 50, Tlp.CLEAR, "f") for n, (sort, value) in enumerate(VALUES)
    )


def slowly(text: str) -> set[str]:
    """What stands alone, place by place, as the rules of edges say."""
    found: set[str] = set()
    for number, (sort, value) in enumerate(VALUES):
        for match in re.finditer(f"(?={re.escape(value)})", text):
            start, end = match.start(), match.start() + len(value)
            before, after, then = (
                text[start - 1 : start],
                text[end : end + 1],
                text[end + 1 : end + 2].isalnum(),
            )
            if before and re.match(EDGE[sort], before):
                continue
            if sort is Sort.IP and after == ":":
                fits = "." in value or not then
            elif after == "." and sort in (Sort.IP, Sort.DOMAIN):
                fits = not then
            else:
                fits = not after or not re.match(EDGE[sort], after)
            if fits:
                found.add(f"i{number}")
    return found


SET = everything()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_a_table_finds_exactly_what_a_slow_search_finds(text: str) -> None:
    assert {hit.id for hit in SET.find(text, NOW)} == slowly(fold(text))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 60), st.sampled_from([MD5, SHA1, SHA256]))
def test_a_sum_is_found_wherever_it_begins(before: int, value: str) -> None:
    assert [hit.value for hit in SET.find("-" * before + value + "\n", NOW)] == [value]
    assert SET.find("-" * before + value + "0", NOW) == []


def test_values_of_an_unusual_form_are_found_too_and_the_usual_cost_no_automaton() -> None:
    assert [form_of(v) for v in ("bad.test", "10.1.2.3", MD5, "https://a.test/b", "nodots", "a" * 64)] == [
        Form.NAME, Form.ADDRESS, Form.HASH, Form.LINK, None, Form.HASH,
    ]  # fmt: skip
    odd = KnownValues([(7, "nodots"), (9, "bad.test")], KEY)
    assert sorted(odd.spots("nodots bad.test")) == [(7, 0, 6), (9, 7, 15)]
    assert list(KnownValues([], KEY).spots("bad.test")) == []
