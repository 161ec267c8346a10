"""Rules for hashing, ciphers, randomness, certificates, tokens and secrets."""

import re

from veilig.audit.engine.frame import CallSite, Frame
from veilig.audit.engine.state import constant, deep_taints
from veilig.audit.engine.value import Const, OriginKind, Value
from veilig.audit.finding import Severity
from veilig.audit.rules.conditions import (
    CHECKSUM_NAME,
    always,
    argument_named,
    both,
    context_name,
    dict_item,
    either,
    ending,
    is_secret_name,
    keyword_is,
    negated,
    text_of,
)
from veilig.audit.rules.rule import AssignCheck, Check, Rule, Sink

_PASSWORD = re.compile(r"(?i)passw|pwd|passphrase")
_PLACEHOLDER = re.compile(
    r"(?i)^(|x+|\*+|none|null|changeme.?|<.*>|\{.*\}|\$\{.*|%\(.*|your[-_ ].*|example.*|test|dummy|todo|password|secret|"
    r"token|string|str|bearer|basic|.*[\s].*|.*://(?!.*:.*@).*)$"
)
_CREDENTIAL = re.compile(r"^[A-Za-z0-9+/=_.!@#$%^&*:,;~?-]{4,500}$")
_NOT_CREDENTIAL = re.compile(r"(?i)nonce|csrf|cookie|verif|chars|alphabet|salt_?(len|size)")
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
    return not password_hash(frame, site) and CHECKSUM_NAME.search(context_name(frame, site)) is None


def password_hash(frame: Frame, site: CallSite) -> bool:
    """A fast hash in the company of a password."""
    arguments = " ".join(name for name in (*(text_of(arg) for arg in site.args),))
    return _PASSWORD.search(f"{context_name(frame, site)} {arguments}") is not None


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
    if not _CREDENTIAL.match(text) or _PLACEHOLDER.match(text) or _SEQUENCE in text:
        return False
    if _NOT_CREDENTIAL.search(name) or text.lower() in name.lower():
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
                "hashlib.sha224",
                "hashlib.sha384",
            ),
            lambda frame, site: bool(site.args) and password_hash(frame, site),
        ),
        Check(
            ("hashlib.pbkdf2_hmac",),
            lambda frame, site: (
                isinstance(constant(site.arg(3, "iterations")), int)
                and constant(site.arg(3, "iterations")) < 100_000
            ),
        ),
    ),
    bad="import hashlib\ndef store(password):\n    return hashlib.sha256(password.encode()).hexdigest()\n",
    good="import hashlib\ndef store(password, salt):\n    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)\n",
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
    bad="from Crypto.Cipher import AES\ndef seal(key, data):\n    return AES.new(key, AES.MODE_ECB).encrypt(data)\n",
    good="from Crypto.Cipher import AES\ndef seal(key, data):\n    return AES.new(key, AES.MODE_GCM).encrypt(data)\n",
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
            lambda frame, site: (
                isinstance(constant(site.arg(0, "bits")), int) and constant(site.arg(0, "bits")) < 2048
            ),
        ),
        Check(
            (
                "cryptography.hazmat.primitives.asymmetric.rsa.generate_private_key",
                "cryptography.hazmat.primitives.asymmetric.dsa.generate_private_key",
            ),
            lambda frame, site: any(
                isinstance(constant(v), int) and 256 <= constant(v) < 2048
                for v in (site.kwargs.get("key_size"), *site.args)
            ),
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
    bad="import random, string\ndef reset_token():\n    return ''.join(random.choice(string.ascii_letters) for _ in range(16))\n",
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
    assigns=(AssignCheck(is_secret_name, hardcoded),),
    bad="DB_PASSWORD = 'hunter2!x9'\n",
    good="import os\nDB_PASSWORD = os.environ['DB_PASSWORD']\n",
)

