"""How is a search planned, asked for, listened to, and which of the plausible patches is chosen?"""

import ast
import json
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from typing import Any, cast

from veilig.core.limits import SANDBOX_MEMORY_BYTES
from veilig.repair.candidates import Candidate
from veilig.repair.detect import TestCommand
from veilig.repair.edit import Edit, LineMap, apply, parse
from veilig.repair.families import Hints
from veilig.repair.recipes.proposal import Confidence
from veilig.repair.source import normal
from veilig.repair.testreport import Test

MARKER = "VEILIG-WORKER"
ROUND_SIZES = (1_500, 6_000, 20_000, 60_000)  # the first round costs little when the patch is an easy one
COST_BAND = 0.8  # how much dearer a second patch may be and still be looked at
PLAUSIBLE_MAX = 12
CPU_MIN_S, CPU_MAX_S = 0.02, 0.5
KEEP_MAX = 5000  # tests that must stay green inside the search; the proof runs all of them
LITERALS_MAX = 12


@dataclass(frozen=True, slots=True)
class Round:
    """One run of workers/search.py."""

    candidates: tuple[Candidate, ...]
    deadline_s: float


def plan(candidates: Iterator[Candidate], budget_s: float) -> Generator[Round, float | None]:
    """Rounds of growing size, each with what is left of the budget as the caller reports it with `send`.

    Use: `rounds = plan(...); one = next(rounds)`, then `rounds.send(seconds left)` until it stops.
    A plain `for` loop gives every round the whole budget.
    """
    left_s = budget_s
    for size in (*ROUND_SIZES, *([ROUND_SIZES[-1]] * 100)):
        batch = tuple(islice(candidates, size))
        if not batch or left_s <= 0:
            return
        told = yield Round(batch, left_s)
        left_s = budget_s if told is None else told


def task(
    one: Round, *, root: str, nonce: str, command: TestCommand, targets: Sequence[Test], keep: Sequence[str]
) -> str:
    """The JSON that workers/search.py reads with `--task`.

    targets: the failing tests as the first, untraced run saw them. keep: ids of green tests, nearest first.
    """
    units = list(dict.fromkeys(item.unit for item in one.candidates if item.unit is not None))
    number = {unit: place for place, unit in enumerate(units)}
    return json.dumps(
        {
            "root": root,
            "nonce": nonce,
            "runner": str(command.runner),
            "args": list(command.args),
            "pythonpath": list(command.pythonpath),
            "targets": [test.id for test in targets],
            "cpu_s": {test.id: test.cpu_s for test in targets if not _hung(test)},
            "keep": list(keep)[:KEEP_MAX],
            "units": [
                {
                    "path": unit.path,
                    "name": unit.name,
                    "first_line": unit.first_line,
                    "indent": unit.indent,
                    "classes": list(unit.classes),
                    "start": unit.start,
                    "end": unit.end,
                }
                for unit in units
            ],
            "candidates": [
                [
                    number[item.unit] if item.unit is not None else -1,
                    item.path,
                    [[edit.start, edit.end, edit.replacement] for edit in item.edits],
                    item.cost,
                ]
                for item in one.candidates
            ],
            "limits": {
                "deadline_s": one.deadline_s,
                "memory_bytes": SANDBOX_MEMORY_BYTES // 2,
                "cost_band": COST_BAND,
                "plausible_max": PLAUSIBLE_MAX,
                "cpu_min_s": CPU_MIN_S,
                "cpu_max_s": CPU_MAX_S,
            },
        }
    )


class Told(StrEnum):
    """What a line of the worker announces."""

    BASELINE = "baseline"
    PROGRESS = "progress"
    PLAUSIBLE = "plausible"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class News:
    """One line of the worker; `fields` as workers/search.py writes them."""

    kind: Told
    fields: Mapping[str, Any]
    candidate: int | None = None


def news(line: str, nonce: str) -> News | None:
    """The event on one line of output, or None when the line is the project's own."""
    head = f"{MARKER} {nonce} "
    if not line.startswith(head):
        return None
    try:
        fields = cast("dict[str, Any]", json.loads(line[len(head) :]))
        kind = Told(str(fields["event"]))
        number = fields.get("candidate")
        return News(kind, fields, int(number) if number is not None else None)
    except (ValueError, KeyError, TypeError):
        return None  # a line cut in two by a crash; its event is then missing, never invented


