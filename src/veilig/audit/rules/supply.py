"""Rules for what is brought in or run with too many rights: downloads, search paths, options, formats."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.frame import CallSite, Frame
from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.engine.state import constant, deep_taints
from veilig.audit.engine.value import ATTACKER, EVERY_KIND, Const, Opaque, Ref, Seq, Value
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.conditions import text_of
from veilig.audit.rules.injection import PROCESS_CALLS
from veilig.audit.rules.rule import KEPT, REMOTE, AssignCheck, Check, Rule, Sink
from veilig.audit.rules.sketch import Sketch

type Marks = Iterator[tuple[ast.AST, Confidence]]

# Programs with options that write files or run commands: a value that starts with a dash is enough.
_OPTION_PROGRAMS = frozenset(
    [
        "git",
        "tar",
        "curl",
        "wget",
        "rsync",
        "ssh",
        "scp",
        "find",
        "zip",
        "unzip",
        "hg",
        "svn",
        "ffmpeg",
        "convert",
        "sendmail",
        "man",
        "pip",
        "docker",
        "mysqldump",
        "pg_dump",
        "psql",
        "mysql",
        "tcpdump",
        "openssl",
        "gpg",
        "7z",
        "sed",
        "awk",
        "grep",
        "sort",
        "xargs",
        "less",
        "vim",
        "nmap",
        "mail",
        "magick",
        "chromium",
        "wkhtmltopdf",
    ]
)
_FETCHED = re.compile(r"requests\.get|urlopen|urlretrieve|httpx\.get|\.content\b|\.text\b|wget|download")
_VERIFIED = re.compile(
    r"(?i)sha256|sha512|hashlib|hexdigest|signature|verify\(|gpg|checksum|compare_digest|cosign|"
    r"ed25519|expected_hash|digest"
)
_RUNS = re.compile(
    r"^(exec|eval|runpy\.run_path|subprocess\.(run|call|check_call|Popen|check_output)|os\.(system|"
    r"execv|chmod)|"
    r"importlib\.import_module|shutil\.unpack_archive)$|\.(exec_module|extractall)$"
)
_PIPED = re.compile(
    r"(curl|wget)\b[^|;]*\|\s*(sudo\s+)?(ba|z|da)?sh\b|pip3? install .*(--trusted-host|--index-url "
    r"http:|--extra-index-url http:)|"
    r"pip3? install .*http://"
)


def option_argument(frame: Frame, site: CallSite) -> bool:
    """A whole argument from outside for a program whose options are powerful, with no `--` before it."""
    command = site.arg(0, "args")
    held = frame.state.get(command) if isinstance(command, Ref) else None
    if not isinstance(held, Seq) or not held.items or constant(site.kwargs.get("shell")) is True:
        return False
    program = text_of(held.items[0]).rpartition("/")[2]
    if program not in _OPTION_PROGRAMS:
        return False
    items = [*held.items[1:], *([held.rest] if held.rest is not None else [])]
    previous = ""
    for item in items:
        text = text_of(item)
        if text == "--":
            return False
        if isinstance(item, Opaque) and not item.prefix and not _takes_value(previous):
            for taint in item.taints:
                safe = frame.safe_for(taint)
                if taint.origin.kind in ATTACKER and not safe & {
                    EVERY_KIND,
                    "argument",
                    "shell",
                    "not--",
                    "url",
                }:
                    return taint.origin.kind.value in ("remote", "local", "parameter", "stored")
        previous = text if isinstance(item, Const) else ""
    return False


def _takes_value(option: str) -> bool:
    return option.startswith("-") and option not in (
        "-q",
        "-v",
        "-r",
        "-R",
        "-s",
        "-sS",
        "-L",
        "-rf",
        "--depth=1",
        "--quiet",
        "-czf",
    )


def _only_shown(text: str) -> bool:
    """A digest is computed and nothing is compared with it."""
    return (
        re.search(r"hashlib\.\w+\(", text) is not None
        and re.search(r"==|!=|compare_digest|verify\(|\bin\b [A-Z_]+\b|assert", text) is None
    )


def _unverified(sketch: Sketch) -> Marks:
    bodies = {function.name: function.body for function in sketch.functions}
    for function in sketch.functions:
        if not search(r"exec|eval|run|system|import_module|unpack|extractall|Popen|call", function.body):
            continue
        names = {dotted(call.func).rpartition(".")[2] for call in function.calls()}
        text = "\n".join([function.body, *(bodies[name] for name in names if name in bodies)])
        if (_VERIFIED.search(text) and not _only_shown(text)) or not re.search(
            r"requests\.get|urlopen|urlretrieve|httpx\.get", text
        ):
            continue
        for call in function.calls():
            name = dotted(call.func)
            if _RUNS.search(name) and (
                name not in ("subprocess.run", "os.chmod") or _runs_download(call, text)
            ):
                yield call, Confidence.POSSIBLE
                break
    for node in sketch.each(ast.Call) if search(r"curl|wget|pip", sketch.text) else ():
        if isinstance(node, ast.Call) and _RUNS.search(dotted(node.func)):
            words = " ".join(
                str(c.value)
                for c in ast.walk(node)
                if isinstance(c, ast.Constant) and isinstance(c.value, str)
            )
            if _PIPED.search(words):
                yield node, Confidence.CERTAIN


def _runs_download(call: ast.Call, body: str) -> bool:
    names = [part.id for part in ast.walk(call) if isinstance(part, ast.Name)]
    return any(
        re.search(
            rf"\b{re.escape(n)}\b[^=\n]*=[^=\n]*(urlretrieve|urlopen|requests\.get)|urlretrieve\([^)]*\b{re.escape(n)}\b|open\(\s*{re.escape(n)}\b|\b{re.escape(n)}\.write_bytes",
            body,
        )
        for n in names
    )


def _search_path(frame: Frame, site: CallSite) -> bool:
    place = site.args[-1] if site.args else None
    if place is None:
        return False
    text = text_of(place)
    if isinstance(place, Const):
        return text in ("", ".") or text.startswith(("/tmp", "/var/tmp", "./"))  # noqa: S108
    prefix = getattr(place, "prefix", "")
    if "getcwd" in text or (prefix and _OTHERS_WRITE.match(prefix)):
        return True
    # Who starts the program with a folder of their own choice runs their own code anyway.
    return any(t.origin.kind.value in ("remote", "environment") for t in deep_taints(frame.state, place))


_OTHERS_WRITE = re.compile(r"(\.{0,2}|\.{1,2}/.*|/tmp(/.*)?|/var/tmp(/.*)?|/dev/shm(/.*)?)$")


def _path_setting(_frame: Frame, _name: str, value: Value) -> bool:
    text = (
        value.value
        if isinstance(value, Const) and isinstance(value.value, str)
        else getattr(value, "prefix", "")
    )
    known = text.split(":") if isinstance(value, Const) else text.split(":")[:-1]
    return len(text) > 1 and any(_OTHERS_WRITE.match(entry) for entry in known)


def _relative_library(frame: Frame, site: CallSite) -> bool:
    text = text_of(site.arg(0))
    if text.startswith(("./", "/tmp/", "../")):  # noqa: S108
        return True
    value = site.arg(0)
    return value is not None and any(t.origin.kind.value == "remote" for t in deep_taints(frame.state, value))


def _xml_text(_frame: Frame, site: CallSite) -> bool:
    value = site.arg(0)
    return isinstance(value, Opaque) and value.prefix.lstrip().startswith("<")


def _xml_data(_frame: Frame, site: CallSite) -> bool:
    value = site.kwargs.get("content") or site.arg(1, "data")
    return isinstance(value, Opaque) and value.prefix.lstrip().startswith("<")


OPTIONS = Rule(
    id="argument-injection",
    cwe=88,
    title="argument may be an option",
    severity=Severity.HIGH,
    what="a value from outside may start with a dash and become an option",
    why="CWE-88: --upload-pack=, -oProxyCommand= and --checkpoint-action= run commands without a shell",
    advice="put '--' before it, or refuse values that start with '-'",
    silent="'--' before the value, fixed beginnings, programs without such options",
    kind="argument",
    checks=(
        Check(PROCESS_CALLS, option_argument, Confidence.POSSIBLE),
        Check(
            ("asyncio.create_subprocess_exec",),
            lambda frame, site: option_argument(frame, _as_list(frame, site)),
            Confidence.POSSIBLE,
        ),
    ),
    bad="import subprocess\nfrom flask import request\ndef clone():\n"
    "    subprocess.run(['git', 'clone', request.form['repo']], check=True)\n",
    good="import subprocess\nfrom flask import request\ndef clone():\n"
    "    subprocess.run(['git', 'clone', '--', request.form['repo']], check=True)\n",
)


def _as_list(frame: Frame, site: CallSite) -> CallSite:
    command = frame.new_seq("list", *site.args)
    return CallSite(site.node, site.qual, site.name, site.receiver, [command], {})


DOWNLOAD = Rule(
    id="unverified-download",
    cwe=494,
    title="download run without a check",
    severity=Severity.HIGH,
    what="what was just downloaded is run or unpacked unseen",
    why="CWE-494: whoever controls the server or the way decides what runs here (CWE-829)",
    advice="compare a pinned SHA-256, or verify a signature, first",
    silent="functions that compute a digest or verify a signature",
    shape=_unverified,
    bad="import requests\ndef update(url):\n    exec(requests.get(url, timeout=5).text)\n",
    good="import hashlib, requests\nPINNED = 'ab'\ndef update(url):\n"
    "    code = requests.get(url, timeout=5).content\n"
    "    if hashlib.sha256(code).hexdigest() != PINNED:\n        raise ValueError\n    exec(code)\n",
)

SEARCH_PATH = Rule(
    id="search-path",
    cwe=427,
    title="code searched where others write",
    severity=Severity.MEDIUM,
    what="programs or modules are searched in a place others may write to",
    why="CWE-427: whoever puts a file there first runs in this process (CWE-426)",
    advice="use absolute directories that only their owner may write",
    silent="fixed directories, the directory of the file itself",
    checks=(
        Check(
            (".insert", ".append"),
            lambda frame, site: text_of(site.receiver) == "sys.path" and _search_path(frame, site),
        ),
        Check(("sys.path.insert", "sys.path.append"), _search_path),
        Check(("ctypes.CDLL", "ctypes.cdll.LoadLibrary", "ctypes.WinDLL"), _relative_library),
    ),
    assigns=(
        AssignCheck(
            lambda name: (
                name in ("os.environ[PATH]", "os.environ[LD_LIBRARY_PATH]", "os.environ[LD_PRELOAD]", "PATH")
            ),
            _path_setting,
        ),
    ),
    bad="import sys\nsys.path.insert(0, '/tmp/plugins')\n",
    good="import sys\nsys.path.insert(0, '/opt/shop/plugins')\n",
)

FORMAT = Rule(
    id="format-string",
    cwe=134,
    title="format chosen from outside",
    severity=Severity.MEDIUM,
    what="text from outside is used as a format",
    why="CWE-134: {user.__init__.__globals__} prints what the process knows",
    advice="keep the format constant, or use string.Template with safe_substitute",
    silent="constant formats",
    kind="format",
    origins=REMOTE,
    sinks=(Sink((".format", ".format_map"), ("self",), lambda _frame, site: bool(site.args or site.kwargs)),),
    bad="from flask import request\ndef greet(user):\n    return request.args['t'].format(user=user)\n",
    good="from flask import request\ndef greet(user):\n    return 'Hello {n}'.format(n=request.args['n'])\n",
)

CSV = Rule(
    id="spreadsheet-formula",
    cwe=1236,
    title="formula in an export",
    severity=Severity.LOW,
    what="text from outside goes into a table as it is",
    why="CWE-1236: a cell that starts with = runs when the table is opened",
    advice="put a quote before cells that start with =, +, - or @",
    silent="cells with a fixed beginning, numbers",
    kind="csv",
    origins=KEPT,
    sinks=(Sink((".writerow", ".writerows"), (0,), lambda _frame, site: "csv" in text_of(site.receiver)),),
    bad="import csv\nfrom flask import request\ndef export(f):\n"
    "    csv.writer(f).writerow([request.form['name'], 1])\n",
    good="import csv\nfrom flask import request\ndef export(f):\n"
    "    csv.writer(f).writerow([\"'\" + request.form['name'], 1])\n",
)

XML_TEXT = Rule(
    id="xml-injection",
    cwe=91,
    title="XML built from text",
    severity=Severity.MEDIUM,
    what="text from outside becomes part of XML without escaping",
    why="CWE-91: the sender adds elements of their own",
    advice="build elements with ElementTree, or xml.sax.saxutils.escape",
    silent="escaped values, elements built as objects",
    kind="xml",
    origins=REMOTE,
    sinks=(
        Sink(
            (
                "xml.etree.ElementTree.fromstring",
                "xml.etree.ElementTree.XML",
                "lxml.etree.fromstring",
                "xml.dom.minidom.parseString",
                "lxml.etree.XML",
            ),
            (0,),
            _xml_text,
        ),
        Sink((".write", ".write_text", ".sendall"), (0,), _xml_text),
        Sink(("urllib.request.Request",), (1, "data"), _xml_data),
        Sink(("requests.post", "requests.put", "httpx.post", "httpx.put"), (1, "data", "content"), _xml_data),
    ),
    bad="import xml.etree.ElementTree as ET\nfrom flask import request\ndef order():\n"
    "    return ET.fromstring('<order><item>' + request.form['item'] + '</item></order>')\n",
    good="import xml.etree.ElementTree as ET\nfrom flask import request\ndef order():\n"
    "    root = ET.Element('order')\n    ET.SubElement(root, 'item').text = request.form['item']"
    "\n    return root\n",
)

RULES = (OPTIONS, DOWNLOAD, SEARCH_PATH, FORMAT, CSV, XML_TEXT)
