"""Rules for files, pages, addresses and objects that a request decides."""

import ast
import re

from veilig.audit.engine.frame import CallSite, Frame
from veilig.audit.engine.value import Opaque, OriginKind, Ref, Seq, Value
from veilig.audit.finding import Severity
from veilig.audit.rules.conditions import (
    both,
    missing,
    text_of,
)
from veilig.audit.rules.rule import Check, Rule, Sink

HTTP_CALLS = tuple(
    f"{library}.{verb}"
    for library in (
        "requests",
        "httpx",
        "requests.Session()",
        "requests.session()",
        "httpx.Client()",
        "httpx.AsyncClient()",
    )
    for verb in ("get", "post", "put", "delete", "patch", "head", "options", "request")
)
_HTML_CLASS = re.compile(r"response_class=(\w+\.)*HTMLResponse")
_ROUTE = re.compile(r"(^|\.)(route|get|post|put|delete|patch)$")


def html_answer(frame: Frame, value: Value) -> bool:
    """The returned text is a page: a view of Flask, Bottle or aiohttp, not an API that answers in JSON."""
    if frame.func is None:
        return False
    if isinstance(value, Ref) and not isinstance(frame.state.get(value), Seq):
        return False
    if not any(_ROUTE.search(name) for name in frame.func.decorators):
        return False
    if isinstance(value, Opaque) and value.qual.endswith(("jsonify()", "redirect()", "send_file()")):
        return False
    if any(_HTML_CLASS.search(ast.unparse(item)) for item in getattr(frame.func.node, "decorator_list", ())):
        return True
    header = "\n".join(frame.module.lines[:60])
    return re.search(r"^\s*(from|import) (flask|bottle|quart)\b", header, re.MULTILINE) is not None


def html_type(frame: Frame, site: CallSite) -> bool:
    """The response is not declared to be something other than HTML."""
    del frame
    declared = text_of(
        site.kwargs.get("content_type") or site.kwargs.get("mimetype") or site.kwargs.get("media_type")
    )
    return not declared or "html" in declared


PATH = Rule(
    id="path-traversal",
    cwe=22,
    title="path traversal",
    severity=Severity.HIGH,
    what="a path from outside is opened",
    why="CWE-22: `../../etc/passwd` leaves the directory that was meant",
    advice="resolve the path and require is_relative_to(directory), or use secure_filename / "
    "send_from_directory",
    silent="basename, secure_filename, safe_join, a resolved path checked against its directory",
    kind="path",
    fix_id="path-guard",
    sinks=(
        Sink(
            (
                "open",
                "io.open",
                "codecs.open",
                "os.open",
                "aiofiles.open",
                "gzip.open",
                "bz2.open",
                "tarfile.open",
            )
        ),
        Sink(
            ("flask.send_file", "os.remove", "os.unlink", "os.rmdir", "os.mkdir", "os.makedirs", "os.listdir")
        ),
        Sink(
            ("shutil.rmtree", "shutil.copy", "shutil.copyfile", "shutil.move", "os.rename", "os.replace"),
            (0, 1),
        ),
        Sink(
            (
                "django.http.FileResponse",
                "starlette.responses.FileResponse",
                "fastapi.responses.FileResponse",
                "aiohttp.web.FileResponse",
                "sanic.response.file",
                "quart.send_file",
            ),
            (0, "path"),
        ),
        Sink(
            (
                "flask.send_from_directory",
                "os.scandir",
                "os.chmod",
                "linecache.getlines",
                "bottle.static_file",
            ),
            (0,),
        ),
        Sink(
            (".read_text", ".read_bytes", ".write_text", ".write_bytes", ".unlink", ".open", ".iterdir"),
            ("self",),
        ),
        Sink((".save",), (0,), lambda _frame, site: bool(site.args) and "request" in text_of(site.receiver)),
        Sink((".download_file", ".fget_object"), (2, "Filename", "file_path")),
        Sink((".download_to_filename",), (0, "filename")),
        # Whether a file exists is no content: `exists`, `is_file` and `stat` are left to whoever opens it.
        Sink(("zipfile.ZipFile",), (0,)),
    ),
    bad="import os\nfrom flask import request\ndef show():\n"
    "    return open(os.path.join('/srv/files', request.args['name'])).read()\n",
    good="from pathlib import Path\nfrom flask import request, abort\nBASE = Path('/srv/files')\n"
    "def show():\n"
    "    target = (BASE / request.args['name']).resolve()\n"
    "    if not target.is_relative_to(BASE):\n        abort(404)\n"
    "    return target.read_text()\n",
)

