"""Is a remembered audit the same as a new one, whatever changed, and whoever wrote the memory?"""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilig.audit.finding import Report
from veilig.audit.memory import CHARS_MAX, Memory
from veilig.audit.parallel import CHARS_WORTH_IT, in_parallel
from veilig.audit.programs import plan_of, scan_tree
from veilig.audit.scan import ScanConfig

SHOP = {
    "shop/web.py": "from flask import request\nfrom shop.db import find\n\n\ndef q():\n"
    "    return find(request.args['q'])\n",
    "shop/db.py": "import os\n\n\ndef find(q):\n    os.system('grep ' + q)\n",
    "tools/hash.py": "import hashlib\n\n\ndef h(p):\n    return hashlib.md5(p).hexdigest()\n",
}
CONFIG = ScanConfig(include_pattern=True, today="2026-11-21")


def shown(report: Report) -> Report:
    return replace(report, seconds=0.0)


def test_files_that_import_one_another_or_share_a_folder_are_one_program():
    assert [sorted(p) for p in plan_of(SHOP, CONFIG).programs] == [
        ["shop/db.py", "shop/web.py"],
        ["tools/hash.py"],
    ]


def test_a_second_audit_looks_at_nothing_again_and_says_the_same():
    first = Memory()
    cold = scan_tree(SHOP, CONFIG, first)
    again = Memory(first.to_text())
    assert shown(scan_tree(SHOP, CONFIG, again)) == shown(cold)
    assert again.recalled == 2
    assert {f.rule for f in cold.findings if f.flow}
    assert "os.system('grep '" not in first.to_text()  # no line of the source is kept


def test_a_change_in_one_file_looks_at_its_whole_program_again():
    memory = Memory()
    scan_tree(SHOP, CONFIG, memory)
    changed = {**SHOP, "shop/db.py": SHOP["shop/db.py"].replace("'grep ' + q", "'date'")}
    later = Memory(memory.to_text())
    report = scan_tree(changed, CONFIG, later)
    assert later.recalled == 1
    assert shown(report) == shown(scan_tree(changed, CONFIG))
    assert "shop/db.py" not in {f.path for f in report.findings}


def test_what_is_silenced_in_the_source_is_judged_on_the_day_and_not_remembered():
    text = SHOP["tools/hash.py"].replace(
        "hexdigest()", "hexdigest()  # veilig: ignore[CWE-328] reason=old until=2026-11-30"
    )
    memory = Memory()
    before = scan_tree({"a.py": text}, CONFIG, memory)
    after = scan_tree({"a.py": text}, replace(CONFIG, today="2026-12-01"), Memory(memory.to_text()))
    assert (len(before.suppressed), len(after.suppressed)) == (1, 0)
    assert len(after.findings) == len(before.findings) + 1


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 1}', '{"version": 1, "reports": 3}', "[" * 9_000]
)
def test_a_memory_that_cannot_be_read_is_an_empty_one(text: str):
    memory = Memory(text)
    assert shown(scan_tree(SHOP, CONFIG, memory)) == shown(scan_tree(SHOP, CONFIG))
    assert memory.recalled == 0


def test_a_remembered_report_of_other_contents_or_another_engine_is_never_shown():
    memory = Memory()
    scan_tree(SHOP, CONFIG, memory)
    held = json.loads(memory.to_text())
    held["reports"] = {"0" * 64: next(iter(held["reports"].values()))}
    forged = Memory(json.dumps(held))
    assert shown(scan_tree(SHOP, CONFIG, forged)) == shown(scan_tree(SHOP, CONFIG))
    assert forged.recalled == 0


def test_what_ran_out_of_time_is_not_remembered():
    memory = Memory()
    report = scan_tree(SHOP, replace(CONFIG, seconds_max=0.0), memory)
    assert report.incomplete
    assert json.loads(memory.to_text())["reports"] == {}


def test_a_memory_that_grew_too_large_is_forgotten():
    memory = Memory()
    memory.remember("k", Report(outside_profile=("x" * CHARS_MAX,)))
    assert memory.to_text() == ""


@pytest.mark.outside_gate
def test_two_processes_find_what_one_finds():
    padding = "\n".join(f"x{i} = {i}" for i in range(CHARS_WORTH_IT // 50))
    files = {**SHOP, **{f"p{i}/m{i}.py": SHOP["tools/hash.py"] + padding for i in range(4)}}
    assert shown(scan_tree(files, CONFIG, None, in_parallel(2))) == shown(scan_tree(files, CONFIG))


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.sampled_from(["x = 1\n", "# n\n", "import os\n", "def f():\n    pass\n"]), min_size=1, max_size=4
    )
)
def test_whatever_is_appended_a_warm_audit_is_a_cold_one(parts: list[str]):
    memory = Memory()
    scan_tree(SHOP, CONFIG, memory)
    changed = {**SHOP, "tools/hash.py": SHOP["tools/hash.py"] + "".join(parts)}
    assert shown(scan_tree(changed, CONFIG, memory)) == shown(scan_tree(changed, CONFIG))
