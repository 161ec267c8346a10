"""Rules for hashing, ciphers, randomness, keys and credentials."""

import ast
import re

from veilig.audit.engine.frame import CallSite, Frame
from veilig.audit.engine.state import constant, deep_taints
from veilig.audit.engine.value import Const, OriginKind, Value
from veilig.audit.finding import Severity
from veilig.audit.rules.conditions import (
    CHECKSUM_NAME,
    always,
    argument_named,
    context_name,
    is_secret_name,
    text_of,
)
from veilig.audit.rules.rule import AssignCheck, Check, Rule, Sink

_PASSWORD = re.compile(r"(?i)passw|pwd|passphrase")
_PLACEHOLDER = re.compile(
    r"(?i)^(|x+|\*+|none|null|changeme.?|<.*>|\{.*\}|\$\{.*|%\(.*|your[-_ ].*|example.*|test|dummy|todo|"
    r"password|secret|"
    r"token|string|str|bearer|basic|.*[\s].*|.*://(?!.*:.*@).*)$"
)
_CREDENTIAL = re.compile(r"^[A-Za-z0-9+/=_.!@#$%^&*:,;~?-]{4,500}$")
_NOT_CREDENTIAL = re.compile(r"(?i)nonce|csrf|cookie|verif|chars|alphabet|salt_?(len|size)")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+")
_WORDS = re.compile(r"[A-Z][A-Z_]+|[A-Za-z]+([-_.:/][A-Za-z]+)*")
_SEQUENCE = "ghijklmnop"  # an alphabet, not a key
WEAK_HASHES = ("md5", "sha1", "md4", "md2", "ripemd160", "sha")


def weak_hash(frame: Frame, site: CallSite) -> bool:
    """MD5 or SHA-1 that is not declared to be for other uses and does not look like a checksum."""
    if constant(site.kwargs.get("usedforsecurity")) is False:
        return False
    if site.qual == "hashlib.new":
        known = constant(site.arg(0, "name"))
        if not isinstance(known, str) or known.lower().replace("-", "") not in WEAK_HASHES:
            return False
    if re.search(r"(?i)accept_?key|handshake|digest_?auth|websocket", frame.scope):
        return False  # the protocol says which hash
    return not password_hash(frame, site) and CHECKSUM_NAME.search(context_name(frame, site)) is None


def password_hash(frame: Frame, site: CallSite) -> bool:
    """A fast hash in the company of a password."""
    arguments = " ".join(name for name in (*(text_of(arg) for arg in site.args),))
    return _PASSWORD.search(f"{context_name(frame, site)} {arguments}") is not None