@dataclass(frozen=True, slots=True)
class Choice:
    """The patch to prove first, the others in order, and how sure that is."""

    best: Candidate
    others: tuple[Candidate, ...]
    confidence: Confidence
    why: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the choice may lean on: how many tests were failing, how many green ones run the changed line."""

    targets: int
    covering: int = 0
    literals: frozenset[str] = frozenset()


def choose(plausible: Sequence[Candidate], evidence: Evidence) -> Choice | None:
    """The simplest of the plausible candidates, or None when there is none.

    Simple is: small cost, few changed characters, nothing copied from the expected values of the tests.
    Many different plausible patches mean that the tests do not tell them apart, and the confidence says so.
    """
    if not plausible:
        return None
    ordered = sorted(plausible, key=lambda one: (one.cost + _copied(one, evidence.literals), _size(one)))
    best = ordered[0]
    rivals = [one for one in ordered[1:] if one.line != best.line or one.path != best.path]
    reasons = [f"{evidence.targets} failing test{'s' if evidence.targets != 1 else ''} repaired"]
    points = (
        min(evidence.targets, 4)
        + min(evidence.covering, 4)
        - 2 * bool(rivals)
        - min(len(ordered) - 1, 4) // 2
    )
    if best.cost > 4.5:
        points -= 2
        reasons.append("a patch of an unlikely kind")
    if _copied(best, evidence.literals):
        points -= 2
        reasons.append("it contains a value that the tests expect")
    if evidence.covering:
        reasons.append(f"{evidence.covering} green tests run the changed line")
    if len(ordered) > 1:
        reasons.append(f"{len(ordered) - 1} other patches pass too")
    level = Confidence.HIGH if points >= 4 else Confidence.MEDIUM if points >= 1 else Confidence.LOW
    return Choice(best, tuple(ordered[1:]), level, ", ".join(reasons))


def hints(failing: Sequence[Test]) -> Hints:
    """Exception names, keys and constants that the failures mention."""
    exceptions: dict[str, None] = {}
    strings: dict[str, None] = {}
    integers: dict[int, None] = {}
    names: dict[str, None] = {}
    for test in failing:
        for failure in [*([test.failure] if test.failure else []), *test.causes]:
            exceptions[failure.exception] = None
            text = failure.message
            strings.update(dict.fromkeys(one[1] for one in re.findall(r"(['\"])([^'\"\n]{1,40})\1", text)))
            integers.update(
                dict.fromkeys(int(one) for one in re.findall(r"(?<![\w.])-?\d{1,9}(?![\w.])", text))
            )
            names.update(dict.fromkeys(re.findall(r"[Dd]id you mean:? '([^']+)'", text)))
    kept = [
        one for one in exceptions if one not in {"AssertionError", "Failed", "ProcessDied", "TestTimedOut"}
    ]
    return Hints(
        tuple(kept),
        tuple(strings)[:LITERALS_MAX],
        tuple(integers)[:LITERALS_MAX],
        tuple(one for one in names if one.isidentifier()),
    )


def simplify(text: str, candidate: Candidate) -> Candidate:
    """The same edit as a person would write it: `0 + x` -> `x`, `x - 0` -> `x`, `not not x` -> `x`.

    text: the file before the edit. Returns the candidate itself when there is nothing to simplify; a
    changed one must be proven again like any other.
    """
    if len(candidate.edits) != 1:
        return candidate
    edit = candidate.edits[0]
    after = apply(text, candidate.edits)
    try:
        tree = parse(after)
    except (SyntaxError, ValueError):
        return candidate
    lines = LineMap(after)
    end = edit.start + len(edit.replacement)
    for node in ast.walk(tree):
        kept = _kept(node)
        if kept is None:
            continue
        first, last = lines.span(node)
        if not (first <= edit.start <= end <= last or edit.start <= first <= last <= end):
            continue
        shift = len(text) - len(after)
        start, stop = min(first, edit.start), max(last, end)
        written = after[start:first] + lines.source(kept) + after[last:stop]
        simpler = Edit(edit.path, start, stop + shift, written)
        if normal(apply(text, [simpler])) == normal(text):
            return candidate
        return replace(candidate, edits=(simpler,))
    return candidate


def _kept(node: ast.AST) -> ast.expr | None:
    """The operand that is left when an operation does nothing, else None."""
    match node:
        case ast.BinOp(left=ast.Constant(value=0), op=ast.Add(), right=kept):
            return kept if _tight(kept) else None
        case ast.BinOp(left=kept, op=ast.Add() | ast.Sub(), right=ast.Constant(value=0)):
            return kept if _tight(kept) else None
        case ast.BinOp(left=ast.Constant(value=1), op=ast.Mult(), right=kept):
            return kept if _tight(kept) else None
        case ast.BinOp(left=kept, op=ast.Mult() | ast.FloorDiv() | ast.Pow(), right=ast.Constant(value=1)):
            return kept if _tight(kept) else None
        case ast.UnaryOp(op=ast.Not(), operand=ast.UnaryOp(op=ast.Not(), operand=kept)):
            return kept if _tight(kept) else None
        case _:
            return None


def _tight(node: ast.expr) -> bool:
    return isinstance(node, ast.Name | ast.Call | ast.Attribute | ast.Subscript | ast.Constant)


def _hung(test: Test) -> bool:
    return test.failure is None or test.failure.exception in {"TestTimedOut", "ProcessDied"}


def _size(one: Candidate) -> int:
    return sum(len(edit.replacement) + edit.end - edit.start for edit in one.edits)


def _copied(one: Candidate, literals: frozenset[str]) -> float:
    """A penalty for an expected value in the patch: the usual way to satisfy a test and miss the point."""
    found = [edit for edit in one.edits if edit.replacement.strip("'\"") in literals]
    return 0.8 if found and one.family in {"const", "const_str", "return_val", "expr_to_const"} else 0.0
