"""Rules for passwords that are kept: as they are, known from the source, or of any quality."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.finding import Confidence
from veilig.audit.rules.entrance import HASHES, PASSWORD
from veilig.audit.rules.rule import shaped
from veilig.audit.rules.sketch import Sketch
from veilig.audit.rules.slices import backwards, module_definitions, own_definitions

type Marks = Iterator[tuple[ast.AST, Confidence]]


def _plain_kept(sketch: Sketch) -> Marks:
    """A stored password is compared as it is: it was never hashed."""
    if not search(r"compare_digest|==", sketch.text) or sketch.program.has(
        r"(?i)generate_password_hash|bcrypt\.\w|argon2\.\w+\(|PasswordHasher\(|hash_password\(|"
        r"scrypt\(|pbkdf2|make_password"
    ):
        return
    for function in sketch.functions:
        wanted = [name for name in function.parameters if PASSWORD.match(name)]
        if not wanted:
            continue
        for call in function.calls():
            if not dotted(call.func).endswith("compare_digest") or len(call.args) != 2:
                continue
            one, two = (_bare(argument) for argument in call.args)
            for left, right in ((one, two), (two, one)):
                if isinstance(left, ast.Name) and left.id in wanted and _stored(right):
                    yield call, Confidence.POSSIBLE


def _bare(node: ast.expr) -> ast.expr:
    """The value without an encode() around it."""
    while (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("encode", "strip")
    ):
        node = node.func.value
    return node


def _stored(node: ast.expr) -> bool:
    """A field of an object or row; not a setting."""
    if not isinstance(node, ast.Attribute | ast.Subscript):
        return False
    owner = ast.unparse(node)
    return (
        not re.search(r"(?i)config|settings|environ|options|cfg|hash|digest|args\.", owner)
        and re.search(r"(?i)(password|secret|pw|pin|pass\w*)['\"]?\]?$", owner) is not None
    )


def _known_first(sketch: Sketch) -> Marks:
    """An account is made with a password that stands in the source."""
    if not search(r"(?i)admin|superuser|user", sketch.text) or sketch.module.is_test:
        return
    outer = module_definitions(sketch.module)
    for function in sketch.functions:
        if not search(
            r"(?i)insert into|create_user|create_superuser|\bUser\(|Account\(|\.add\(|set_password",
            function.body,
        ):
            continue
        if re.search(r"(?i)test|demo|example|fixture", function.name):
            continue
        local = own_definitions(function)
        for call in function.calls():
            name = dotted(call.func).rpartition(".")[2]
            if not HASHES.search(name) or re.search(r"(?i)^(sha|hmac|new|compare|blake|md5)", name):
                continue
            given = call.args[:1] if not name.startswith("create_") else call.args[2:3] or call.args[1:2]
            given += [k.value for k in call.keywords if k.arg and PASSWORD.match(k.arg)]
            for value in given:
                if isinstance(value, ast.Name):
                    found = local.get(value.id) or outer.get(value.id, [])
                    value = found[0] if len(found) == 1 else value  # what the name was given
                plain = _bare(value)
                if (
                    isinstance(plain, ast.Constant)
                    and isinstance(plain.value, str | bytes)
                    and 2 < len(plain.value) < 40
                ):
                    yield call, Confidence.POSSIBLE


def _any_length(sketch: Sketch) -> Marks:
    """A password is set from a form, and nothing in the program asks how good it is."""
    if not sketch.program.has(r"PasswordInput|PasswordField|set_password\(") or sketch.program.has(
        r"(?i)validate_password\(|min_length|Length\(|password_validat|len\(\w*\.?\w*(pass|pw|"
        r"secret)\w*\)|zxcvbn|strength|UserCreationForm|"
        r"SetPasswordForm|BaseUserManager|AUTH_PASSWORD_VALIDATORS|pwned|policy"
    ):
        return
    for function in sketch.functions:
        for call in function.calls():
            if (
                dotted(call.func).endswith(".set_password")
                and call.args
                and re.search(
                    r"cleaned_data|request\.|form\.|validated_data",
                    " ".join(ast.unparse(n) for n in backwards(function, call.args[0])[:6]),
                )
            ):
                yield call, Confidence.POSSIBLE


RULES = (
    shaped(
        "password-compared-plain",
        256,
        "password kept as it is",
        "a stored password is compared as it is: it was never hashed",
        "CWE-256: whoever reads the store has every password (CWE-522)",
        "argon2, scrypt or bcrypt",
        "settings, programs that hash passwords",
        _plain_kept,
        "import hmac\ndef check(user, password):\n    return hmac.compare_digest(user.password, password)\n",
        "import hmac\ndef check(user, password):\n"
        "    return hmac.compare_digest(user.password_hash, slow(password))\ndef slow(p): ...\n",
    ),
    shaped(
        "known-first-password",
        1392,
        "account with a known password",
        "an account is made with a password that stands in the source",
        "CWE-1392: everybody who has the program can sign in (CWE-798)",
        "a random first password that must be changed",
        "random passwords, tests",
        _known_first,
        "def setup(con, hash_password):\n    con.execute('insert into users values (?, ?)',\n"
        "                ('admin', hash_password('letmein')))\n",
        "def setup(con, hash_password, first):\n    con.execute('insert into users values (?, ?)',\n"
        "                ('admin', hash_password(first)))\n",
    ),
    shaped(
        "any-password",
        521,
        "password of any quality",
        "a password is set from a form, and nothing asks how good it is",
        "CWE-521: most people choose one of a thousand",
        "validate_password, or at least a minimum length",
        "programs with validators or lengths",
        _any_length,
        "from django import forms\nclass Join(forms.Form):\n"
        "    password = forms.CharField(widget=forms.PasswordInput)\n    def save(self, user):\n"
        "        user.set_password(self.cleaned_data['password'])\n",
        "from django import forms\nclass Join(forms.Form):\n"
        "    password = forms.CharField(widget=forms.PasswordInput, min_length=12)\n"
        "    def save(self, user):\n"
        "        user.set_password(self.cleaned_data['password'])\n",
    ),
)