def _names(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _made_of_password(frame: Frame, site: CallSite) -> bool:
    """What is hashed was put together from a password a few lines before."""
    node = frame.func.node if frame.func is not None else None
    if node is None or isinstance(node, ast.Lambda):
        return False
    around = ast.unparse(node)
    if not _PASSWORD.search(around) or re.search(r"(?i)bcrypt|scrypt|argon|pbkdf|pwned|hibp|hmac", around):
        return False
    names = {name for argument in site.node.args for name in _names(argument)}
    for _ in range(2):
        for item in ast.walk(node):
            if isinstance(item, ast.Assign) and names & {
                n for target in item.targets for n in _names(target)
            }:
                names |= _names(item.value)
    return any(_PASSWORD.search(name) and not re.search(r"(?i)hash|file|path|url", name) for name in names)


def random_for_secret(frame: Frame, name: str, value: Value) -> bool:
    """A predictable number becomes something that must not be guessed."""
    if isinstance(value, Const) or not is_secret_name(name):
        return False
    if re.search(r"(?i)cookie", name):
        return False
    return any(
        taint.origin.kind is OriginKind.RANDOM and not taint.weak for taint in deep_taints(frame.state, value)
    )


def random_answer(frame: Frame, value: Value) -> bool:
    """A function whose name promises a secret returns a predictable number."""
    del value
    return frame.func is not None and is_secret_name(frame.func.name)


def hardcoded(frame: Frame, name: str, value: Value) -> bool:
    """A literal that looks like a real credential, under a name that says so."""
    del frame
    if not isinstance(value, Const) or not isinstance(value.value, str | bytes):
        return False
    text = value.value if isinstance(value.value, str) else value.value.decode("latin-1")
    return is_credential(name, text)


def is_credential(name: str, text: str) -> bool:
    """Whether the text under this name looks like a real credential, not like a placeholder or a name."""
    if not _CREDENTIAL.match(text) or _PLACEHOLDER.match(text) or _SEQUENCE in text:
        return False
    if _NOT_CREDENTIAL.search(name) or text.lower() in name.lower():
        return False
    if _VARIABLE.fullmatch(text) and text.endswith(f"_{name.upper()}"):  # PASSWORD = "SHOP_PASSWORD"
        return False
    # One plain word is a credential only where a password is asked for; for tokens it is a name of something.
    return _PASSWORD.search(name) is not None or _WORDS.fullmatch(text) is None


HASH = Rule(
    id="weak-hash",
    cwe=328,
    title="weak hash",
    severity=Severity.MEDIUM,
    what="MD5 or SHA-1 is used where collisions matter",
    why="CWE-328: collisions are made in seconds",
    advice="use SHA-256, or usedforsecurity=False for checksums",
    silent="usedforsecurity=False, names that say checksum, cache or ETag",
    fix_id="hash-upgrade",
    checks=(
        Check(("hashlib.md5", "hashlib.sha1", "hashlib.new"), weak_hash),
        Check(
            ("Crypto.Hash.MD5.new", "Crypto.Hash.SHA1.new", "Crypto.Hash.MD2.new", "Crypto.Hash.SHA.new"),
            always,
        ),
        Check(
            (
                "cryptography.hazmat.primitives.hashes.MD5",
                "cryptography.hazmat.primitives.hashes.SHA1",
            ),
            always,
        ),
    ),
    bad="import hashlib\ndef sign(body):\n    return hashlib.md5(body).hexdigest()\n",
    good="import hashlib\ndef sign(body):\n    return hashlib.sha256(body).hexdigest()\n",
)

PASSWORD_HASH = Rule(
    id="fast-password-hash",
    cwe=916,
    title="password hashed too fast",
    severity=Severity.HIGH,
    what="a password is hashed with a fast general hash",
    why="CWE-916: billions of guesses per second on one card",
    advice="use scrypt, bcrypt or argon2; PBKDF2 with at least 600,000 rounds",
    silent="scrypt, bcrypt, argon2, PBKDF2 with enough rounds",
    fix_id="password-scrypt",
    checks=(
        Check(
            (
                "hashlib.md5",
                "hashlib.sha1",
                "hashlib.sha256",
                "hashlib.sha512",
                "hashlib.new",
                "hashlib.sha224",
                "hashlib.sha384",
            ),
            lambda frame, site: (
                bool(site.args) and (password_hash(frame, site) or _made_of_password(frame, site))
            ),
        ),
        Check(
            ("hashlib.pbkdf2_hmac",),
            lambda _frame, site: (
                isinstance(constant(site.arg(3, "iterations")), int)
                and constant(site.arg(3, "iterations")) < 100_000
            ),
        ),
    ),
    bad="import hashlib\ndef store(password):\n    return hashlib.sha256(password.encode()).hexdigest()\n",
    good="import hashlib\ndef store(password, salt):\n"
    "    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)\n",
)

CIPHER = Rule(
    id="weak-cipher",
    cwe=327,
    title="weak cipher or mode",
    severity=Severity.HIGH,
    what="a broken cipher or the ECB mode encrypts data",
    why="CWE-327: DES and RC4 are broken, ECB shows patterns of the plain text",
    advice="use AES-GCM or ChaCha20-Poly1305",
    silent="AES in GCM, CTR or CBC",
    checks=(
        Check(
            tuple(
                f"Crypto.Cipher.{name}.new"
                for name in ("DES", "DES3", "ARC4", "ARC2", "Blowfish", "XOR", "CAST")
            ),
            always,
        ),
        Check(("Crypto.Cipher.AES.new",), argument_named(1, "mode", "MODE_ECB")),
        Check(
            tuple(
                f"cryptography.hazmat.primitives.ciphers.algorithms.{name}"
                for name in ("ARC4", "Blowfish", "TripleDES", "IDEA", "CAST5", "SEED")
            ),
            always,
        ),
        Check(("cryptography.hazmat.primitives.ciphers.modes.ECB",), always),
    ),
    bad="from Crypto.Cipher import AES\ndef seal(key, data):\n"
    "    return AES.new(key, AES.MODE_ECB).encrypt(data)\n",
    good="from Crypto.Cipher import AES\ndef seal(key, data):\n"
    "    return AES.new(key, AES.MODE_GCM).encrypt(data)\n",
)

KEY_SIZE = Rule(
    id="short-key",
    cwe=326,
    title="key too short",
    severity=Severity.MEDIUM,
    what="an RSA or DSA key is shorter than 2048 bits",
    why="CWE-326: 1024-bit keys can be factored by well-equipped attackers",
    advice="use at least 2048 bits, better 3072, or Ed25519",
    silent="2048 bits and more",
    checks=(
        Check(
            ("Crypto.PublicKey.RSA.generate", "Crypto.PublicKey.DSA.generate", "rsa.newkeys"),
            lambda _frame, site: (
                isinstance(constant(site.arg(0, "bits")), int) and constant(site.arg(0, "bits")) < 2048
            ),
        ),
        Check(
            (
                "cryptography.hazmat.primitives.asymmetric.rsa.generate_private_key",
                "cryptography.hazmat.primitives.asymmetric.dsa.generate_private_key",
            ),
            lambda _frame, site: any(
                isinstance(constant(v), int) and 256 <= constant(v) < 2048
                for v in (site.kwargs.get("key_size"), *site.args)
            ),
        ),
        Check(
            tuple(
                f"cryptography.hazmat.primitives.asymmetric.ec.{curve}"
                for curve in ("SECP192R1", "SECT163K1", "SECT163R2", "SECP224R1")
            ),
            always,
        ),
    ),
    bad="from Crypto.PublicKey import RSA\nkey = RSA.generate(1024)\n",
    good="from Crypto.PublicKey import RSA\nkey = RSA.generate(3072)\n",
)

RANDOM = Rule(
    id="weak-random",
    cwe=330,
    title="predictable secret",
    severity=Severity.HIGH,
    what="a secret comes from a predictable generator",
    why="CWE-330: the state of random is known after a few outputs",
    advice="use the secrets module: secrets.token_urlsafe()",
    silent="random numbers for games, sampling, delays and colours",
    kind="random",
    origins=frozenset({OriginKind.RANDOM}),
    fix_id="secrets-module",
    assigns=(AssignCheck(is_secret_name, random_for_secret),),
    returned=random_answer,
    sinks=(Sink((".set_cookie",), (1, "value")),),
    bad="import random, string\ndef reset_token():\n"
    "    return ''.join(random.choice(string.ascii_letters) for _ in range(16))\n",
    good="import secrets\ndef reset_token():\n    return secrets.token_urlsafe(16)\n",
)

CREDENTIAL = Rule(
    id="hardcoded-credential",
    cwe=798,
    title="credential in the code",
    severity=Severity.HIGH,
    what="a credential is written in the source",
    why="CWE-798: everybody who reads the repository has it, and it cannot be changed without a release",
    advice="read it from the environment or a secret store, and revoke the one that was published",
    silent="placeholders, names of settings and fields, empty strings",
    fix_id="credential-environment",
    assigns=(AssignCheck(is_secret_name, hardcoded, written=True),),
    # veilig: ignore[CWE-798] reason=the example by which this rule is tested, no credential
    bad="DB_PASSWORD = 'hunter2!x9'\n",
    good="import os\nDB_PASSWORD = os.environ['DB_PASSWORD']\n",
)

RULES = (HASH, PASSWORD_HASH, CIPHER, KEY_SIZE, RANDOM, CREDENTIAL)
