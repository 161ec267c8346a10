"""Rules for checks that are missing where their neighbours have one, or that exist and decide nothing."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.rule import Rule
from veilig.audit.rules.sketch import FunctionSketch, Sketch

type Marks = Iterator[tuple[ast.AST, Confidence]]

_REFUSES = re.compile(
    r"abort\(\s*40[13]|HTTPException\(\s*(status_code=)?40[13]|HTTPUnauthorized|HTTPForbidden|PermissionDenied|"
    r"\bUnauthorized\(|\bForbidden\(|AuthenticationFailed|NotAuthenticated"
)
_STRONG = re.compile(
    r"(?i)(^|\.)(permission_required|user_passes_test|staff_member_required|\w*(admin|role|scope|perm)\w*_required|"
    r"require[sd]?_(role|admin|permission|scope)\w*|roles_\w+|has_role|has_permission|at_least|admin_only)$"
)
_SIGNED_IN = re.compile(
    r"(?i)(^|\.)(login_required|auth_required|jwt_required|authenticated|token_required)$"
)
_CHANGES = re.compile(r"\.(update|delete|save|create|bulk_update|bulk_create|execute|remove|add)\(")
_ME = re.compile(r"\b(request\.user|current_user|g\.user|self\.request\.user)\b")
_LOADS = frozenset({"filter", "get", "get_object_or_404", "exclude", "filter_by", "get_or_404", "where"})
_USER_SOURCE = re.compile(
    r"(?i)^(Depends|Security)\(\s*\w*(current|get|require|auth|active|logged)\w*(user|account|customer|member|"
    r"principal|identity|uid)\w*"
)
_ID = re.compile(r"(?i)^(\w+_)?(id|pk|uuid|slug|number|key)$")
_TRIES = re.compile(r"(?i)^\w*(fail(ed|ure)?s?|attempts?|tries|bad_logins?|wrong\w*)(_count|_logins?)?$")


def _idle_guards(sketch: Sketch) -> Marks:
    """A function refuses strangers, and nothing in the program ever refers to it."""
    if not sketch.web:
        return
    for function in sketch.functions:
        owner = function.owner
        if function.decorators or function.name.startswith("__") or (owner is not None and owner.bases):
            continue
        if (
            not search(_REFUSES, function.body)
            or sketch.is_view(function)
            or "request" in function.parameters
        ):
            continue
        if function.name in sketch.program.mentioned:
            continue
        if len(re.findall(rf"\b{re.escape(function.name)}\b", sketch.program_text)) == 1:
            yield function.node, Confidence.POSSIBLE


def _weaker(sketch: Sketch) -> Marks:
    """A view that changes records asks only for a login, its neighbours for a permission."""
    views = [function for function in sketch.functions if sketch.is_view(function)]
    if not any(_STRONG.search(name) for function in views for name in function.decorators):
        return
    for function in views:
        if any(_STRONG.search(name) for name in function.decorators):
            continue
        if not any(_SIGNED_IN.search(name) for name in function.decorators):
            continue
        if not search(_CHANGES, function.body) or search(r"has_perm|permission|role|is_staff", function.body):
            continue
        mine = any(
            dotted(call.func).rpartition(".")[2] in _LOADS and _ME.search(_given(call))
            for call in function.calls()
        )
        compared = any(
            _ME.search(ast.unparse(node))
            for node in function.each(ast.Compare)
            if isinstance(node, ast.Compare)
        )
        helped = any(
            isinstance(node, ast.If) and _ME.search(ast.unparse(node.test)) for node in function.each(ast.If)
        )
        if not mine and not compared and not helped and set(function.parameters) - {"request", "self"}:
            yield function.node, Confidence.POSSIBLE


def _given(call: ast.Call) -> str:
    return " ".join(ast.unparse(item) for item in (*call.args, *(k.value for k in call.keywords)))


def _being_there(sketch: Sketch) -> Marks:
    """`user.is_authenticated or owner == user`: whoever is signed in passes."""
    if "is_authenticated" not in sketch.text and "is_active" not in sketch.text:
        return
    for node in sketch.each(ast.BoolOp):
        if not isinstance(node, ast.BoolOp) or not isinstance(node.op, ast.Or):
            continue
        parts = [ast.unparse(value) for value in node.values]
        signed = any(re.fullmatch(r"[\w.]*\.is_(authenticated|active)(\(\))?", part) for part in parts)
        owned = any(
            isinstance(value, ast.Compare)
            and isinstance(value.ops[0], ast.Eq)
            and re.search(r"(?i)owner|author|user|creator|member|account|_by", part)
            for value, part in zip(node.values, parts, strict=True)
        )
        if signed and owned:
            yield node, Confidence.CERTAIN


def _unasked_user(sketch: Sketch) -> Marks:
    """The signed-in user is a parameter that nothing reads, while a record is taken by its number."""
    if sketch.web not in ("fastapi", "starlette"):
        return
    for function in sketch.functions:
        if not sketch.is_view(function):
            continue
        users = [name for name, source in _sources(function) if _USER_SOURCE.match(source)]
        ids = [name for name in function.parameters if _ID.match(name) and name not in users]
        if not users or not ids or search(r"(?i)admin|staff|role|scope", function.text):
            continue
        read = {
            node.id for item in function.node.body for node in ast.walk(item) if isinstance(node, ast.Name)
        }
        if not read & set(users) and read & set(ids):
            yield function.node, Confidence.POSSIBLE


def _sources(function: FunctionSketch) -> Iterator[tuple[str, str]]:
    """Parameters and the Depends(...) that fills them, as default or inside Annotated."""
    spec = function.node.args
    names = [*spec.posonlyargs, *spec.args]
    defaults: list[ast.expr | None] = [None] * (len(names) - len(spec.defaults)) + list(spec.defaults)
    for parameter, default in [
        *zip(names, defaults, strict=True),
        *zip(spec.kwonlyargs, spec.kw_defaults, strict=True),
    ]:
        if default is not None:
            yield parameter.arg, ast.unparse(default)
        annotation = parameter.annotation
        if isinstance(annotation, ast.Subscript) and isinstance(annotation.slice, ast.Tuple):
            for extra in annotation.slice.elts[1:]:
                yield parameter.arg, ast.unparse(extra)


def _never_compared(sketch: Sketch) -> Marks:
    """Failed attempts are counted, and nothing anywhere looks at the count."""
    for function in sketch.functions:
        if not search(r"(?i)fail|attempt|tries|bad_login|wrong", function.body):
            continue
        for node in function.own_each(ast.AugAssign, ast.Assign):
            name = _counted(node)
            if not name or not _TRIES.match(name):
                continue
            if not search(r"(?i)passw|\bpin\b|otp|code|token|verify|compare_digest|login", function.text):
                continue
            if not search(
                rf"\b{name}\b['\"\])]*( *\)| or 0\))? *(<|>|==|%)|(<|>|==) *[\w.]*\b{name}\b"
                rf"|min\([^)]*\b{name}\b|sleep\([^)]*\b{name}\b|\*\* *[\w.]*{name}",
                sketch.program_text,
            ):
                yield node, Confidence.POSSIBLE
                break


def _counted(node: ast.AST) -> str:
    """The name of a field or key that grows by one here; empty for anything else."""
    target: ast.expr | None = None
    if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
        target = node.target
    elif isinstance(node, ast.Assign) and len(node.targets) == 1:
        shown = ast.unparse(node.targets[0])
        if f"{shown} + 1" in ast.unparse(node.value):
            target = node.targets[0]
    if isinstance(target, ast.Attribute):
        return target.attr
    if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name | ast.Attribute):
        owner = target.value
        return owner.id if isinstance(owner, ast.Name) else owner.attr
    return ""


IDLE_GUARD = Rule(
    id="idle-guard",
    cwe=306,
    title="check that is never called",
    severity=Severity.HIGH,
    what="this function refuses strangers, and nothing calls or registers it",
    why="CWE-306: what it was written to protect is open to everybody (CWE-862)",
    advice="register it (before_request, middleware, Depends) or call it",
    silent="functions that are called, registered, decorated or inherited",
    shape=_idle_guards,
    bad="from flask import Flask, abort, request\napp = Flask(__name__)\n"
    "def key_check():\n    if request.headers.get('X-Key') != app.config['KEY']:\n        abort(401)\n"
    "@app.get('/jobs')\ndef jobs():\n    return 'jobs'\n",
    good="from flask import Flask, abort, request\napp = Flask(__name__)\n"
    "def key_check():\n    if request.headers.get('X-Key') != app.config['KEY']:\n        abort(401)\n"
    "app.before_request(key_check)\n@app.get('/jobs')\ndef jobs():\n    return 'jobs'\n",
)

WEAKER = Rule(
    id="weaker-than-siblings",
    cwe=862,
    title="view that asks for less than its neighbours",
    severity=Severity.MEDIUM,
    what="this view changes records of anybody and asks only for a login; its neighbours want a right",
    why="CWE-862: every user can do what only some may",
    advice="ask for the permission, or limit the records to those of the user",
    silent="views that look up the user's own records, modules without permissions",
    shape=_weaker,
    bad="from django.contrib.auth.decorators import login_required, permission_required\n"
    "from .models import Order\n@login_required\ndef approve(request, pk):\n"
    "    Order.objects.filter(pk=pk).update(approved=True)\n"
    "@permission_required('shop.delete_order')\ndef drop(request, pk):\n"
    "    Order.objects.filter(pk=pk).delete()\n",
    good="from django.contrib.auth.decorators import login_required, permission_required\n"
    "from .models import Order\n@login_required\ndef approve(request, pk):\n"
    "    Order.objects.filter(pk=pk, owner=request.user).update(approved=True)\n"
    "@permission_required('shop.delete_order')\ndef drop(request, pk):\n"
    "    Order.objects.filter(pk=pk).delete()\n",
)

BEING_THERE = Rule(
    id="signed-in-is-enough",
    cwe=863,
    title="being signed in counts as owning",
    severity=Severity.HIGH,
    what="whoever is signed in passes this test; it was meant for the owner",
    why="CWE-863: `or` makes the second condition count for nothing",
    advice="combine them with and",
    silent="conditions joined by and",
    shape=_being_there,
    bad="def may_edit(user, page):\n    return user.is_authenticated or page.owner_id == user.pk\n",
    good="def may_edit(user, page):\n    return user.is_authenticated and page.owner_id == user.pk\n",
)

UNASKED = Rule(
    id="user-not-asked",
    cwe=639,
    title="record taken by number, user not asked",
    severity=Severity.MEDIUM,
    what="the signed-in user is at hand and decides nothing; the number in the address decides alone",
    why="CWE-639: counting up the number shows or changes what belongs to others",
    advice="look the record up by its number and its owner",
    silent="views that read the user, views for administrators",
    shape=_unasked_user,
    bad="from fastapi import Depends, FastAPI\napp = FastAPI()\ndef current_user(): ...\n"
    "@app.delete('/notes/{note_id}')\ndef drop(note_id: int, user=Depends(current_user)):\n"
    "    remove(note_id)\ndef remove(note_id): ...\n",
    good="from fastapi import Depends, FastAPI\napp = FastAPI()\ndef current_user(): ...\n"
    "@app.delete('/notes/{note_id}')\ndef drop(note_id: int, user=Depends(current_user)):\n"
    "    remove(note_id, user.id)\ndef remove(note_id, owner): ...\n",
)

NEVER_COMPARED = Rule(
    id="attempts-never-limited",
    cwe=307,
    title="attempts counted and never limited",
    severity=Severity.MEDIUM,
    what="failed attempts are counted here, and nothing looks at the count",
    why="CWE-307: passwords and codes can be tried without end (CWE-799)",
    advice="refuse after a few failures, for a while",
    silent="counts that are compared or slow things down",
    shape=_never_compared,
    bad="def unlock(card, pin):\n    ok = card.pin == pin\n    if not ok:\n        card.failures += 1\n"
    "    return ok\n",
    good="def unlock(card, pin):\n    if card.failures >= 5:\n        return False\n"
    "    ok = card.pin == pin\n"
    "    if not ok:\n        card.failures += 1\n    return ok\n",
)

RULES = (IDLE_GUARD, WEAKER, BEING_THERE, UNASKED, NEVER_COMPARED)
