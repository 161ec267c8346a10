"""Rules for what goes wrong between two steps: an await, a login, an end that nobody reads, a guess."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.finding import Confidence
from veilig.audit.rules.rule import shaped
from veilig.audit.rules.sketch import FunctionSketch, Sketch, constants, last_name
from veilig.audit.rules.slices import backwards, calls_in, words_in

type Marks = Iterator[tuple[ast.AST, Confidence]]

_COUNTED = re.compile(
    r"(?i)(balance|stock|quantity|credit|points|seats|remaining|inventory|uses|used|count|funds|available|coins|"
    r"tokens_left|left|quota|budget|amount|slots|tickets)"
)
_CHECKS_PASSWORD = re.compile(
    r"(?i)(check_password|verify_password|checkpw|authenticate|verify_login|check_credentials|\.verify\(|\.check\(|"
    r"compare_digest|valid_login|check_login)"
)
_RENEWS = re.compile(
    r"(?i)(rotate|regenerate|renew|new_session|cycle|create_session|\.create\(|\.start\(|\.new\(|token_(urlsafe|hex)|"
    r"uuid4|invalidate|\.clear\(|flush|\.drop\(|\.delete\(|\bdel \w|login_user|remember\()"
)
_END = re.compile(r"(?i)^(exp|expires?(_at|_on)?|expiry|valid_(until|to)|not_after)$")
_SECRET_NAME = re.compile(
    r"(?i)^(\w+_)?(token|secret|session_?id|sid|nonce|otp|api_?key|reset_?code|code|ticket|invite|csrf)$"
)
_GUESSED = re.compile(
    r"(?i)(^|\.)(time|time_ns|monotonic|now|utcnow|today|uuid1|getpid|getnode|gethostname|timestamp|id|count|next)$"
)
_MIXES = re.compile(
    r"(?i)(^|\.)(md5|sha1|sha224|sha256|sha384|sha512|blake2[bs]|new|uuid3|uuid5|crc32|b64encode|hex)$"
)
_UNGUESSABLE = re.compile(
    r"(?i)(secrets\.|urandom|token_\w+|SystemRandom|uuid4|hmac|getrandbits|randbytes|Fernet|\bsign\b|dumps$)"
)
_KEYED = re.compile(r"(?i)(key|secret|salt|pepper|seed|random)")


def _spent_while_waiting(sketch: Sketch) -> Marks:
    """Enough is there, somebody is waited for, and only then it is taken."""
    if "await " not in sketch.text:
        return
    for function in sketch.functions:
        if not isinstance(function.node, ast.AsyncFunctionDef):
            continue
        guarded = {
            id(inner)
            for block in function.own_each(ast.AsyncWith, ast.With)
            if re.search(
                r"(?i)lock|sem|mutex|transaction|atomic|begin", ast.unparse(block).partition(":\n")[0]
            )
            for inner in ast.walk(block)
        }
        waits = [n.lineno for n in function.own_each(ast.Await) if isinstance(n, ast.Await)]
        for node in function.own_each(ast.AugAssign):
            if not isinstance(node, ast.AugAssign) or id(node) in guarded:
                continue
            kept = isinstance(node.target, ast.Attribute | ast.Subscript)
            target = ast.unparse(node.target)
            if not kept or not _COUNTED.search(target):
                continue
            asked = [
                test.lineno
                for test in function.own_each(ast.If)
                if isinstance(test, ast.If)
                and re.search(r"[<>]", ast.unparse(test.test))
                and target in ast.unparse(test.test)
            ]
            if any(first < wait < node.lineno for first in asked for wait in waits):
                yield node, Confidence.POSSIBLE


def _same_session(sketch: Sketch) -> Marks:
    """Sessions of one's own: the number a visitor came with is the one that is signed in."""
    if not sketch.program.has(r"cookies\.get\(|cookies\[|get_cookie\(") or not sketch.program.has(
        r"set_cookie\("
    ):
        return
    if search(r"from (flask|django)\b", sketch.text) and not search(r"cookies", sketch.text):
        return
    for function in sketch.functions:
        if not re.search(r"(?i)log_?in|sign_?in|authenticate", function.name) or search(
            _RENEWS, function.body
        ):
            continue
        if not search(_CHECKS_PASSWORD, function.body):
            continue
        for node in function.own_each(ast.Assign):
            if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Subscript):
                continue
            target = ast.unparse(node.targets[0])
            own = re.search(r"(?i)sess", target) and not re.match(r"session\[", target)
            if own and re.search(r"(?i)user|uid|account|player|member|logged|auth|name|role", target):
                yield node, Confidence.POSSIBLE
                break


def _end_unread(sketch: Sketch) -> Marks:
    """A token says when it ends; whoever opens it asks for the signature, not for the end."""
    written = {
        key.value
        for node in sketch.each(ast.Dict)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant) and isinstance(key.value, str) and _END.match(key.value)
    }
    if not written or search(r"jwt\.|jose|TimedSerializer|TimestampSigner", sketch.text):
        return
    for name in written:
        if search(
            rf"(\[['\"]{name}['\"]\]|get\(['\"]{name}['\"]|\.{name}\b)(?! *=[^=])", sketch.program_text
        ):
            return
    for function in sketch.functions:
        opens = search(r"json\.loads\(|pickle\.loads\(|\.split\(|literal_eval\(|cbor|msgpack", function.body)
        if opens and search(r"compare_digest\(|\.verify\(|hmac|\.decrypt\(|unsign", function.body):
            yield function.node, Confidence.POSSIBLE


