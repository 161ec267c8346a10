"""Are the requirements of every kind of dependency file read, with their places, and is nothing lost?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.audit.dependencies import Dependencies, read_dependencies


def pins(found: Dependencies) -> list[tuple[str, str | None, int]]:
    return [(item.name, item.version, item.line) for item in found.requirements]


def reasons(found: Dependencies) -> dict[str, str]:
    return {item.name: item.reason for item in found.not_assessed}


REQUIREMENTS = """\
# web
Flask==2.0.1
jinja2 == 3.1.2 ; python_version >= "3.8"  # templates
requests[socks]>=2.0,<3
urllib3==1.26.4 \\
    --hash=sha256:aaaa \\
    --hash=sha256:bbbb
typing_extensions
-e ./local
git+https://example.org/x.git
pkg @ https://example.org/pkg.whl
--index-url https://example.org/simple
-r base.txt
-r gone.txt
Zope.Interface===5.0
django==3.*
not a requirement
"""


def test_a_requirements_file_gives_pins_with_lines_and_names_the_rest() -> None:
    found = read_dependencies({"requirements.txt": REQUIREMENTS, "base.txt": "six==1.0\n"})
    assert pins(found) == [
        ("flask", "2.0.1", 2),
        ("jinja2", "3.1.2", 3),
        ("requests", None, 4),
        ("urllib3", "1.26.4", 5),
        ("typing-extensions", None, 8),
        ("six", "1.0", 1),
        ("zope-interface", "5.0", 15),
        ("django", None, 16),
    ]
    assert set(reasons(found)) >= {"requests", "typing-extensions", "./local", "gone.txt", "pkg", "django"}
    assert "not a requirement" in reasons(found)


def test_the_span_of_a_pin_covers_exactly_its_version() -> None:
    for item in read_dependencies({"requirements.txt": REQUIREMENTS}).pinned:
        assert REQUIREMENTS[item.start : item.end] == item.version
        assert REQUIREMENTS.splitlines()[item.line - 1][item.column : item.end_column] == item.version


def test_hashes_are_noticed() -> None:
    found = read_dependencies({"requirements.txt": REQUIREMENTS})
    assert [item.name for item in found.requirements if item.hashed] == ["urllib3"]


def test_a_byte_order_mark_and_carriage_returns_keep_the_spans_true() -> None:
    text = "\ufeffflask==1.0\r\njinja2==2.0\r\n"
    found = read_dependencies({"requirements.txt": text})
    assert [text[item.start : item.end] for item in found.pinned] == ["1.0", "2.0"]


PYPROJECT = """\
[build-system]
requires = ["hatchling==1.27.0"]
[project]
name = "x"
dependencies = ["jinja2==3.1.2", 'requests>=2,<3 ; python_version > "3.8"', "x @ https://e.org/x.whl"]
[project.optional-dependencies]
db = ["psycopg[binary]==3.1.0"]
[dependency-groups]
dev = ["pytest==7.0", {include-group = "x"}]
[tool.poetry.dependencies]
python = "^3.11"
flask = "2.0.1"
django = { version = "^4.2", extras = ["argon2"] }
local = { path = "../local" }
"""


def test_a_pyproject_is_read_in_all_its_tables() -> None:
    found = read_dependencies({"pyproject.toml": PYPROJECT})
    assert sorted(pins(found)) == sorted(
        [
            ("hatchling", "1.27.0", 2),
            ("jinja2", "3.1.2", 5),
            ("requests", None, 5),
            ("psycopg", "3.1.0", 7),
            ("pytest", "7.0", 9),
            ("flask", "2.0.1", 12),
            ("django", None, 13),
        ]
    )
    assert {"requests", "x", "django", "local"} <= set(reasons(found))
    for item in found.pinned:
        assert PYPROJECT[item.start : item.end] == item.version


LOCKS = {
    "uv.lock": '[[package]]\nname = "a"\nversion = "1.0"\nsource = { registry = "https://e" }\n'
    '[[package]]\nname = "me"\nversion = "0"\nsource = { editable = "." }\n',
    "poetry.lock": '[[package]]\nname = "A"\nversion = "1.0"\n',
    "pdm.lock": '[[package]]\nname = "a"\nversion = "1.0"\n',
    "pylock.toml": 'lock-version = "1.0"\n[[packages]]\nname = "a"\nversion = "1.0"\n',
    "pylock.dev.toml": '[[packages]]\nname = "a"\nversion = "1.0"\n',
    "Pipfile.lock": '{"default": {"a": {"version": "==1.0"}, "b": {"git": "x"}}, "develop": {}}',
}


@pytest.mark.parametrize("name", LOCKS)
def test_every_lock_file_gives_its_pins(name: str) -> None:
    found = read_dependencies({name: LOCKS[name]})
    assert [(item.name, item.version, item.locked) for item in found.requirements] == [("a", "1.0", True)]
    expected = {"uv.lock": {"me"}, "Pipfile.lock": {"b"}}.get(name, set[str]())
    assert set(reasons(found)) == expected


@pytest.mark.parametrize("name", [*LOCKS, "pyproject.toml"])
def test_an_unreadable_file_is_named_and_not_dropped(name: str) -> None:
    found = read_dependencies({name: "[[[ broken"})
    assert found.requirements == ()
    assert [item.path for item in found.not_assessed] == [name]


def test_a_version_without_an_order_is_kept_and_named() -> None:
    found = read_dependencies({"requirements.txt": "x==2004-beta-odd\n"})
    assert pins(found) == [("x", "2004-beta-odd", 1)]
    assert "PEP 440" in reasons(found)["x"]


@given(st.text())
def test_no_text_of_any_kind_raises(text: str) -> None:
    for name in [*LOCKS, "requirements.txt", "pyproject.toml"]:
        read_dependencies({name: text})
