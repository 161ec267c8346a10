"""Is every forbidden change refused, and its honest twin allowed?"""

# ruff: noqa: E501  # one case per line: a wrapped table of cases is harder to read

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.repair.denials import PatchPolicy, judge_patch

Files = dict[str, str]
SOURCE = "import os\n\ndef total(items):\n    size = len(items)\n    return size\n"
TEST = "from app import total\n\ndef test_total():\n    assert total([1]) == 1\n"
PYTEST = "[pytest]\naddopts = --strict-markers\ntestpaths = tests\n"
TOML = '[project]\nname = "x"\ndependencies = ["jinja2==3.1.3", "flask>=2.2"]\n[tool.coverage.report]\nfail_under = 90\n'
BASE: Files = {
    "app.py": SOURCE,
    "tests/test_app.py": TEST,
    "tests/data/a.txt": "1\n",
    "tests/unit/conftest.py": "",
    "pytest.ini": PYTEST,
    "requirements.txt": "jinja2==3.1.3\nflask>=2.2\nsix\n",
    "pyproject.toml": TOML,
}


def changed(**edits: str | None) -> Files:
    after = dict(BASE)
    for key, text in edits.items():
        path = {
            "app": "app.py",
            "ini": "pytest.ini",
            "req": "requirements.txt",
            "toml": "pyproject.toml",
        }.get(key, key)
        if text is None:
            del after[path]
        else:
            after[path] = text
    return after


def body(text: str) -> Files:
    return changed(app=SOURCE.replace("    return size\n", text))


def ini(text: str) -> Files:
    return changed(ini=PYTEST.replace("--strict-markers", text))


