"""Do the recipes for slips, removed functions and deployment words make the edit their author would make?"""

# ruff: noqa: E501  # one case per line: a wrapped table of cases is harder to read

from pathlib import Path

import pytest

from veilig.repair.collecting import collect_text
from veilig.repair.recipes import catalog
from veilig.repair.recipes.outside import named_exports
from veilig.repair.recipes.proposal import Context, Failure, Frame, Proposal

TEST = "from app import f\n"


def repaired(source: str, exception: str, message: str, line: int) -> list[str]:
    """The texts of app.py after each proposal, best first."""
    files = {"app.py": source, "tests/test_app.py": TEST}
    frames = (Frame("tests/test_app.py", 1, "test"), *((Frame("app.py", line, "f"),) if line else ()))
    failure = Failure(exception, message, "app.py" if line else "tests/test_app.py", line or 1, frames)
    offered = catalog.propose(Context(files, failure))
    return [item.patch().apply(files)["app.py"] for item in offered if isinstance(item, Proposal)]


# name: (source, exception, message, line or 0 when it failed in the test, the text after a repair)
CASES: dict[str, tuple[str, str, str, int, str]] = {
    "results of text methods": ("def f(s):\n    s.strip()\n    s.lower()\n    return s\n", "AssertionError", "", 0,
                                "def f(s):\n    s = s.strip()\n    s = s.lower()\n    return s\n"),
    "no f in front": ("def f(name):\n    return 'to {name}'\n", "AssertionError", "", 0, "def f(name):\n    return f'to {name}'\n"),
    "sort gives None": ("def f(xs):\n    return xs.sort()\n", "AssertionError", "", 0, "def f(xs):\n    return sorted(xs)\n"),
    "a closure in a loop": ("def f(xs):\n    return [lambda y: x + y for x in xs]\n", "AssertionError", "", 0,
                            "def f(xs):\n    return [lambda y, x=x: x + y for x in xs]\n"),
    "NotImplemented": ("def f():\n    raise NotImplemented('later')\n", "TypeError", "exceptions must derive from BaseException", 2,
                       "def f():\n    raise NotImplementedError('later')\n"),
    "a float as an index": ("def f(xs):\n    return xs[len(xs) / 2]\n", "TypeError", "list indices must be integers or slices, not float", 2,
                            "def f(xs):\n    return xs[len(xs) // 2]\n"),
    "a list in a dataclass": ("from dataclasses import dataclass\n\n\n@dataclass\nclass A:\n    xs: list = []\n", "ValueError",
                              "mutable default <class 'list'> for field xs is not allowed: use default_factory", 4,
                              "from dataclasses import dataclass, field\n\n\n@dataclass\nclass A:\n    xs: list = field(default_factory=list)\n"),
    "a coroutine of generators": ("import asyncio\n\n\n@asyncio.coroutine\ndef f():\n    yield from asyncio.sleep(0)\n", "AttributeError",
                                  "module 'asyncio' has no attribute 'coroutine'", 4,
                                  "import asyncio\n\n\nasync def f():\n    await asyncio.sleep(0)\n"),
    "imp": ("import imp\n\n\ndef f(m):\n    return imp.reload(m)\n", "ModuleNotFoundError", "No module named 'imp'", 1,
            "import importlib\n\n\ndef f(m):\n    return importlib.reload(m)\n"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("source", "exception", "message", "line", "wanted"), CASES.values(), ids=list(CASES)
)
def test_the_edit_of_the_author_is_among_the_first_two(
    source: str, exception: str, message: str, line: int, wanted: str
) -> None:
    assert wanted in repaired(source, exception, message, line)[:2]


SILENT = {
    "a text for format": "def f(name):\n    return 'to {name}'.format(name=name)\n",
    "a docstring": "def f(name):\n    'to {name}'\n    return name\n",
    "a name out of reach": "def f(name):\n    return 'to {other}'\n",
    "a lambda with its own name": "def f(xs):\n    return [lambda x: x for x in xs]\n",
    "a sort for its effect": "def f(xs):\n    xs.sort()\n    return xs\n",
}


@pytest.mark.parametrize("source", SILENT.values(), ids=list(SILENT))
def test_code_without_the_slip_is_left_alone(source: str) -> None:
    assert repaired(source, "AssertionError", "assert 1 == 2", 0) == []


def test_strtobool_is_written_out_and_behaves_as_it_did() -> None:
    source = "from distutils.util import strtobool\n\nflag = strtobool('Yes')\n"
    (after, *_) = repaired(source, "ModuleNotFoundError", "No module named 'distutils'", 1)
    there: dict[str, object] = {}
    exec(after, there)  # our own text
    assert there["flag"] == 1
    function = there["strtobool"]
    assert callable(function)
    assert function("off") == 0
    with pytest.raises(ValueError, match="maybe"):
        function("maybe")


WORDS = {
    "instruction": ("Dockerfile", "FROM x\nENTRYPONT a\n", "ENTRYPONT -> ENTRYPOINT"),
    "unit key": ("a.service", "[Service]\nExecStar=/bin/a\n", "ExecStar -> ExecStart"),
    "unit section": ("a.service", "[Servce]\nExecStart=/bin/a\n", "Servce -> Service"),
    "service key": ("compose.yaml", "services:\n  web:\n    imge: a\n", "imge -> image"),
}
KNOWN = {
    "instruction": ("Dockerfile", "FROM x\nRUN a && \\\n    cpy b c\n"),
    "foreign key": ("a.service", "[Service]\nX-Exec=/bin/a\n"),
    "name of a service": (
        "compose.yaml",
        "services:\n  imge:\n    image: a\n    environment:\n      imges: 1\n",
    ),
}


@pytest.mark.parametrize(("path", "text", "title"), WORDS.values(), ids=list(WORDS))
def test_a_deployment_word_one_slip_away_is_a_defect(path: str, text: str, title: str) -> None:
    assert [d.message for d in catalog.detect({path: text})] == [title]


@pytest.mark.parametrize(("path", "text"), KNOWN.values(), ids=list(KNOWN))
def test_words_that_may_stand_there_are_no_defect(path: str, text: str) -> None:
    assert catalog.detect({path: text}) == []


def test_a_file_that_was_not_read_is_still_there() -> None:
    files = {"Dockerfile": "FROM x\nCOPY logo.svg /srv/\n", "logo2.py": ""}
    assert catalog.detect(files, frozenset({"logo.svg", "logo2.py"})) == []
    assert [d.message for d in catalog.detect({**files, "logo.svh": ""})] == ["COPY logo.svg -> logo.svh"]


def test_every_path_is_told_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\xff")
    (tmp_path / "a.ini").write_text("[a]\n")
    texts = collect_text(tmp_path)
    assert (sorted(texts.files), texts.paths) == (["a.ini"], frozenset({"a.bin", "a.ini"}))


def test_a_broken_setting_is_not_lost_without_a_decision() -> None:
    lost = catalog.propose(Context({"a.ini": "[a]\nport = 80\nport = 81\n"}))
    assert all(isinstance(item, Proposal) and item.decision for item in lost)
    twice = catalog.propose(Context({"a.ini": "[a]\nport = 80\nport = 80\n"}))
    assert any(isinstance(item, Proposal) and not item.decision for item in twice)


YAML = "needs:\n  - a\n  b\n  - c\n"
READABLE = {
    "a list item without its dash": ("a.yaml", YAML, YAML.replace("  b", "  - b")),
    "a unit section without its bracket": ("a.service", "[Service\nExecStart=/bin/a\n", "[Service]\nExecStart=/bin/a\n"),
}  # fmt: skip


@pytest.mark.parametrize(("path", "text", "wanted"), READABLE.values(), ids=list(READABLE))
def test_the_first_edit_of_a_broken_file_keeps_every_word(path: str, text: str, wanted: str) -> None:
    first = catalog.propose(Context({path: text}))[0]
    assert isinstance(first, Proposal)
    assert first.patch().apply({path: text}) == {path: wanted}


def test_a_line_that_continues_a_key_without_a_value_is_told_and_not_a_crash() -> None:
    assert [d.message for d in catalog.detect({"a.ini": "[a]\nkey\n  more\n"})][:1] != []


def test_a_unit_file_may_continue_lines_and_repeat_keys() -> None:
    text = "# c\n[Service]\nExecStart=/bin/a \\\n  -b\nEnvironment=A=1\nEnvironment=B=2\n"
    assert catalog.detect({"a.service": text}) == []


def test_a_class_whose_module_is_gone_is_found_where_it_lives() -> None:
    files = {"shop/model.py": "class Order:\n    pass\n", "app.py": "from shop.orders import Order\n"}
    failure = Failure("ModuleNotFoundError", "No module named 'shop.orders'", "app.py", 1)
    first = catalog.propose(Context(files, failure))[0]
    assert isinstance(first, Proposal)
    assert first.patch().apply(files)["app.py"] == "from shop.model import Order\n"


def test_every_level_of_a_missing_key_may_be_missing() -> None:
    source = 'def f(s):\n    return s["a"]["b"]\n'
    files = {"app.py": source, "tests/test_app.py": TEST}
    frames = (Frame("tests/test_app.py", 3, "test", "assert f({}) == 'x'"), Frame("app.py", 2, "f"))
    offered = catalog.propose(Context(files, Failure("KeyError", "'a'", "app.py", 2, frames)))
    texts = [item.patch().apply(files)["app.py"] for item in offered if isinstance(item, Proposal)]
    assert source.replace('s["a"]["b"]', 's.get("a", {}).get("b", \'x\')') in texts[:2]


def test_names_of_other_modules_are_read_and_never_imported(tmp_path: Path) -> None:
    (tmp_path / "danger.py").write_text("raise SystemExit('imported')\ndef first(): pass\n_second = 1\n")
    found = named_exports("cannot import name 'frist' from 'danger' (x)", [tmp_path])
    assert found == {"danger": frozenset({"first"})}
    assert "defaultdict" in named_exports("module 'collections' has no attribute 'x'", [])["collections"]


def test_a_file_that_hides_the_standard_library_is_a_question_to_a_person() -> None:
    files = {"colorsys.py": "def mix(a, b):\n    return a\n", "app.py": "import colorsys\n"}
    message = "module 'colorsys' has no attribute 'rgb_to_hsv'"
    known = {"colorsys": frozenset({"rgb_to_hsv"})}
    offered = catalog.propose(Context(files, Failure("AttributeError", message, "app.py", 1), exports=known))
    first = offered[0]
    assert isinstance(first, Proposal)
    assert first.removed == ("colorsys.py",)
    assert first.decision.startswith("under which name")


def test_a_slip_in_a_function_that_the_failing_test_does_not_run_is_not_offered() -> None:
    files = {"app.py": "def f(s):\n    s.strip()\n    return s\n\n\ndef g(s):\n    s.lower()\n    return s\n"}
    files["tests/test_app.py"] = TEST
    failure = Failure("AssertionError", "", "tests/test_app.py", 1, (Frame("tests/test_app.py", 1, "test"),))
    offered = catalog.propose(Context(files, failure, suspects={"app.py": frozenset({7, 8})}))
    assert [item.line for item in offered if isinstance(item, Proposal)] == [7]
    everything = catalog.propose(Context(files, failure))
    assert {item.line for item in everything if isinstance(item, Proposal)} == {2, 7}


@pytest.mark.parametrize(
    ("returned", "value"),
    [("True", "False"), ("[x.a]", "[]"), ("{x.a: 1}", "{}"), ("x.a", "None"), ("None", "None")],
    ids=["truth", "a list", "a mapping", "anything", "None"],
)
def test_a_guard_returns_the_empty_value_of_what_the_function_returns(returned: str, value: str) -> None:
    source = f"def f(x):\n    if x.a:\n        return {returned}\n    return {returned}\n"
    found = repaired(source, "AttributeError", "'NoneType' object has no attribute 'a'", 2)
    assert found[0] == source.replace("    if x.a", f"    if x is None:\n        return {value}\n    if x.a")