TLS = Rule(
    id="tls-unverified",
    cwe=295,
    title="certificate not verified",
    severity=Severity.HIGH,
    what="TLS certificates are not verified",
    why="CWE-295: anybody on the way reads and changes the traffic",
    advice="leave verification on; trust a private CA with verify='/path/ca.pem'",
    silent="verify=True, a CA bundle",
    fix_id="tls-verify",
    checks=(
        Check(
            tuple(
                f"{owner}.{verb}"
                for owner in ("requests", "httpx", "requests.Session()", "requests.session()")
                for verb in ("get", "post", "put", "delete", "patch", "head", "options", "request", "stream")
            )
            + ("httpx.Client", "httpx.AsyncClient"),
            keyword_is(99, "verify", False),
        ),
        Check(
            (".get", ".post", ".put", ".request"),
            both(keyword_is(99, "ssl", False), lambda frame, site: "aiohttp" in site.qual),
        ),
        Check(("ssl._create_unverified_context", "ssl._https_verify_certificates"), always),
        Check(("ssl.wrap_socket",), negated(argument_named(3, "cert_reqs", "CERT_REQUIRED"))),
        Check(
            ("urllib3.PoolManager", "urllib3.HTTPSConnectionPool"),
            either(argument_named(99, "cert_reqs", "CERT_NONE")),
        ),
        Check(
            (".set_missing_host_key_policy",),
            lambda frame, site: any(
                "AutoAddPolicy" in text_of(a) or "WarningPolicy" in text_of(a) for a in site.args
            ),
        ),
    ),
    assigns=(
        AssignCheck(ending("check_hostname"), lambda frame, name, value: constant(value) is False),
        AssignCheck(ending("verify_mode"), lambda frame, name, value: text_of(value).endswith("CERT_NONE")),
        AssignCheck(
            ending("_create_default_https_context"), lambda frame, name, value: "unverified" in text_of(value)
        ),
        AssignCheck(ending("ession().verify"), lambda frame, name, value: constant(value) is False),
    ),
    bad="import requests\ndef load():\n    return requests.get('https://example.org', verify=False, timeout=5)\n",
    good="import requests\ndef load():\n    return requests.get('https://example.org', verify=True, timeout=5)\n",
)

TLS_VERSION = Rule(
    id="old-tls",
    cwe=327,
    title="old TLS version",
    severity=Severity.MEDIUM,
    what="SSL or TLS before 1.2 is allowed",
    why="CWE-327: these versions have known attacks",
    advice="use ssl.create_default_context()",
    silent="PROTOCOL_TLS_CLIENT, TLS 1.2 and 1.3",
    checks=(
        Check(
            ("ssl.SSLContext", "ssl.wrap_socket"),
            lambda frame, site: any(
                re.search(r"PROTOCOL_(SSLv|TLSv1(_1)?$)", text_of(v))
                for v in (*site.args, *site.kwargs.values())
            ),
        ),
    ),
    assigns=(
        AssignCheck(
            ending("minimum_version"),
            lambda frame, name, value: re.search(r"(SSLv3|TLSv1|TLSv1_1)$", text_of(value)) is not None,
        ),
    ),
    bad="import ssl\ncontext = ssl.SSLContext(ssl.PROTOCOL_TLSv1)\n",
    good="import ssl\ncontext = ssl.create_default_context()\n",
)

JWT = Rule(
    id="jwt-unverified",
    cwe=347,
    title="token signature not verified",
    severity=Severity.HIGH,
    what="a JSON web token is read without verifying its signature",
    why="CWE-347: anybody writes their own token",
    advice="jwt.decode(token, key, algorithms=['HS256'])",
    silent="verified tokens with fixed algorithms",
    fix_id="jwt-verify",
    checks=(
        Check(
            ("jwt.decode", "jose.jwt.decode"),
            lambda frame, site: (
                constant(site.kwargs.get("verify")) is False
                or dict_item(frame, site.arg(99, "options"), "verify_signature") is False
                or _none_allowed(frame, site.kwargs.get("algorithms"))
            ),
        ),
        Check(("jose.jwt.get_unverified_claims", "jwt.api_jws.decode_complete"), always),
        Check(("jwt.encode",), keyword_is(2, "algorithm", "none", "None")),
    ),
    bad="import jwt\ndef user(token):\n    return jwt.decode(token, options={'verify_signature': False})['sub']\n",
    good="import jwt\ndef user(token, key):\n    return jwt.decode(token, key, algorithms=['HS256'])['sub']\n",
)


