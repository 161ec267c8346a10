"""Rules for how ciphers and generators are fed: vectors, salts, padding, seeds, lengths, literal keys."""

import ast
import re

from veilig.audit.engine.arithmetic import FIXED
from veilig.audit.engine.frame import CallSite, Frame
from veilig.audit.engine.state import constant, deep_taints
from veilig.audit.engine.value import EVERY_KIND, Const, Opaque, OriginKind, Value
from veilig.audit.finding import Severity
from veilig.audit.rules.conditions import always, context_name, is_secret_name, text_of
from veilig.audit.rules.rule import AssignCheck, Check, Rule

_TOKEN_CONTEXT = re.compile(
    r"(?i)token|secret|session|reset|api_?key|password|passwd|otp|csrf|nonce|invite|activation|verif"
)


_ASSIGNED = re.compile(r"(?i)\b\w*(token|secret|password|api_?key|session|otp|reset\w*)\w*['\"\]]*\s*[:=]")


def fixed_bytes(value: Value | None) -> bool:
    """Bytes or text everybody can read in the source."""
    if isinstance(value, Opaque):
        return value.qual == FIXED
    return isinstance(value, Const) and isinstance(value.value, bytes | str) and len(value.value) > 0


def _fixed_vector(frame: Frame, site: CallSite) -> bool:
    del frame
    for key in ("iv", "IV", "nonce", "initial_value"):
        if fixed_bytes(site.kwargs.get(key)):
            return True
    position = 2 if site.qual.startswith(("Crypto.", "Cryptodome.")) else 0
    return fixed_bytes(site.arg(position))


def _aead(frame: Frame, site: CallSite) -> bool:
    del frame
    receiver = text_of(site.receiver)
    return receiver.endswith(("AESGCM()", "ChaCha20Poly1305()", "AESCCM()", "AESOCB3()")) and fixed_bytes(
        site.arg(0, "nonce")
    )


def _fixed_salt(frame: Frame, site: CallSite) -> bool:
    del frame
    position = {
        "hashlib.pbkdf2_hmac": 2,
        "Crypto.Protocol.KDF.PBKDF2": 1,
        "Crypto.Protocol.KDF.scrypt": 1,
    }.get(site.qual, 99)
    return fixed_bytes(site.arg(position, "salt"))


def _name_as_salt(frame: Frame, site: CallSite) -> bool:
    """The salt is the user's name or address: known to everybody, and the same everywhere."""
    position = {"hashlib.pbkdf2_hmac": 2}.get(site.qual, 99)
    value = site.arg(position, "salt")
    label = re.compile(r"(?i)\b(user_?name|user|login|email|e_?mail|name|account)\b")
    if value is None or "salt" in text_of(value).lower() or "salt" in _written(site, position):
        return False
    return any(label.search(taint.origin.label) is not None for taint in deep_taints(frame.state, value))


def _written(site: CallSite, position: int) -> str:
    """The salt as it stands in the call, in lower case: `user.salt` is no user name."""
    named = [keyword.value for keyword in site.node.keywords if keyword.arg == "salt"]
    given = named or list(site.node.args[position : position + 1])
    return ast.unparse(given[0]).lower() if given else ""


def _few_rounds(frame: Frame, site: CallSite) -> bool:
    del frame
    position = {"hashlib.pbkdf2_hmac": 3, "Crypto.Protocol.KDF.PBKDF2": 3}.get(site.qual, 99)
    rounds = constant(site.arg(position, "iterations"))
    if not isinstance(rounds, int):
        rounds = constant(site.kwargs.get("count"))
    return isinstance(rounds, int) and rounds < 100_000


def _cheap(frame: Frame, site: CallSite) -> bool:
    del frame
    if site.qual == "bcrypt.gensalt":
        rounds = constant(site.arg(0, "rounds"))
        return isinstance(rounds, int) and rounds < 10
    cost = constant(site.arg(99, "n"))
    return isinstance(cost, int) and cost < 2**13


def _short_token(frame: Frame, site: CallSite) -> bool:
    size = constant(site.arg(0, "nbytes"))
    if not is_secret_name(frame.scope) and not _ASSIGNED.search(frame.module.text(site.node.lineno)):
        return False
    return isinstance(size, int) and 0 < size < 8


def _fixed_seed(frame: Frame, site: CallSite) -> bool:
    seed = site.arg(0, "a")
    if seed is None:
        return False
    clock = any(taint.origin.kind is OriginKind.CLOCK for taint in deep_taints(frame.state, seed))
    plain = clock or isinstance(seed, Const) or "getpid" in text_of(seed)
    first = max(site.node.lineno - 6, 0)
    around = " ".join(frame.module.lines[first : site.node.lineno + 8])
    return plain and _TOKEN_CONTEXT.search(f"{context_name(frame, site)} {around}") is not None


def _unique_not_secret(frame: Frame, name: str, value: Value) -> bool:
    del frame
    return isinstance(value, Opaque) and value.qual.startswith("uuid.uuid1()") and is_secret_name(name)


def _uuid_for_secret(frame: Frame, site: CallSite) -> bool:
    return _TOKEN_CONTEXT.search(context_name(frame, site)) is not None


