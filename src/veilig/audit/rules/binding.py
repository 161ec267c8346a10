"""Rules for access checks that bind nobody: wrong order, name or operator, nothing compared."""

import ast
import re
from collections.abc import Iterator
from difflib import SequenceMatcher

from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.access import GUARD_DECORATOR
from veilig.audit.rules.rule import Rule
from veilig.audit.rules.sketch import FunctionSketch, Sketch, constants
from veilig.audit.rules.slices import backwards, tests_in, words_in

type Marks = Iterator[tuple[ast.AST, Confidence]]

_ROUTE = re.compile(r"\.(route|get|post|put|patch|delete|api_route|websocket)$")
_OWNER = re.compile(
    r"(?i)^(\w*_)?(owner|user|author|customer|tenant|account|member|org|organi[sz]ation|company|team|"
    r"workspace|created_by|student|patient|client|seller|buyer|assignee)(_id|_pk)?$"
)
_NUMBER = re.compile(r"(?i)^(id|pk|uuid|slug|number|ref|code|_id|\w+_(id|no|number))$")
_TENANT = re.compile(
    r"(?i)^(owner|user|author|customer|tenant|account|member|org|organi[sz]ation|company|team|"
    r"workspace|viewer|requester|caller|current_user)(_id|_pk)?$|^me$"
)
_SQL_OR = re.compile(
    r"(?is)\bwhere\b.{0,40}?\b(id|uuid|slug|number)\s*=\s*\S+\s+or\s+\w*\.?(owner|user|author|"
    r"customer|tenant|"
    r"account|member|org|created_by)\w*\s*="
)
_ASKS_DATABASE = re.compile(r"^(execute|executemany|fetch\w*|text|raw|query|select\w*|scalar\w*)$")
_REFUSES = re.compile(r"(?i)abort\(|raise |forbidden|40[13]|denied|redirect\(|unauthori[sz]ed|return false")
_LEVEL = re.compile(
    r"(?i)^(min_|required_|needed_|need_)?(role|roles|level|rank|permission|perm|scope|tier|right)s?$"
)
_HOOKS: tuple[tuple[str, frozenset[str]], ...] = (
    (r"Permission$", frozenset({"has_permission", "has_object_permission"})),
    (
        r"(RequestHandler|WebSocketHandler)$",
        frozenset({"prepare", "check_origin", "get_current_user", "check_xsrf_cookie"}),
    ),
    (r"(UserPassesTestMixin|AccessMixin)$", frozenset({"test_func", "handle_no_permission", "dispatch"})),
    (
        r"(MiddlewareMixin)$",
        frozenset({"process_request", "process_response", "process_view", "process_exception"}),
    ),
    (r"(BaseAuthentication)$", frozenset({"authenticate", "authenticate_header"})),
    (r"(BaseThrottle|RateThrottle)$", frozenset({"allow_request", "get_cache_key"})),
)


def _above_the_route(sketch: Sketch) -> Marks:
    """The route registers the function as it is below it: a guard above never runs."""
    if sketch.web in ("", "django"):
        return
    for function in sketch.functions:
        routed = [n for n, name in enumerate(function.decorators) if _ROUTE.search(name)]
        if not routed:
            continue
        above = [name for name in function.decorators[: routed[0]] if _guards(name)]
        below = [name for name in function.decorators[routed[0] + 1 :] if _guards(name)]
        if above and not below:
            yield function.node, Confidence.CERTAIN


def _guards(name: str) -> bool:
    last = name.rpartition(".")[2]
    return GUARD_DECORATOR.search(last) is not None and _ROUTE.search(f".{last}") is None


def _misspelt(sketch: Sketch) -> Marks:
    """A method whose name is nearly that of the hook the framework calls."""
    for node in sketch.each(ast.ClassDef):
        if not isinstance(node, ast.ClassDef) or not node.bases:
            continue
        bases = sketch.bases_of(node)
        own = {item.name for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)}
        for pattern, hooks in _HOOKS:
            if not any(re.search(pattern, base) for base in bases):
                continue
            for item in node.body:
                if not isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) or item.name in hooks:
                    continue
                near = [hook for hook in hooks - own if SequenceMatcher(None, hook, item.name).ratio() > 0.82]
                if near and len(re.findall(rf"\b{item.name}\b", sketch.program_text)) == 1:
                    yield item, Confidence.CERTAIN


