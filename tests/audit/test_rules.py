"""Does every rule find its own bad example and stay silent on its good one?"""

import pytest

from veilig.audit.rules import RULES
from veilig.audit.rules.rule import Rule
from veilig.audit.scan import ScanConfig, scan_sources

ALL = ScanConfig(include_pattern=True)


@pytest.mark.parametrize("rule", RULES, ids=[rule.id for rule in RULES])
def test_a_rule_finds_its_bad_example(rule: Rule):
    found = scan_sources({"app.py": rule.bad}, ALL)
    assert rule.id in {finding.rule for finding in found.findings}
    assert not found.skipped
    assert not found.incomplete


@pytest.mark.parametrize("rule", RULES, ids=[rule.id for rule in RULES])
def test_a_rule_stays_silent_on_its_good_example(rule: Rule):
    found = scan_sources({"app.py": rule.good}, ALL)
    assert rule.id not in {finding.rule for finding in found.findings}
    assert not found.skipped
    assert not found.incomplete


def test_rule_ids_are_unique_and_at_least_25_cwe_families_are_covered():
    assert len({rule.id for rule in RULES}) == len(RULES)
    assert len({rule.cwe for rule in RULES}) >= 25
