"""Rules for checks that stop halfway: skipped, undone by redirects, open on errors."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.rule import Rule
from veilig.audit.rules.sketch import FunctionSketch, Sketch, last_name
from veilig.audit.rules.slices import backwards, calls_in, tests_in

type Marks = Iterator[tuple[ast.AST, Confidence]]

_DIGESTS = re.compile(
    r"(?i)(hexdigest|digest|sha\d+|blake2\w|md5|crc32|checksum|file_hash|compute_hash|hash_file)$"
)
_FETCHES = re.compile(
    r"^(requests(\.\w+)?|\w*session|self\.\w*(session|http)\w*|http)\.(get|post|head|put|request)$|(^|"
    r"\.)urlopen$|urlretrieve$"
)
_LOOKS_INSIDE = re.compile(
    r"\.is_(global|private|loopback|reserved|link_local)\b|getaddrinfo|gethostbyname|ip_network"
)
_DECIDES = re.compile(
    r"(?i)(^|_)(may|can|is|has|allow\w*|permit\w*|check\w*|authori\w*|enter|access|valid\w*|verify\w*|"
    r"gate|admit)"
)
_BLOCKED = re.compile(
    r"(?i)^(is_)?(blocked|banned|denied|revoked|locked|suspended|disabled|forbidden|expired|frozen)$"
)
_ALLOWED = re.compile(
    r"(?i)^(is_)?(allowed|ok|valid|active|authori[sz]ed|permitted|granted|enabled|admin|trusted|"
    r"verified|paid)$"
)


def _skipped(sketch: Sketch) -> Marks:
    """`if expected and digest != expected: refuse`: who leaves the digest out passes."""
    if not search(r"(?i)digest|sha\d|checksum|md5", sketch.text):
        return
    for function in sketch.functions:
        for node in function.own_each(ast.If):
            if not isinstance(node, ast.If) or not isinstance(node.test, ast.BoolOp):
                continue
            if not isinstance(node.test.op, ast.And) or not _refuses(node.body):
                continue
            for part in node.test.values:
                if (
                    isinstance(part, ast.Compare)
                    and isinstance(part.ops[0], ast.NotEq)
                    and _of_digest(function, part)
                ):
                    yield node, Confidence.POSSIBLE
                    break


def _refuses(body: list[ast.stmt]) -> bool:
    return any(
        isinstance(n, ast.Raise) or (isinstance(n, ast.Call) and re.search(r"exit$|abort$", dotted(n.func)))
        for statement in body
        for n in ast.walk(statement)
    ) or isinstance(body[-1], ast.Return)


def _of_digest(function: FunctionSketch, test: ast.Compare) -> bool:
    """One side is a digest computed here, the other comes from a record that may lack it."""
    sides = [test.left, test.comparators[0]]
    computed = [s for s in sides if any(_DIGESTS.search(name) for name in calls_in(backwards(function, s)))]
    others = [s for s in sides if s not in computed]
    return (
        len(computed) == 1
        and bool(others)
        and isinstance(others[0], ast.Subscript | ast.Name | ast.Attribute | ast.Call)
    )


def _redirected(sketch: Sketch) -> Marks:
    """The host was looked up and found harmless; then redirects lead anywhere."""
    if not search(r"requests\.|urlopen\(|httpx\.|session\.", sketch.text) or not sketch.program.has(
        _LOOKS_INSIDE.pattern
    ):
        return
    for function in sketch.functions:
        if not _checks_host(sketch, function):
            continue
        for call in function.calls():
            name = dotted(call.func)
            if not _FETCHES.search(name) and not (
                name.startswith("httpx.") and any(k.arg == "follow_redirects" for k in call.keywords)
            ):
                continue
            text = ast.unparse(call)
            if not re.search(r"allow_redirects=False|follow_redirects=False", text) and not any(
                k.arg is None for k in call.keywords
            ):
                yield call, Confidence.POSSIBLE
                break


def _checks_host(sketch: Sketch, function: FunctionSketch) -> bool:
    """Whether a condition of the function looks the address up, itself or through another function."""
    if "urlopen" in function.body and "build_opener" in sketch.text:
        return False
    for test in tests_in(function):
        if _LOOKS_INSIDE.search(ast.unparse(test)):
            return True
        for call in ast.walk(test):
            if isinstance(call, ast.Call):
                found = sketch.program.functions.only(dotted(call.func).rpartition(".")[2])
                if found is not None and _LOOKS_INSIDE.search(ast.unparse(found)):
                    return True
    return False


def _opens_on_errors(sketch: Sketch) -> Marks:
    """The handler of a check that could not be made puts down the answer that lets pass."""
    for function in sketch.functions:
        if "except" not in function.body or not _DECIDES.search(function.name):
            continue
        for node in function.own_each(ast.ExceptHandler):
            if not isinstance(node, ast.ExceptHandler):
                continue
            for statement in node.body:
                if isinstance(statement, ast.Assign) and _lets_pass(statement):
                    yield node, Confidence.POSSIBLE
                    break


def _lets_pass(statement: ast.Assign) -> bool:
    pairs: list[tuple[str, ast.expr]] = [(last_name(statement.targets[0]), statement.value)]
    if isinstance(statement.value, ast.Dict):
        for key, value in zip(statement.value.keys, statement.value.values, strict=True):
            if isinstance(key, ast.Constant):
                pairs.append((str(key.value), value))
    for name, value in pairs:
        known = value.value if isinstance(value, ast.Constant) else None
        if (_BLOCKED.match(name) and known is False) or (_ALLOWED.match(name) and known is True):
            return True
    return False


_RUNS = re.compile(
    r"(^|\.)(run|call|check_call|check_output|Popen|system|exec|eval|execv|execve|extractall|unpack_archive|"
    r"import_module|exec_module)$"
)


def _over_http(sketch: Sketch) -> Marks:
    """A program is fetched over http:// and started, and nothing verifies it."""
    if "http://" not in sketch.text:
        return
    if not search(r"urlopen|urlretrieve|requests\.get|httpx\.get|wget|curl", sketch.text):
        return
    if sketch.program.has(r"(?i)hexdigest|hmac|verify\(|signature|gpg|compare_digest|cosign|verifykey"):
        return
    remote = [
        node
        for node in sketch.each(ast.Constant)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.match(r"http://(?!localhost|127\.|10\.|192\.168\.|\[::1|0\.0\.0\.0)[\w.-]+/\S*", node.value)
    ]
    runs = any(
        _RUNS.search(dotted(call.func)) and not dotted(call.func).startswith(("asyncio", "uvicorn", "app"))
        for function in sketch.functions
        for call in function.calls()
    )
    if remote and runs:
        yield remote[0], Confidence.POSSIBLE


