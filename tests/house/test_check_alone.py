"""Does a test that fails beside others get one more try alone, and only where that is no danger?"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
# fails the first time only: what a busy machine does to a test
SHAKY = (
    "from pathlib import Path\n\n\ndef test_shaky():\n    seen = Path('seen')\n"
    "    first = not seen.exists()\n    seen.touch()\n    assert not first\n"
)
BROKEN = "import pytest\n\n\n@pytest.mark.parametrize('n', range({}))\ndef test_broken(n):\n    assert 0\n"


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = spec_from_file_location("check_of_this_repository", ROOT / ".ci" / "check.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # each plugin costs a start
    return module


def tried(check: ModuleType, place: str, text: str) -> bool:
    file = check.ROOT / place
    file.parent.mkdir(parents=True)
    file.write_text(text)
    (check.ROOT / "pytest.ini").write_text("[pytest]\n")
    pytest_ = (sys.executable, "-m", "pytest", "-q")
    return check.run(check.Step("tests", (*pytest_, "tests"), "mend it", alone=pytest_))


@pytest.mark.parametrize(
    ("place", "text", "passes"),
    [
        ("tests/cli/test_it.py", SHAKY, True),
        ("tests/faults/test_it.py", SHAKY, False),
        ("tests/cli/test_it.py", BROKEN.format(1), False),
        ("tests/cli/test_it.py", SHAKY + BROKEN.format(3), False),
        ("tests/cli/test_it.py", "this is no Python", False),
    ],
    ids=["shaky", "shaky where nothing may be", "broken", "too many", "not collected"],
)
def test_one_more_try_is_for_few_tests_of_things_that_may_be_slow(
    check: ModuleType, capfd: pytest.CaptureFixture[str], place: str, text: str, *, passes: bool
) -> None:
    assert tried(check, place, text) is passes
    assert ("FAILED BESIDE OTHERS" in capfd.readouterr().out) is passes
