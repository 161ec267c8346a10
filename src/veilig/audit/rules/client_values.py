"""Rules for values the client must not decide: prices, amounts below zero, extra fields, kinds of files."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.finding import Confidence
from veilig.audit.rules.rule import shaped
from veilig.audit.rules.sketch import FunctionSketch, Sketch, last_name
from veilig.audit.rules.slices import module_definitions, own_definitions, tests_in

type Marks = Iterator[tuple[ast.AST, Confidence]]

_PRICE = re.compile(
    r"(?i)^(unit_?)?(price|total|cost|subtotal|grand_total|discount|fee|rate|price_cents|total_cents)$"
)
_CLIENT = re.compile(
    r"(?i)^(await )?(\w+\.)*(body|data|payload|packet|form|json|msg|message|params|doc|order|req|event|POST|"
    r"get_json\([^)]*\)|json\(\)|post\(\))$|request\.(form|json|POST|args|data|get_json)"
)
_COUNT = re.compile(
    r"(?i)^(count|qty|quantity|pieces|amount|seats|tickets|nights|units|number|num|n|copies|points|coins)$"
)
_PRECIOUS = re.compile(
    r"(?i)^(password|passwd|pwd|secret|client_secret|token|access_token|api_?key|card_?number|cvv|pin|ssn)$"
)
_LOGS = re.compile(
    r"(?i)(^|\.)_?(log|logger|logging)\w*\.(debug|info|warning|error|exception|critical)$|^print$"
)
_WRITES = re.compile(r"(^|\.)(dumps|str|repr|pformat|dict|format|safe_dump)$")
_SECRET = re.compile(r"(?i)(^|_)(token|secret|api_?key|password|passwd|pass|psk|pwd)$")


def _read_from_client(value: ast.expr, keys: re.Pattern[str]) -> str:
    """The holder of `body["total"]` or `body.get("total", ...)` for one of these keys, or empty."""
    if isinstance(value, ast.Subscript) and isinstance(value.slice, ast.Constant):
        return ast.unparse(value.value) if keys.match(str(value.slice.value)) else ""
    if (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Attribute)
        and value.func.attr == "get"
        and value.args
    ):
        first = value.args[0]
        known = isinstance(first, ast.Constant) and keys.match(str(first.value))
        return ast.unparse(value.func.value) if known else ""
    if isinstance(value, ast.Call) and dotted(value.func) in (
        "int",
        "float",
        "Decimal",
        "decimal.Decimal",
        "round",
    ):
        return _read_from_client(value.args[0], keys) if value.args else ""
    return ""


def _price_sent(sketch: Sketch) -> Marks:
    """The client says what it costs, although the program knows."""
    yield from _priced_by_sender(sketch)
    if not sketch.program.has(r"(?i)price"):
        return
    for function in sketch.functions:
        if not search(
            r"(?i)charge|pay|buy|order|checkout|purchase|debit|gold|coins|invoice|book|spend", function.body
        ):
            continue
        for name, values in own_definitions(function).items():
            for value in values:
                if not _CLIENT.search(_read_from_client(value, _PRICE)):
                    continue
                if not _compared_with_own(function, name) and _handed_on(function, name):
                    yield value, Confidence.POSSIBLE


def _priced_by_sender(sketch: Sketch) -> Marks:
    """A price and a number of the same message are multiplied, and the product is charged."""
    if not search(r"BaseModel\)", sketch.text) or not sketch.program.has(
        r"(?i)charge|pay|checkout|order|invoice|purchase|debit"
    ):
        return
    fields = [
        {last_name(item.target) for item in node.body if isinstance(item, ast.AnnAssign)}
        for node in sketch.each(ast.ClassDef)
        if isinstance(node, ast.ClassDef) and any(dotted(base).endswith("BaseModel") for base in node.bases)
    ]
    for node in sketch.each(ast.BinOp):
        if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Mult):
            continue
        sides = [side for side in (node.left, node.right) if isinstance(side, ast.Attribute)]
        names = {side.attr for side in sides}
        one = len(sides) == 2 and ast.unparse(sides[0].value) == ast.unparse(sides[1].value)
        if one and any(map(_PRICE.match, names)) and any(names <= known for known in fields):
            yield node, Confidence.POSSIBLE


def _compared_with_own(function: FunctionSketch, name: str) -> bool:
    return any(
        isinstance(node, ast.Compare)
        and isinstance(node.ops[0], ast.Eq | ast.NotEq)
        and re.search(rf"\b{re.escape(name)}\b", ast.unparse(node)) is not None
        and not any(isinstance(side, ast.Constant) for side in (node.left, *node.comparators))
        for test in tests_in(function)
        for node in ast.walk(test)
    )


def _handed_on(function: FunctionSketch, name: str) -> bool:
    """The value goes into another call or a calculation."""
    for node in function.own_each(ast.Call, ast.BinOp):
        parts: list[ast.expr] = []
        if isinstance(node, ast.Call) and not re.search(
            r"isinstance$|jsonify$|\.(info|debug|warning)$|^(int|float)$", dotted(node.func)
        ):
            parts = [*node.args, *(k.value for k in node.keywords)]
        elif isinstance(node, ast.BinOp):
            parts = [node.left, node.right]
        if any(isinstance(part, ast.Name) and part.id == name for part in parts):
            return True
    return False


def _below_zero(sketch: Sketch) -> Marks:
    """A number of pieces has an upper bound only: below zero it pays out."""
    if not sketch.web:
        return
    for function in sketch.functions:
        for name, values in own_definitions(function).items():
            for value in values:
                whole = isinstance(value, ast.Call) and dotted(value.func) == "int"
                if not whole or not _CLIENT.search(_read_from_client(value, _COUNT)):
                    continue
                upper, lower = _bounds(function, name)
                if upper and not lower:
                    yield value, Confidence.POSSIBLE


def _bounds(function: FunctionSketch, name: str) -> tuple[bool, bool]:
    upper = lower = False
    for test in tests_in(function):
        for node in ast.walk(test):
            if not isinstance(node, ast.Compare):
                continue
            sides = [node.left, *node.comparators]
            for one, op, two in zip(sides, node.ops, sides[1:], strict=False):
                mine = [isinstance(side, ast.Name) and side.id == name for side in (one, two)]
                if not any(mine):
                    continue
                other = two if mine[0] else one
                small = isinstance(other, ast.Constant) and other.value in (0, 1)
                if small and isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE):
                    lower = True
                elif isinstance(op, ast.Lt | ast.LtE | ast.Gt | ast.GtE):
                    upper = True
                if isinstance(op, ast.In | ast.NotIn):
                    lower = True
    text = function.body
    return upper, lower or re.search(rf"max\(\s*[01]\s*,|abs\(|isdigit|\bge=|range\({name}", text) is not None


def _takes_anything(owner: ast.ClassDef) -> bool:
    """`class P(BaseModel, extra="allow")`, ConfigDict(extra="allow") or an inner Config that says so."""
    for node in ast.walk(owner):
        if isinstance(node, ast.keyword) and node.arg == "extra" and "allow" in ast.unparse(node.value):
            return True
        if (
            isinstance(node, ast.Assign)
            and last_name(node.targets[0]) == "extra"
            and "allow" in ast.unparse(node.value)
        ):
            return True
    return False


def _extra_fields(sketch: Sketch) -> Marks:
    """A model that takes fields nobody declared is copied into a record."""
    if "setattr(" not in sketch.text or not sketch.program.has(r"extra\s*=\s*(['\"]allow|Extra\.allow)"):
        return
    if not any(isinstance(node, ast.ClassDef) and _takes_anything(node) for node in sketch.everywhere()):
        return
    for function in sketch.functions:
        if not search(r"model_dump\(|\.dict\(|model_extra|__dict__", function.body) or search(
            r"\bif \w+ in \b", function.body
        ):
            continue
        for call in function.calls():
            if dotted(call.func) == "setattr":
                yield call, Confidence.POSSIBLE
                break


def _logged_whole(sketch: Sketch) -> Marks:
    """A dictionary with a password or key in it is written to the log as a whole."""
    for function in sketch.functions:
        local: dict[str, list[ast.expr]] | None = None
        for call in function.calls():
            if not _LOGS.search(dotted(call.func)) or len(call.args) + len(call.keywords) == 0:
                continue
            local = own_definitions(function) if local is None else local
            for argument in call.args:
                wrapped = (
                    isinstance(argument, ast.Call) and argument.args and _WRITES.search(dotted(argument.func))
                )
                inner = argument.args[0] if wrapped and isinstance(argument, ast.Call) else argument
                given = local.get(inner.id, []) if isinstance(inner, ast.Name) else [inner]
                if any(isinstance(value, ast.Dict) and _shows(value) for value in given):
                    yield call, Confidence.CERTAIN
                    break


def _shows(value: ast.Dict) -> bool:
    return any(
        isinstance(key, ast.Constant)
        and _PRECIOUS.match(str(key.value)) is not None
        and isinstance(item, ast.Name | ast.Attribute | ast.Subscript)
        for key, item in zip(value.keys, value.values, strict=True)
    )


def _joined_default(sketch: Sketch) -> Marks:
    """A password put together from literals stands in when none is set."""
    outer = module_definitions(sketch.module)
    for node in sketch.each(ast.Assign, ast.keyword):
        name, value = "", None
        if isinstance(node, ast.Assign):
            name, value = last_name(node.targets[0]), node.value
        elif isinstance(node, ast.keyword) and node.arg:
            name, value = node.arg, node.value
        if value is None or not _SECRET.search(name):
            continue
        last = value.values[-1] if isinstance(value, ast.BoolOp) and isinstance(value.op, ast.Or) else value
        if isinstance(last, ast.Call) and last_name(last.func) in ("get", "getenv") and len(last.args) > 1:
            last = last.args[1]
        text = _folded(last, outer)
        if isinstance(last, ast.BinOp) and len(text) > 5 and " " not in text:
            yield node if isinstance(node, ast.Assign) else value, Confidence.POSSIBLE


def _folded(node: ast.expr, names: dict[str, list[ast.expr]], depth: int = 0) -> str:
    """The text that literals joined with + make; empty when anything else takes part."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and depth < 9:
        one, two = _folded(node.left, names, depth + 1), _folded(node.right, names, depth + 1)
        return one + two if one and two else ""
    if isinstance(node, ast.Name) and len(names.get(node.id, [])) == 1 and depth < 9:
        return _folded(names[node.id][0], names, depth + 1)
    return ""


