"""Is the likely repair of a syntax error among the first proposals, and does every proposal parse?"""

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilig.repair.edit import parse
from veilig.repair.recipes.proposal import Context, Failure
from veilig.repair.recipes.syntax import detect, propose, repair_text

CASES = {
    "missing colon": ("def f(x)\n    return x\n", "def f(x):\n    return x\n"),
    "missing colon before a comment": ("if x  # why\n    y = 1\n", "if x:  # why\n    y = 1\n"),
    "single = in if": ("if x = 1:\n    y = 2\n", "if x == 1:\n    y = 2\n"),
    "single = in while": ("while a.b = c:\n    pass\n", "while a.b == c:\n    pass\n"),
    "unclosed call": ("x = f(1, 2\ny = 3\n", "x = f(1, 2)\ny = 3\n"),
    "unclosed call before def": ("x = f(1\n\ndef g():\n    pass\n", "x = f(1)\n\ndef g():\n    pass\n"),
    "unclosed bracket in a header": ("if f(x:\n    y = 1\n", "if f(x):\n    y = 1\n"),
    "unclosed def": ("def f(a, b:\n    return a\n", "def f(a, b):\n    return a\n"),
    "unclosed dict over lines": (
        "d = {\n    'a': 1,\n    'b': 2\n\nx = 1\n",
        "d = {\n    'a': 1,\n    'b': 2}\n\nx = 1\n",
    ),
    "stray closer": ("x = f(1))\n", "x = f(1)\n"),
    "wrong closer": ("x = [1, 2)\n", "x = [1, 2]\n"),
    "unclosed string": ("x = 'abc\n", "x = 'abc'\n"),
    "unclosed string in a call": ("print('abc)\ny = 1\n", "print('abc')\ny = 1\n"),
    "quote kinds mixed": ("x = 'abc\"\n", "x = 'abc'\n"),
    "apostrophe": ("x = 'it's'\n", 'x = "it\'s"\n'),
    "unclosed docstring": (
        'def f():\n    """Doc.\n    return 1\n',
        'def f():\n    """Doc."""\n    return 1\n',
    ),
    "else if": ("if a:\n    b = 1\nelse if c:\n    b = 2\n", "if a:\n    b = 1\nelif c:\n    b = 2\n"),
    "increment": ("i = 0\ni++\n", "i = 0\ni += 1\n"),
    "print statement": ("print 'hello'\n", "print('hello')\n"),
    "print to a stream": ("print 'a'\nprint >>err, 'x'\n", "print('a')\nprint('x', file=err)\n"),
    "two print statements": ("print 'a'\nx = 1\nprint 'b', x\n", "print('a')\nx = 1\nprint('b', x)\n"),
    "smart quotes": ("x = \u201cabc\u201d\n", 'x = "abc"\n'),
    "no-break space": ("x\u00a0= 1\n", "x = 1\n"),
    "unexpected indent": ("x = 1\n    y = 2\nz = 3\n", "x = 1\ny = 2\nz = 3\n"),
    "wrong unindent": ("def f():\n    a = 1\n   return a\n", "def f():\n    a = 1\n    return a\n"),
    "missing body": ("def f():\n\ndef g():\n    pass\n", "def f():\n    pass\n\ndef g():\n    pass\n"),
    "body not indented": ("def f():\nreturn 1\n", "def f():\n    return 1\n"),
    "tabs and spaces": (
        "def f():\n\ta = 1\n        return a\n",
        "def f():\n        a = 1\n        return a\n",
    ),
    "missing comma in a list": ("x = [\n    1\n    2,\n]\n", "x = [\n    1,\n    2,\n]\n"),
    "missing comma in a call": ("f(a b)\n", "f(a, b)\n"),
    "missing colon in a dict": ("d = {'a' 1}\n", "d = {'a': 1}\n"),
    "misspelt keyword": ("def f():\n    retrun 1\n", "def f():\n    return 1\n"),
    "misspelt import": ("form os import path\n", "from os import path\n"),
    "except comma": (
        "try:\n    f()\nexcept ValueError, e:\n    pass\n",
        "try:\n    f()\nexcept ValueError as e:\n    pass\n",
    ),
    "for of": ("for x of y:\n    pass\n", "for x in y:\n    pass\n"),
    "for without in": ("for x range(3):\n    pass\n", "for x in range(3):\n    pass\n"),
    "no parameter list": ("def f:\n    pass\n", "def f():\n    pass\n"),
    "octal": ("import os\nos.chmod('x', 0755)\n", "import os\nos.chmod('x', 0o755)\n"),
    "await in a plain function": ("def f():\n    await g()\n", "async def f():\n    await g()\n"),
    "and sign": ("if a && b:\n    pass\n", "if a and b:\n    pass\n"),
    "carriage returns": ("if x\r\n    y = 1\r\n", "if x:\r\n    y = 1\r\n"),
    "byte order mark": ("\ufeffif x\n    y = 1\n", "\ufeffif x:\n    y = 1\n"),
    "f-string brace": ("x = f'{a'\n", "x = f'{a}'\n"),
    "two errors": (
        "def f(x)\n    if x = 1:\n        return 2\n",
        "def f(x):\n    if x == 1:\n        return 2\n",
    ),
    "space after backslash": ("x = 1 + \\ \n    2\n", "x = 1 + \\\n    2\n"),
    "return at module level": ("def f():\n    a = 1\nreturn a\n", "def f():\n    a = 1\n    return a\n"),
}


@pytest.mark.parametrize(("broken", "fixed"), CASES.values(), ids=list(CASES))
def test_the_likely_repair_is_among_the_first_three(broken: str, fixed: str) -> None:
    proposals = repair_text("a.py", broken)
    texts = [proposal.patch().apply({"a.py": broken})["a.py"] for proposal in proposals]
    shown = [same.replace(" ", "").rstrip() for same in texts[:3]]
    wanted = fixed.replace(" ", "").rstrip()
    assert wanted in shown, "\n---\n".join(texts)
    for text in texts:
        parse(text)


def test_both_sides_of_a_merge_conflict_are_offered() -> None:
    text = "a = 1\n<<<<<<< HEAD\nb = 2\n=======\nb = 3\n>>>>>>> other\nc = 4\n"
    texts = [p.patch().apply({"a.py": text})["a.py"] for p in repair_text("a.py", text)]
    assert texts[:2] == ["a = 1\nb = 2\nc = 4\n", "a = 1\nb = 3\nc = 4\n"]


def test_a_file_that_parses_gets_no_proposal_and_no_defect() -> None:
    assert repair_text("a.py", "x = 1\n") == []
    assert detect("a.py", "x = 1\n") == []


def test_only_the_file_that_the_failure_names_is_repaired() -> None:
    files = {"a.py": "if x\n    y\n", "b.py": "if x\n    y\n"}
    proposals = propose(Context(files, Failure("SyntaxError", "expected ':'", "b.py", 1)))
    assert {proposal.path for proposal in proposals} == {"b.py"}


@settings(max_examples=40, deadline=None)
@given(st.text(alphabet="abif ()[]{}:='\"\n\t#,.0defprint", max_size=60))
def test_whatever_is_offered_for_any_text_parses(text: str) -> None:
    for proposal in repair_text("a.py", text):
        ast.parse(proposal.patch().apply({"a.py": text})["a.py"])


def test_hostile_depth_is_a_defect_and_not_a_crash() -> None:
    assert detect("a.py", "(" * 5000 + ")" * 5000)
    assert detect("a.py", "x = 1\x00\n")
