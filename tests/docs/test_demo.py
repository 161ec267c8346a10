"""Does the two-terminal page still tell the truth? Played again in real terminals and compared."""

import importlib.util
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def demo() -> ModuleType:
    """docs/demo.py, which no package holds."""
    spec = importlib.util.spec_from_file_location("demo", ROOT / "docs" / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules["demo"] = found
    spec.loader.exec_module(found)
    return found


def same(page: str) -> str:
    """The page without what differs each time: ids, times, counts, sizes of gaps."""
    page = re.sub(r"\b[0-9a-f]{8,64}\b", "ID", page)
    page = re.sub(r"\d+\.\d s", "S", page)
    page = re.sub(r"kill -9 \d+", "kill -9 PID", page)
    page = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", page)
    page = re.sub(r"\b\d+ (min|checkpoints?)\b", r"N \1", page)
    page = re.sub(r"(events +)\d+", r"\1N", page)
    return re.sub(r" +", " ", re.sub(r"you +\w+,", "you WHO,", page))


@pytest.mark.slow
@pytest.mark.outside_gate
def test_the_two_terminal_page_is_what_happens() -> None:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed: nothing to play it in")
    module = demo()
    assert same(module.record()) == same(module.PAGE.read_text())
