"""Rules for who may do what: access checks that are missing, or that the client decides."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.frame import Frame
from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.engine.state import deep_taints
from veilig.audit.engine.value import Const, OriginKind, Value
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.rule import Rule
from veilig.audit.rules.sketch import FunctionSketch, Sketch

type Marks = Iterator[tuple[ast.AST, Confidence]]

GUARD_DECORATOR = re.compile(
    r"(?i)(login|auth|permission|admin|role|require|protected|jwt|token|owner|staff|superuser|"
    r"user_passes|scope|access|"
    r"secure|verified|member|policy|guard|roles|private)"
)
_GUARD_TEXT = re.compile(
    r"(?i)\b(current_user|current_identity|g\.user|request\.user|session\b|login_required|"
    r"authenticate|authoriz|"
    r"require_\w+|ensure_\w+|verify_\w+|check_\w*(access|auth|perm|admin|token|owner|role|user|login|"
    r"key|signature)|"
    r"has_perm|permission|is_admin|is_authenticated|get_jwt|jwt|api_?key|token|Depends|Security|"
    r"PermissionDenied|abort\(40[13]|status_code=40[13]|, 40[13]\b|HTTPUnauthorized|HTTPForbidden|"
    r"get_current_user|"
    r"compare_digest|is_staff|role|owner)"
)
_SENSITIVE = re.compile(
    r"(?i)(admin|delete|remove|destroy|drop|purge|wipe|reset|promote|grant|revoke|ban|shutdown|"
    r"restart|refund|transfer|"
    r"payout|export|impersonate|set_role|make_admin|disable|config|backup|restore|users?/all|"
    r"all_users|audit_log)"
)
_MODULE_AUTH = re.compile(
    r"(?i)(login_required|permission_required|current_user|LoginManager|require_(?:login|auth|admin|"
    r"role|user|perm)\w*|"
    r"admin_required|auth_required|jwt_required|IsAuthenticated|get_current_user|requires_auth|"
    r"staff_required|"
    r"roles_required|token_required|superuser_required)"
)
_GLOBAL_GUARD = re.compile(r"add_middleware\(\s*Auth|dependencies\s*=\s*\[|LoginRequiredMiddleware")
_PUBLIC = re.compile(
    r"(?i)(login|logout|signup|sign_up|signin|register|health|ping|index|home|static|public|about|"
    r"status|callback|webhook|"
    r"forgot|password_reset|reset_password|reset_request|verify|confirm|robots|favicon|metrics|ready|"
    r"live|version|csrf)"
)


def _routes(function: FunctionSketch) -> str:
    return " ".join(line.strip() for line in function.text[: -len(function.body)].splitlines() if "@" in line)


def guarded(function: FunctionSketch) -> bool:
    """Whether anything in the function or on it asks who is there."""
    for name in function.decorators:
        last = name.rpartition(".")[2]
        if GUARD_DECORATOR.search(last) and not last.startswith("route"):
            return True
    if search(_GUARD_TEXT, function.body) is not None:
        return True
    routes = _routes(function)
    if "Depends" in routes or "dependencies" in routes or "IsA" in routes:
        return True
    owner = function.owner
    if owner is None:
        return False
    inherited = " ".join(dotted(base) for base in owner.bases)
    fields = " ".join(ast.unparse(item) for item in owner.body if isinstance(item, ast.Assign))
    return (
        re.search(r"(?i)required|auth|permission|protected|secure|admin|passes", f"{inherited}") is not None
        or re.search(r"(?i)permission_classes|decorators|login_url|authentication", fields) is not None
        or any(GUARD_DECORATOR.search(dotted(item)) for item in owner.decorator_list)
        or any(
            isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
            and item.name in ("dispatch", "prepare", "initial", "get_queryset")
            and _GUARD_TEXT.search(ast.unparse(item))
            for item in owner.body
        )
    )


def _guard_before(sketch: Sketch) -> bool:
    """Whether a function that runs before every request asks who is there."""
    for function in sketch.functions:
        if any(
            name.endswith(("before_request", "before_app_request", "middleware"))
            for name in function.decorators
        ) and guarded(function):
            return True
    return search(r"before_request\(\s*\w*(auth|login|user|admin|require)", sketch.text) is not None


def _unguarded(sketch: Sketch) -> Marks:
    """A sensitive view without any check in a module whose other views have one, or an administrative one."""
    if not sketch.web or search(_GLOBAL_GUARD, sketch.text) or _guard_before(sketch):
        return
    views = [function for function in sketch.functions if sketch.is_view(function)]
    others = sum(1 for function in views if guarded(function))
    protected = search(_MODULE_AUTH, sketch.text) is not None
    for function in views:
        what = f"{function.name} {_routes(function)} {function.owner.name if function.owner else ''}"
        if guarded(function) or (_PUBLIC.search(what) and "admin" not in what.lower()):
            continue
        sensitive = _SENSITIVE.search(what) is not None
        changes = re.search(r"(?i)POST|PUT|DELETE|PATCH|\.(post|put|delete|patch)\(", _routes(function))
        if (sensitive and (others or protected or "admin" in what.lower())) or (others >= 1 and changes):
            yield function.node, Confidence.POSSIBLE
    for node in sketch.each(ast.ClassDef) if "AllowAny" in sketch.text else ():
        if isinstance(node, ast.ClassDef) and "AllowAny" in ast.unparse(node):
            writable = any("ModelViewSet" in dotted(b) or "Destroy" in dotted(b) for b in node.bases)
            if writable or _SENSITIVE.search(node.name):
                yield node, Confidence.POSSIBLE


_ID_NAME = re.compile(r"(?i)^(\w+_)?(id|pk|uuid|slug|number|no|ref)$")
_FETCH = re.compile(
    r"(?i)\.(get|get_or_404|first_or_404|filter_by|filter|one|find_one|execute|delete|scalar|fetch_one)\($"
)
_IDENTITY = re.compile(
    r"(?i)\b(current_user|request\.user|g\.user|session(\[|\.get|\.user)|self\.request\.user|identity|"
    r"user_id|owner\w*|"
    r"me\b|current_\w+|self\.current_user|account_id|tenant\w*|is_admin|is_staff|has_perm\w*|"
    r"permission\w*|check_\w+|"
    r"can_\w+|user\.id|author\w*|user\.\w+|has_object_permission|role)"
)
_KNOWN_USER = re.compile(
    r"(?i)login_required|IsAuthenticated|jwt_required|auth_required|get_current_user|LoginRequiredMixin|"
    r"token_required|current_user\s*[:=]|requires_auth|require_login|require_user|\bsession\[|session\.get\("
)


def _by_identifier(sketch: Sketch) -> Marks:
    """A view for logged-in users that loads a record by its number and never asks whose it is."""
    yield from _everybodys_records(sketch)
    for function in sketch.functions:
        if not sketch.is_view(function):
            continue
        above = function.text[: len(function.text) - len(function.body)]
        classes = ast.unparse(function.owner)[:400] if function.owner is not None else ""
        if not _KNOWN_USER.search(f"{above} {function.body} {classes}"):
            continue
        if re.search(r"(?i)admin|staff|superuser|role|permission_required|scope", f"{above} {classes}"):
            continue
        for call in _loads(function):
            if not _asks_whose(function):
                yield call, Confidence.POSSIBLE
                break


def _everybodys_records(sketch: Sketch) -> Marks:
    """A view set that stores an owner and lists what belongs to everybody."""
    if "perform_create" not in sketch.text:
        return
    for node in sketch.each(ast.ClassDef):
        if not isinstance(node, ast.ClassDef):
            continue
        text = ast.unparse(node)
        if not re.search(r"save\((owner|user|author|created_by|account)=self\.request\.user", text):
            continue
        if re.search(r"(?i)IsOwner|has_object_permission|ReadOnly|filter_backends|IsAuthor|IsAdmin", text):
            continue
        for item in node.body:
            queried = ast.unparse(item)
            named = isinstance(item, ast.FunctionDef) and item.name == "get_queryset"
            if (named or queried.startswith("queryset =")) and "objects" in queried:
                others = any(isinstance(o, ast.FunctionDef) and o.name == "get_queryset" for o in node.body)
                if "request.user" not in queried and (named or not others):
                    yield item, Confidence.POSSIBLE


def _loads(function: FunctionSketch) -> Iterator[ast.Call]:
    given = {name for name in function.parameters if _ID_NAME.match(name)}
    for call in function.calls():
        name = dotted(call.func).rpartition(".")[2]
        if not isinstance(call.func, ast.Attribute | ast.Name):
            continue
        values = [*call.args, *(keyword.value for keyword in call.keywords)]
        inside = [part for value in values for part in ast.walk(value)]
        if name in (
            "get",
            "get_or_404",
            "filter_by",
            "filter",
            "get_object_or_404",
            "first_or_404",
            "find_one",
        ) or (name == "execute" and re.search(r"(?i)where", " ".join(_literals(call)))):
            owner = ast.unparse(call.func).lower()
            first = call.args[0] if call.args else None
            if owner.endswith("session.get") and isinstance(first, ast.Name) and first.id[:1].isupper():
                owner = "orm"  # SQLAlchemy: session.get(Model, key)
            if re.search(
                r"request|session|headers|environ|cookies|config|requests\b|httpx|args\b|form\b", owner
            ):
                continue
            if any(isinstance(p, ast.Name) and p.id in given for p in inside) or any(
                isinstance(p, ast.Subscript | ast.Call)
                and re.search(r"request\.\w+.*\bid['\"]|view_args|match_info", ast.unparse(p))
                for p in values
            ):
                yield call


def _literals(node: ast.AST) -> Iterator[str]:
    return (
        item.value
        for item in ast.walk(node)
        if isinstance(item, ast.Constant) and isinstance(item.value, str)
    )


def _asks_whose(function: FunctionSketch) -> bool:
    """Whether the identity of the user decides anything but the login check itself."""
    body = function.body.partition(":\n")[2] or function.body
    lines = [
        line
        for line in body.splitlines()
        if not re.search(
            r"not in session|is_authenticated|session\.get\([^)]*\)(:| is None| is not)|not (session|"
            r"current_user)|^\s*(\w*log\w*|logging|print|flash|audit|metrics)(\.\w+)*\(",
            line,
        )
    ]
    return _IDENTITY.search("\n".join(lines)) is not None


_TRUSTED_NAME = re.compile(
    r"(?i)(^|[._\-\[ '\"(])(x-)?(is_?)?(admin|role|user_?role|is_?staff|internal|debug|privileged|"
    r"authenticated|logged_?in|rank|tier|plan|group|perms?|permissions|is_\\w+|"
    r"forwarded-for|x-forwarded-for|x-real-ip|remote-user|superuser|access_?level|user-?type|rank|"
    r"tier|plan)\b"
)
_CLIENT_HELD = re.compile(r"(?i)(cookies|headers|META|getheader|environ)")


def forgeable(frame: Frame, node: ast.Compare, values: list[Value], cookie: bool = False) -> bool:
    """A header, or a cookie, that says who the client is, compared with a constant."""
    if len(node.ops) != 1 or not isinstance(node.ops[0], ast.Eq | ast.NotEq | ast.In | ast.NotIn):
        return False
    for value, other in ((values[0], values[1]), (values[1], values[0])):
        if not _fixed(frame, other):
            continue
        for taint in deep_taints(frame.state, value):
            hop = taint.hop
            while hop.before is not None:
                hop = hop.before
            label = f"{taint.origin.label} {frame.engine.project.line(hop.path, hop.line)}"
            held = _CLIENT_HELD.search(label)
            if taint.origin.kind is OriginKind.REMOTE and held and ("cookie" in label.lower()) is cookie:
                text = label + " " + ast.unparse(node)
                if _TRUSTED_NAME.search(text) and "samesite" not in text:
                    return True
    return False


_ROLE = re.compile(r"(?i)\b(role|is_?admin|is_?staff|user_?role|is_?superuser|access_?level|admin)\b")
_MIGHTY = frozenset(
    {"admin", "administrator", "staff", "superuser", "owner", "root", "manager", "true", "1", "yes"}
)


def _claims(label: str, origin: str, other: Value) -> bool:
    """A field called role that must say admin: the sender says so."""
    text = other.value if isinstance(other, Const) else None
    mighty = text is True or (isinstance(text, str) and text.lower() in _MIGHTY)
    return mighty and (_ROLE.search(origin) is not None or _ROLE.search(label) is not None)


def _claimed_role(frame: Frame, node: ast.Compare, values: list[Value]) -> bool:
    """A field called role that must say admin: the sender says so."""
    if len(node.ops) != 1 or not isinstance(node.ops[0], ast.Eq | ast.NotEq | ast.Is | ast.IsNot):
        return False
    for value, other in ((values[0], values[1]), (values[1], values[0])):
        for taint in deep_taints(frame.state, value):
            hop = taint.hop
            while hop.before is not None:
                hop = hop.before
            label = frame.engine.project.line(hop.path, hop.line)
            if (taint.origin.kind is OriginKind.REMOTE and not _CLIENT_HELD.search(label)) and _claims(
                label, taint.origin.label, other
            ):
                return True
    return False


def _fixed(frame: Frame, value: Value) -> bool:
    if isinstance(value, Const):
        return value.value not in (None, "", "websocket", "XMLHttpRequest")
    return not deep_taints(frame.state, value) and "config" not in getattr(value, "qual", "")


def _reverse_name(sketch: Sketch) -> Marks:
    for function in sketch.functions:
        if "gethostbyaddr(" not in function.body and "getfqdn(" not in function.body:
            continue
        confirmed = search(r"getaddrinfo|gethostbyname\(|gethostbyname_ex", function.body)
        decides = search(r"endswith\(|==|\bin\b [A-Z]", function.body)
        if decides and not confirmed:
            for call in function.calls():
                if dotted(call.func).endswith(("gethostbyaddr", "getfqdn")) and call.args:
                    yield call, Confidence.CERTAIN


UNGUARDED = Rule(
    id="missing-authorization",
    cwe=862,
    title="no access check",
    severity=Severity.HIGH,
    what="this view does something sensitive and never asks who is there",
    why="CWE-862: whoever knows the address may do it",
    advice="check the user and the permission first, as the other views of the module do",
    silent="views with a decorator, a dependency, a mixin or a look at the user; public pages",
    shape=_unguarded,
    bad="from flask import Flask\napp = Flask(__name__)"
    "\n@app.route('/admin/users/<int:n>', methods=['DELETE'])\n"
    "def drop(n):\n    remove(n)\n    return 'gone'\ndef remove(n): ...\n",
    good="from flask import Flask\nfrom flask_login import login_required\napp = Flask(__name__)\n"
    "@app.route('/admin/users/<int:n>', methods=['DELETE'])\n@login_required\n"
    "def drop(n):\n    remove(n)\n    return 'gone'\ndef remove(n): ...\n",
)

WHOSE = Rule(
    id="object-of-anybody",
    cwe=639,
    title="record of another user",
    severity=Severity.HIGH,
    what="a record is loaded by a number from the request, and nobody asks whose it is",
    why="CWE-639: counting up the number shows everybody's records",
    advice="filter by the user as well: filter_by(id=id, owner_id=current_user.id)",
    silent="queries with the user in them, a comparison with the owner, administrators' views",
    shape=_by_identifier,
    bad="from flask import Flask, jsonify\nfrom flask_login import login_required\napp = Flask(__name__)\n"
    "@app.route('/invoices/<int:invoice_id>')\n@login_required\ndef invoice(invoice_id):\n"
    "    return jsonify(Invoice.query.get_or_404(invoice_id).summary())\n",
    good="from flask import Flask, jsonify\nfrom flask_login import login_required, current_user\n"
    "app = Flask(__name__)\n"
    "@app.route('/invoices/<int:invoice_id>')\n@login_required\ndef invoice(invoice_id):\n"
    "    found = Invoice.query.filter_by(id=invoice_id, owner_id=current_user.id).first_or_404()\n"
    "    return jsonify(found.summary())\n",
)

FORGEABLE = Rule(
    id="client-says-who",
    cwe=290,
    title="identity taken from the client",
    severity=Severity.HIGH,
    what="a header that anybody can write decides what is allowed",
    why="CWE-290: the client sends whatever the check wants to see (CWE-807)",
    advice="keep roles on the server, in a signed session or the database",
    silent="headers that decide nothing about access; for cookies see cookie-says-who",
    compared=forgeable,
    check_confidence=Confidence.POSSIBLE,
    bad="from flask import request, abort\ndef panel():\n    if request.headers.get('X-Admin') != 'true':\n"
    "        abort(403)\n    return 'panel'\n",
    good="from flask import session, abort\ndef panel():\n    if session.get('is_admin') is not True:\n"
    "        abort(403)\n    return 'panel'\n",
)

CLAIMED = Rule(
    id="role-from-request",
    cwe=863,
    title="role taken from the request",
    severity=Severity.HIGH,
    what="the request itself says that its sender is an administrator",
    why="CWE-863: the sender writes whatever role the check wants to see",
    advice="take the role from the session or the database",
    silent="roles of the stored user",
    compared=_claimed_role,
    check_confidence=Confidence.POSSIBLE,
    bad="from flask import request, abort\ndef drop():\n    if request.form['role'] != 'admin':"
    "\n        abort(403)\n",
    good="from flask import session, abort\ndef drop():\n    if session['role'] != 'admin':"
    "\n        abort(403)\n",
)

REVERSE = Rule(
    id="reverse-lookup",
    cwe=350,
    title="trust in a reverse lookup",
    severity=Severity.MEDIUM,
    what="a name that the owner of the address chose decides",
    why="CWE-350: whoever owns the address answers the reverse lookup with any name",
    advice="look the name up again and compare addresses, or authenticate",
    silent="names that are confirmed by a forward lookup",
    shape=_reverse_name,
    bad="import socket\ndef trusted(ip):\n    return socket.gethostbyaddr(ip)[0].endswith('.corp.example')\n",
    good="import socket\ndef trusted(ip):\n    name = socket.gethostbyaddr(ip)[0]\n"
    "    return name.endswith('.corp.example') and socket.gethostbyname(name) == ip\n",
)

RULES = (UNGUARDED, WHOSE, FORGEABLE, CLAIMED, REVERSE)
