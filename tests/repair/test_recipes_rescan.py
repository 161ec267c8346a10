"""Does the audit find nothing any more, and nothing new, where the first edit was applied?"""

import pytest

from veilig.audit.rules import RULES
from veilig.audit.rules.rule import Rule
from veilig.audit.scan import scan_sources
from veilig.repair.recipes.proposal import Proposal
from veilig.repair.recipes.weakness import propose


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_the_first_edit_for_a_rules_own_example_survives_the_re_scan(rule: Rule) -> None:
    files = {"app.py": rule.bad}
    before = scan_sources(files)
    for finding in [item for item in before.findings if item.rule == rule.id][:1]:
        first = propose(finding, files)[0]
        if isinstance(first, Proposal):
            after = scan_sources(first.patch().apply(files))
            left = [item for item in after.findings if item.rule == rule.id]
            assert len(left) < sum(item.rule == rule.id for item in before.findings), first
            assert {item.rule for item in after.findings} <= {item.rule for item in before.findings}


def test_four_fifths_of_the_weaknesses_have_an_edit_and_the_others_advice() -> None:
    edited: set[int] = set()
    for rule in RULES:
        files = {"app.py": rule.bad}
        for finding in [item for item in scan_sources(files).findings if item.rule == rule.id][:1]:
            first = propose(finding, files)[0]
            if isinstance(first, Proposal):
                edited.add(rule.cwe)
            else:
                assert "no edit is known" not in first.text
    assert len(edited) >= 0.8 * len({rule.cwe for rule in RULES}), sorted(edited)
