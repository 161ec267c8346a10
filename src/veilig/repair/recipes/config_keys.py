"""Which key or folder did the author of a test configuration mean?"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from veilig.repair.edit import Edit, newline_of
from veilig.repair.recipes.nearest import nearest
from veilig.repair.recipes.proposal import Confidence, Context, Defect, Needs, Proposal

RECIPE = "test-config"
_PYTEST_KEYS = frozenset(
    {"addopts", "cache_dir", "collect_imported_tests", "confcutdir", "console_output_style",
     "consider_namespace_packages",
     "disable_test_id_escaping_and_forfeit_all_rights_to_community_support", "doctest_encoding",
     "doctest_optionflags", "empty_parameter_set_mark", "enable_assertion_pass_hook",
     "faulthandler_timeout", "filterwarnings", "junit_duration_report", "junit_family",
     "junit_log_passing_tests", "junit_logging", "junit_suite_name", "log_auto_indent", "log_cli",
     "log_cli_date_format", "log_cli_format", "log_cli_level", "log_date_format", "log_file",
     "log_file_date_format", "log_file_format", "log_file_level", "log_file_mode", "log_format",
     "log_level", "markers", "minversion", "norecursedirs", "python_classes", "python_files",
     "python_functions", "pythonpath", "required_plugins", "strict_config", "strict_markers", "strict",
     "tmp_path_retention_count", "tmp_path_retention_policy", "testpaths", "truncation_limit_chars",
     "truncation_limit_lines", "usefixtures", "verbosity_assertions", "verbosity_test_cases",
     "xfail_strict", "asyncio_mode", "asyncio_default_fixture_loop_scope",
     "asyncio_default_test_loop_scope", "asyncio_debug", "timeout", "timeout_method",
     "timeout_func_only", "DJANGO_SETTINGS_MODULE", "env", "env_files", "django_find_project",
     "mock_use_standalone_module", "randomly_seed", "qt_api", "bdd_features_base_dir", "anyio_mode",
     "session_timeout"}
)  # fmt: skip
_FOLDER_KEYS = ("testpaths", "pythonpath")


@dataclass(frozen=True, slots=True)
class _Key:
    """One `key = value` of a pytest section; offsets are those of the key and of the value in the file."""

    path: str
    line: int
    name: str
    value: str
    start: int
    value_start: int


def sections(files: Mapping[str, str]) -> Iterator[tuple[str, int, int]]:
    """(path, start, end) of the text of every pytest section, behind its header."""
    headers = {
        "pytest.ini": "pytest", ".pytest.ini": "pytest", "tox.ini": "pytest", "setup.cfg": "tool:pytest",
        "pyproject.toml": "tool.pytest.ini_options", "pytest.toml": "pytest",
    }  # fmt: skip
    for path, text in files.items():
        header = headers.get(PurePosixPath(path).name)
        match = re.search(rf"^\[{re.escape(header)}\][^\n]*\n", text, re.MULTILINE) if header else None
        if match:
            below = re.compile(r"^\[[A-Za-z]", re.MULTILINE).search(text, match.end())
            yield path, match.end(), below.start() if below else len(text)


def _keys(files: Mapping[str, str]) -> Iterator[_Key]:
    for path, start, end in sections(files):
        text = files[path]
        pattern = re.compile(r"^([A-Za-z_]\w*)[ \t]*[=:][ \t]*((?:[^\n]|\n[ \t]+(?=\S))*)", re.MULTILINE)
        for match in pattern.finditer(text, start, end):
            line = text.count("\n", 0, match.start()) + 1
            yield _Key(path, line, match[1], match[2], match.start(1), match.start(2))


def detect(files: Mapping[str, str]) -> list[Defect]:
    """Unknown keys close to a known one, and folders that do not exist."""
    return [Defect("test-config", item.path, item.line, item.title) for item in propose(Context(files))]


def propose(context: Context) -> list[Proposal]:
    """Misspelt keys and folders of pytest's configuration, unregistered markers, a missing asyncio mode."""
    found: list[Proposal] = []
    folders = {str(parent) for path in context.files for parent in PurePosixPath(path).parents} - {"."}
    for key in _keys(context.files):
        for rank, other in enumerate(nearest(key.name, _PYTEST_KEYS) if key.name not in _PYTEST_KEYS else []):
            edit = Edit(key.path, key.start, key.start + len(key.name), other)
            found.append(_make(f"{key.name} -> {other}", edit, 1.0 + 0.3 * rank, key.line, sure=rank == 0))
        if key.name in _FOLDER_KEYS:
            found += _folders(key, context, folders)
    text = f"{context.failure.message}\n{context.failure.text}" if context.failure else ""
    marker = re.search(r"'(\w+)' not found in `markers` configuration option", text)
    if marker:
        found += _setting(
            context, f"registers the marker {marker[1]}", "markers", f"{marker[1]}: see the tests", many=True
        )
    if "async def functions are not natively supported" in text and "pytest_asyncio" in context.installed:
        found += _setting(context, "asyncio_mode = auto", "asyncio_mode", "auto", many=False)
    missing = re.search(r"No module named '(\w+)'", text)
    if missing and not any(key.name == "pythonpath" for key in _keys(context.files)):
        roots = [
            path.split("/")[0] for path in context.files if re.match(rf"[\w-]+/{missing[1]}(/|\.py$)", path)
        ]
        if roots and roots[0] not in ("tests", "test"):
            found += _setting(context, f"pythonpath = {roots[0]}", "pythonpath", roots[0], many=True)
    return sorted(found, key=lambda item: item.cost)