def _anywhere(sketch: Sketch) -> Marks:
    """An ending of a file name is looked for anywhere in the name."""
    if not sketch.program.has(r"\.save\(|UploadFile|request\.files|FILES|\.filename"):
        return
    for function in sketch.functions:
        for node in function.each(ast.Call):
            if not isinstance(node, ast.Call) or dotted(node.func) != "any" or not node.args:
                continue
            inner = node.args[0]
            test = inner.elt if isinstance(inner, ast.GeneratorExp | ast.ListComp) else None
            if isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.In):
                text = ast.unparse(test.comparators[0])
                if re.search(
                    r"(?i)^(\w+\.)*(file_?name|name|fn|fname|path)(\.lower\(\))?$", text
                ) and re.search(
                    r"(?i)ext|kind|suffix|type|end|png|jpg|pdf|allowed", ast.unparse(node) + function.name
                ):
                    yield node, Confidence.POSSIBLE


def _any_file(sketch: Sketch) -> Marks:
    """A field for files that a form fills, and nothing looks at the kind of file."""
    if "FileField(" not in sketch.text or not sketch.program.has(
        r"ModelForm|CreateView|ModelSerializer|request\.FILES"
    ):
        return
    if sketch.program.has(
        r"(?i)FileExtensionValidator|content_type|def clean_\w*file|magic\.|\.suffix|splitext|filetype"
    ):
        return
    for node in sketch.each(ast.Call):
        if not isinstance(node, ast.Call) or dotted(node.func) != "models.FileField":
            continue
        if not any(keyword.arg == "validators" for keyword in node.keywords):
            yield node, Confidence.POSSIBLE