def _either_number_or_owner(sketch: Sketch) -> Marks:
    """`id = ? OR owner = ?`: the number alone is enough."""
    for node in sketch.each(ast.BinOp, ast.Call):
        sides: list[ast.expr] = []
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            sides = [node.left, node.right]
        elif isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] == "or_":
            sides = node.args
        asks = isinstance(node, ast.Call) and _ASKS_DATABASE.search(dotted(node.func).rpartition(".")[2])
        if asks and any(_SQL_OR.search(text) for text in constants(node)):
            yield node, Confidence.POSSIBLE
        if len(sides) == 2:
            left, right = (_asked(side) for side in sides)
            for one, two in ((left, right), (right, left)):
                if one and two and _NUMBER.match(one) and not _OWNER.match(one) and _OWNER.match(two):
                    yield node, Confidence.POSSIBLE
                    break


def _asked(side: ast.expr) -> str:
    """The column a condition compares with equals: `Note.id == n`, `Q(owner=me)`."""
    if isinstance(side, ast.Compare) and len(side.ops) == 1 and isinstance(side.ops[0], ast.Eq):
        return side.left.attr if isinstance(side.left, ast.Attribute) else ""
    if isinstance(side, ast.Call) and dotted(side.func).rpartition(".")[2] == "Q" and len(side.keywords) == 1:
        return (side.keywords[0].arg or "").removesuffix("__exact")
    return ""


def _only_there(sketch: Sketch) -> Marks:
    """Loads a record by number; of the owner it was given it only asks whether there is one."""
    for function in sketch.functions:
        names = [name for name in function.parameters if _TENANT.match(name)]
        if not names or len(function.parameters) < 2 or not _loads_by_number(function):
            continue
        for name in names:
            uses = [n for n in function.each(ast.Name) if isinstance(n, ast.Name) and n.id == name]
            if uses and all(id(use) in _truth_places(function) for use in uses):
                yield function.node, Confidence.POSSIBLE


def _loads_by_number(function: FunctionSketch) -> bool:
    for call in function.calls():
        last = dotted(call.func).rpartition(".")[2]
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        numbered = any(
            isinstance(value, ast.Name) and _NUMBER.match(value.id) and value.id in function.parameters
            for value in given
        )
        if (
            last in ("get", "get_or_404", "get_object_or_404", "filter_by", "find_one", "one", "fetchrow")
            and numbered
        ):
            return True
    return False


def _truth_places(function: FunctionSketch) -> set[int]:
    """Places where a name is only asked whether it holds anything."""
    places: set[int] = set()
    for node in function.each(ast.BoolOp, ast.UnaryOp, ast.If, ast.IfExp, ast.While, ast.Compare):
        if isinstance(node, ast.BoolOp):
            places.update(id(value) for value in node.values)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            places.add(id(node.operand))
        elif isinstance(node, ast.If | ast.IfExp | ast.While):
            places.add(id(node.test))
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Is | ast.IsNot):
            places.add(id(node.left))
    return places


def _level_not_compared(sketch: Sketch) -> Marks:
    """A guard made for a role never puts the role beside what the user has."""
    for function in sketch.functions:
        levels = [name for name in function.parameters if _LEVEL.match(name)]
        inner = [
            n
            for n in function.each(ast.FunctionDef, ast.AsyncFunctionDef)
            if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
        ][1:]
        if not levels or len(inner) < 2 or not search(_REFUSES, function.body):
            continue
        named = set(levels)
        for node in function.each(ast.Assign):
            if isinstance(node, ast.Assign) and named & _names(list(ast.walk(node.value))):
                named.update(t.id for t in node.targets if isinstance(t, ast.Name))
        tests = list(tests_in(function))
        compared = any(_beside(test, named, function) for test in tests)
        handed = any(
            named & _names(list(ast.walk(argument)))
            for wrapped in inner
            for call in ast.walk(wrapped)
            if isinstance(call, ast.Call)
            and dotted(call.func).rpartition(".")[2] not in ("abort", "str", "format")
            for argument in [*call.args, *(k.value for k in call.keywords)]
        )
        if tests and not compared and not handed:
            yield function.node, Confidence.POSSIBLE


def _names(nodes: list[ast.AST]) -> set[str]:
    return {node.id for node in nodes if isinstance(node, ast.Name)}


def _beside(test: ast.expr, named: set[str], function: FunctionSketch) -> bool:
    """Whether one comparison holds the role on one side and something that is no literal on the other."""
    for node in ast.walk(test):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        with_role = [s for s in sides if named & _names(backwards(function, s))]
        others = [s for s in sides if s not in with_role and not isinstance(s, ast.Constant)]
        if with_role and (others or len(with_role) > 1):
            return True
    return False


