"""Which calls and settings of a script are a weakness as they stand?"""

import re
from collections.abc import Iterator

from veilig.audit.finding import Confidence, Severity
from veilig.audit.languages.grammar import above, below, field, text_of
from veilig.audit.languages.javascript import Script
from veilig.audit.languages.rule import LanguageRule, Place

SECRET_NAME = re.compile(
    r"token|secret|passw|session|otp|nonce|salt|api_?key|csrf|reset|invite", re.IGNORECASE
)


def _literal(text: str) -> str:
    return text.strip("'\"`").lower()


def _hashes(script: Script) -> Iterator[Place]:
    for call in script.named("crypto.createHash", "crypto.createHmac"):
        if (
            _literal(text_of(call.arg(0))) in ("md5", "sha1", "md4", "rsa-md5", "rsa-sha1")
            and "Hmac" not in call.name
        ):
            yield script.place(call.node, Confidence.CERTAIN, text_of(call.arg(0)))


def _ciphers(script: Script) -> Iterator[Place]:
    for call in script.named("crypto.createCipheriv", "crypto.createDecipheriv", "crypto.createCipher"):
        name = _literal(text_of(call.arg(0)))
        if call.name.endswith("createCipher") or re.search(r"^(des|rc4|rc2|bf)|ecb$", name):
            yield script.place(call.node, Confidence.CERTAIN, name)


def _dice(script: Script) -> Iterator[Place]:
    for call in script.named("Math.random"):
        for around in above(call.node):
            if around.type in (
                "variable_declarator",
                "assignment_expression",
                "pair",
                "function_declaration",
            ):
                name = text_of(field(around, "name") or field(around, "left") or field(around, "key"))
                if SECRET_NAME.search(name):
                    yield script.place(call.node, Confidence.CERTAIN, name)
                    break
            if around.type == "program":
                break


def _switched_off(*keys: str, values: tuple[str, ...] = ("false",)) -> "_Pairs":
    return _Pairs(frozenset(keys), frozenset(values))


class _Pairs:
    """Finds `key: value` in object literals."""

    def __init__(self, keys: frozenset[str], values: frozenset[str]) -> None:
        self._keys, self._values = keys, values

    def __call__(self, script: Script) -> Iterator[Place]:
        for pair in script.of("pair"):
            key = text_of(field(pair, "key")).strip("'\"")
            if key in self._keys and _literal(text_of(field(pair, "value"))) in self._values:
                yield script.place(pair, Confidence.CERTAIN, key)


def _certificates(script: Script) -> Iterator[Place]:
    yield from _switched_off("rejectUnauthorized", "strictSSL")(script)
    for node in script.of("assignment_expression"):
        if text_of(field(node, "left")).endswith("NODE_TLS_REJECT_UNAUTHORIZED") and "0" in text_of(
            field(node, "right")
        ):
            yield script.place(node)


def _tokens(script: Script) -> Iterator[Place]:
    for call in script.named(
        "jsonwebtoken.verify", "jwt.verify", "jsonwebtoken.sign", "jwt.sign", "jose.jwtVerify"
    ):
        for pair in (p for a in call.args for p in below(a) if p.type == "pair"):
            key = text_of(field(pair, "key"))
            if key in ("algorithm", "algorithms") and re.search(
                r"['\"]none['\"]", text_of(field(pair, "value")), re.IGNORECASE
            ):
                yield script.place(pair, Confidence.CERTAIN, "none")
            if key == "ignoreExpiration" and text_of(field(pair, "value")) == "true":
                yield script.place(pair, Confidence.CERTAIN, key)
        if call.name.endswith("verify") and text_of(call.arg(1)) in (
            "null",
            "''",
            '""',
            "undefined",
            "false",
        ):
            yield script.place(call.node, Confidence.CERTAIN, "no key")