def _clock_for_secret(frame: Frame, name: str, value: Value) -> bool:
    del frame
    # Digests of the time are marked by the digest; a time that is merely added to a token is harmless.
    digested = any(
        taint.origin.kind is OriginKind.CLOCK and not taint.weak and EVERY_KIND in taint.safe
        for taint in value.taints
    )
    return (
        isinstance(value, Opaque)
        and (digested or re.match(r"time\.(time|time_ns)\(\)", value.qual) is not None)
        and re.search(r"(?i)(reset|session|auth|api|csrf)_?(token|id|key|code)$|^token$", name) is not None
    )


VECTOR = Rule(
    id="fixed-vector",
    cwe=329,
    title="fixed initialisation vector or nonce",
    severity=Severity.HIGH,
    what="a cipher starts from a vector that never changes",
    why="CWE-329: equal texts give equal ciphers, and a repeated GCM nonce reveals the key stream (CWE-323)",
    advice="use os.urandom for every message and send it along",
    silent="vectors from os.urandom or secrets",
    checks=(
        Check(
            (
                "Crypto.Cipher.AES.new",
                "Crypto.Cipher.DES3.new",
                "Crypto.Cipher.ChaCha20.new",
                "Crypto.Cipher.ChaCha20_Poly1305.new",
                "Crypto.Cipher.Salsa20.new",
                *(
                    f"cryptography.hazmat.primitives.ciphers.modes.{mode}"
                    for mode in ("CBC", "CTR", "GCM", "CFB", "OFB")
                ),
            ),
            _fixed_vector,
        ),
        Check((".encrypt",), _aead),
    ),
    bad="from Crypto.Cipher import AES\ndef seal(key, data):\n"
    "    return AES.new(key, AES.MODE_CBC, b'0123456789abcdef').encrypt(data)\n",
    good="import os\nfrom Crypto.Cipher import AES\ndef seal(key, data):\n    iv = os.urandom(16)\n"
    "    return iv + AES.new(key, AES.MODE_CBC, iv).encrypt(data)\n",
)

SALT = Rule(
    id="fixed-salt",
    cwe=760,
    title="password hash with a known salt or too few rounds",
    severity=Severity.MEDIUM,
    what="the salt is a literal, or the derivation is too cheap",
    why="CWE-760: one table breaks all passwords at once (CWE-916 for the rounds)",
    advice="os.urandom(16) per password, 600,000 rounds of PBKDF2, or scrypt with n=2**14",
    silent="random salts, salts that are stored with the hash",
    checks=(
        Check(
            (
                "hashlib.pbkdf2_hmac",
                "hashlib.scrypt",
                "Crypto.Protocol.KDF.PBKDF2",
                "Crypto.Protocol.KDF.scrypt",
                "cryptography.hazmat.primitives.kdf.pbkdf2.PBKDF2HMAC",
                "cryptography.hazmat.primitives.kdf.scrypt.Scrypt",
            ),
            lambda frame, site: (
                _fixed_salt(frame, site) or _few_rounds(frame, site) or _name_as_salt(frame, site)
            ),
        ),
        Check(("bcrypt.gensalt", "hashlib.scrypt"), _cheap),
    ),
    bad="import hashlib\ndef store(password):\n"
    "    return hashlib.pbkdf2_hmac('sha256', password, b'pepper', 600_000)\n",
    good="import hashlib, os\ndef store(password):\n    salt = os.urandom(16)\n"
    "    return salt + hashlib.pbkdf2_hmac('sha256', password, salt, 600_000)\n",
)

PADDING = Rule(
    id="rsa-padding",
    cwe=780,
    title="RSA without OAEP",
    severity=Severity.MEDIUM,
    what="RSA encrypts with the old padding or none",
    why="CWE-780: answers about wrong padding decrypt messages one by one",
    advice="PKCS1_OAEP, or padding.OAEP with SHA-256",
    silent="OAEP, signatures with PSS",
    checks=(
        Check(("Crypto.Cipher.PKCS1_v1_5.new",), always),
        Check(
            (".encrypt", ".decrypt"),
            lambda _frame, site: any("PKCS1v15" in text_of(v) for v in (*site.args, *site.kwargs.values())),
        ),
    ),
    bad="from Crypto.Cipher import PKCS1_v1_5\ndef seal(key, data):\n"
    "    return PKCS1_v1_5.new(key).encrypt(data)\n",
    good="from Crypto.Cipher import PKCS1_OAEP\ndef seal(key, data):\n"
    "    return PKCS1_OAEP.new(key).encrypt(data)\n",
)

SEED = Rule(
    id="predictable-generator",
    cwe=335,
    title="secret from a seed, a clock or an address",
    severity=Severity.MEDIUM,
    what="a secret can be computed again by whoever knows the time or the seed",
    why="CWE-335: trying every second of a day takes no time",
    advice="secrets.token_urlsafe(32)",
    silent="seeds of simulations, identifiers that need not be secret",
    checks=(
        Check(("random.seed", "random.Random"), _fixed_seed),
        Check(("uuid.uuid1",), _uuid_for_secret),
        Check(("secrets.token_hex", "secrets.token_urlsafe", "secrets.token_bytes"), _short_token),
    ),
    assigns=(
        AssignCheck(
            is_secret_name, lambda f, n, v: _unique_not_secret(f, n, v) or _clock_for_secret(f, n, v)
        ),
    ),
    bad="import uuid\ndef new_session_token():\n    return str(uuid.uuid1())\n",
    good="import secrets\ndef new_session_token():\n    return secrets.token_urlsafe(32)\n",
)

RULES = (VECTOR, SALT, PADDING, SEED)