def _unguarded_router(sketch: Sketch) -> Marks:
    """Of the routers of an application one is guarded, and one that changes things is not."""
    included = [
        node
        for node in sketch.each(ast.Call)
        if isinstance(node, ast.Call) and dotted(node.func).endswith(".include_router") and node.args
    ]
    guarded = [
        node for node in included if any(k.arg == "dependencies" and _depends(k.value) for k in node.keywords)
    ]
    routed = any(
        re.search(r"dependencies=.*(Depends|Security)\(", ast.unparse(decorator))
        for function in sketch.functions
        for decorator in function.node.decorator_list
    )
    if not guarded and not routed:
        return
    if search(r"(?:FastAPI|APIRouter)\([^)]*dependencies", sketch.text):
        return
    for node in included:
        name = dotted(node.args[0])
        if node in guarded or re.search(r"(?i)auth|login|health|public|webhook|status|token|oauth", name):
            continue
        module = _module_of(sketch, name)
        if module and re.search(r"(?m)^@\w+\.(put|post|patch|delete)\(", module) and not _depends_on(module):
            yield node, Confidence.POSSIBLE


def _depends(value: ast.expr) -> bool:
    return "Depends" in ast.unparse(value) or "Security" in ast.unparse(value)


def _depends_on(text: str) -> bool:
    return re.search(r"(Depends|Security)\(|verify_|authori[sz]|current_user|require_", text) is not None


def _module_of(sketch: Sketch, name: str) -> str:
    """The text of the module that a router comes from: `valves.router`, `valves_router`."""
    words = [part for part in re.split(r"\.|_router$|^router_", name) if part and part != "router"]
    if not words:
        origin = search(rf"from [\w.]*?(\w+) import [^\n]*\b{re.escape(name)}\b", sketch.text)
        words = [origin.group(1)] if origin else []
    for word in words:
        imported = search(rf"from \.?([\w.]*) import \w+ as {re.escape(name)}\b", sketch.text)
        stem = imported.group(1).rpartition(".")[2] if imported else word
        for module in sketch.program.modules:
            if module.path.rpartition("/")[2] == f"{stem}.py":
                return "\n".join(module.lines)
    return ""


def _mentions(node: ast.AST, word: str) -> bool:
    return any(word in text.lower() for text in (*constants(node), *words_in(list(ast.walk(node)))))


def _origin_not_asked(sketch: Sketch) -> Marks:
    """A web socket of a signed-in browser, and no condition looks at the origin."""
    served = search(r"websockets\.(asyncio\.server\.)?serve\(|\bserve\(\w+,", sketch.text)
    if "websockets" not in sketch.text or not served or "origins=" in sketch.text:
        return
    for function in sketch.functions:
        by_cookie = search(r"(?i)['\"]cookie['\"]|SimpleCookie", function.body)
        if not by_cookie and not any(_mentions(node, "origin") for node in function.own):
            continue
        if function.parameters and search(rf"serve\({function.name}\b", sketch.program_text):
            tests = list(tests_in(function))
            if not any(
                "origin" in " ".join(words_in(backwards(function, t)) + list(constants(t))).lower()
                for t in tests
            ):
                yield function.node, Confidence.POSSIBLE


ABOVE_ROUTE = Rule(
    id="guard-above-route",
    cwe=862,
    title="guard above the route",
    severity=Severity.HIGH,
    what="the route takes the function below it; the guard above is never asked",
    why="CWE-862: the check is written down and does not run",
    advice="put the route decorator on top",
    silent="guards below the route",
    shape=_above_the_route,
    bad="from flask import Flask\nfrom .auth import login_required\napp = Flask(__name__)\n"
    "@login_required\n@app.get('/a')\ndef a():\n    return 'a'\n",
    good="from flask import Flask\nfrom .auth import login_required\napp = Flask(__name__)\n"
    "@app.get('/a')\n@login_required\ndef a():\n    return 'a'\n",
)

MISSPELT = Rule(
    id="misspelt-hook",
    cwe=863,
    title="hook that is never called",
    severity=Severity.HIGH,
    what="the framework calls a method with nearly this name, and not this one",
    why="CWE-863: the default answer counts, and it is yes",
    advice="use the name the framework calls",
    silent="names that something in the program calls",
    shape=_misspelt,
    bad="from rest_framework.permissions import BasePermission\nclass Own(BasePermission):\n"
    "    def has_obj_permission(self, request, view, obj):\n        return obj.user == request.user\n",
    good="from rest_framework.permissions import BasePermission\nclass Own(BasePermission):\n"
    "    def has_object_permission(self, request, view, obj):\n        return obj.user == request.user\n",
)

