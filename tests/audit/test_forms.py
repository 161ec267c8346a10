"""Is each weakness found in the forms people write it in, and its repaired form left alone?

Each case in forms/*.txt: `=== CWE|CWE name`, then one program; lines that begin with `-|` belong to the
vulnerable form only, lines that begin with `+|` to the repaired one; `## path` begins a further file.
"""

import re
from pathlib import Path

import pytest

from veilig.audit.scan import scan_sources

FORMS = Path(__file__).parent / "forms"
type Form = tuple[frozenset[int], str]


def _forms() -> dict[str, Form]:
    found: dict[str, Form] = {}
    for path in sorted(FORMS.glob("*.txt")):
        for block in re.split(r"(?m)^=== ", path.read_text())[1:]:
            head, _, body = block.partition("\n")
            numbers, _, name = head.partition(" ")
            key = f"{path.stem}: {numbers} {name}"
            assert key not in found, key
            found[key] = (frozenset(map(int, numbers.split("|"))), body)
    return found


def _files(body: str, mark: str) -> dict[str, str]:
    other = "-|" if mark == "+|" else "+|"
    lines = [line.removeprefix(mark) for line in body.splitlines() if not line.startswith(other)]
    files: dict[str, list[str]] = {}
    name = "app.py"
    for line in lines:
        if line.startswith("## "):
            name = line[3:].strip()
            continue
        files.setdefault(name, []).append(line)
    return {name: "\n".join(text) + "\n" for name, text in files.items()}


def _found(body: str, mark: str) -> set[int]:
    report = scan_sources(_files(body, mark))
    assert not report.skipped
    assert not report.incomplete
    return {finding.cwe for finding in report.findings}


ALL = _forms()
# What is known and not yet found stands in missed.txt; found one day, it must move to the others.
FOUND = [
    pytest.param(*form, id=key, marks=[pytest.mark.xfail(strict=True)] if key.startswith("missed: ") else [])
    for key, form in ALL.items()
]


@pytest.mark.parametrize(("numbers", "body"), FOUND)
def test_the_vulnerable_form_is_found(numbers: frozenset[int], body: str):
    assert _found(body, "-|") & numbers


@pytest.mark.parametrize(("numbers", "body"), ALL.values(), ids=ALL.keys())
def test_the_repaired_form_is_left_alone(numbers: frozenset[int], body: str):
    assert not _found(body, "+|") & numbers
