"""Is a remembered audit the same as a new one, whatever changed, and whoever wrote the memory?"""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilig.audit.finding import Report
from veilig.audit.memory import CHARS_MAX, Memory
from veilig.audit.parallel import CHARS_WORTH_IT, in_parallel
from veilig.audit.programs import programs_of, scan_tree
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
    assert [sorted(p) for p in programs_of(SHOP)] == [
        ["shop/db.py", "shop/web.py"],
        ["tools/hash.py"],
    ]


def test_a_second_audit_looks_at_nothing_again_and_says_the_same():
    first = Memory()
    cold = scan_tree(SHOP, CONFIG, first)
    again = Memory(first.to_text())
    assert shown(scan_tree(SHOP, CONFIG, again)) == shown(cold)
    assert again.recalled == 3
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
    forged = [Memory(json.dumps({**held, "settings": "0" * 64}))]
    other = [[path, "0" * len(digest), *rest] for path, digest, *rest in held["files"]]
    forged.append(Memory(json.dumps({**held, "files": other})))
    for memory in forged:
        assert shown(scan_tree(SHOP, CONFIG, memory)) == shown(scan_tree(SHOP, CONFIG))
        assert memory.recalled == 0


def test_what_ran_out_of_time_is_not_remembered():
    memory = Memory()
    report = scan_tree(SHOP, replace(CONFIG, seconds_max=0.0), memory)
    assert report.incomplete
    later = Memory(memory.to_text())
    assert shown(scan_tree(SHOP, CONFIG, later)) == shown(scan_tree(SHOP, CONFIG))
    assert later.recalled == 0


def test_a_memory_that_grew_too_large_is_forgotten():
    memory = Memory()
    scan_tree({"a.py": "x = 1\n", "b" * CHARS_MAX + ".txt": "x = 1\n"}, CONFIG, memory)
    assert memory.to_text() == ""


@pytest.mark.outside_gate
def test_two_processes_find_what_one_finds():
    padding = "\n".join(f"x{i} = {i}" for i in range(CHARS_WORTH_IT // 50))
    files = {**SHOP, **{f"p{i}/m{i}.py": SHOP["tools/hash.py"] + padding for i in range(4)}}
    assert shown(scan_tree(files, CONFIG, None, in_parallel(2))) == shown(scan_tree(files, CONFIG))


@pytest.mark.parametrize(
    ("name", "change", "kept"),
    [
        ("a comment in the one that is called", {"shop/db.py": SHOP["shop/db.py"] + "# n\n"}, 1),
        ("a change in the one that calls", {"shop/web.py": SHOP["shop/web.py"] + "# n\n"}, 2),
        ("a new file beside", {"shop/new.py": "x = 1\n"}, 3),
        ("a call of that name elsewhere", {"shop/new.py": "def g(y):\n    find(y)\n"}, 2),
    ],
)
def test_only_what_looked_at_a_change_is_judged_again(name: str, change: dict[str, str], kept: int):
    memory = Memory()
    scan_tree(SHOP, CONFIG, memory)
    changed = {**SHOP, **change}
    later = Memory(memory.to_text())
    assert shown(scan_tree(changed, CONFIG, later)) == shown(scan_tree(changed, CONFIG))
    assert later.recalled == kept, name


PIECES = [
    "from {m} import *\n",
    "from {p}{m} import f{n}\nZ = f{n}('z')\n",
    "import {p}{m}\nL = [{p}{m}.f{n}(1)]\n",
    "from {m} import K{n}\n\n\nclass K(K{n}):\n    pass\n",
    "import {m}\n\n\ndef g(x):\n    return {m}.f{n}(x)\n",
    "from flask import request\nfrom {m} import g\n\n\ndef v():\n    g(request.args['q'])\n",
    "S = []\n\n\ndef h(x):\n    global S\n    S = x\n\n\nh(1)\n",
    "def w(s, x):\n    s.f{n}(x)\n    s.only(x)\n\n\nclass O:\n    def only(self, x):\n        eval(x)\n",
    "import flask\napp = flask.Flask(__name__)\n\n\ndef check():\n    flask.abort(401)\n",
    "check()\nprint(f{n})\n",
    "def f{n}(x):\n    return 'x'\n",
    "def broken(:\n",
    "\n# a comment\n",
]
NAMES = ["a", "b", "c", "d", "p/a", "p/e"]


@st.composite
def trees(draw: st.DrawFn) -> dict[str, str]:
    """Modules that ask one another for names, some of them in a package, some twice under one name."""
    return {f"{name}.py": draw(modules(name)) for name in draw(st.sets(st.sampled_from(NAMES), min_size=2))}


@st.composite
def modules(draw: st.DrawFn, name: str) -> str:
    drawn = draw(st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(NAMES)), max_size=4))
    own = NAMES.index(name)
    return "".join(
        piece.format(m=other.rpartition("/")[2], n=NAMES.index(other), p="p." if "/" in other else "")
        for piece, other in drawn
    ) + (
        f"\n\ndef f{own}(x):\n    import os\n    os.system(x)\n    return x\n\n\n"
        f"class K{own}:\n    def f{own}(self, x):\n        return f{own}(x)\n"
    )


@settings(max_examples=40, deadline=None)
@given(trees(), st.data())
def test_whatever_is_changed_added_or_removed_a_warm_audit_is_a_cold_one(
    files: dict[str, str], data: st.DataObject
):
    memory = Memory()
    scan_tree(files, CONFIG, memory)
    for _ in range(2):  # what is remembered after a warm audit must be right too
        for name in data.draw(st.sets(st.sampled_from(NAMES), max_size=2)):
            path = f"{name}.py"
            if path in files and len(files) > 1 and data.draw(st.booleans()):
                files = {p: text for p, text in files.items() if p != path}
            else:
                files = {**files, path: data.draw(modules(name))}
        memory = Memory(memory.to_text())
        assert shown(scan_tree(files, CONFIG, memory)) == shown(scan_tree(files, CONFIG))