REFUSED: dict[str, tuple[str, Files]] = {
    "a test is edited": ("test.edited", BASE | {"tests/test_app.py": TEST.replace("== 1", "== 2")}),
    "a test is deleted": ("test.deleted", changed(**{"tests/test_app.py": None})),
    "test data is edited": ("test.edited", BASE | {"tests/data/a.txt": "2\n"}),
    "a nested conftest is edited": ("test.steered", BASE | {"tests/unit/conftest.py": "collect_ignore = ['x']\n"}),
    "a new conftest": ("test.steered", BASE | {"conftest.py": "collect_ignore = ['tests']\n"}),
    "a new sitecustomize": ("test.steered", BASE | {"sitecustomize.py": "x = 1\n"}),
    "a module that shadows pytest": ("test.steered", BASE | {"pytest/__init__.py": "def main(): return 0\n"}),
    "a test is renamed": ("test.deleted", {**changed(**{"tests/test_app.py": None}), "tests/old_app.py": TEST}),
    "addopts deselect": ("config.loosened", ini("--strict-markers --deselect tests/test_app.py::test_total")),
    "addopts -k": ("config.loosened", ini("--strict-markers -k 'not total'")),
    "addopts ignore": ("config.loosened", ini("--strict-markers --ignore=tests/unit")),
    "strictness removed": ("config.loosened", ini("-q")),
    "testpaths elsewhere": ("config.loosened", changed(ini=PYTEST.replace("= tests", "= tests/unit"))),
    "python_files": ("config.loosened", changed(ini=PYTEST + "python_files = check_*.py\n")),
    "coverage floor": ("config.loosened", changed(toml=TOML.replace("90", "89"))),
    "coverage omit": ("config.loosened", changed(toml=TOML + 'omit = ["app.py"]\n')),
    "linter ignore": ("config.loosened", changed(toml=TOML + '[tool.ruff.lint]\nignore = ["S608"]\n')),
    "unreadable configuration": ("config.unreadable", changed(toml=TOML + "[[[")),
    "except Exception": ("except.catch-all", body("    try:\n        return size\n    except Exception:\n        return 0\n")),
    "bare except": ("except.catch-all", body("    try:\n        return size\n    except:\n        return 0\n")),
    "a tuple with Exception": (
        "except.catch-all", body("    try:\n        return size\n    except (ValueError, Exception):\n        return 0\n")),
    "suppress(Exception)": (
        "except.catch-all", changed(app="from contextlib import suppress\n" + SOURCE.replace(
            "    return size\n", "    with suppress(Exception):\n        return size\n"))),
    "sys.exit": ("exit.inserted", changed(app="import sys\n" + SOURCE.replace("    return size", "    sys.exit(0)"))),
    "os._exit": ("exit.inserted", body("    os._exit(0)\n")),
    "raise SystemExit": ("exit.inserted", body("    raise SystemExit(0)\n")),
    "atexit": ("exit.inserted", changed(app="import atexit\n" + SOURCE + "atexit.register(total, [])\n")),
    "pytest in sys.modules": ("test.special-cased", body("    import sys\n    if 'pytest' in sys.modules:\n        return 1\n    return size\n")),
    "PYTEST_CURRENT_TEST": ("test.special-cased", body("    if os.environ.get('PYTEST_CURRENT_TEST'):\n        return 1\n    return size\n")),
    "sys.argv": ("test.special-cased", changed(app="from sys import argv\n" + SOURCE.replace("return size", "return size if argv else 1"))),
    "sys.argv by attribute": ("test.special-cased", changed(app="import sys\n" + SOURCE.replace("return size", "return sys.argv and 1"))),
    "the caller is looked at": ("test.special-cased", changed(app="import inspect\n" + SOURCE.replace("return size", "return inspect.stack()"))),
    "noqa": ("check.suppressed", body("    return size  # noqa: E501\n")),
    "veilig ignore": ("check.suppressed", body("    return size  # veilig: ignore[CWE-89] reason=x\n")),
    "nosec": ("check.suppressed", body("    return size  # nosec\n")),
    "a function is deleted": ("feature.deleted", changed(app="import os\n\nx = 1\n")),
    "a function is emptied": ("feature.deleted", changed(app="import os\n\ndef total(items):\n    return 1\n")),
    "a module is deleted": ("feature.deleted", changed(app=None)),
    "always equal": ("equality.always", changed(app=SOURCE + "\nclass A:\n    def __eq__(self, other):\n        return True\n")),
    "syntax is broken": ("syntax.broken", changed(app="def total(:\n")),
    "a downgrade": ("pin.loosened", changed(req="jinja2==3.1.2\nflask>=2.2\nsix\n")),
    "a pin becomes open": ("pin.loosened", changed(req="jinja2\nflask>=2.2\nsix\n")),
    "a pin is removed": ("pin.loosened", changed(req="flask>=2.2\nsix\n")),
    "a lower bound falls": ("pin.loosened", changed(req="jinja2==3.1.3\nflask>=2.1\nsix\n")),
    "a lower bound goes": ("pin.loosened", changed(req="jinja2==3.1.3\nflask\nsix\n")),
    "a pin in pyproject falls": ("pin.loosened", changed(toml=TOML.replace("3.1.3", "3.0"))),
    "a git hook": ("protected", BASE | {".git/hooks/pre-commit": "x\n"}),
    "veilig.yaml": ("protected", BASE | {"veilig.yaml": "mode: full\n"}),
    "a workflow": ("protected", BASE | {".github/workflows/ci.yml": "x\n"}),
    "outside by dots": ("outside", BASE | {"../x.py": "x = 1\n"}),
    "outside by root": ("outside", BASE | {"/etc/x": "x\n"}),
}  # fmt: skip

ALLOWED: dict[str, Files] = {
    "a plain fix": body("    return size + 0\n"),
    "nothing": BASE,
    "a new test": BASE | {"tests/test_new.py": "def test_x():\n    assert True\n"},
    "latest.py is no test": BASE | {"latest.py": "x = 1\n"},
    "a new marker": changed(ini=PYTEST + "markers =\n    slow: takes long\n"),
    "a longer traceback": ini("--strict-markers -ra"),
    "testpaths that see more": changed(ini=PYTEST.replace("= tests", "= .")),
    "the coverage floor rises": changed(toml=TOML.replace("90", "91")),
    "except one kind": body("    try:\n        return size\n    except ValueError:\n        return 0\n"),
    "except Exception that raises": body(
        "    try:\n        return size\n    except Exception as e:\n        raise ValueError from e\n"
    ),
    "a private function goes": {**BASE, "app.py": SOURCE},
    "a comment": body("    return size  # the number of items\n"),
    "a new function": changed(app=SOURCE + "\ndef more():\n    return 1\n"),
    "the word tests in a docstring": changed(app='"""Used by pytest."""\n' + SOURCE),
    "an upgrade": changed(req="jinja2==3.1.4\nflask>=2.2\nsix\n"),
    "an open one gets a pin": changed(req="jinja2==3.1.3\nflask>=2.2\nsix==1.0\n"),
    "a lower bound rises": changed(req="jinja2==3.1.3\nflask>=2.3\nsix\n"),
    "a pin becomes a floor at the same version": changed(req="jinja2>=3.1.3\nflask>=2.2\nsix\n"),
    "a new requirement": changed(req=BASE["requirements.txt"] + "attrs==1\n"),
    "a definition moves and is imported back": changed(app="import os\nfrom core import total\n")
    | {"core.py": SOURCE},
    "a body becomes shorter": changed(app="import os\n\ndef total(items):\n    return len(items)\n"),
}


