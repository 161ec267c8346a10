"""Does a lock file that is made to hurt cost only itself?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.audit.advisories_versions import Affected, Event, parsed_version
from veilig.audit.dependencies import read_dependencies
from veilig.audit.dependencies_edges import chains

DEEP = {
    "Pipfile.lock": '{"default":' * 50_000,
    "package-lock.json": '{"packages":' * 50_000,
    "uv.lock": "a = " + "[" * 50_000,
    "poetry.lock": "a = " + "{a=" * 50_000,
    "pylock.toml": "a = " + "[" * 50_000,
    "pyproject.toml": "a = " + "[" * 50_000,
    "Pipfile": "a = " + "[" * 50_000,
    "bom.cdx.json": "[" * 50_000,
}


@pytest.mark.parametrize("name", DEEP)
def test_a_lock_file_that_is_nested_too_deeply_is_not_assessed_and_the_rest_is(name: str):
    files = {name: DEEP[name], "requirements.txt": "flask==3.0.0\n"}
    found = read_dependencies(files)
    assert [r.name for r in found.pinned] == ["flask"]
    assert [n.path for n in found.not_assessed] == [name]
    chains(files)


def test_a_yarn_lock_without_a_version_does_not_try_every_way_to_read_it():
    entry = '"a@^1":\n' + '    resolved "x"\n' * 2_000
    found = read_dependencies({"yarn.lock": entry, "requirements.txt": "a" + "==1 " + " " * 5_000 + "x\n"})
    assert [r.name for r in found.pinned] == ["a"]


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=4),
    st.lists(
        st.sampled_from(["1", "1.0", "1.0.0", "v1.0", "01.0", "2", "2.0", "1.0rc1", "0!1.0", "1.2.3"]),
        max_size=5,
    ),
)
def test_a_version_is_listed_however_it_is_spelled(release: list[int], listed: list[str]):
    version = ".".join(map(str, release))
    expected = any(parsed_version(version) == parsed_version(item) for item in listed)
    assert Affected((), frozenset(listed)).covers(version) is expected


@given(st.permutations(["0", "1.0", "1.5", "2.0"]))
def test_the_order_of_events_in_a_range_does_not_matter(order: list[str]):
    kinds = {"0": "introduced", "1.0": "fixed", "1.5": "introduced", "2.0": "fixed"}
    affected = Affected((tuple(Event(kinds[v], v) for v in order),), frozenset())
    assert [v for v in ("0.9", "1.0", "1.4", "1.5", "1.9", "2.0") if affected.covers(v)] == [
        "0.9",
        "1.5",
        "1.9",
    ]