SKIPPED = Rule(
    id="digest-check-skipped",
    cwe=345,
    title="digest compared only sometimes",
    severity=Severity.HIGH,
    what="a computed digest is compared only when something else holds",
    why="CWE-345: who leaves the digest out, or a flag unset, passes unchecked (CWE-354, CWE-494)",
    advice="refuse what has no digest",
    silent="comparisons that stand alone",
    shape=_skipped,
    bad="import hashlib\ndef take(pin, data):\n    found = hashlib.sha256(data).hexdigest()\n"
    "    if pin.get('sum') and found != pin['sum']:\n        raise ValueError\n    return data\n",
    good="import hashlib\ndef take(pin, data):\n    found = hashlib.sha256(data).hexdigest()\n"
    "    if found != pin['sum']:\n        raise ValueError\n    return data\n",
)

REDIRECTED = Rule(
    id="redirects-after-check",
    cwe=918,
    title="redirects followed after the check",
    severity=Severity.MEDIUM,
    what="the host was found harmless, and a redirect leads to another one",
    why="CWE-918: a server outside answers with an address inside",
    advice="allow_redirects=False, and check every address again",
    silent="requests without redirects",
    shape=_redirected,
    bad="import ipaddress, requests\ndef get(url, host):\n    if ipaddress.ip_address(host).is_private:\n"
    "        return None\n    return requests.get(url, timeout=5)\n",
    good="import ipaddress, requests\ndef get(url, host):\n    if ipaddress.ip_address(host).is_private:\n"
    "        return None\n    return requests.get(url, timeout=5, allow_redirects=False)\n",
)

OPENS = Rule(
    id="open-on-errors",
    cwe=636,
    title="open when it cannot be known",
    severity=Severity.MEDIUM,
    what="when this check cannot be made, the answer that lets pass is put down",
    why="CWE-636: who disturbs the check is let in (CWE-755)",
    advice="put down the answer that refuses",
    silent="handlers that refuse or raise",
    shape=_opens_on_errors,
    bad="def may_enter(api, badge):\n    try:\n        blocked = api.blocked(badge)\n"
    "    except OSError:\n        blocked = False\n    return not blocked\n",
    good="def may_enter(api, badge):\n    try:\n        blocked = api.blocked(badge)\n"
    "    except OSError:\n        blocked = True\n    return not blocked\n",
)

OVER_HTTP = Rule(
    id="program-over-http",
    cwe=494,
    title="program fetched over http",
    severity=Severity.HIGH,
    what="what is started here was fetched over http, and nothing verifies it",
    why="CWE-494: anybody on the way sends another program",
    advice="https, and a signature or a digest that stands in the source",
    silent="verified downloads, addresses of this machine",
    shape=_over_http,
    bad="import subprocess, urllib.request\nURL = 'http://get.example.org/i.sh'\ndef go():\n"
    "    open('i.sh', 'wb').write(urllib.request.urlopen(URL, timeout=9).read())\n"
    "    subprocess.run(['sh', 'i.sh'], check=True)\n",
    good="import subprocess, urllib.request\nURL = 'https://get.example.org/i.sh'\ndef go():\n"
    "    open('i.sh', 'wb').write(urllib.request.urlopen(URL, timeout=9).read())\n"
    "    subprocess.run(['sh', 'i.sh'], check=True)\n",
)

RULES = (SKIPPED, REDIRECTED, OPENS, OVER_HTTP)