@pytest.mark.parametrize(("rule", "after"), REFUSED.values(), ids=list(REFUSED))
def test_a_forbidden_change_is_refused(rule: str, after: Files) -> None:
    denials = judge_patch(BASE, after)
    assert rule in {denial.rule for denial in denials}, denials
    assert all(denial.why for denial in denials)


@pytest.mark.parametrize("after", ALLOWED.values(), ids=list(ALLOWED))
def test_its_honest_twin_is_allowed(after: Files) -> None:
    assert judge_patch(BASE, after) == []


def test_what_was_there_before_is_no_reason_to_refuse() -> None:
    old = "import sys\ntry:\n    x = 1\nexcept Exception:  # noqa: BLE001\n    sys.exit(1)\n"
    assert judge_patch({"a.py": old}, {"a.py": old.replace("x = 1", "x = 2")}) == []
    twice = old + old
    assert {d.rule for d in judge_patch({"a.py": old}, {"a.py": twice})} == {
        "except.catch-all", "exit.inserted", "check.suppressed"}  # fmt: skip


def test_a_route_that_goes_is_a_lost_feature() -> None:
    old = "@app.route('/a')\ndef a():\n    return work()\n"
    assert [d.rule for d in judge_patch({"a.py": old}, {"a.py": old.replace("/a'", "/b'")})] == [
        "feature.deleted"
    ]


def test_a_private_function_may_go_unless_tests_name_it() -> None:
    old = "def _a():\n    return work()\n\ndef b():\n    return 1\n"
    new = "def b():\n    return 1\n"
    assert judge_patch({"a.py": old}, {"a.py": new}) == []
    tests = {"test_a.py": "from a import _a\n"}
    assert [d.rule for d in judge_patch({"a.py": old} | tests, {"a.py": new} | tests)] == ["feature.deleted"]


def test_a_person_may_agree_to_lose_a_function_and_to_change_tests() -> None:
    policy = PatchPolicy(may_remove=frozenset({"app.py:total"}))
    assert judge_patch(BASE, changed(app="import os\n"), policy=policy) == []
    edited = BASE | {"tests/test_app.py": "x = 1\n"}
    assert judge_patch(BASE, edited, policy=PatchPolicy(may_edit_tests=True)) == []


def test_an_upgrade_to_a_vulnerable_version_is_refused() -> None:
    after = changed(req=BASE["requirements.txt"].replace("3.1.3", "3.1.4"))
    policy = PatchPolicy(vulnerable=lambda name, version: (name, version) == ("jinja2", "3.1.4"))
    assert [d.rule for d in judge_patch(BASE, after, policy=policy)] == ["pin.loosened"]


def test_a_broken_file_may_be_repaired_but_not_gutted() -> None:
    broken = "def total(items)\n    return 1\n\ndef more():\n    return 2\n"
    assert judge_patch({"a.py": broken}, {"a.py": broken.replace("items)", "items):")}) == []
    assert [d.rule for d in judge_patch({"a.py": broken}, {"a.py": "def more():\n    return 2\n"})] == [
        "feature.deleted"
    ]


@given(
    st.dictionaries(
        st.sampled_from(["a.py", "pytest.ini", "requirements.txt", "pyproject.toml", "t.md"]), st.text()
    )
)
def test_any_texts_get_an_answer_and_no_change_gets_no_denial(files: Files) -> None:
    assert judge_patch(files, files) == []
    judge_patch(files, {})
    judge_patch({}, files)
