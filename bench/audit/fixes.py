"""Of the vulnerable cases that the audit finds, how many get an edit that a re-scan proves?

    .venv/bin/python bench/audit/fixes.py FOLDER [--groups CWE_GROUPS.py] [--show CASE] [--missing]

FOLDER holds cases.csv (file,cwe,vulnerable,category: `file` is a file, or a folder ending in "/"; each case
is a project of its own) and the cases. A case is found when a finding has one of its CWE numbers, or with
--groups a near relative of one. It is repaired when edits take all of these findings away: each edit must
parse, use no name that is not there, lessen the findings of its rule and add none of any rule. An edit that
asks for a decision counts apart: nobody applies it unasked. Nothing of the cases is imported or run.
"""

import argparse
import ast
import builtins
import csv
import runpy
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from veilig.audit.finding import Finding
from veilig.audit.scan import scan_sources
from veilig.repair.edit import EditError, parse, unified
from veilig.repair.recipes.proposal import Proposal
from veilig.repair.recipes.weakness import propose

ROUNDS_MAX = 12  # edits for one case; more findings than that are not one case


@dataclass(slots=True)
class Case:
    """One labelled case and what became of it."""

    name: str
    cwes: frozenset[int]
    files: dict[str, str]
    found: bool = False
    repaired: bool = False
    decision: bool = False
    rules: list[str] = field(default_factory=list[str])
    left: list[str] = field(default_factory=list[str])
    titles: list[str] = field(default_factory=list[str])
    after: dict[str, str] = field(default_factory=dict[str, str])


def cases(folder: Path, groups: list[set[int]]) -> list[Case]:
    """The vulnerable cases, read."""
    result: list[Case] = []
    with (folder / "cases.csv").open(newline="") as handle:
        for row in csv.DictReader(handle):
            if row["vulnerable"] != "true":
                continue
            cwes = {int(number) for number in row["cwe"].split("|")}
            cwes = cwes.union(*(group for group in groups if group & cwes))
            root = folder / row["file"].split("/")[0] if "/" in row["file"] else folder / row["file"]
            paths = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
            base = root.parent if root.is_file() else root
            files = {path.relative_to(base).as_posix(): path.read_text() for path in paths}
            result.append(Case(row["file"], frozenset(cwes), files))
    return result


def counts(files: dict[str, str]) -> tuple[list[Finding], Counter[str]]:
    """The findings, and how many there are of each rule."""
    found = list(scan_sources({path: text for path, text in files.items() if path.endswith(".py")}).findings)
    return found, Counter(item.rule for item in found)


def unbound(text: str) -> set[str]:
    """Names that are read and bound nowhere in the module."""
    bound: set[str] = set(dir(builtins)) | {"__file__", "__name__", "__doc__"}
    read: set[str] = set()
    for node in ast.walk(parse(text)):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar | ast.TypeVar) and node.name:
            bound.add(node.name)
    return read - bound


def tried(
    proposal: Proposal, files: dict[str, str], before: Counter[str], rule: str
) -> dict[str, str] | None:
    """The files after a proposal that holds; None when it does not."""
    try:
        after = proposal.patch().apply(files)
    except EditError:
        return None
    for path, text in after.items():
        if path.endswith(".py") and text != files.get(path):
            try:
                compile(text.removeprefix("\ufeff"), path, "exec", dont_inherit=True)
            except SyntaxError:
                return None
            if unbound(text) - unbound(files.get(path, "")):
                return None
    _, now = counts(after)
    return after if now[rule] < before[rule] and all(n <= before[r] for r, n in now.items()) else None


def repair(case: Case) -> None:
    """Apply the first edit that holds, until no finding of the case is left or none holds."""
    files, stuck = dict(case.files), set[tuple[str, str, int]]()
    for _ in range(ROUNDS_MAX):
        found, before = counts(files)
        targets = [item for item in found if item.cwe in case.cwes]
        case.found = case.found or bool(targets)
        case.rules = case.rules or [item.rule for item in targets]
        todo = [item for item in targets if (item.rule, item.path, item.line) not in stuck]
        if not todo:
            case.repaired = case.found and not targets
            case.left = [f"{item.rule} {item.path}:{item.line}" for item in targets]
            break
        offered = [item for item in propose(todo[0], files) if isinstance(item, Proposal)]
        for proposal in offered:
            after = tried(proposal, files, before, todo[0].rule)
            if after is not None:
                files, stuck = after, set[tuple[str, str, int]]()
                case.titles.append(proposal.title)
                case.decision = case.decision or bool(proposal.decision)
                break
        else:
            stuck.add((todo[0].rule, todo[0].path, todo[0].line))
            if offered:
                case.titles.append(f"does not hold: {offered[0].title}")
    case.after = files


def percent(part: int, whole: int) -> str:
    """A share as text."""
    return f"{part} of {whole} ({part / whole:.1%})" if whole else "0 of 0"


def main() -> int:
    """Print the shares; exit code 2 when the folder has no cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--groups", type=Path, help="a Python file whose GROUPS lists sets of related CWEs")
    parser.add_argument("--show", help="print the diff of the cases whose name contains this")
    parser.add_argument("--missing", action="store_true", help="list the found cases without a repair")
    given = parser.parse_args()
    if not (given.folder / "cases.csv").is_file():
        print(f"{given.folder}: there is no cases.csv", file=sys.stderr)
        return 2
    groups = _groups(given.groups) if given.groups else []
    every = cases(given.folder, groups)
    by_rule: dict[str, Counter[str]] = defaultdict(Counter[str])
    for case in every:
        repair(case)
        for rule in set(case.rules):
            by_rule[rule].update(found=1, repaired=case.repaired, decision=case.repaired and case.decision)
        if given.show is not None and given.show in case.name and case.found:
            print(f"== {case.name} {sorted(set(case.rules))} {case.titles} left {case.left}")
            print(unified(case.files, case.after))
        if given.missing and case.found and not case.repaired:
            print(f"{case.name}: left {', '.join(case.left)}; {case.titles}")
    print(f"\n{'rule':30s} found repaired with a decision")
    for rule, row in sorted(by_rule.items()):
        print(f"{rule:30s} {row['found']:5d} {row['repaired']:8d} {row['decision']:8d}")
    found = [case for case in every if case.found]
    repaired = [case for case in found if case.repaired]
    sure = sum(not case.decision for case in repaired)
    print(f"\nvulnerable cases found           {percent(len(found), len(every))}")
    print(f"of them repaired, proved         {percent(len(repaired), len(found))}")
    print(f"  without asking for a decision  {percent(sure, len(found))}")
    return 0


def _groups(path: Path) -> list[set[int]]:
    return [set(group) for group in runpy.run_path(str(path))["GROUPS"]]


if __name__ == "__main__":
    sys.exit(main())