RULES = (
    shaped(
        "price-from-client",
        602,
        "price said by the client",
        "the client says what it costs, although the program knows",
        "CWE-602: it costs one cent (CWE-807, CWE-472)",
        "take the price from the own table",
        "prices that are compared with the own",
        _price_sent,
        "PRICES = {'a': 5}\ndef buy(body, charge):\n"
        "    total = body.get('total', PRICES[body['item']])\n    charge(total)\n",
        "PRICES = {'a': 5}\ndef buy(body, charge):\n    total = PRICES[body['item']]\n    charge(total)\n",
    ),
    shaped(
        "count-below-zero",
        1284,
        "number of pieces below zero",
        "a number of pieces has an upper bound only",
        "CWE-1284: minus five pieces pay the buyer (CWE-20)",
        "1 <= n <= limit",
        "numbers with a lower bound",
        _below_zero,
        "from flask import Flask, request\napp = Flask(__name__)\n@app.post('/o')\ndef o():\n"
        "    n = int(request.form['qty'])\n    if n > 9:\n        return 'no', 400\n"
        "    return {'sum': n * 5}\n",
        "from flask import Flask, request\napp = Flask(__name__)\n@app.post('/o')\ndef o():\n"
        "    n = int(request.form['qty'])\n    if not 1 <= n <= 9:\n        return 'no', 400\n"
        "    return {'sum': n * 5}\n",
    ),
    shaped(
        "undeclared-fields-copied",
        915,
        "fields nobody declared are copied",
        "a model that takes fields nobody declared is copied into a record",
        "CWE-915: is_admin is a field too",
        'extra="forbid", or copy named fields',
        "models with declared fields only",
        _extra_fields,
        "from pydantic import BaseModel\nclass P(BaseModel, extra='allow'):\n    name: str = ''\n"
        "def put(user, p: P):\n    for k, v in p.model_dump().items():\n        setattr(user, k, v)\n",
        "from pydantic import BaseModel\nclass P(BaseModel, extra='forbid'):\n    name: str = ''\n"
        "def put(user, p: P):\n    for k, v in p.model_dump().items():\n        setattr(user, k, v)\n",
    ),
    shaped(
        "credentials-logged-whole",
        532,
        "credentials in a log line",
        "a dictionary with a password or key in it is written to the log as a whole",
        "CWE-532: logs are read, copied and kept by many",
        "log the name only",
        "masked values",
        _logged_whole,
        "import logging\nlog = logging.getLogger()\ndef login(user, password):\n"
        "    doc = {'user': user, 'password': password}\n    log.info('login %s', doc)\n",
        "import logging\nlog = logging.getLogger()\ndef login(user, password):\n"
        "    doc = {'user': user, 'password': password}\n    log.info('login %r', user)\n    return doc\n",
    ),
    shaped(
        "joined-password",
        798,
        "password put together in the source",
        "a password put together from literals stands in when none is set",
        "CWE-798: whoever has the program has the password",
        "fail when it is not set",
        "literals that are no secrets",
        _joined_default,
        "import os\ndb_password = os.environ.get('DB') or 'qa7' + '-x-' + 'kk1'\n",
        "import os\ndb_password = os.environ['DB']\n",
    ),
    shaped(
        "ending-anywhere",
        434,
        "ending looked for anywhere",
        "an ending of a file name is looked for anywhere in the name",
        "CWE-434: shell.png.php has it too",
        "compare what stands after the last dot",
        "suffix, splitext, endswith",
        _anywhere,
        "ENDS = ('.png',)\ndef fits(name):\n    return any(e in name for e in ENDS)\ndef put(f):\n"
        "    f.save(f.filename)\n",
        "ENDS = ('.png',)\ndef fits(name):\n    return name.endswith(ENDS)\ndef put(f):\n"
        "    f.save(f.filename)\n",
    ),
    shaped(
        "any-file-field",
        434,
        "field for any file",
        "a form fills a field for files, and nothing looks at the kind of file",
        "CWE-434: a page with a script is a file too",
        "validators=[FileExtensionValidator([...])]",
        "fields with validators, programs that look at kinds of files",
        _any_file,
        "from django import forms\nfrom django.db import models\nclass L(models.Model):\n"
        "    scan = models.FileField(upload_to='s')\nclass F(forms.ModelForm): ...\n",
        "from django import forms\nfrom django.db import models\nfrom .v import pdf\nclass L(models.Model):\n"
        "    scan = models.FileField(upload_to='s', validators=[pdf])\nclass F(forms.ModelForm): ...\n",
    ),
)
