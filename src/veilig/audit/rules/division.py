"""Rule for numbers of a request that divide: does anything keep zero out?"""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.needles import search
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.rule import Rule
from veilig.audit.rules.sketch import FunctionSketch, Sketch, last_name
from veilig.audit.rules.slices import tests_in

type Marks = Iterator[tuple[ast.AST, Confidence]]

_FROM_REQUEST = re.compile(
    r"request\.(args|form|GET|POST|json|query\w*|values|get_json|match_info|rel_url)|get_argument"
)


def _divides(sketch: Sketch) -> Marks:
    """A number of the request divides, and nobody asks whether it is zero."""
    if not sketch.web:
        return
    for function in sketch.functions:
        if search(r"ZeroDivisionError|except (Arithmetic|Exception)", function.body):
            continue
        models = _number_fields(sketch, function)
        for node in function.each(ast.BinOp):
            if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Div | ast.FloorDiv | ast.Mod):
                continue
            if isinstance(node.left, ast.Constant) and isinstance(node.left.value, str):
                continue
            made = [node.right, *_given(function, node.right)]
            texts = [ast.unparse(item) for item in made]
            sent = any(_FROM_REQUEST.search(text) and re.search(r"int|float|Decimal", text) for text in texts)
            if (sent or any(text in models for text in texts)) and not _excluded(function, texts):
                yield node, Confidence.POSSIBLE
                break


def _given(function: FunctionSketch, value: ast.expr) -> list[ast.expr]:
    name = value.id if isinstance(value, ast.Name) else ""
    return [
        node.value
        for node in function.nodes
        if name
        and isinstance(node, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id == name for t in node.targets)
    ]


def _excluded(function: FunctionSketch, texts: list[str]) -> bool:
    """Whether any condition, or a bound at the source, keeps zero out."""
    spelt = [re.escape(text) for text in texts]
    tests = " ; ".join(ast.unparse(test) for test in tests_in(function))
    if any(re.search(r"\bmax\(|\bor 1\b|\bor \d", text) for text in texts):
        return True
    for text in spelt:
        lower = rf"(?<![\w.]){text}(?![\w.(])"
        if re.search(
            rf"{lower} *(<=?|==|!=) *[01]\b|{lower} *>=? *[01]\b|[01] *<=? *{lower}|not {lower}|^{lower}$|"
            rf"(^|; |and |or ){lower}( ;|$| and| or)|min_value|{lower} *in\b",
            tests,
        ):
            return True
    return False


def _number_fields(sketch: Sketch, function: FunctionSketch) -> set[str]:
    """`body.parts` for each number of a model that the request fills and that may be zero."""
    found: set[str] = set()
    spec = function.node.args
    for parameter in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs):
        if parameter.annotation is None or not sketch.is_view(function):
            continue
        wanted = last_name(parameter.annotation)
        if wanted in ("int", "float"):
            found.add(parameter.arg)
        for node in sketch.everywhere():
            if not isinstance(node, ast.ClassDef) or node.name != wanted or "validator" in ast.unparse(node):
                continue
            for item in node.body:
                if isinstance(item, ast.AnnAssign) and last_name(item.annotation) in (
                    "int",
                    "float",
                    "Decimal",
                ):
                    bound = ast.unparse(item.value) if item.value is not None else ""
                    if not re.search(r"\b(gt|ge)=", bound):
                        found.add(f"{parameter.arg}.{last_name(item.target)}")
    return found


ZERO = Rule(
    id="division-by-request",
    cwe=369,
    title="division by a number of the request",
    severity=Severity.LOW,
    what="a number of the request divides, and nothing keeps zero out",
    why="CWE-369: a zero ends the request with an error",
    advice="refuse what is smaller than one",
    silent="numbers with a lower bound, handlers of ZeroDivisionError",
    shape=_divides,
    bad="from flask import Flask, request\napp = Flask(__name__)\n@app.get('/p')\ndef p():\n"
    "    n = int(request.args['n'])\n    return {'x': 100 / n}\n",
    good="from flask import Flask, request\napp = Flask(__name__)\n@app.get('/p')\ndef p():\n"
    "    n = int(request.args['n'])\n    if n < 1:\n        return 'no', 400\n"
    "    return {'x': 100 / n}\n",
)

RULES = (ZERO,)
