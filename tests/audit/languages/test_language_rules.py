"""Does every rule find its own bad example and stay silent on its good one, in every language it is for?"""

import pytest

from veilig.audit.languages.language import Language
from veilig.audit.languages.registry import PACKS
from veilig.audit.languages.rule import LanguageRule
from veilig.audit.languages.scan import scan_texts
from veilig.audit.rules import BY_ID

CASES = [(language, rule) for language, pack in PACKS.items() for rule in pack.rules]
IDS = [f"{language.name.lower()}-{rule.id}" for language, rule in CASES]


@pytest.mark.parametrize(("language", "rule"), CASES, ids=IDS)
def test_a_rule_finds_its_bad_example_and_stays_silent_on_its_good_one(
    language: Language, rule: LanguageRule[object]
):
    path = PACKS[language].sample
    bad = scan_texts({path: rule.bad}, include_pattern=True)
    good = scan_texts({path: rule.good}, include_pattern=True)
    assert not (*bad.skipped, *bad.incomplete, *bad.notices, *good.skipped, *good.incomplete, *good.notices)
    assert rule.id in {finding.rule for finding in bad.findings}
    assert rule.id not in {finding.rule for finding in good.findings}


@pytest.mark.parametrize("language", PACKS)
def test_every_language_has_at_least_ten_rules_with_ids_of_their_own(language: Language):
    rules = PACKS[language].rules
    assert len(rules) >= 10
    assert len({rule.id for rule in rules}) == len(rules)
    assert not {rule.id for rule in rules} & set(BY_ID)
