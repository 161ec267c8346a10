"""Do the documents say what the code says, and do their parts exist?"""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
ADRS = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
HEADINGS = ("## Problem", "## Options", "## Choice", "## Price")
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_stale_page_is_found(
    generator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator, "REFERENCE", tmp_path)
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0
    page = tmp_path / "actions.md"
    page.write_text(page.read_text().replace("command.run", "command.ran"))
    assert generator.main(["--check"]) == 1


def test_every_action_kind_and_event_has_its_place(generator: ModuleType) -> None:
    from veilig.core.action import KINDS
    from veilig.core.event import EVENTS

    assert [k for k in KINDS if f"\n## {k}\n" not in generator.actions()] == []
    assert [e for e in EVENTS if f"`{e}`" not in generator.events()] == []


def test_every_limit_gives_its_reason(generator: ModuleType) -> None:
    from veilig.core import limits

    assert [name for name, _, reason in generator.constants(limits) if not reason] == []


@pytest.mark.parametrize("page", ADRS, ids=lambda p: p.name)
def test_a_decision_has_its_four_parts_on_one_screen(page: Path) -> None:
    text = page.read_text()
    assert [h for h in HEADINGS if h not in text] == []
    assert re.search(r"^Status: (accepted|superseded by \d+) \d{4}-\d\d-\d\d", text, re.MULTILINE)
    assert "- Nothing" in text, "doing nothing is one of the options"
    assert len(text.splitlines()) <= 60


def test_decisions_are_numbered_without_a_gap_and_listed() -> None:
    assert [int(p.name[:4]) for p in ADRS] == list(range(1, len(ADRS) + 1))
    index = (ROOT / "docs" / "decisions" / "index.md").read_text()
    assert [p.name for p in ADRS if p.name not in index] == []


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=lambda p: p.name)
def test_links_of_the_front_pages_lead_somewhere(page: Path) -> None:
    assert [t for t in LINK.findall(page.read_text()) if not (page.parent / t).exists()] == []