def _guessed(sketch: Sketch) -> Marks:
    """A token is mixed from what others know or count: names, addresses, the time."""
    if not search(r"(?i)token|secret|session|nonce|otp|code|ticket|invite|csrf|key", sketch.text):
        return
    for function in sketch.functions:
        for node in function.own_each(ast.Assign, ast.Return):
            value = getattr(node, "value", None)
            if not isinstance(value, ast.Call):
                continue
            name = last_name(node.targets[0]) if isinstance(node, ast.Assign) else function.name
            if not _SECRET_NAME.match(name) or re.search(r"(?i)cache|etag|tag|hash$|digest", name):
                continue
            if isinstance(node, ast.Return) and not re.match(
                r"(?i)(make|new|create|generate|issue|build|gen)_", name
            ):
                continue
            if _mixed_from_known(function, value, sketch):
                yield node, Confidence.POSSIBLE


def _mixed_from_known(function: FunctionSketch, value: ast.Call, sketch: Sketch) -> bool:
    nodes = backwards(function, value, sketch.module)
    calls = calls_in(nodes)
    if any(_UNGUESSABLE.search(name) for name in calls) or not any(_MIXES.search(name) for name in calls):
        return False
    if any(_KEYED.search(word) for word in words_in(nodes) if not _SECRET_NAME.match(word)):
        return False
    return any(_GUESSED.search(name) for name in calls)


def _all_but(sketch: Sketch) -> Marks:
    """A form that a user fills names what it leaves out; everything else of the account may be written."""
    if "ModelForm" not in sketch.text and "modelform_factory" not in sketch.text:
        return
    for node in sketch.each(ast.ClassDef):
        if not isinstance(node, ast.ClassDef) or not any(
            "ModelForm" in base for base in sketch.bases_of(node)
        ):
            continue
        if re.search(r"(?i)admin|staff|backoffice|internal", node.name + sketch.module.path):
            continue
        meta = next((i for i in node.body if isinstance(i, ast.ClassDef) and i.name == "Meta"), None)
        given = (
            {last_name(i.targets[0]): i.value for i in meta.body if isinstance(i, ast.Assign)} if meta else {}
        )
        everything = "__all__" in set(constants(given.get("fields", ast.Constant(0))))
        model = last_name(given["model"]) if "model" in given else ""
        if (everything or "exclude" in given) and _weighty(
            sketch, model, set(constants(given.get("exclude", ast.Constant(0))))
        ):
            yield meta or node, Confidence.POSSIBLE


_WEIGHTY = re.compile(
    r"(?i)^(is_\w+|\w*role\w*|\w*balance\w*|credit\w*|\w*limit|owner|user|verified|approved|paid|price|plan|tier|"
    r"permissions|groups|status|points|confirmed|email_verified|discount\w*|salary|admin)$"
)


def _weighty(sketch: Sketch, model: str, left_out: set[str]) -> bool:
    """Whether the model has a field that its user must not write and the form does not leave out."""
    for node in sketch.everywhere():
        if isinstance(node, ast.ClassDef) and node.name == model:
            if any(re.search(r"AbstractUser|PermissionsMixin", dotted(base)) for base in node.bases):
                return not {"is_staff", "is_superuser"} <= left_out
            names = {last_name(i.targets[0]) for i in node.body if isinstance(i, ast.Assign)}
            return any(_WEIGHTY.match(name) for name in names - left_out)
    return re.search(r"(?i)^(User|Member|Account|Customer|Profile|CustomUser)$", model) is not None


def _folder_shown(sketch: Sketch) -> Marks:
    """A server of files that lists its folders, as the class of the standard library does."""
    if "SimpleHTTPRequestHandler" not in sketch.text:
        return
    for node in sketch.each(ast.ClassDef):
        if not isinstance(node, ast.ClassDef):
            continue
        if not any("SimpleHTTPRequestHandler" in dotted(base) for base in node.bases):
            continue
        own = {i.name: i for i in node.body if isinstance(i, ast.FunctionDef)}
        listing, get = own.get("list_directory"), own.get("do_GET")
        serves = (
            get is None
            or "super().do_GET" in ast.unparse(get)
            or "SimpleHTTPRequestHandler.do_GET" in ast.unparse(get)
        )
        if serves and (listing is None or "list_directory(" in ast.unparse(ast.Module(listing.body, []))):
            yield listing or node, Confidence.POSSIBLE
    for call in sketch.each(ast.Call):
        serves = isinstance(call, ast.Call) and re.search(r"(HTTPServer|TCPServer)$", dotted(call.func))
        handlers = map(dotted, call.args) if isinstance(call, ast.Call) and serves else ()
        if any(re.search(r"(^|\.)SimpleHTTPRequestHandler$", name) for name in handlers):
            yield call, Confidence.POSSIBLE


