"""How is a search planned, asked for and listened to?"""

import ast
import json
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any, cast

from veilig.core.limits import SANDBOX_MEMORY_BYTES
from veilig.repair.candidates import Candidate
from veilig.repair.detect import TestCommand
from veilig.repair.edit import parse
from veilig.repair.families import Hints
from veilig.repair.testreport import Test

MARKER = "VEILIG-WORKER"
ROUND_SIZES = (1_500, 6_000, 20_000, 60_000)  # the first round costs little when the patch is an easy one
COST_BAND = 1.2  # how much dearer a second patch may be and still be looked at
PLAUSIBLE_MAX = 16
CPU_MIN_S, CPU_MAX_S = 0.02, 0.5
KEEP_MAX = 5000  # tests that must stay green inside the search; the proof runs all of them
LITERALS_MAX = 12
WRONG_TYPE = ("TypeError", "AttributeError")
TYPE_NAMED = re.compile(
    r"object has no attribute|not supported|unsupported operand|concatenate|must be|expected"
)
WORDS_MAX, WORD_CHARS_MAX = 40, 20


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
    BEHAVIOUR = "behaviour"
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


class Listener:
    """Follows the output of workers/search.py while it comes; `line` says how the search goes."""

    def __init__(self, one: Round, nonce: str, tried: int) -> None:
        self._round, self._nonce, self._before = one, nonce, tried
        self._rest = b""
        self._best: Candidate | None = None
        self.line = ""

    def take(self, data: bytes) -> bool:
        """True when `line` is a new one."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        told = [n for text in lines if (n := news(text.decode("utf-8", "replace"), self._nonce)) is not None]
        for one in told:
            number = one.candidate
            if one.kind is Told.PLAUSIBLE and number is not None and number < len(self._round.candidates):
                found = self._round.candidates[number]
                if self._best is None or found.cost < self._best.cost:
                    self._best = found
        last = next((one.fields for one in reversed(told) if one.kind is Told.PROGRESS), None)
        if last is None:
            return False
        best = f"; passes: {self._best.title}" if self._best is not None else ""
        self.line = f"{self._before + int(last.get('tried', 0))} tried, {last.get('per_s', 0)}/s{best}"
        return True


def answers(told: News) -> tuple[str, ...]:
    """The answers in a `behaviour` line; none when it holds anything else."""
    found = told.fields.get("answers")
    return tuple(map(str, cast("list[object]", found))) if isinstance(found, list) else ()


def hints(failing: Sequence[Test], texts: Mapping[str, str] | None = None) -> Hints:
    """Exception names, keys and constants that the failures mention.

    texts: path -> text of the test files; what the failing tests write as text is a hint too.
    """
    exceptions: dict[str, None] = {}
    strings: dict[str, None] = {}
    integers: dict[int, None] = {}
    names: dict[str, None] = {}
    messages: list[str] = []
    for test in failing:
        for failure in [*([test.failure] if test.failure else []), *test.causes]:
            exceptions[failure.exception] = None
            text = failure.message
            messages.append(f"{failure.exception}: {text.partition('\n')[0]}")
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
        _words(failing, texts or {}),
        any("NoneType" in one and one.startswith(WRONG_TYPE) for one in messages),
        any(one.startswith(WRONG_TYPE) and TYPE_NAMED.search(one) for one in messages),
    )


def _words(failing: Sequence[Test], texts: Mapping[str, str]) -> tuple[str, ...]:
    """Short texts that stand in the failing test functions, in order of appearance."""
    wanted = {
        (test.file, re.split(r"[\[.:]", test.id.rpartition("::")[2] or test.id.rpartition(".")[2])[0])
        for test in failing
    }
    found: dict[str, None] = {}
    for path, text in texts.items():
        try:
            tree = parse(text, path)
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (path, node.name) in wanted:
                for one in ast.walk(node):
                    if isinstance(one, ast.Constant) and isinstance(one.value, str):
                        found.update(dict.fromkeys([one.value] if len(one.value) <= WORD_CHARS_MAX else []))
                        found.update(dict.fromkeys(re.findall(r"\w{2,20}", one.value)))
    return tuple(found)[:WORDS_MAX]


def _hung(test: Test) -> bool:
    return test.failure is None or test.failure.exception in {"TestTimedOut", "ProcessDied"}