PROBE = Rule(
    id="path-probe",
    cwe=22,
    title="existence of any path shown",
    severity=Severity.LOW,
    what="a path from outside is looked for",
    why="CWE-22: the answer tells which files exist outside the directory that was meant",
    advice="resolve the path and require is_relative_to(directory) before asking",
    silent="paths checked first, basename, secure_filename",
    kind="path",
    fix_id="path-guard",
    sinks=(
        Sink(("os.path.exists", "os.path.isfile", "os.path.isdir", "os.stat", "os.path.getsize"), (0,)),
        Sink((".exists", ".is_file", ".is_dir", ".stat"), ("self",), lambda _frame, site: not site.args),
    ),
    bad="import os\nfrom flask import request\ndef there():\n"
    "    return str(os.path.exists('/srv/files/' + request.args['name']))\n",
    good="import os\nfrom flask import request\ndef there():\n"
    "    return str(os.path.exists('/srv/files/' + os.path.basename(request.args['name'])))\n",
)


def _outside_archive(_frame: Frame, site: CallSite) -> bool:
    """A file of this machine is opened, not a member of the archive itself."""
    return site.receiver is None or re.search(r"(?i)(zip|tar)file", text_of(site.receiver)) is None


ARCHIVE = Rule(
    id="archive-traversal",
    cwe=22,
    title="archive members may leave the directory",
    severity=Severity.HIGH,
    what="an archive is unpacked without checking where its members go",
    why="CWE-22: a tar member called ../../.ssh/authorized_keys is written there",
    advice="tar.extractall(path, filter='data')",
    silent="filter='data' or 'tar', members that were checked",
    fix_id="tar-filter",
    kind="path",
    origins=frozenset({OriginKind.ARCHIVE}),
    sinks=(
        Sink(("open", "io.open", "os.makedirs", "os.mkdir"), (0,), _outside_archive),
        Sink((".write_bytes", ".write_text", ".open", ".mkdir"), ("self",), _outside_archive),
    ),
    checks=(
        Check(
            (".extractall", ".extract"),
            lambda _frame, site: (
                "tarfile." in text_of(site.receiver)
                and site.arg(99, "filter") is None
                and (site.name == "extract" or site.arg(1, "members") is None)
            ),
        ),
        Check(
            ("shutil.unpack_archive",),
            both(
                missing(3, "filter"), lambda _frame, site: bool(site.args[:1]) and bool(site.args[0].taints)
            ),
        ),
    ),
    bad="import tarfile\ndef unpack(path):\n    with tarfile.open(path) as tar:\n"
    "        tar.extractall('/srv/in')\n",
    good="import tarfile\ndef unpack(path):\n    with tarfile.open(path) as tar:\n"
    "        tar.extractall('/srv/in', filter='data')\n",
)

XSS = Rule(
    id="cross-site-scripting",
    cwe=79,
    title="cross-site scripting",
    severity=Severity.HIGH,
    what="text from outside becomes part of a page without escaping",
    why="CWE-79: the sender's script runs with the rights of whoever opens the page",
    advice="use an auto-escaping template, or html.escape / markupsafe.escape",
    silent="escaped values, templates, JSON answers, headers",
    kind="html",
    origins=frozenset({OriginKind.REMOTE, OriginKind.STORED}),
    fix_id="html-escape",
    returned=html_answer,
    sinks=(
        Sink(
            ("flask.make_response", "flask.Response", "werkzeug.wrappers.Response"),
            (0, "response"),
            html_type,
        ),
        Sink(("django.http.HttpResponse", "django.http.HttpResponseBadRequest"), (0, "content"), html_type),
        Sink(
            ("fastapi.responses.HTMLResponse", "starlette.responses.HTMLResponse", "sanic.response.html"),
            (0, "content"),
        ),
        Sink(
            ("aiohttp.web.Response",),
            ("text", "body"),
            both(html_type, lambda _frame, site: "content_type" in site.kwargs),
        ),
        Sink((".wfile.write", "http.server.BaseHTTPRequestHandler.wfile.write"), (0,)),
        Sink(
            (".write",),
            (0,),
            lambda _frame, site: text_of(site.receiver).endswith(("wfile", "RequestHandler")),
        ),
        Sink(("tornado.web.RequestHandler().write",), (0,)),
    ),
    bad="from flask import Flask, request\napp = Flask(__name__)\n@app.route('/')\ndef hi():\n"
    "    return '<b>' + request.args['n'] + '</b>'\n",
    good="from flask import Flask, request\nfrom markupsafe import escape\napp = Flask(__name__)\n"
    "@app.route('/')\ndef hi():\n"
    "    return '<b>' + escape(request.args['n']) + '</b>'\n",
)