WAITING = shaped(
    "spent-while-waiting", 362, "checked before a wait, taken after it",
    "what is left is checked, something is awaited, and only then it is taken",
    "CWE-362: two requests at once both see enough, and both take it (CWE-367)",
    "take it before the await, or hold one lock around both",
    "blocks under a lock or in a transaction", _spent_while_waiting,
    "async def spend(account, n, log):\n    if account.balance < n:\n        return False\n"
    "    await log(n)\n    account.balance -= n\n    return True\n",
    "async def spend(account, n, log):\n    if account.balance < n:\n        return False\n"
    "    account.balance -= n\n    await log(n)\n    return True\n",
)  # fmt: skip

FIXATED = shaped(
    "own-session-kept", 384, "session number kept at login",
    "whoever came with a session number is signed in under the same number",
    "CWE-384: an attacker who planted the number is signed in as well",
    "make a new number at login, drop the old session",
    "logins that make, rotate or drop a session", _same_session,
    "def on(request, store, check):\n    sid = request.cookies.get('sid')\n    return store.get(sid)\n"
    "def login(request, check_password):\n    if not check_password(request):\n        return 403\n"
    "    request['session']['user'] = 'a'\ndef out(response, sid):\n    response.set_cookie('sid', sid)\n",
    "def on(request, store, check):\n    sid = request.cookies.get('sid')\n    return store.get(sid)\n"
    "def login(request, store, check_password):\n    if not check_password(request):\n        return 403\n"
    "    request['session'] = store.rotate(request['sid'])\n    request['session']['user'] = 'a'\n"
    "def out(response, sid):\n    response.set_cookie('sid', sid)\n",
)  # fmt: skip

ENDLESS = shaped(
    "token-end-unread", 613, "end of a token never asked",
    "a token carries its end, and nothing in the program reads it",
    "CWE-613: a token that leaked once is good for ever",
    "compare the end with the clock where the signature is verified",
    "libraries that ask for the end themselves, programs that read it", _end_unread,
    "import hmac, json, time\ndef make(key, user):\n"
    "    body = json.dumps({'sub': user, 'exp': time.time() + 60})\n"
    "    return body, hmac.new(key, body.encode(), 'sha256').hexdigest()\n"
    "def read(key, body, tag):\n    mac = hmac.new(key, body.encode(), 'sha256').hexdigest()\n"
    "    return json.loads(body) if hmac.compare_digest(mac, tag) else None\n",
    "import hmac, json, time\ndef make(key, user):\n"
    "    body = json.dumps({'sub': user, 'exp': time.time() + 60})\n"
    "    return body, hmac.new(key, body.encode(), 'sha256').hexdigest()\n"
    "def read(key, body, tag):\n    mac = hmac.new(key, body.encode(), 'sha256').hexdigest()\n"
    "    claims = json.loads(body) if hmac.compare_digest(mac, tag) else None\n"
    "    return claims if claims and claims['exp'] > time.time() else None\n",
)  # fmt: skip

GUESSED = shaped(
    "token-from-known", 340, "token made of what others know",
    "a token is mixed from names and the time, and nothing random or secret takes part",
    "CWE-340: who knows the recipe computes it (CWE-330, CWE-640)",
    "secrets.token_urlsafe(32)",
    "random or keyed values take part", _guessed,
    "import hashlib, time\ndef start(mail, store):\n"
    "    token = hashlib.sha256(f'{mail}{int(time.time())}'.encode()).hexdigest()\n    store[token] = mail\n",
    "import secrets\ndef start(mail, store):\n    token = secrets.token_urlsafe(32)\n"
    "    store[token] = mail\n",
)  # fmt: skip

ALL_BUT = shaped(
    "form-of-everything", 915, "form that lets everything be written",
    "a form names what it leaves out, and the model has fields its user must not write",
    "CWE-915: a field that is added to the model is in the form from then on",
    "fields = [...] with what the user may change",
    "forms that name their fields, forms of the administration", _all_but,
    "from django import forms\nfrom .models import User\nclass Mine(forms.ModelForm):\n    class Meta:\n"
    "        model = User\n        exclude = ['password']\n",
    "from django import forms\nfrom .models import User\nclass Mine(forms.ModelForm):\n    class Meta:\n"
    "        model = User\n        fields = ['first_name']\n",
)  # fmt: skip

FOLDER = shaped(
    "folder-listed", 548, "folder listed to visitors",
    "whoever asks for a folder is shown everything that lies in it",
    "CWE-548: backups and keys are found by reading the list (CWE-552)",
    "override list_directory to answer 404, or serve files by a server that does not list",
    "handlers that do not list", _folder_shown,
    "import http.server\nclass Files(http.server.SimpleHTTPRequestHandler):\n    server_version = 'x'\n",
    "import http.server\nclass Files(http.server.SimpleHTTPRequestHandler):\n"
    "    def list_directory(self, path):\n        self.send_error(404)\n",
)  # fmt: skip

RULES = (WAITING, FIXATED, ENDLESS, GUESSED, ALL_BUT, FOLDER)