EITHER = Rule(
    id="number-or-owner",
    cwe=639,
    title="the number alone is enough",
    severity=Severity.HIGH,
    what="a record is taken when its number fits or its owner does",
    why="CWE-639: the question for the owner decides nothing",
    advice="ask for both: and_, &, AND",
    silent="alternatives between owners, or between names of a record",
    shape=_either_number_or_owner,
    bad="def one(db, n, me):\n"
    "    return db.execute('select * from notes where id = ? or owner_id = ?', (n, me)).fetchone()\n",
    good="def one(db, n, me):\n"
    "    return db.execute('select * from notes where id = ? and owner_id = ?', (n, me)).fetchone()\n",
)

ONLY_THERE = Rule(
    id="owner-not-compared",
    cwe=639,
    title="owner given and not compared",
    severity=Severity.HIGH,
    what="of the owner given here it is only asked whether there is one",
    why="CWE-639: any owner gets the records of every other (CWE-863)",
    advice="compare the owner of the record with the one given, or put it into the query",
    silent="functions that compare or pass on the owner",
    shape=_only_there,
    bad="def one(db, org_id, doc_id):\n    doc = db.get(Doc, doc_id)\n"
    "    return doc if doc and org_id else None\nclass Doc: ...\n",
    good="def one(db, org_id, doc_id):\n    doc = db.get(Doc, doc_id)\n"
    "    return doc if doc and doc.org_id == org_id else None\nclass Doc: ...\n",
)

LEVEL = Rule(
    id="role-not-compared",
    cwe=863,
    title="role asked for and not compared",
    severity=Severity.HIGH,
    what="this guard is made for a role and never compares it with the role of the user",
    why="CWE-863: every role passes",
    advice="compare the level of the user with the level needed",
    silent="guards that compare or hand on the role",
    shape=_level_not_compared,
    bad="def needs(role):\n    def deco(fn):\n        def inner(user, *a):\n"
    "            if not user.role:\n                raise PermissionError\n            return fn(user, *a)\n"
    "        return inner\n    return deco\n",
    good="def needs(role):\n    def deco(fn):\n        def inner(user, *a):\n"
    "            if user.role != role:\n                raise PermissionError\n"
    "            return fn(user, *a)\n"
    "        return inner\n    return deco\n",
)

ROUTER = Rule(
    id="unguarded-router",
    cwe=306,
    title="router without the guard of its siblings",
    severity=Severity.HIGH,
    what="this router changes things and has no guard, while another router has one",
    why="CWE-306: whoever knows the address may do it (CWE-862)",
    advice="include it with the same dependencies",
    silent="routers that only read, routers with guards of their own, log-in pages",
    shape=_unguarded_router,
    bad="from fastapi import FastAPI\nfrom .security import guards\nfrom . import app\nmain = FastAPI()\n"
    "main.include_router(app.other, dependencies=[guards.Depends])\nmain.include_router(app.router)\n"
    "router = main.router\n@router.put('/valve')\ndef valve():\n    return 1\n",
    good="from fastapi import FastAPI\nfrom .security import guards\nfrom . import app\nmain = FastAPI()\n"
    "main.include_router(app.other, dependencies=[guards.Depends])\n"
    "main.include_router(app.router, dependencies=[guards.Depends])\n"
    "router = main.router\n@router.put('/valve')\ndef valve():\n    return 1\n",
)

ORIGIN = Rule(
    id="websocket-origin-unasked",
    cwe=1385,
    title="origin of a web socket not asked",
    severity=Severity.MEDIUM,
    what="a web socket of a signed-in browser is accepted from any page",
    why="CWE-1385: any site the user visits speaks in the user's name (CWE-346)",
    advice="serve(..., origins=[...]), or close when the Origin header is not yours",
    silent="servers with origins=, handlers that branch on the origin",
    shape=_origin_not_asked,
    bad="import websockets\nasync def talk(ws):\n    who = ws.request.headers['Cookie']\n"
    "    await ws.send(who)\ndef main():\n    return websockets.serve(talk, '::1', 9000)\n",
    good="import websockets\nasync def talk(ws):\n    who = ws.request.headers['Cookie']\n"
    "    await ws.send(who)\ndef main():\n"
    "    return websockets.serve(talk, '::1', 9000, origins=['https://a.example'])\n",
)

RULES = (ABOVE_ROUTE, MISSPELT, EITHER, ONLY_THERE, LEVEL, ROUTER, ORIGIN)
