"""Are the files of other tools read with their places, and is what cannot be assessed said?"""

import json
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.audit.dependencies import Requirement, is_dependency_file, read_dependencies
from veilig.audit.dependencies_edges import Reach, chains, imported_names, package_of_import, reach

FILES = {
    "Pipfile": '[packages]\nFlask = "==2.0.1"\nrequests = "*"\nlocal = {path = "."}\n[dev-packages]\n',
    "environment.yml": "dependencies:\n  - python=3.12\n  - numpy=1.26\n"
    "  - pip:\n    - jinja2==3.1.2\n    - x>1\n",
    "bom.json": json.dumps(
        {
            "bomFormat": "CycloneDX",
            "components": [
                {"name": "a", "purl": "pkg:pypi/Zope.Interface@5.0", "components": [{"name": "deep"}]},
                {"name": "left", "purl": "pkg:npm/left@1.0"},
            ],
        }
    ),
    "x.spdx.json": json.dumps(
        {
            "spdxVersion": "SPDX-2.3",
            "packages": [
                {
                    "name": "six",
                    "externalRefs": [{"referenceType": "purl", "referenceLocator": "pkg:pypi/six@1.0"}],
                }
            ],
        }
    ),
    "env/six-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: Six\nVersion: 1.16.0\n\nVersion: no\n",
    "package-lock.json": json.dumps(
        {"packages": {"": {"version": "1"}, "node_modules/@a/b": {"version": "2.0.0"}}}
    ),
    "yarn.lock": '# yarn lockfile v1\n\n"@a/b@^1.0", "@a/b@^1.1":\n  version "1.2.3"\n  resolved "x"\n',
    "pnpm-lock.yaml": "packages:\n  '@a/b@1.0.0(react@18.0.0)':\n    resolution: {}\n  /old@2.0.0: {}\n",
}  # fmt: skip
PINS = {
    "Pipfile": [("flask", "2.0.1", 2), ("requests", None, 3)],
    "environment.yml": [("jinja2", "3.1.2", 5), ("x", None, 6)],
    "bom.json": [("zope-interface", "5.0", 1)],
    "x.spdx.json": [("six", "1.0", 1)],
    "env/six-1.0.dist-info/METADATA": [("six", "1.16.0", 3)],
}
LEFT_OUT = {
    "Pipfile": ["requests", "local"],
    "environment.yml": ["numpy", "x"],
    "bom.json": ["deep", "left"],
    "package-lock.json": ["@a/b@2.0.0"],
    "yarn.lock": ["@a/b@1.2.3"],
    "pnpm-lock.yaml": ["@a/b@1.0.0", "old@2.0.0"],
}


@pytest.mark.parametrize("path", FILES)
def test_every_kind_gives_its_pins_and_names_the_rest(path: str) -> None:
    assert is_dependency_file(path)
    found = read_dependencies({path: FILES[path]})
    assert [(r.name, r.version, r.line) for r in found.requirements] == PINS.get(path, [])
    assert [n.name for n in found.not_assessed] == LEFT_OUT.get(path, [])


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("text", ["\x00{[", "[]", "{}: {", "[" * 5000])
def test_broken_files_are_not_assessed_and_never_raise(path: str, text: str) -> None:
    found = read_dependencies({path: text})
    assert found.requirements == ()
    assert found.not_assessed or path == "package-lock.json"


def test_a_lock_of_a_billion_laughs_ends_at_once() -> None:
    rows = ['a: &a ["x", "x"]'] + [
        f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]" for i in range(20)
    ]
    text = "\n".join([*rows, "packages: *u", "dependencies: *u"])
    started = process_time()
    read_dependencies({"pnpm-lock.yaml": text, "environment.yml": text})
    assert process_time() - started < 20, "it was unfolded"


@given(st.text(max_size=120))
def test_no_text_raises(text: str) -> None:
    read_dependencies(dict.fromkeys(FILES, text))


UV = """\
[[package]]
name = "shop"
version = "0.1"
source = { editable = "." }
dependencies = [{ name = "flask" }]
[[package]]
name = "flask"
version = "3.0.0"
dependencies = [{ name = "jinja2" }, { name = "werkzeug" }]
[[package]]
name = "jinja2"
version = "3.1.2"
dependencies = [{ name = "markupsafe" }]
[[package]]
name = "markupsafe"
version = "2.0"
[[package]]
name = "werkzeug"
version = "3.0"
"""
POETRY = """\
[[package]]
name = "Flask"
version = "3"
[package.dependencies]
Jinja2 = ">=3"
[[package]]
name = "jinja2"
version = "3"
"""


def test_a_lock_says_which_direct_dependency_brings_a_package_in() -> None:
    ways = chains({"uv.lock": UV, "a/poetry.lock": POETRY, "Pipfile.lock": "{}", "pdm.lock": "["})
    assert ways["uv.lock", "markupsafe"] == ("flask", "jinja2", "markupsafe")
    assert ways["uv.lock", "flask"] == ("flask",)
    assert ways["a/poetry.lock", "jinja2"] == ("flask", "jinja2")
    assert {path for path, _ in ways} == {"uv.lock", "a/poetry.lock"}


def test_a_cycle_of_packages_ends() -> None:
    text = '[[package]]\nname = "a"\nversion = "1"\ndependencies = [{ name = "b" }]\n'
    text += '[[package]]\nname = "b"\nversion = "1"\ndependencies = [{ name = "a" }]\n'
    assert set(chains({"uv.lock": text})) == {("uv.lock", "a"), ("uv.lock", "b")}


def test_reach_labels_what_the_code_imports() -> None:
    sources = [
        "import yaml, os.path as p\nfrom flask.views import View\n",
        "    from google.protobuf import x",
    ]
    imported = imported_names(sources)

    def label(name: str, *way: str) -> Reach:
        return reach(Requirement(name, "1", "==1", "uv.lock", 1), way, imported)

    assert label("pyyaml") is Reach.IMPORTED
    assert label("flask", "flask") is Reach.IMPORTED
    assert label("protobuf") is Reach.IMPORTED
    assert label("jinja2", "flask", "jinja2") is Reach.TRANSITIVE
    assert label("django", "django") is Reach.NOT_IMPORTED
    assert package_of_import("PIL.Image") == "pillow"
