"""Does a pattern mean exactly what its author wrote?"""

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.core.policy_match import (
    NamePattern,
    PathGlob,
    argv_matches,
    fold_path,
    protected,
    wrong_argument,
    wrong_host,
    wrong_path_glob,
)

few = st.text(alphabet="ab-*", max_size=7)


@given(few, st.text(alphabet="ab-", max_size=7))
def test_a_name_pattern_is_an_anchored_fnmatch_with_only_the_star(pattern: str, name: str):
    assert NamePattern(pattern).matches(name) == fnmatchcase(name, pattern)


def test_many_stars_do_not_make_matching_slow():
    """A regular expression needs longer than the age of the universe for these."""
    assert not NamePattern("*a" * 12 + "b").matches("a" * 500)
    assert not PathGlob("**/a/" * 12 + "b").matches("a/" * 500 + "c")


def slow_glob(pattern: list[str], levels: list[str]) -> bool:
    """The definition, level by level: `**` is any number of levels, at the end at least one."""
    if not pattern:
        return not levels
    if pattern == ["**"]:
        return bool(levels)
    if pattern[0] == "**":
        return any(slow_glob(pattern[1:], levels[i:]) for i in range(len(levels) + 1))
    return bool(levels) and fnmatchcase(levels[0], pattern[0]) and slow_glob(pattern[1:], levels[1:])


globs = st.lists(st.sampled_from(["a", "b", "*", "a*", "**"]), min_size=1, max_size=5)


@given(globs, st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=6))
def test_a_glob_matches_what_its_definition_says_and_refuses_what_is_inside(
    pattern: list[str], levels: list[str]
):
    glob = PathGlob("/".join(pattern))
    assert glob.matches("/".join(levels)) == slow_glob(pattern, levels)
    inside = any(slow_glob(pattern, levels[:n]) for n in range(1, len(levels) + 1))
    assert glob.matches_any_spelling("/".join(levels)) == inside


@pytest.mark.parametrize(
    ("glob", "path", "fits"),
    [
        ("**", "a", True),
        ("**", "a/b/c", True),
        ("src/**", "src/a/b", True),
        ("src/**", "src", False),
        ("src/**", "srcs/a", False),
        ("**/*.pem", "a.pem", True),
        ("**/*.pem", "a/b/c.pem", True),
        ("*.pem", "a/b.pem", False),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("a/*/z", "a/b/c/z", False),
        ("a.b", "aXb", False),
        ("a*", "a\nb", True),
    ],
)
def test_globs_know_levels(glob: str, path: str, fits: bool):
    assert PathGlob(glob).matches(path) is fits


def test_a_refused_folder_covers_what_is_in_it_in_any_spelling():
    glob = PathGlob("Secret")
    for path in (
        "secret",
        "SECRET/a",
        "secret/a/b",
        "secret./a",
        "./secret",
        "se\u200bcret/a",
        "\uff33ecret",
    ):
        assert glob.matches_any_spelling(fold_path(path)), path
    for path in ("secrets", "a/secret", "secre"):
        assert not glob.matches_any_spelling(fold_path(path)), path


@given(st.text(max_size=20))
def test_folding_is_stable_and_never_fails(path: str):
    assert fold_path(fold_path(path)) == fold_path(path)


@given(st.sampled_from([".git", ".veilig", "veilig.yaml"]), st.lists(st.booleans(), min_size=11, max_size=11))
def test_what_is_protected_is_so_in_any_case_at_any_depth(name: str, upper: list[bool]):
    spelt = "".join(c.upper() if u else c for c, u in zip(name, upper, strict=False))
    for path in (spelt, f"{spelt}/x", f"a/b/{spelt}", f"a/{spelt}/x/y", f"a\\{spelt}\\x"):
        assert protected(path)
    assert not protected(f"x{name}")
    assert not protected(f"{name}x")


words = st.lists(st.sampled_from(["a", "b", "*"]), max_size=4)


@given(words, st.booleans(), st.lists(st.sampled_from(["a", "b", "c"]), max_size=6))
def test_argv_matches_word_by_word(pattern: list[str], rest: bool, argv: list[str]):
    fits = len(argv) >= len(pattern) if rest else len(argv) == len(pattern)
    expected = fits and all(p in ("*", a) for p, a in zip(pattern, argv, strict=False))
    assert argv_matches([*pattern, "**"] if rest else pattern, argv) == expected


@pytest.mark.parametrize(
    "glob", ["", "/a", "a//b", "../a", "a/./b", "a**", "a/b**", "a?", "[ab]", "{a,b}", "a\\b"]
)
def test_a_glob_that_means_nothing_here_is_refused(glob: str):
    assert wrong_path_glob(glob) is not None


@pytest.mark.parametrize(
    "host", ["", "a b", "http://a", "*a.org", "a.*.org", "A.org", "a:0", "a:123456", "[::1]"]
)
def test_a_host_that_means_nothing_here_is_refused(host: str):
    assert wrong_host(host) is not None


@pytest.mark.parametrize(
    ("word", "wrong"), [("*", False), ("**", False), ("a*", True), ("***", True), ("a\0", True)]
)
def test_a_star_stands_for_whole_arguments(word: str, wrong: bool):
    assert (wrong_argument(word) is not None) is wrong
