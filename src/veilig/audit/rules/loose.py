"""Rules for parameters that allow more than meant: containers, trackers, archives, folders, caches."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.frame import CallSite, Frame
from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.engine.state import constant, deep_taints, truth
from veilig.audit.engine.value import Opaque, OriginKind, Value
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.conditions import keyword_is
from veilig.audit.rules.rule import Check, Rule
from veilig.audit.rules.sketch import FunctionSketch, Sketch, constants, last_name
from veilig.audit.rules.slices import backwards, tests_in, words_in

type Marks = Iterator[tuple[ast.AST, Confidence]]

_SHARED = ("/tmp/", "/var/tmp/", "/dev/shm/")  # noqa: S108  # what the rule looks for
_MIGHTY = re.compile(r"^(CAP_)?(ALL|SYS_\w+|NET_ADMIN|NET_RAW|DAC_\w+|SETUID|BPF|MKNOD)$")
_PRECIOUS = re.compile(
    r"(?i)^_?(\w+_)?(password|passwd|passphrase|psk|secret|secret_key|api_?key|private_key|access_token|refresh_token|"
    r"auth_token|reset_token|token|card_?number|cvv|ssn|iban|passport\w*|national_id|bank_account|pin_code|otp_secret|"
    r"password_hash|tax_id|salary)$"
)
_WHO = frozenset(
    {
        "session", "g", "user", "current_user", "path", "endpoint", "cookies", "headers", "mimetype",
        "content_type", "authorization", "is_authenticated",
    }
)  # fmt: skip
_KEYS = re.compile(
    r"(?i)^(access_?token|api_?key|apikey|token|secret|auth|key|password|sig|app_?secret|client_secret)$"
)
_STORES = re.compile(r"(?i)^\s*(insert|update|replace|merge)\b")
_HARMLESS = re.compile(
    r"(?i)hash|encrypt|fernet|seal|crypt|digest|derive|kdf|argon|scrypt|sign|hmac|wrap|protect|box"
)


def _container(sketch: Sketch) -> Marks:
    """A container with rights of the host: capabilities, root, its socket, its network or processes."""
    if not search(r"docker|podman", sketch.text):
        return
    for node in sketch.each(ast.Call):
        if not isinstance(node, ast.Call) or not re.search(
            r"\.(run|create)$", dotted(node.func) or ast.unparse(node.func)
        ):
            continue
        for keyword in node.keywords:
            texts = list(constants(keyword.value))
            wide = (
                (keyword.arg == "cap_add" and any(_MIGHTY.match(text) for text in texts))
                or (keyword.arg in ("pid_mode", "ipc_mode", "userns_mode") and "host" in texts)
                or (
                    keyword.arg == "volumes"
                    and any(re.match(r"(/|/etc|/var/run/docker\.sock)$", t) for t in texts)
                )
                or (keyword.arg == "security_opt" and any("unconfined" in text for text in texts))
            )
            if wide:
                yield node, Confidence.CERTAIN
                break


def _shared_folder(frame: Frame, site: CallSite) -> bool:
    """A folder with a name others know, in a directory where everybody may make it first."""
    where: Value | None = (
        site.receiver if site.name == "mkdir" and not site.qual.startswith("os.") else site.arg(0)
    )
    known = constant(where)
    start = known if isinstance(known, str) else where.prefix if isinstance(where, Opaque) else ""
    kept = site.kwargs.get("exist_ok")
    if kept is None or truth(frame.state, kept) is not True or not start.startswith(_SHARED):
        return False
    taints = deep_taints(frame.state, where) if where is not None else ()
    return not any(taint.origin.kind is OriginKind.RANDOM for taint in taints)


def _bomb(frame: Frame, site: CallSite) -> bool:
    """Unpacked at once and without a limit, and a request brought it."""
    if "max_length" in site.kwargs or len(site.args) != 1:
        return False
    object_made = site.qual.endswith("().decompress")
    return any(
        taint.origin.kind is OriginKind.REMOTE or (object_made and taint.origin.kind is OriginKind.PARAMETER)
        for taint in deep_taints(frame.state, site.args[0])
    )


def _open_secret(sketch: Sketch) -> Marks:
    """A file for a secret, made with rights for others."""
    if "os.open(" not in sketch.text:
        return
    for function in sketch.functions:
        for call in function.calls():
            if (
                dotted(call.func) != "os.open"
                or len(call.args) != 3
                or "O_CREAT" not in ast.unparse(call.args[1])
            ):
                continue
            mode = call.args[2]
            open_to_others = (
                isinstance(mode, ast.Constant) and isinstance(mode.value, int) and mode.value & 0o077
            )
            secret = search(
                r"(?i)secret|token|password|passwd|private|credential|\bkey\b|_key\b|cookie", function.body
            )
            if open_to_others and secret and not search(r"f?chmod\(", function.body):
                yield call, Confidence.POSSIBLE


def _session_parameters(sketch: Sketch) -> Marks:
    """A key that a client puts into the query of each of its requests."""
    if ".params" not in sketch.text:
        return
    for node in sketch.each(ast.Assign, ast.Call):
        given: ast.expr | None = None
        names: list[str] = []
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute | ast.Subscript):
            target = node.targets[0]
            if isinstance(target, ast.Attribute) and target.attr == "params":
                given = node.value
            elif isinstance(target, ast.Subscript) and last_name(target.value) == "params":
                names = [last_name(target)]
        elif isinstance(node, ast.Call) and dotted(node.func).endswith(".params.update"):
            given = node.args[0] if node.args else None
            names = [keyword.arg or "" for keyword in node.keywords]
        if isinstance(given, ast.Dict):
            names = [str(key.value) for key in given.keys if isinstance(key, ast.Constant)]
        if any(_KEYS.match(name) for name in names):
            yield node, Confidence.CERTAIN


def _everything_but(sketch: Sketch) -> Marks:
    """A serializer that names what it leaves out, of a model with a field that must stay here."""
    if "Serializer" not in sketch.text:
        return
    for node in sketch.each(ast.ClassDef):
        if not isinstance(node, ast.ClassDef) or not any("Serializer" in dotted(base) for base in node.bases):
            continue
        meta = next((i for i in node.body if isinstance(i, ast.ClassDef) and i.name == "Meta"), None)
        given = (
            {last_name(i.targets[0]): i.value for i in meta.body if isinstance(i, ast.Assign)} if meta else {}
        )
        everything = "exclude" in given or "'__all__'" in ast.unparse(given.get("fields", ast.Constant(0)))
        if not everything or "model" not in given:
            continue
        left_out = set(constants(given.get("exclude", ast.Constant(0))))
        hidden = set(re.findall(r"(\w+) = [^\n]*write_only=True", ast.unparse(node)))
        fields = _fields(sketch, last_name(given["model"])) - left_out - hidden
        if any(_PRECIOUS.match(name) for name in fields) and "write_only" not in ast.unparse(meta or node):
            yield meta or node, Confidence.POSSIBLE


def _fields(sketch: Sketch, model: str) -> set[str]:
    found: set[str] = set()
    for node in sketch.everywhere():
        if isinstance(node, ast.ClassDef) and node.name == model:
            for item in node.body:
                if isinstance(item, ast.Assign):
                    found.update(last_name(target) for target in item.targets)
    return found


def _stored_plain(sketch: Sketch) -> Marks:
    """A secret goes into a table as it came."""
    if "execute" not in sketch.text:
        return
    for function in sketch.functions:
        if search(_HARMLESS, function.body):
            continue
        for call in function.calls():
            if dotted(call.func).rpartition(".")[2] != "execute" or len(call.args) < 2:
                continue
            if not any(_STORES.match(text) for text in constants(call.args[0])):
                continue
            values = call.args[1].elts if isinstance(call.args[1], ast.Tuple | ast.List) else call.args[1:]
            if isinstance(call.args[1], ast.Dict):
                values = call.args[1].values
            for value in values:
                plain = (
                    value.func.value
                    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute)
                    else value
                )
                name = last_name(plain)
                if _PRECIOUS.match(name) and not re.search(r"(?i)hash|iban|token|tax|salary|passport", name):
                    yield call, Confidence.POSSIBLE
                    break


def _public_cache(sketch: Sketch) -> Marks:
    """Every answer may be kept by caches in between, those for a signed-in user too."""
    if not search(r"(?i)cache_control\.public|cache-control", sketch.text):
        return
    if not sketch.program.has(r"session|login|current_user"):
        return
    for function in sketch.functions:
        after = any(
            name.endswith(("after_request", "after_app_request", "middleware"))
            for name in function.decorators
        )
        if not after and function.name not in sketch.after_requests:
            continue
        if _asks_who(function):
            continue
        for node in function.own_each(ast.Assign):
            if isinstance(node, ast.Assign):
                target = ast.unparse(node.targets[0])
                public = re.search(r"cache_control\.public$", target) and ast.unparse(node.value) == "True"
                header = re.search(r"(?i)cache-control", target) and any(
                    "public" in t for t in constants(node.value)
                )
                if public or header:
                    yield node, Confidence.POSSIBLE
                    break


def _asks_who(function: FunctionSketch) -> bool:
    """Whether a condition looks at the user, the path or the kind of content."""
    words = {word for test in tests_in(function) for word in words_in(backwards(function, test))}
    return bool(words & _WHO)


CONTAINER = Rule(
    id="container-rights",
    cwe=250,
    title="container with rights of the host",
    severity=Severity.HIGH,
    what="a container gets rights with which it leaves its walls",
    why="CWE-250: what runs inside takes over the machine (CWE-269)",
    advice='cap_drop=["ALL"], security_opt=["no-new-privileges"], an ordinary user',
    silent="capabilities that stay inside, such as NET_BIND_SERVICE",
    shape=_container,
    bad="import docker\ndef run(image):\n"
    "    docker.from_env().containers.run(image, cap_add=['SYS_ADMIN'])\n",
    good="import docker\ndef run(image):\n    docker.from_env().containers.run(image, cap_drop=['ALL'])\n",
)

TRACKER = Rule(
    id="tracker-personal-data",
    cwe=359,
    title="personal data to an error tracker",
    severity=Severity.MEDIUM,
    what="an error tracker gets users, addresses, cookies and bodies of requests",
    why="CWE-359: what the user gave to one service goes to another (CWE-201)",
    advice="send_default_pii=False, and a before_send that removes what is left",
    silent="the default",
    checks=(Check(("sentry_sdk.init",), keyword_is(99, "send_default_pii", True)),),
    bad="import sentry_sdk\nsentry_sdk.init(dsn='https://x.example', send_default_pii=True)\n",
    good="import sentry_sdk\nsentry_sdk.init(dsn='https://x.example')\n",
)

TRUSTED_ARCHIVE = Rule(
    id="archive-fully-trusted",
    cwe=22,
    title="archive unpacked with full trust",
    severity=Severity.MEDIUM,
    what="names and links inside the archive may lead anywhere",
    why="CWE-22: a member called ../../etc/cron.d/x is written there",
    advice='filter="data"',
    silent='the filters "data" and "tar"',
    checks=(Check((".extractall", ".extract"), keyword_is(99, "filter", "fully_trusted")),),
    bad="import tarfile\ndef unpack(t: tarfile.TarFile):\n"
    "    t.extractall('/srv/in', filter='fully_trusted')\n",
    good="import tarfile\ndef unpack(t: tarfile.TarFile):\n    t.extractall('/srv/in', filter='data')\n",
)

SHARED = Rule(
    id="shared-temporary-folder",
    cwe=379,
    title="known folder in a shared directory",
    severity=Severity.MEDIUM,
    what="a folder with a name others know is made or taken as it is, where everybody may write",
    why="CWE-379: whoever makes it first reads and changes what comes into it (CWE-377)",
    advice="tempfile.mkdtemp, or a directory of the program's own user",
    silent="random names, folders that must not exist yet",
    checks=(Check(("os.makedirs", "os.mkdir", ".mkdir"), _shared_folder, Confidence.POSSIBLE),),
    bad="import os\ndef area(day):\n    os.makedirs('/tmp/reports/' + day, exist_ok=True)\n",
    good="import os\ndef area(day):\n    os.makedirs('/var/lib/app/reports/' + day, exist_ok=True)\n",
)

BOMB = Rule(
    id="unpacked-without-limit",
    cwe=409,
    title="compressed data unpacked without a limit",
    severity=Severity.MEDIUM,
    what="compressed data from outside is unpacked whatever it becomes",
    why="CWE-409: a kilobyte becomes a gigabyte",
    advice="read a bounded number of bytes, and refuse what is left",
    silent="calls with max_length, bounded reads",
    checks=(
        Check(
            (
                "zlib.decompressobj().decompress",
                "bz2.BZ2Decompressor().decompress",
                "lzma.LZMADecompressor().decompress",
                "gzip.decompress",
                "zlib.decompress",
                "bz2.decompress",
                "lzma.decompress",
                "brotli.decompress",
                "zstandard.ZstdDecompressor().decompress",
            ),
            _bomb,
            Confidence.POSSIBLE,
        ),
    ),
    bad="import zlib\ndef read(blob):\n    return zlib.decompressobj().decompress(blob)\n",
    good="import zlib\ndef read(blob):\n    return zlib.decompressobj().decompress(blob, 65536)\n",
)

OPEN_SECRET = Rule(
    id="secret-file-for-others",
    cwe=732,
    title="secret in a file others may read",
    severity=Severity.MEDIUM,
    what="a file for a secret is made with rights for others",
    why="CWE-732: every user of the machine reads it (CWE-276)",
    advice="os.open(path, flags, 0o600)",
    silent="files of their owner alone, files without secrets",
    shape=_open_secret,
    bad="import os\ndef keep(token):\n    os.write(os.open('t', os.O_CREAT | os.O_WRONLY, 0o644), token)\n",
    good="import os\ndef keep(token):\n    os.write(os.open('t', os.O_CREAT | os.O_WRONLY, 0o600), token)\n",
)

PARAMETERS = Rule(
    id="key-in-every-address",
    cwe=598,
    title="key in the query of every request",
    severity=Severity.MEDIUM,
    what="a client puts its key into the query of each of its requests",
    why="CWE-598: addresses are logged, kept and sent on as referrers",
    advice="send it in a header",
    silent="other parameters",
    shape=_session_parameters,
    bad="import requests\nhttp = requests.Session()\ndef prepare(key):\n    http.params = {'api_key': key}\n",
    good="import requests\nhttp = requests.Session()\ndef prepare(key):\n    http.headers['X-Key'] = key\n",
)

SERIALIZER = Rule(
    id="serializer-shows-secrets",
    cwe=200,
    title="serializer shows every other field",
    severity=Severity.MEDIUM,
    what="a serializer names what it leaves out, and its model has a field that must stay here",
    why="CWE-200: secrets and personal numbers go to whoever asks (CWE-213)",
    advice="name the fields that may go out",
    silent="lists of fields, models without such fields, write-only fields",
    shape=_everything_but,
    bad="from django.db import models\nfrom rest_framework import serializers\nclass P(models.Model):\n"
    "    iban = models.TextField()\nclass S(serializers.ModelSerializer):\n    class Meta:\n"
    "        model = P\n        exclude = ['id']\n",
    good="from django.db import models\nfrom rest_framework import serializers\nclass P(models.Model):\n"
    "    iban = models.TextField()\nclass S(serializers.ModelSerializer):\n    class Meta:\n"
    "        model = P\n        fields = ['id']\n",
)

STORED = Rule(
    id="secret-stored-plain",
    cwe=312,
    title="secret stored as it is",
    severity=Severity.MEDIUM,
    what="a secret goes into a table as it came",
    why="CWE-312: backups and the next leak show it (CWE-256, CWE-522)",
    advice="hash what is only compared, encrypt what is needed again",
    silent="hashed, encrypted or signed values",
    shape=_stored_plain,
    bad="def add(con, ssid, psk):\n    con.execute('INSERT INTO nets VALUES (?, ?)', (ssid, psk))\n",
    good="def add(con, box, ssid, psk):\n"
    "    con.execute('INSERT INTO nets VALUES (?, ?)', (ssid, box.encrypt(psk)))\n",
)

CACHED = Rule(
    id="private-pages-cached",
    cwe=525,
    title="private pages may be cached",
    severity=Severity.MEDIUM,
    what="every answer is declared public for caches, those for signed-in users too",
    why="CWE-525: the next user of the cache gets the page of the last (CWE-524)",
    advice="no-store for signed-in users; public for static files only",
    silent="conditions on the user, the path or the content",
    shape=_public_cache,
    bad="from flask import Flask, session\napp = Flask(__name__)\n@app.after_request\ndef keep(r):\n"
    "    r.cache_control.public = True\n    return r\n@app.get('/me')\ndef me():\n    return session['n']\n",
    good="from flask import Flask, session\napp = Flask(__name__)\n@app.after_request\ndef keep(r):\n"
    "    r.cache_control.no_store = True\n    return r\n@app.get('/me')\ndef me():\n"
    "    return session['n']\n",
)

RULES = (
    CONTAINER, TRACKER, TRUSTED_ARCHIVE, SHARED, BOMB, OPEN_SECRET, PARAMETERS, SERIALIZER, STORED, CACHED,
)  # fmt: skip
