"""Are slips in configuration found by reading, and does the nearest right thing come first?"""

# ruff: noqa: E501  # one case per line: a wrapped table of cases is harder to read

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilig.repair.recipes import catalog, config_keys, config_syntax, declared, deployment
from veilig.repair.recipes.proposal import Advice, Context, Distribution, Failure, Proposal

SYNTAX: dict[str, tuple[str, str, str]] = {
    "JSON trailing comma": ("a.json", '{"a": [1, 2,],}\n', '{"a": [1, 2]}\n'),
    "JSON single quotes": ("a.json", "{'a': 1}\n", '{"a": 1}\n'),
    "JSON missing comma": ("a.json", '{\n  "a": 1\n  "b": 2\n}\n', '{\n  "a": 1,\n  "b": 2\n}\n'),
    "JSON comment": ("a.json", '{"a": 1 // x\n}\n', '{"a": 1 \n}\n'),
    "JSON Python literal": ("a.json", '{"a": True}\n', '{"a": true}\n'),
    "JSON unclosed": ("a.json", '{"a": 1\n', '{"a": 1}\n'),
    "TOML unquoted": ("a.toml", "[x]\nname = demo\n", '[x]\nname = "demo"\n'),
    "TOML colon": ("a.toml", 'name: "x"\n', 'name = "x"\n'),
    "TOML header": ("a.toml", "[x\na = 1\n", "[x]\na = 1\n"),
    "TOML unclosed string": ("a.toml", 'a = "x\n', 'a = "x"\n'),
    "TOML True": ("a.toml", "a = True\n", "a = true\n"),
    "TOML duplicate key": ("a.toml", "a = 1\na = 1\n", "a = 1\n"),
    "TOML trailing comma": ("a.toml", "a = 30,\n", "a = 30\n"),
    "TOML twice": ("a.toml", 'a = 30,\nb = [\n  "x"\n  "y",\n]\n', 'a = 30\nb = [\n  "x",\n  "y",\n]\n'),
    "JSON three times": (
        "a.json",
        '{"a": True,\n "b": 1\n "c": [1,]\n}\n',
        '{"a": true,\n "b": 1,\n "c": [1]\n}\n',
    ),
    "YAML tab": ("a.yaml", "a:\n\tb: 1\n", "a:\n  b: 1\n"),
    "YAML colon in a value": ("a.yaml", "a: b: c\n", 'a: "b: c"\n'),
    "YAML indentation": ("a.yaml", "a: 1\n b: 2\n", "a: 1\nb: 2\n"),
    "YAML duplicate key": ("a.yaml", "a: 1\nb: 2\na: 1\n", "a: 1\nb: 2\n"),
    "INI header": ("a.ini", "[x\na = 1\n", "[x]\na = 1\n"),
    "merge conflict": ("a.ini", "<<<<<<< HEAD\n[a]\n=======\n[b]\n>>>>>>> x\nk = 1\n", "[a]\nk = 1\n"),
}


def test_yaml_with_several_errors_is_left_to_a_person() -> None:
    assert config_syntax.propose("a.yaml", "a:1\nb: 2\nc :3\nd: [1, 2\n") == []


@pytest.mark.parametrize(("path", "broken", "wanted"), SYNTAX.values(), ids=list(SYNTAX))
def test_broken_configuration_is_found_and_repaired(path: str, broken: str, wanted: str) -> None:
    assert [defect.path for defect in config_syntax.detect(path, broken)] == [path]
    texts = [item.patch().apply({path: broken})[path] for item in config_syntax.propose(path, broken)]
    assert wanted in texts[:3], texts
    assert all(config_syntax.trouble_of(path, text) is None for text in texts)


@pytest.mark.parametrize(
    "text", ["a: !Ref x\n", "a: 1\n---\na: 2\n", "on: push\n", "x: &y {a: 1}\nz:\n  <<: *y\n", ""]
)
def test_yaml_that_tools_read_is_no_defect(text: str) -> None:
    assert config_syntax.detect("a.yaml", text) == []


@settings(max_examples=30, deadline=None)
@given(
    st.text(alphabet="ab:=[]{}\"'\n \t,#-", max_size=40),
    st.sampled_from(["a.json", "a.toml", "a.yaml", "a.ini"]),
)
def test_any_text_gets_an_answer_and_every_repair_reads(text: str, path: str) -> None:
    for item in config_syntax.propose(path, text):
        assert config_syntax.trouble_of(path, item.patch().apply({path: text})[path]) is None