def _keys(script: Script) -> Iterator[Place]:
    for call in script.named("jsonwebtoken.sign", "jsonwebtoken.verify", "jwt.sign", "jwt.verify"):
        key = call.arg(1)
        if key is not None and key.type == "string" and len(_literal(text_of(key))) > 2:
            yield script.place(key, Confidence.CERTAIN, "the signing key")
    for call in script.named("express-session", "session", "cookie-session", "cookieSession", "expressjwt"):
        secret = script.option(call.arg(0), "secret")
        if secret is not None and secret.type == "string" and len(_literal(text_of(secret))) > 2:
            yield script.place(secret, Confidence.CERTAIN, "the session's secret")
    for call in script.named("crypto.createHmac", "crypto.createCipheriv"):
        key = call.arg(1)
        if key is not None and key.type == "string":
            yield script.place(key, Confidence.CERTAIN, "the key")


def _cookies(script: Script) -> Iterator[Place]:
    for call in script.named("res.cookie", "response.cookie", "reply.setCookie", "ctx.cookies.set"):
        name, given = _literal(text_of(call.arg(0))), call.arg(2)
        if not re.search(r"sess|sid|token|auth|jwt", name):
            continue
        if given is not None and not script.has_object(given):
            continue  # options from elsewhere: nobody knows
        for key in ("httpOnly", "secure"):
            value = script.option(given, key)
            if value is None or text_of(value) == "false":
                yield script.place(call.node, Confidence.CERTAIN, f"{name} without {key}")
                break
    for call in script.named("express-session", "session", "cookie-session", "cookieSession"):
        cookie = script.option(call.arg(0), "cookie")
        for key in ("httpOnly", "secure"):
            value = script.option(cookie, key)
            if value is not None and text_of(value) == "false":
                yield script.place(value, Confidence.CERTAIN, f"{key}: false")


def _origins(script: Script) -> Iterator[Place]:
    for call in script.named("cors", "fastify-cors", "@koa/cors"):
        options = call.arg(0)
        allowed, sent = script.option(options, "origin"), script.option(options, "credentials")
        if text_of(sent) == "true" and _literal(text_of(allowed)) in ("true", "*", "/.*/"):
            yield script.place(call.node, Confidence.CERTAIN, "any origin, with cookies")
    for call in script.named(".setHeader", ".header", ".set"):
        if _literal(text_of(call.arg(0))) == "access-control-allow-origin":
            origin = script.tainted(call.arg(1))
            if origin is not None:
                yield script.place(call.node, Confidence.POSSIBLE, "the asking origin is repeated", origin)


def _window(script: Script) -> Iterator[Place]:
    if any(True for _ in script.named("electron.BrowserWindow", "BrowserWindow", "electron.BrowserView")):
        yield from _switched_off("contextIsolation", "webSecurity", "sandbox")(script)
        yield from _switched_off("nodeIntegration", "allowRunningInsecureContent", values=("true",))(script)


def _messages(script: Script) -> Iterator[Place]:
    for call in script.named(".addEventListener", "addEventListener"):
        handler = call.arg(1)
        if (
            _literal(text_of(call.arg(0))) != "message"
            or handler is None
            or handler.type not in (*("arrow_function", "function_expression"),)
        ):
            continue
        if call.name not in ("addEventListener", "window.addEventListener", "self.addEventListener"):
            continue
        body = text_of(handler)
        if not re.search(r"\borigin\b|\bsource\b|isTrusted", body):
            yield script.place(call.node, Confidence.POSSIBLE)


def _posted(script: Script) -> Iterator[Place]:
    for call in script.named(".postMessage"):
        if _literal(text_of(call.arg(1))) == "*":
            yield script.place(call.node)


def _entities(script: Script) -> Iterator[Place]:
    for call in script.named(
        "libxmljs.parseXml", "libxmljs.parseXmlString", "libxmljs2.parseXml", "libxml.parseXml"
    ):
        if text_of(script.option(call.arg(1), "noent")) == "true":
            yield script.place(call.node)


def _traces(script: Script) -> Iterator[Place]:
    for call in script.named(
        "res.send", "res.json", "res.end", "res.write", "response.send", "response.json", "reply.send"
    ):
        text = text_of(call.arg(0))
        if re.search(r"\b(?:e|err|error|ex|exception)\.stack\b", text):
            yield script.place(call.node, Confidence.CERTAIN, "the stack")