def _make(title: str, edit: Edit, cost: float, line: int, *, sure: bool) -> Proposal:
    confidence = Confidence.HIGH if sure else Confidence.MEDIUM
    return Proposal(RECIPE, title, edit.path, (edit,), cost, Needs.TESTS, confidence, line)


def _folders(key: _Key, context: Context, folders: set[str]) -> Iterator[Proposal]:
    base = str(PurePosixPath(key.path).parent)
    for match in re.finditer(r"[\w./-]+", key.value):
        written = match[0]
        wanted = str(PurePosixPath(base) / written) if base != "." else str(PurePosixPath(written))
        if wanted == "." or wanted in folders or wanted in context.files or ".." in written:
            continue
        near = nearest(wanted, folders) or [f for f in sorted(folders) if f.endswith(f"/{wanted}")]
        if not near and key.name == "testpaths":
            near = [folder for folder in ("tests", "test") if folder in folders]
        for rank, other in enumerate(near):
            start = key.value_start + match.start()
            shown = other.removeprefix(f"{base}/") if base != "." else other
            edit = Edit(key.path, start, start + len(written), shown)
            yield _make(f"{key.name}: {written} -> {shown}", edit, 1.0 + 0.3 * rank, key.line, sure=rank == 0)


def _setting(context: Context, title: str, key: str, value: str, *, many: bool) -> Iterator[Proposal]:
    """The key with one more value, in the section that is there."""
    for path, start, end in sections(context.files):
        text = context.files[path]
        newline = newline_of(text)
        toml = path.endswith(".toml")
        present = next((item for item in _keys({path: text}) if item.name == key), None)
        if present is None:
            shown = (f'["{value}"]' if many else f'"{value}"') if toml else value
            edit = Edit(path, start, start, f"{key} = {shown}{newline}")
        elif not many:
            continue
        elif toml:
            at = text.find("[", present.value_start) + 1
            if not 0 < at < end:
                continue
            edit = Edit(path, at, at, f'"{value}", ')
        else:
            at = present.value_start + len(present.value.rstrip())
            edit = Edit(path, at, at, f"{newline}    {value}")
        yield _make(title, edit, 1.3, text.count("\n", 0, edit.start) + 1, sure=True)