TESTS = {"tests/test_a.py": "", "src/shop/__init__.py": ""}
KEYS: dict[str, tuple[dict[str, str], Failure | None, str]] = {
    "misspelt key": ({"pytest.ini": "[pytest]\ntestpath = tests\n"}, None, "[pytest]\ntestpaths = tests\n"),
    "misspelt key in pyproject": ({"pyproject.toml": '[tool.pytest.ini_options]\nadopts = "-q"\n'}, None, '[tool.pytest.ini_options]\naddopts = "-q"\n'),
    "misspelt folder": ({"pytest.ini": "[pytest]\ntestpaths = test\n"}, None, "[pytest]\ntestpaths = tests\n"),
    "misspelt pythonpath": ({"pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["scr"]\n'}, None, '[tool.pytest.ini_options]\npythonpath = ["src"]\n'),
    "marker": ({"pytest.ini": "[pytest]\naddopts = --strict-markers\n"}, Failure("Failed", "'slow' not found in `markers` configuration option"),
               "[pytest]\nmarkers = slow: see the tests\naddopts = --strict-markers\n"),
    "marker beside others": ({"pytest.ini": "[pytest]\nmarkers =\n    fast: x\n"}, Failure("Failed", "'slow' not found in `markers` configuration option"),
                             "[pytest]\nmarkers =\n    fast: x\n    slow: see the tests\n"),
    "pythonpath for src": ({"pytest.ini": "[pytest]\n"}, Failure("ModuleNotFoundError", "No module named 'shop'"), "[pytest]\npythonpath = src\n"),
    "asyncio mode": ({"pytest.ini": "[pytest]\n"}, Failure("Failed", "async def functions are not natively supported."), "[pytest]\nasyncio_mode = auto\n"),
}  # fmt: skip


@pytest.mark.parametrize(("files", "failure", "wanted"), KEYS.values(), ids=list(KEYS))
def test_the_test_configuration_is_repaired(
    files: dict[str, str], failure: Failure | None, wanted: str
) -> None:
    installed = {"pytest_asyncio": Distribution("pytest-asyncio", "1.0")}
    (item, *_) = config_keys.propose(Context(files | TESTS, failure, installed))
    (path,) = files
    assert item.patch().apply(files | TESTS)[path] == wanted


def test_a_right_configuration_is_left_alone() -> None:
    files = TESTS | {
        "pytest.ini": "[pytest]\ntestpaths = tests\npythonpath = src\naddopts = -q\n",
        "setup.cfg": "[metadata]\nnam = x\n",
    }
    assert config_keys.propose(Context(files)) == []


DEPLOY: dict[str, tuple[dict[str, str], str, str]] = {
    "COPY in the wrong case": (
        {"Dockerfile": "FROM x\nCOPY Requirements.txt .\n", "requirements.txt": ""},
        "Dockerfile",
        "COPY requirements.txt .",
    ),
    "COPY misspelt": ({"Dockerfile": "COPY ./scr /app\n", "src/a.py": ""}, "Dockerfile", "COPY src /app"),
    "environment name": (
        {".env": "DATABSE_URL=x\n", "a.py": "import os\nos.environ['DATABASE_URL']\n"},
        ".env",
        "DATABASE_URL=x",
    ),
    "compose": (
        {
            "compose.yaml": "services:\n  a:\n    environment:\n      - API_TOKN=x\n",
            "a.py": "import os\nos.getenv('API_TOKEN')\n",
        },
        "compose.yaml",
        "API_TOKEN=x",
    ),
    "unit file": (
        {"x.service": "[Service]\nExecStart=/usr/bin/python3 /srv/wroker.py\n", "worker.py": ""},
        "x.service",
        "/srv/worker.py",
    ),
}


@pytest.mark.parametrize(("files", "path", "wanted"), DEPLOY.values(), ids=list(DEPLOY))
def test_deployment_files_name_what_is_there(files: dict[str, str], path: str, wanted: str) -> None:
    (item, *_) = deployment.propose(files)
    assert wanted in item.patch().apply(files)[path]
    assert deployment.detect(files)[0].path == path


def test_deployment_files_that_are_right_are_left_alone() -> None:
    files = {"Dockerfile": "FROM a\nCOPY --from=b /x /y\nCOPY src requirements.txt ./\nCOPY *.py .\n", "src/a.py": "", "requirements.txt": "",
             ".env": "PATH_X=1\n", "a.py": "import os\nos.environ['OTHER']\n"}  # fmt: skip
    assert deployment.propose(files) == []


def test_a_missing_declaration_asks_a_person_and_guesses_no_name() -> None:
    files = {
        "requirements.txt": "flask\n",
        "pyproject.toml": '[project]\ndependencies = [\n    "flask",\n]\n',
    }
    failure = Failure("ModuleNotFoundError", "No module named 'yaml'", "a.py", 1)
    found = declared.propose(Context(files, failure))
    assert [item.decision != "" for item in found] == [True, True]
    after = [item.patch().apply(files) for item in found]
    assert after[0]["requirements.txt"] == "flask\npyyaml\n"
    assert after[1]["pyproject.toml"] == '[project]\ndependencies = [\n    "pyyaml",\n    "flask",\n]\n'
    unknown = Failure("ModuleNotFoundError", "No module named 'somethingodd'", "a.py", 1)
    assert declared.propose(Context(files, unknown)) == []


def test_the_catalog_detects_without_a_failure_and_every_proposal_applies() -> None:
    files = {
        "a.py": "if x\n    y = 1\n",
        "b.json": "{,}\n",
        "pytest.ini": "[pytest]\ntestpath = tests\n",
        "tests/test_a.py": "",
        "ok.py": "x = 1\n",
    }
    assert [(item.kind, item.path) for item in catalog.detect(files)] == [
        ("syntax", "a.py"),
        ("config-syntax", "b.json"),
        ("test-config", "pytest.ini"),
    ]
    found = catalog.propose(Context(files))
    assert {item.path for item in found} >= {"a.py", "pytest.ini"}
    for item in found:
        assert isinstance(item, Proposal)
        assert item.patch().apply(files) != files
    assert catalog.detect({"ok.py": "x = 1\n"}) == []


def test_an_edit_of_a_test_file_is_told_and_not_proposed() -> None:
    files = {"tests/test_a.py": "if x\n    y = 1\n"}
    found = catalog.propose(Context(files))
    assert found
    assert all(isinstance(item, Advice) and "no repair may" in item.text for item in found)