def _none_allowed(frame: Frame, value: Value | None) -> bool:
    from veilig.audit.engine.state import children

    held = frame.state.get(value) if value is not None and hasattr(value, "key") else None  # type: ignore[arg-type]
    return held is not None and any(constant(item) in ("none", "None") for item in children(held))


TIMING = Rule(
    id="timing-compare",
    cwe=208,
    title="secret compared in varying time",
    severity=Severity.MEDIUM,
    what="a secret is compared with ==",
    why="CWE-208: the time taken tells how many characters are right",
    advice="use hmac.compare_digest(a, b)",
    silent="hmac.compare_digest, comparisons with constants",
    fix_id="compare-digest",
    bad="import hmac\ndef check(key, body, given):\n    return hmac.new(key, body, 'sha256').hexdigest() == given\n",
    good="import hmac\ndef check(key, body, given):\n"
    "    return hmac.compare_digest(hmac.new(key, body, 'sha256').hexdigest(), given)\n",
)

SECRET_LOG = Rule(
    id="secret-in-log",
    cwe=532,
    title="secret written to the log",
    severity=Severity.MEDIUM,
    what="a secret is written to the log",
    why="CWE-532: logs are copied, kept and read by many",
    advice="log that it was there, never what it was",
    silent="names of settings, lengths, masked values",
    checks=(
        Check(
            tuple(
                f"{owner}.{level}"
                for owner in ("logging", "logging.getLogger()", "flask.current_app.logger")
                for level in ("debug", "info", "warning", "error", "critical", "exception")
            )
            + ("print",),
            lambda frame, site: logs_secret(site),
        ),
    ),
    bad="import logging\ndef login(user, password):\n    logging.info('login %s %s', user, password)\n",
    good="import logging\ndef login(user, password):\n    logging.info('login %s', user)\n",
)

_LOGGED = re.compile(
    r"(?i)^(user_?)?(password|passwd|pwd|passphrase|secret|api_?key|secret_?key|access_?token|auth_?token|private_?key|credit_?card|card_?number|cvv|ssn)$"
)


def logs_secret(site: CallSite) -> bool:
    """Whether a name of a secret is an argument or stands in an f-string of the call."""
    import ast

    for argument in site.node.args:
        parts = (
            [argument]
            if not isinstance(argument, ast.JoinedStr)
            else [value.value for value in argument.values if isinstance(value, ast.FormattedValue)]
        )
        if isinstance(argument, ast.BinOp):
            parts = [
                argument.left,
                argument.right,
                *(argument.right.elts if isinstance(argument.right, ast.Tuple) else []),
            ]
        if (
            isinstance(argument, ast.Call)
            and isinstance(argument.func, ast.Attribute)
            and argument.func.attr == "format"
        ):
            parts = list(argument.args)
        for part in parts:
            name = (
                part.id
                if isinstance(part, ast.Name)
                else part.attr
                if isinstance(part, ast.Attribute)
                else ""
            )
            if isinstance(part, ast.Subscript) and isinstance(part.slice, ast.Constant):
                name = str(part.slice.value)
            if _LOGGED.match(name):
                return True
    return False


RULES = (HASH, PASSWORD_HASH, CIPHER, KEY_SIZE, RANDOM, CREDENTIAL, TLS, TLS_VERSION, JWT, TIMING, SECRET_LOG)
