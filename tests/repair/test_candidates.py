import ast
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilig.repair.candidates import Candidate, describe, generate
from veilig.repair.edit import apply
from veilig.repair.families import FAMILIES, Hints
from veilig.repair.families.fitted import OFFSETS
from veilig.repair.locate import Line
from veilig.repair.simplify import simplify

EVERYTHING = '''\
import re
from functools import partial

LIMIT = 10


class Shop:
    """A docstring that no repair touches."""

    def __init__(self, name, items=None):
        self.name = name
        self.items = items or []

    async def load(self, key):
        value = await self.fetch(key)
        return value

    async def fetch(self, key):
        return self.items[key]

    def total(self, rate):
        sum_ = 0
        for i in range(len(self.items) - 1):
            if self.items[i] is None or not rate:
                continue
            sum_ += self.items[i] * rate + 1
        while sum_ > LIMIT and rate:
            sum_ -= LIMIT
            break
        return sum_ if rate else -sum_

    def find(self, pattern):
        try:
            return [x for x in self.items[1:rate(2)] if re.match(r"\\w+", x)]
        except (KeyError, ValueError):
            print("é", "none")
        else:
            pass
        return partial(min, 1)(2, key=str)


def rate(n):
    text = {"a": 1}["a"]
    yield n - text
    yield from (n, max(n, 2))


def deep(xs, k=1):
    a, b = xs[0], xs[-1]
    if a == b and (a or b):
        return a, b
    else:
        a = b
    return deep(xs[k:])


def told(x):
    if isinstance(x, str):
        return "no {x}"
    pair = x,
    return x in ("one", "two")


@partial
def twice(xs):
    a, b = xs[0], xs[-1]
    xs[0] = a or b
    return a
'''


def everywhere(text: str) -> list[Line]:
    return [Line("m.py", number, 1.0, "") for number in range(1, len(text.splitlines()) + 1)]


@pytest.fixture(scope="module")
def all_of_them() -> list[Candidate]:
    hints = Hints(("KeyError",), ("expected",), (42,), ())
    return list(generate({"m.py": EVERYTHING}, everywhere(EVERYTHING), hints))


def test_every_family_offers_something_on_a_module_that_has_everything(all_of_them: list[Candidate]) -> None:
    assert {family.name for family in FAMILIES} - {one.family for one in all_of_them} == set()


def test_family_names_are_told_apart() -> None:
    names = [family.name for family in FAMILIES]
    assert len(names) == len(set(names))


def test_every_candidate_parses_changes_the_text_and_comes_once(all_of_them: list[Candidate]) -> None:
    seen: set[str] = set()
    for one in all_of_them[::7]:
        after = apply(EVERYTHING, one.edits)
        ast.parse(after)
        assert after != EVERYTHING
        assert after not in seen
        seen.add(after)


def test_candidates_come_cheapest_first(all_of_them: list[Candidate]) -> None:
    costs = [one.cost for one in all_of_them]
    assert costs == sorted(costs)


def test_docstrings_and_annotations_are_left_alone() -> None:
    text = 'def f(a: int = 1) -> int:\n    """Doc."""\n    return a\n'
    for one in generate({"m.py": text}, everywhere(text)):
        after = apply(text, one.edits)
        function = ast.parse(after).body[0]
        assert isinstance(function, ast.FunctionDef)
        assert ast.get_docstring(function) in {"Doc.", None} or one.line != 2
        assert function.returns is not None
        assert ast.unparse(function.returns) == "int"


def test_no_candidate_catches_everything(all_of_them: list[Candidate]) -> None:
    hints = Hints(("Exception", "BaseException"))
    text = "def f(d):\n    try:\n        return d[1]\n    except KeyError:\n        return 0\n"
    for one in generate({"m.py": text}, everywhere(text), hints):
        for node in ast.walk(ast.parse(apply(text, one.edits))):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None
                assert not {"Exception", "BaseException"} & set(
                    ast.unparse(node.type).replace("(", " ").split()
                )


def test_generation_is_lazy_on_a_long_module() -> None:
    text = EVERYTHING + "".join(EVERYTHING.replace("deep", f"deep{n}") for n in range(30))
    assert len(list(islice(generate({"m.py": text}, everywhere(text)), 50))) == 50


def test_an_edit_inside_a_function_names_its_unit_and_one_outside_does_not(
    all_of_them: list[Candidate],
) -> None:
    for one in all_of_them:
        if one.line == 4:
            assert one.unit is None
        if one.unit is not None:
            assert all(one.unit.start <= edit.start <= edit.end <= one.unit.end for edit in one.edits)
    units = {(one.unit.name, one.unit.classes) for one in all_of_them if one.unit is not None}
    assert {("total", ("Shop",)), ("rate", ())} <= units


def test_a_file_that_does_not_parse_has_no_candidates() -> None:
    assert list(generate({"m.py": "def f(:\n"}, [Line("m.py", 1, 1.0, "")])) == []


def test_windows_line_ends_and_a_byte_order_mark_are_kept() -> None:
    text = "\ufeffdef f(a, b):\r\n    x = 'é'; y = a\r\n    return a < b\r\n"
    found = list(generate({"m.py": text}, everywhere(text)))
    wanted = [apply(text, one.edits) for one in found if one.family == "cmp_op"]
    assert text.replace("a < b", "a <= b") in wanted


