"""Does a user's rule find what it says, and is a wrong one refused with its line?"""

import re
from pathlib import Path

import pytest

from veilig.audit.custom import check_examples, configured, read_rules
from veilig.audit.memory import Memory
from veilig.audit.programs import scan_tree
from veilig.audit.scan import ScanConfig
from veilig.core.errors import UsageError

GUIDE = Path(__file__).parents[2] / "docs/how-to/audit-own-rules.md"
EXAMPLE = re.search(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
TEXT = EXAMPLE[1] if EXAMPLE else ""
LINES = """version: 1
rules:
  - id: acme-todo
    cwe: 546
    title: Note about security
    severity: low
    what: a note says that security is unfinished
    why: It is.
    advice: Finish it.
    pattern: 'SECURITY-?TODO'
    bad: "# SECURITY-TODO check the owner\\n"
    good: "# done\\n"
"""


def test_the_documented_rules_hold():
    written = read_rules([("a.yaml", TEXT)])
    check_examples(written)
    assert [rule.id for rule in written.rules] == ["acme-raw-query", "acme-old-cipher"]
    assert written.places == ("a.yaml:3", "a.yaml:24")


def test_a_flow_of_the_users_own_source_and_sink_is_found_across_files():
    config = configured(ScanConfig(), [("a.yaml", TEXT)])
    files = {
        "app/web.py": "from acme import web\nfrom app.store import save\n\nsave(web.field('a'))\n",
        "app/store.py": "from acme import db\n\n\ndef save(x):\n    db.raw('insert ' + x)\n",
    }
    report = scan_tree(files, config)
    found = [f for f in report.findings if f.rule == "acme-raw-query"]
    assert [(f.path, f.line) for f in found] == [("app/store.py", 5)]
    assert found[0].flow[0].path == "app/web.py"


def test_a_pattern_is_found_on_its_line():
    config = configured(ScanConfig(), [("a.yaml", LINES)])
    report = scan_tree({"a.py": "x = 1\ny = 2  # SECURITYTODO\n"}, config)
    assert [(f.rule, f.line, f.column) for f in report.findings] == [("acme-todo", 2, 9)]


def test_what_was_found_with_other_rules_is_not_believed():
    memory = Memory()
    files = {"a.py": "y = 2  # SECURITYTODO\n"}
    assert not scan_tree(files, ScanConfig(), memory).findings
    again = Memory(memory.to_text())
    assert scan_tree(files, configured(ScanConfig(), [("a.yaml", LINES)]), again).findings
    assert again.recalled == 0


REFUSED = {
    "version: 2\nrules: [{id: a-b}]\n": "a.yaml:1",
    LINES.replace("    cwe: 546\n", ""): "a.yaml:3",
    LINES.replace("cwe: 546", "cwe: many"): "a.yaml:4",
    LINES.replace("severity: low", "severity: bad"): "a.yaml:6",
    LINES.replace("pattern: 'SECURITY-?TODO'", "pattern: '('"): "a.yaml:10",
    LINES.replace("pattern: 'SECURITY-?TODO'", "patern: x"): "a.yaml:10",
    LINES.replace("    pattern: 'SECURITY-?TODO'\n", ""): "a.yaml:3",
    LINES.replace("SECURITY-TODO check", "nothing"): "a.yaml:3",
    LINES.replace("# done", "# SECURITYTODO"): "a.yaml:3",
    LINES.replace("# SECURITY-TODO check", "def ("): "a.yaml:3",
    LINES.replace("acme-todo", "sql-injection"): "a.yaml:3",
    LINES.replace("acme-todo", "Todo"): "a.yaml:3",
    LINES + LINES.split("rules:\n")[1]: "a.yaml:13",
    TEXT.replace("call: acme.db.raw", "call: 'acme db'"): "a.yaml:13",
    TEXT.replace("keyword: mode, ", ""): "a.yaml:31",
    TEXT.replace("      sanitisers: [acme.db.quote]\n", ""): "a.yaml:3",
    "a: &a [*a]": "a.yaml",
}


@pytest.mark.parametrize(("text", "place"), REFUSED.items(), ids=range(len(REFUSED)))
def test_a_wrong_rule_is_refused_with_its_line(text: str, place: str):
    with pytest.raises(UsageError) as refused:
        configured(ScanConfig(), [("a.yaml", text)])
    assert str(refused.value).startswith(place)
