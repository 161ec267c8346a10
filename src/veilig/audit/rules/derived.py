"""Rules for values that must be random or secret and are computed from something anybody can know."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.rule import Rule
from veilig.audit.rules.sketch import FunctionSketch, Sketch
from veilig.audit.rules.slices import backwards, calls_in, own_definitions, words_in

type Marks = Iterator[tuple[ast.AST, Confidence]]

_RANDOM = re.compile(
    r"(?i)(urandom|token_bytes|token_hex|randbytes|get_random_bytes|randbits|gensalt|generate\w*|random|uuid4|"
    r"getrandom|os\.getrandom|nonce|next\w*|take|new_iv|fresh\w*|make_salt|new_salt|create_salt)$"
)
_DIGEST = re.compile(
    r"(?i)(^|\.)(hashlib\.\w+|md5|sha1|sha224|sha256|sha384|sha512|blake2[bs]|crc32|adler32|uuid3|uuid5|"
    r"time\.time|time\.time_ns|time|time_ns|monotonic|datetime\.now|datetime\.utcnow|getpid|getnode|gethostname)$"
)
_CLOCK = re.compile(r"(?i)(time\.time(_ns)?|monotonic|datetime\.(now|utcnow)|getpid|getnode|gethostname)$")
_MODES = re.compile(r"(^|\.)modes\.(CBC|CTR|CFB|CFB8|OFB|GCM)$")
_AEAD = re.compile(r"(AESGCM|ChaCha20Poly1305|AESCCM|AESOCB3|AESSIV|SecretBox|Aead|aead|box|cipher)\b")
_SALTED = re.compile(
    r"(^|\.)(pbkdf2_hmac|scrypt|PBKDF2|PBKDF2HMAC|Scrypt|hash_secret\w*|hash_password_raw|Argon2id)$"
)
_PERSONAL = re.compile(
    r"(?i)^(user_?name|login|e_?mail|mail|name|user_?id|uid|phone|account|account_id|number)$"
)


def _vectors(function: FunctionSketch) -> Iterator[ast.expr]:
    """What is used as a vector or nonce while something is encrypted."""
    for call in function.calls():
        name = dotted(call.func)
        last = name.rpartition(".")[2] or (call.func.attr if isinstance(call.func, ast.Attribute) else "")
        if _MODES.search(name) and call.args:
            yield call.args[0]
        named = [k.value for k in call.keywords if k.arg in ("iv", "IV", "nonce", "initial_value")]
        if last in ("new", "encrypt", "AES", "ChaCha20", "encrypt_and_digest"):
            yield from named
        if last == "new" and len(call.args) > 2 and re.search(r"(AES|DES3?|ARC4|Blowfish)\.new$", name):
            yield call.args[2]
        if last == "encrypt" and len(call.args) > 1 and _AEAD.search(ast.unparse(call.func)):
            yield call.args[0]


def _salts(function: FunctionSketch) -> Iterator[ast.expr]:
    for call in function.calls():
        if not _SALTED.search(dotted(call.func)):
            continue
        yield from (k.value for k in call.keywords if k.arg == "salt")
        if dotted(call.func).endswith("pbkdf2_hmac") and len(call.args) > 2:
            yield call.args[2]


def _known(function: FunctionSketch, value: ast.expr, *, clock_only: bool = False) -> bool:
    """Made by a digest or from the clock, and nothing random takes part."""
    nodes = backwards(function, value)
    calls = calls_in(nodes)
    if any(_RANDOM.search(name) for name in calls):
        return False
    return any((_CLOCK if clock_only else _DIGEST).search(name) for name in calls)


def _computed_vector(sketch: Sketch) -> Marks:
    if not search(r"encrypt|Cipher|\.new\(", sketch.text):
        return
    for function in sketch.functions:
        if "decrypt" in function.name or (
            "decryptor()" in function.body and "encryptor()" not in function.body
        ):
            continue
        for value in _vectors(function):
            if _known(function, value) or _cut_off_a_key(sketch, function, value):
                yield value, Confidence.POSSIBLE


def _cut_off_a_key(sketch: Sketch, function: FunctionSketch, value: ast.expr) -> bool:
    """`key[:16]`, given directly, by a name, or by a function of this module."""
    if isinstance(value, ast.Name):
        given = own_definitions(function).get(value.id, [])
        value = given[0] if len(given) == 1 else value
    if isinstance(value, ast.Call) and not value.args:
        name = value.func.attr if isinstance(value.func, ast.Attribute) else dotted(value.func)
        made = [f for f in sketch.functions if f.name == name]
        returned = [
            n.value for f in made for n in f.own_each(ast.Return) if isinstance(n, ast.Return) and n.value
        ]
        value = returned[0] if len(made) == 1 and len(returned) == 1 else value
    if not isinstance(value, ast.Subscript) or not isinstance(value.slice, ast.Slice):
        return False
    return re.search(r"(?i)(^|[._])\w*(key|secret|password)\w*$", ast.unparse(value.value)) is not None


def _computed_salt(sketch: Sketch) -> Marks:
    if not search(r"salt", sketch.text):
        return
    for function in sketch.functions:
        for value in _salts(function):
            nodes = backwards(function, value)
            calls = calls_in(nodes)
            if any(_RANDOM.search(name) for name in calls) or isinstance(value, ast.Subscript):
                continue
            given = {node.id for node in nodes if isinstance(node, ast.Name)} & set(function.parameters)
            digested = any(_DIGEST.search(name) for name in calls)
            personal = any(_PERSONAL.match(word) for word in words_in(nodes))
            stored = any("salt" in word.lower() for word in given)
            guessable = personal or given or any(_CLOCK.search(name) for name in calls)
            if digested and guessable and not stored:
                yield value, Confidence.POSSIBLE


_KEYED = re.compile(
    r"(^|\.)(hmac\.new|hmac\.digest|Fernet|AESGCM|ChaCha20Poly1305|algorithms\.AES|AES\.new|SecretBox)$"
)
_PURE = re.compile(
    r"(?i)^(sha1|sha224|sha256|sha384|sha512|blake2[bs]|md5|digest|hexdigest|encode|join|b64encode|urlsafe_b64encode|"
    r"b64decode|fromhex|bytes|bytearray|ljust|rjust|zfill|format|replace|unhexlify|hashlib\.\w+|base64\.\w+|reversed|"
    r"int|to_bytes|str|upper|lower|binascii\.\w+|bytes\.fromhex|new|pad|strip|decode)$"
)


def _key_from_literals(sketch: Sketch) -> Marks:
    """A key that is computed from literals of the source and nothing else."""
    if not search(r"hmac|Fernet|AES|SecretBox|ChaCha", sketch.text):
        return
    for function in sketch.functions:
        for call in function.calls():
            if not _KEYED.search(dotted(call.func)) or not call.args:
                continue
            value = _returned(sketch, call.args[0])
            owner = function if value is call.args[0] else None
            holder = owner or next((f for f in sketch.functions if value in f.nodes), function)
            nodes = backwards(holder, value, sketch.module)
            if _only_literals(holder, nodes):
                yield call, Confidence.POSSIBLE


def _returned(sketch: Sketch, value: ast.expr) -> ast.expr:
    """For a call of a parameterless function of this module: what that function hands back."""
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and not value.args:
        for function in sketch.functions:
            if function.name == value.func.id and not function.parameters:
                returned = [
                    n.value
                    for n in function.own_each(ast.Return)
                    if isinstance(n, ast.Return) and n.value is not None
                ]
                if len(returned) == 1:
                    return returned[0]
    return value


def _only_literals(function: FunctionSketch, nodes: list[ast.AST]) -> bool:
    literal = False
    named = {n.id for n in nodes if isinstance(n, ast.Name)}
    if named & set(function.parameters):
        return False
    calls = [n for n in nodes if isinstance(n, ast.Call)]
    called = {id(n) for c in calls for n in ast.walk(c.func)}
    for node in nodes:
        if isinstance(node, ast.Call):
            name = dotted(node.func) or (node.func.attr if isinstance(node.func, ast.Attribute) else "?")
            if not _PURE.match(name.rpartition(".")[2]) and not _PURE.match(name):
                return False
        elif isinstance(node, ast.Constant) and isinstance(node.value, bytes | str):
            literal = literal or len(node.value) > 1
        elif isinstance(node, ast.Subscript | ast.Await | ast.Lambda):
            return False
        if isinstance(node, ast.Attribute) and id(node) not in called:
            return False
    return literal and bool(calls)


VECTOR_COMPUTED = Rule(
    id="computed-vector",
    cwe=329,
    title="vector or nonce computed, not drawn",
    severity=Severity.HIGH,
    what="a vector or nonce is computed from a key, a text or the clock",
    why="CWE-329: the same comes again, and equal texts show; a repeated nonce gives the key away (CWE-323)",
    advice="os.urandom for every message, sent along with it",
    silent="random vectors, counters, vectors read from the message",
    shape=_computed_vector,
    bad="import hashlib\nfrom cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes\n"
    "def seal(key, name, data):\n    iv = hashlib.sha256(name).digest()[:16]\n"
    "    return Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor().update(data)\n",
    good="import os\nfrom cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes\n"
    "def seal(key, name, data):\n    iv = os.urandom(16)\n"
    "    return iv + Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor().update(data)\n",
)

SALT_COMPUTED = Rule(
    id="computed-salt",
    cwe=760,
    title="salt computed, not drawn",
    severity=Severity.MEDIUM,
    what="the salt is computed from something others know",
    why="CWE-760: tables for one name or day can be made before the leak (CWE-759)",
    advice="os.urandom(16) for every password, stored beside the hash",
    silent="random salts, salts read back from the record",
    shape=_computed_salt,
    bad="import hashlib\ndef derive(login, password):\n    salt = hashlib.md5(login.encode()).digest()\n"
    "    return hashlib.scrypt(password.encode(), salt=salt, n=2**15, r=8, p=1)\n",
    good="import hashlib, os\ndef derive(login, password):\n    salt = os.urandom(16)\n"
    "    return salt + hashlib.scrypt(password.encode(), salt=salt, n=2**15, r=8, p=1)\n",
)

KEY_COMPUTED = Rule(
    id="key-from-literals",
    cwe=321,
    title="key computed from literals",
    severity=Severity.HIGH,
    what="the key is put together from what stands in the source",
    why="CWE-321: whoever has the program has the key",
    advice="read the key from a store or a file of its owner",
    silent="keys from files, the environment or parameters",
    shape=_key_from_literals,
    bad="import hashlib, hmac\ndef tag(body):\n    key = hashlib.sha256(b'in' + b'box').digest()\n"
    "    return hmac.new(key, body, 'sha256').digest()\n",
    good="import hashlib, hmac\ndef tag(secret, body):\n    key = hashlib.sha256(secret).digest()\n"
    "    return hmac.new(key, body, 'sha256').digest()\n",
)

RULES = (VECTOR_COMPUTED, SALT_COMPUTED, KEY_COMPUTED)