EXPRESSIONS = st.recursive(
    st.sampled_from(["a", "b", "xs[0]", "f(a)", "3", "'s'", "a.x", "-b"]),
    lambda inner: st.builds(
        lambda left, op, right: f"({left} {op} {right})" if op in {"==", "<"} else f"{left} {op} {right}",
        inner,
        st.sampled_from(["+", "-", "*", "and", "or", "==", "<", "if a else"]),
        inner,
    ),
    max_leaves=4,
)


@settings(max_examples=25, deadline=None)
@given(EXPRESSIONS)
def test_whatever_the_expression_candidates_parse(expression: str) -> None:
    text = f"def f(a, b, xs):\n    c = {expression}\n    return c\n"
    for one in islice(generate({"m.py": text}, everywhere(text)), 400):
        ast.parse(apply(text, one.edits))


def test_a_needless_zero_is_simplified_away() -> None:
    text = "def f(x, n):\n    return n + x\n"
    zero = next(
        one for one in generate({"m.py": text}, everywhere(text)) if "0 + x" in apply(text, one.edits)
    )
    simple = [apply(text, simplify(text, one).edits) for one in [zero]]
    assert simple == [text.replace("n + x", "0 + x")] or "return x" in simple[0]


def test_a_long_line_shows_only_what_differs_and_cuts_no_name() -> None:
    head, tail = "result = compute(" + "argument, " * 9, "width, height, depth, colour, and_something_else)"
    told = describe(f"{head}first, {tail}\n", f"{head}second, {tail}\n", 1)
    old, new = (
        "...argument, argument, first, width, height...",
        "...argument, argument, second, width, height...",
    )
    assert told == f"{old} -> {new}"


@pytest.mark.parametrize(
    ("text", "line", "words", "wanted"),
    [
        ("def f(x):\n    return x in ('IF', 'FOR')\n", 2, ("case",), "('IF', 'FOR', 'CASE')"),
        ("import ast\ndef f(x, y):\n    y = ast.Add\n    return isinstance(x, (ast.If, ast.For))\n", 4, (),
         "(ast.If, ast.For, ast.Add)"),
        ("class A: pass\ndef f(x):\n    return isinstance(x, str)\n", 3, (), "(str, A)"),
        ("def f(x):\n    return 'no {x.name}: %s'\n", 2, (), "f'no {x.name}: %s'"),
        ("def f(a, b):\n    g(a.v)\n    return a.v == b\n", 3, (),
         "g(a.v.lower())\n    return a.v.lower() == b"),
    ],
)  # fmt: skip
def test_collections_types_texts_and_several_places_are_repaired(
    text: str, line: int, words: tuple[str, ...], wanted: str
) -> None:
    found = generate({"m.py": text}, [Line("m.py", line, 1.0, "")], Hints(words=words))
    assert any(wanted in apply(text, one.edits) for one in found)


SIBLINGS = """\
class Log:
    def __init__(self, file):
        self._file = file
        self._write = self._file.write
        self._flush = self._file.flush
        self._lock = lock_for(self._file)

    def __setstate__(self, state):
        if state == "stderr":
            self._file = stderr
        self._lock = lock_for(self._file)

    @locked
    def a(self):
        return check(self.name), self._lock

    def b(self):
        name = (self.name,)
        return name
"""


@pytest.mark.parametrize(
    ("line", "family", "wanted"),
    [
        (11, "sibling", ("            self._file = stderr\n        self._write = self._file.write\n"
         "        self._flush = self._file.flush\n        self._lock = lock_for(self._file)\n")),
        (18, "decorator", "    @locked\n    def b(self):\n"),
        (18, "one_member", "name = (self.name)\n"),
    ],
)  # fmt: skip
def test_what_stands_beside_the_same_code_elsewhere_is_offered(line: int, family: str, wanted: str) -> None:
    found = [one for one in generate({"m.py": SIBLINGS}, everywhere(SIBLINGS)) if one.family == family]
    assert any(wanted in apply(SIBLINGS, one.edits) for one in found), line


@pytest.mark.parametrize(
    ("text", "line", "words", "wanted"),
    [
        ("def f(a, b):\n    if a:\n        return 1\n    else:\n        b()\n", 2, (), "    elif not b:\n"),
        ("def f(a, b):\n    if a:\n        c()\n    elif b:\n        d()\n", 2, (), "    else:\n"),
        ("def f(a=missing, b=False):\n    return b\n", 2, (), "b=missing"),
        ("def f(a):\n    yield [a]\n", 2, (), "yield list(a)"),
        ("def f(a):\n    return list(a)\n", 2, (), "return [a]"),
        ("def f(a):\n    return isinstance(a, (str, bytes))\n", 2, (), "isinstance(a, str)"),
        ("def f(a):\n    return a[:2] == b'ab'\n", 2, (), "== 'ab'"),
        ("def f(d):\n    return d['stack_levle']\n", 2, ("stack_level",), "d['stack_level']"),
        ("def f(d, x):\n    d[0] = x\n    return d\n", 2, (), "d.append(x)"),
    ],
)  # fmt: skip
def test_the_same_thing_in_another_form_is_offered(
    text: str, line: int, words: tuple[str, ...], wanted: str
) -> None:
    found = generate({"m.py": text}, [Line("m.py", line, 1.0, "")], Hints(words=words))
    assert any(wanted in apply(text, one.edits) for one in found)


def test_fitted_costs_belong_to_families_that_exist_and_leave_none_for_free() -> None:
    costs = {family.name: family.cost for family in FAMILIES}
    assert set(OFFSETS) <= set(costs)
    assert min(costs.values()) >= 0.5