def _timings(script: Script) -> Iterator[Place]:
    for test in script.of("if_statement"):
        asked = field(test, "condition")
        for part in below(asked) if asked is not None else ():
            if part.type != "binary_expression" or text_of(field(part, "operator")) not in (
                "===",
                "!==",
                "==",
                "!=",
            ):
                continue
            sides = [text_of(field(part, "left")), text_of(field(part, "right"))]
            if all(re.search(r"signature|hmac|digest|mac$", side, re.IGNORECASE) for side in sides):
                yield script.place(part, Confidence.CERTAIN)


def _buffers(script: Script) -> Iterator[Place]:
    for call in script.named("Buffer.allocUnsafe", "Buffer.allocUnsafeSlow"):
        yield script.place(call.node, Confidence.PATTERN)
    for call in script.named("Buffer"):
        if call.node.type == "new_expression":
            yield script.place(call.node)


_R = LanguageRule[Script]
RULES = (
    _R("js-weak-hash", 328, "Weak hash", Severity.MEDIUM, "MD5 or SHA-1 is used",
       "Two different inputs with the same value can be made in minutes.", "Use sha256; for passwords scrypt or argon2.",
       bad="const crypto = require('crypto');\nconst h = crypto.createHash('md5').update(p).digest('hex');\n",
       good="const crypto = require('crypto');\nconst h = crypto.createHash('sha256').update(p).digest('hex');\n",
       find=_hashes),
    _R("js-weak-cipher", 327, "Weak cipher", Severity.HIGH, "a broken cipher or mode is used",
       "Equal blocks stay equal in ECB; DES and RC4 are broken; createCipher derives its key by MD5.",
       "Use aes-256-gcm with createCipheriv and a fresh nonce.",
       bad="import crypto from 'crypto';\nconst c = crypto.createCipheriv('aes-128-ecb', key, null);\n",
       good="import crypto from 'crypto';\nconst c = crypto.createCipheriv('aes-256-gcm', key, nonce);\n", find=_ciphers),
    _R("js-predictable-token", 338, "Predictable token", Severity.HIGH, "a secret is made with Math.random",
       "Its state can be computed from a few outputs, and so can every later token.",
       "Use crypto.randomBytes or crypto.randomUUID.",
       bad="function resetToken() { return Math.random().toString(36).slice(2); }\n",
       good="const { randomBytes } = require('crypto');\nfunction resetToken() { return randomBytes(32).toString('hex'); }\n",
       find=_dice),
    _R("js-certificate-unchecked", 295, "Certificate not checked", Severity.HIGH, "TLS accepts any certificate",
       "Anybody on the way can read and change what is sent.", "Remove the setting; give `ca` for a private authority.",
       bad="https.get(url, { rejectUnauthorized: false }, done);\n", good="https.get(url, { ca: authority }, done);\n",
       find=_certificates),
    _R("js-token-unverified", 347, "Token accepted unsigned", Severity.CRITICAL,
       "a token is accepted without a signature or after its end", "Anybody writes a token that names the administrator.",
       "Give verify a key and one algorithm.",
       bad="const jwt = require('jsonwebtoken');\nconst who = jwt.verify(t, key, { algorithms: ['HS256', 'none'] });\n",
       good="const jwt = require('jsonwebtoken');\nconst who = jwt.verify(t, key, { algorithms: ['HS256'] });\n", find=_tokens),
    _R("js-key-in-code", 798, "Key in the code", Severity.HIGH, "a signing key or session secret is written in the code",
       "Who reads the code can sign in as anybody; it cannot be changed without a release.",
       "Read it from the environment or a secret store.",
       bad="const jwt = require('jsonwebtoken');\nconst t = jwt.sign({ id }, 'shop-signing-words');\n",
       good="const jwt = require('jsonwebtoken');\nconst t = jwt.sign({ id }, process.env.SIGNING_KEY);\n", find=_keys),
    _R("js-cookie-flags", 614, "Session cookie without flags", Severity.MEDIUM,
       "a session cookie can be read by scripts or sent without TLS", "One cross-site script, or one plain request, gives it away.",
       "Set httpOnly, secure and sameSite.",
       bad="app.get('/', (req, res) => { res.cookie('session', id, { httpOnly: false, secure: true }); });\n",
       good="app.get('/', (req, res) => { res.cookie('session', id, { httpOnly: true, secure: true, sameSite: 'lax' }); });\n",
       find=_cookies),
    _R("js-any-origin", 942, "Any origin may ask with cookies", Severity.HIGH,
       "cross-origin requests are allowed from everywhere, with credentials", "Any page reads your users' data while they are signed in.",
       "List the origins.",
       bad="const cors = require('cors');\napp.use(cors({ origin: true, credentials: true }));\n",
       good="const cors = require('cors');\napp.use(cors({ origin: ['https://shop.example'], credentials: true }));\n",
       find=_origins),
    _R("js-electron-open", 1188, "Electron window without its walls", Severity.HIGH,
       "a window gives pages access to Node, or switches isolation off", "One cross-site script becomes code on the user's machine.",
       "Keep contextIsolation, sandbox and webSecurity on and nodeIntegration off.",
       bad="const { BrowserWindow } = require('electron');\nnew BrowserWindow({ webPreferences: { nodeIntegration: true } });\n",
       good="const { BrowserWindow } = require('electron');\nnew BrowserWindow({ webPreferences: { contextIsolation: true } });\n",
       find=_window),
    _R("js-message-unchecked", 346, "Message from any origin", Severity.MEDIUM,
       "a message handler does not look at who sent the message", "Any page that frames or opens yours can send it.",
       "Compare event.origin with a list first.",
       bad="window.addEventListener('message', (event) => { run(event.data); });\n",
       good="window.addEventListener('message', (event) => {\n  if (event.origin !== 'https://a.example') return;\n  run(event.data);\n});\n",
       find=_messages),
    _R("js-message-to-anybody", 359, "Message to any origin", Severity.LOW, "a message is posted to '*'",
       "Whatever page is in the frame by then reads it.", "Name the origin that is meant.",
       bad="frame.contentWindow.postMessage({ token }, '*');\n",
       good="frame.contentWindow.postMessage({ token }, 'https://a.example');\n", find=_posted),
    _R("js-xml-entities", 611, "XML external entities", Severity.HIGH, "an XML parser resolves entities",
       "The document reads files of the server into itself.", "Leave noent off.",
       bad="const libxmljs = require('libxmljs');\nconst d = libxmljs.parseXml(text, { noent: true });\n",
       good="const libxmljs = require('libxmljs');\nconst d = libxmljs.parseXml(text, { noent: false });\n", find=_entities),
    _R("js-stack-shown", 209, "Stack shown to a stranger", Severity.LOW, "an answer holds the stack of an error",
       "Paths, versions and queries in it help the next attack.", "Log it, and answer with a number to ask for.",
       bad="app.use((err, req, res, next) => { res.status(500).send(err.stack); });\n",
       good="app.use((err, req, res, next) => { log(err.stack); res.status(500).send('error 17'); });\n", find=_traces),
    _R("js-timing", 208, "Signature compared character by character", Severity.MEDIUM,
       "a signature is compared with ===", "How long it takes tells how many characters were right.",
       "Use crypto.timingSafeEqual.",
       bad="if (req.headers.signature === expectedSignature) { accept(); }\n",
       good="if (crypto.timingSafeEqual(Buffer.from(signature), expected)) { accept(); }\n", find=_timings),
    _R("js-old-buffer", 665, "Buffer with old memory", Severity.LOW, "new Buffer or allocUnsafe is used",
       "A number as argument gives memory with what stood there before.", "Use Buffer.from or Buffer.alloc.",
       bad="const b = new Buffer(size);\n", good="const b = Buffer.alloc(size);\n", find=_buffers),
)  # fmt: skip