MARKUP = Rule(
    id="unescaped-markup",
    cwe=79,
    title="text declared to be safe markup",
    severity=Severity.HIGH,
    what="text from outside is declared to be markup that needs no escaping",
    why="CWE-79: the template trusts the mark and writes a sender's script into the page",
    advice="format_html('<b>{}</b>', name), or Markup('<b>%s</b>') % name",
    silent="escaped values, format_html with arguments, Markup of a literal",
    kind="html",
    origins=frozenset({OriginKind.REMOTE, OriginKind.STORED, OriginKind.PARAMETER}),
    fix_id="html-escape",
    sinks=(
        Sink(
            (
                "markupsafe.Markup",
                "flask.Markup",
                "django.utils.safestring.mark_safe",
                "django.utils.html.mark_safe",
                "django.utils.safestring.SafeString",
                "django.utils.html.format_html",
            )
        ),
    ),
    bad="from markupsafe import Markup\ndef badge(name):\n    return Markup('<b>' + name + '</b>')\n",
    good="from markupsafe import Markup\ndef badge(name):\n    return Markup('<b>%s</b>') % name\n",
)

SSRF = Rule(
    id="request-forgery",
    cwe=918,
    title="server-side request forgery",
    severity=Severity.HIGH,
    what="an address from outside is fetched by the server",
    why="CWE-918: the sender reaches internal services and cloud metadata through this machine",
    advice="compare the host of the address with an allow-list before fetching",
    silent="a fixed host, a checked host",
    kind="url",
    fix_id="url-allow-list",
    sinks=(
        Sink(HTTP_CALLS, (0, "url"), lambda _frame, site: site.name != "request"),
        Sink(tuple(name for name in HTTP_CALLS if name.endswith(".request")), (1, "url")),
        Sink(
            (
                "urllib.request.urlopen",
                "urllib.request.urlretrieve",
                "urllib.request.Request",
                "urllib.urlopen",
            ),
            (0, "url"),
        ),
        Sink(
            ("aiohttp.ClientSession().get", "aiohttp.ClientSession().post", "urllib3.PoolManager().request"),
            (0, 1, "url"),
        ),
        Sink(("http.client.HTTPConnection", "http.client.HTTPSConnection", "socket.create_connection"), (0,)),
        Sink(("ftplib.FTP", "smtplib.SMTP", "telnetlib.Telnet", "pycurl.Curl().setopt"), (0, 1)),
    ),
    bad="import requests\nfrom flask import request\ndef fetch():\n"
    "    return requests.get(request.args['url'], timeout=5).text\n",
    good="import requests\nfrom urllib.parse import urlparse\nfrom flask import request, abort\n"
    "HOSTS = {'api.example.org'}\n"
    "def fetch():\n    url = request.args['url']\n    if urlparse(url).hostname not in HOSTS:\n"
    "        abort(400)\n"
    "    return requests.get(url, timeout=5).text\n",
)


def _location(_frame: Frame, site: CallSite) -> bool:
    """The header by which every redirect is made in the end."""
    return text_of(site.arg(0)).lower() == "location"


REDIRECT = Rule(
    id="open-redirect",
    cwe=601,
    title="open redirect",
    severity=Severity.MEDIUM,
    what="the browser is sent to an address from outside",
    why="CWE-601: a trusted link leads to a phishing page",
    advice="redirect to named routes, or check that the address has no host",
    silent="fixed hosts and paths, checked hosts, url_for",
    kind="redirect",
    fix_id="redirect-guard",
    sinks=(
        Sink(
            ("flask.redirect", "werkzeug.utils.redirect", "django.shortcuts.redirect", "bottle.redirect"),
            (0, "location"),
        ),
        Sink(("django.http.HttpResponseRedirect", "django.http.HttpResponsePermanentRedirect"), (0,)),
        Sink(
            (
                "fastapi.responses.RedirectResponse",
                "starlette.responses.RedirectResponse",
                "aiohttp.web.HTTPFound",
            ),
            (0, "url"),
        ),
        Sink(("tornado.web.RequestHandler().redirect",), (0,)),
        Sink((".send_header", ".set_header", ".add_header"), (1,), _location),
        Sink((".__setitem__",), (1,), _location),
    ),
    bad="from flask import request, redirect\ndef out():\n    return redirect(request.args['next'])\n",
    good="from flask import request, redirect, url_for\nPAGES = {'home': '/', 'help': '/help'}\ndef out():\n"
    "    return redirect(PAGES.get(request.args['next'], '/'))\n",
)

RULES = (PATH, PROBE, ARCHIVE, XSS, MARKUP, SSRF, REDIRECT)
