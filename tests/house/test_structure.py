"""Does the code keep the shape that docs/explanation/architecture.md describes?"""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "veilig"
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
SOURCES = sorted(SRC.rglob("*.py"))
TESTS = sorted(p for p in (ROOT / "tests").rglob("*.py") if "fixtures" not in p.parts)
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
UNFINISHED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")) + r")\b")
# http.client and urllib.request cannot be named in .importlinter; these folders may use them.
MAY_SPEAK_HTTP = {"providers", "server"}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=name)
def test_no_file_is_longer_than_400_lines(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= FILE_LINES_MAX, f"{name(path)} has {lines} lines: split it by the question it answers"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_no_function_is_longer_than_70_lines(path: Path) -> None:
    long = [
        f"{name(path)}:{node.lineno} {node.name}: {(node.end_lineno or 0) - node.lineno + 1}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert not long


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_every_module_says_which_question_it_answers(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{name(path)} has no docstring"


def test_every_folder_with_code_is_a_package() -> None:
    # import-linter does not see a folder without __init__.py, so everything in it would be allowed.
    assert [name(p.parent) for p in SOURCES if not (p.parent / "__init__.py").exists()] == []


def test_no_module_is_called_after_nothing() -> None:
    assert [name(p) for p in SOURCES if p.stem in FORBIDDEN_NAMES or p.parent.name in FORBIDDEN_NAMES] == []


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_nothing_is_left_unfinished(path: Path) -> None:
    text = path.read_text()
    marked = [i for i, line in enumerate(text.splitlines(), 1) if UNFINISHED.search(line)]
    assert not marked, f"{name(path)} lines {marked}"
    assert "raise NotImplementedError" not in text


def test_no_merge_marker_is_left() -> None:
    marker = re.compile(r"^(<{7} |>{7} |={7}$)", re.MULTILINE)
    texts = [*SOURCES, *TESTS, *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "pyproject.toml"]
    assert [name(p) for p in texts if marker.search(p.read_text())] == []


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_only_providers_and_server_speak_http(path: Path) -> None:
    if path.relative_to(SRC).parts[0] in MAY_SPEAK_HTTP:
        return
    wrong = {m for m in imported(ast.parse(path.read_text())) if m.startswith(("http.", "urllib.request"))}
    assert not wrong


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_no_error_is_swallowed(path: Path) -> None:
    # A worker that runs a project's own code may have to ignore what that code raises; its line says why.
    lines = path.read_text().splitlines()
    worker = "workers" in path.parts
    wide = {"Exception", "BaseException"}
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ExceptHandler):
            continue
        if worker and re.search(r"# noqa: BLE001.*\(.{10,}\)", lines[node.lineno - 1]):
            continue
        caught = node.type.id if isinstance(node.type, ast.Name) else None
        silent = all(isinstance(s, ast.Pass | ast.Continue) for s in node.body)
        assert not (silent and (node.type is None or caught in wide)), f"{name(path)}:{node.lineno}"


def _locked() -> dict[str, str]:
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    return {p["name"]: p["version"] for p in lock["package"] if "version" in p}


@pytest.mark.parametrize("file", ["requirements.lock", "requirements-dev.lock"])
def test_the_requirements_pin_what_uv_locked(file: str) -> None:
    text = (ROOT / file).read_text()
    pins = dict(re.findall(r"^([a-z0-9._-]+)==([^\s;\\]+)", text, re.MULTILINE))
    locked = _locked()
    assert pins, f"{file} pins nothing"
    assert {n: v for n, v in pins.items() if locked.get(n) != v} == {}, "run .ci/lock"
    hashes = {h for p in tomllib.loads((ROOT / "uv.lock").read_text())["package"] for h in _hashes(p)}
    assert set(re.findall(r"--hash=(sha256:[0-9a-f]{64})", text)) <= hashes


def _hashes(package: dict[str, object]) -> set[str]:
    return set(re.findall(r"sha256:[0-9a-f]{64}", repr(package)))


def test_the_lock_knows_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    ours = next(p for p in lock["package"] if p["name"] == "veilig")
    asked = {re.split(r"[\[<>=!~ ]", d)[0].lower() for d in project["project"]["dependencies"]}
    assert asked == {d["name"] for d in ours["dependencies"]}
    extras = project["project"]["optional-dependencies"]
    assert set(extras) == set(ours["optional-dependencies"])
    groups = set(project["dependency-groups"])
    assert groups == set(ours["dev-dependencies"])


@pytest.mark.parametrize("path", [p for p in SOURCES if "cli" in p.relative_to(SRC).parts], ids=name)
def test_the_terminal_never_writes_the_ledger(path: Path) -> None:
    # .importlinter lets it import the ledger in order to read; only gate, session and app append.
    written = [
        f"{name(path)}:{node.lineno}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("append", "submit")
        and "ledger" in ast.unparse(node.func.value).lower()
    ]
    assert not written
