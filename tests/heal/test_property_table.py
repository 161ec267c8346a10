"""Does every test that docs/explanation/healing-properties.md names exist?"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "healing-properties.md"


def test_every_property_names_tests_that_exist() -> None:
    rows = {row.split("|")[1].strip(): row for row in PAGE.read_text().splitlines() if row.startswith("| P")}
    assert list(rows) == [f"P{n}" for n in range(1, 23)]
    for law, row in rows.items():
        named = re.findall(r"`(tests/[\w/.]+)::(\w+)`", row)
        assert named, f"{law} names no test"
        for file, name in named:
            text = (ROOT / file).read_text()
            found = re.search(rf"^(async )?def {name}\(|^{name} = ", text, re.MULTILINE)
            assert found, f"{law}: {file} has no {name}"
