"""Do edits hold on programs of many shapes: they parse, bind their names, lessen the finding and add none?"""

import ast
import builtins
import re
from collections import Counter
from pathlib import Path

import pytest

from veilig.audit.scan import scan_sources
from veilig.repair.recipes.proposal import Proposal
from veilig.repair.recipes.weakness import propose

SHAPES = (Path(__file__).parent / "weakness_shapes.txt").read_text()
PROGRAMS = re.findall(r"(?ms)^@@ (\S+)\n(.*?)(?=^@@ |\Z)", SHAPES)
IDS = [f"{number}-{rule}" for number, (rule, _) in enumerate(PROGRAMS)]
SHARE_MIN = 0.9  # of the programs in which the audit still finds the weakness; others judge the audit


def unbound(text: str) -> set[str]:
    """Names that are read and bound nowhere in the module."""
    read: set[str] = set()
    bound = {*dir(builtins), "__file__", "__name__"}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return read - bound


def holds(rule: str, text: str) -> bool | None:
    """Whether an edit for the rule's first finding survives the re-scan; None when nothing is found."""
    files = {"app.py": text}
    before = scan_sources(files).findings
    mine = [item for item in before if item.rule == rule]
    if not mine:
        return None
    counted = Counter(item.rule for item in before)
    for offered in propose(mine[0], files):
        if isinstance(offered, Proposal):
            after = offered.patch().apply(files)
            now = Counter(item.rule for item in scan_sources(after).findings)
            if now[rule] < counted[rule] and all(n <= counted[r] for r, n in now.items()):
                return True
    return False


@pytest.mark.parametrize(("rule", "text"), PROGRAMS, ids=IDS)
def test_every_edit_parses_and_uses_only_names_that_are_there(rule: str, text: str) -> None:
    files = {"app.py": text}
    for item in [f for f in scan_sources(files).findings if f.rule == rule]:
        for offered in propose(item, files):
            if isinstance(offered, Proposal):
                after = offered.patch().apply(files)["app.py"]
                compile(after, "app.py", "exec")
                assert unbound(after) <= unbound(text), offered.title


def test_most_programs_get_an_edit_that_survives_the_re_scan() -> None:
    judged = {name: holds(rule, text) for name, (rule, text) in zip(IDS, PROGRAMS, strict=True)}
    found = {name: good for name, good in judged.items() if good is not None}
    failing = sorted(name for name, good in found.items() if not good)
    assert sum(found.values()) >= SHARE_MIN * len(found), failing
