"""Rules for text that becomes code: SQL, shell, Python, templates, XPath, LDAP, regular expressions, logs."""

import re

from veilig.audit.engine.frame import CallSite, Frame
from veilig.audit.engine.state import deep_taints
from veilig.audit.engine.value import Const, OriginKind, Value
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.conditions import (
    dict_item,
    either,
    first_of,
    given_true,
    is_dynamic,
    item_of,
    text_of,
)
from veilig.audit.rules.rule import ANYBODY, KEPT, REMOTE, AssignCheck, Rule, Sink

SHELLS = ("sh", "bash", "/bin/sh", "/bin/bash", "cmd", "cmd.exe", "zsh", "/usr/bin/bash", "/usr/bin/env")
PROCESS_CALLS = (
    "subprocess.run",
    "subprocess.call",
    "subprocess.Popen",
    "subprocess.check_output",
    "subprocess.check_call",
)
LOGGERS = ("logging", "logging.getLogger()", "flask.current_app.logger", "flask.Flask().logger")
shell_true = given_true(99, "shell")


def shell_argv(frame: Frame, site: CallSite) -> bool:
    """An argument list that starts a shell with -c, or one whose program is not fixed."""
    first = first_of(frame, site.args[0]) if site.args else None
    second = item_of(frame, site.args[0], 1) if site.args else None
    return (
        (text_of(first) in SHELLS or not isinstance(first, Const))
        and text_of(second) in ("-c", "/c", "/C", "-lc", "bash", "sh", "-ec")
    ) or (
        first is not None
        and is_dynamic(first)
        and any(taint.origin.kind is not OriginKind.PARAMETER for taint in first.taints)
    )


def imports_ldap(frame: Frame, site: CallSite) -> bool:
    """The module has to do with LDAP: other things have a search method too."""
    del site
    return any("ldap" in line and "import" in line for line in frame.module.lines[:80])


def plain_text(frame: Frame, site: CallSite) -> bool:
    """The command is one string, not a list: it is split or given to a shell."""
    del frame
    return bool(site.args) and bool(site.args[0].taints)


def _statement(_frame: Frame, site: CallSite) -> bool:
    """The argument begins like SQL: other things have a fetch method too."""
    start = getattr(site.arg(0, "query"), "prefix", "")
    return re.match(r"(?i)\s*(select|insert|update|delete|with|call)\b", start) is not None


SQL = Rule(
    id="sql-injection",
    cwe=89,
    title="SQL injection",
    severity=Severity.HIGH,
    what="text from outside becomes part of an SQL statement",
    why="CWE-89: whoever controls the text reads and changes any row",
    advice="pass values as parameters: execute('... WHERE id = ?', (value,))",
    silent="values passed as parameters, numbers, names from an allow-list",
    kind="sql",
    origins=ANYBODY,
    fix_id="sql-parameters",
    sinks=(
        Sink(
            (".execute", ".executemany", ".executescript", ".exec_driver_sql", ".mogrify"),
            (0, "sql", "query"),
        ),
        Sink(
            (".fetch", ".fetchrow", ".fetchval", ".fetch_one", ".fetch_all", ".fetch_val"),
            (0, "query"),
            _statement,
        ),
        Sink(
            (".raw", ".extra", ".read_sql", "pandas.read_sql", "pandas.read_sql_query"), (0, "where", "sql")
        ),
        Sink(("django.db.models.expressions.RawSQL", "sqlalchemy.text", "sqlalchemy.sql.text"), (0,)),
    ),
    bad="import sqlite3\nfrom flask import request\ndef find():\n    db = sqlite3.connect('a.db')\n"
    "    return db.execute(\"SELECT * FROM t WHERE n = '\" + request.args['n'] + \"'\").fetchall()\n",
    good="import sqlite3\nfrom flask import request\ndef find():\n    db = sqlite3.connect('a.db')\n"
    "    return db.execute('SELECT * FROM t WHERE n = ?', (request.args['n'],)).fetchall()\n",
)

COMMAND = Rule(
    id="command-injection",
    cwe=78,
    title="command injection",
    severity=Severity.CRITICAL,
    what="text from outside becomes part of a shell command",
    why="CWE-78: `; rm -rf ~` is a valid file name",
    advice="pass a list of arguments and no shell: subprocess.run(['ping', '-c1', host])",
    silent="argument lists without a shell, shlex.quote, values from an allow-list",
    kind="shell",
    origins=ANYBODY | KEPT,
    fix_id="command-argv",
    sinks=(
        Sink(
            (
                "os.system",
                "os.popen",
                "commands.getoutput",
                "subprocess.getoutput",
                "subprocess.getstatusoutput",
            )
        ),
        Sink(PROCESS_CALLS, (0, "args"), either(shell_true, shell_argv, plain_text)),
        Sink(("asyncio.create_subprocess_shell", "pty.spawn", "os.popen2", "os.popen3", "popen2.popen2")),
        Sink((".exec_command",), (0,)),
        Sink(("os.execl", "os.execv", "os.execvp", "os.execlp", "os.execve", "os.execvpe"), (0,)),
    ),
    bad="import os\nfrom flask import request\ndef ping():\n    host = request.args.get('host')\n"
    "    os.system('ping -c1 ' + host)\n",
    good="import subprocess\nfrom flask import request\ndef ping():\n    host = request.args.get('host')\n"
    "    subprocess.run(['ping', '-c1', host], check=True)\n",
)

CODE = Rule(
    id="code-injection",
    cwe=94,
    title="code injection",
    severity=Severity.CRITICAL,
    what="text from outside is run as Python code",
    why="CWE-94: the sender runs any code with the rights of this process",
    advice="use ast.literal_eval, json.loads, or a table of allowed operations",
    silent="ast.literal_eval, constants",
    kind="code",
    origins=ANYBODY,
    fix_id="literal-eval",
    sinks=(
        Sink(
            (
                "eval",
                "exec",
                "builtins.eval",
                "builtins.exec",
            )
        ),
        Sink((".eval", ".query"), (0, "expr"), lambda _frame, site: "pandas." in text_of(site.receiver)),
        Sink((".runcode", ".runsource", "code.InteractiveInterpreter().runsource", "timeit.timeit")),
    ),
    bad="from flask import request\ndef calc():\n    return str(eval(request.form['sum']))\n",
    good="import ast\nfrom flask import request\ndef calc():\n"
    "    return str(ast.literal_eval(request.form['sum']))\n",
)

REFLECTION = Rule(
    id="unsafe-reflection",
    cwe=470,
    title="class or module chosen from outside",
    severity=Severity.HIGH,
    what="text from outside chooses what is imported or compiled",
    why="CWE-470: any importable module runs its body, any attribute can be called",
    advice="look the name up in a table of allowed handlers",
    silent="names from an allow-list",
    kind="code",
    origins=REMOTE,
    sinks=(
        Sink(("__import__", "importlib.import_module", "compile", "builtins.__import__", "pydoc.locate")),
        Sink(("getattr",), (1,)),
    ),
    bad="import importlib\nfrom flask import request\ndef load():\n"
    "    return importlib.import_module(request.args['m'])\n",
    good="import importlib\nfrom flask import request, abort\nALLOWED = {'csv', 'json'}\ndef load():\n"
    "    name = request.args['m']\n    if name not in ALLOWED:\n        abort(400)\n"
    "    return importlib.import_module(name)\n",
)

TEMPLATE = Rule(
    id="template-injection",
    cwe=1336,
    title="server-side template injection",
    severity=Severity.CRITICAL,
    what="text from outside is compiled as a template",
    why="CWE-1336: template languages reach Python objects, and through them the process",
    advice="keep the template constant and pass the value as a variable: render_template_string(T, "
    "name=name)",
    silent="constant templates with variables",
    kind="template",
    origins=KEPT,
    fix_id="template-variable",
    sinks=(
        Sink(
            ("flask.render_template_string", "jinja2.Template", "mako.template.Template"),
            (0, "source", "text"),
        ),
        Sink(
            (".from_string", "django.template.Template", "bottle.template", "tornado.template.Template"),
            (0,),
            lambda _frame, site: "sandbox" not in site.qual.lower(),
        ),
    ),
    bad="from flask import request, render_template_string\ndef hello():\n"
    "    return render_template_string('Hi ' + request.args['n'])\n",
    good="from flask import request, render_template_string\ndef hello():\n"
    "    return render_template_string('Hi {{ n }}', n=request.args['n'])\n",
)


def _reads_xml(frame: Frame, _site: CallSite) -> bool:
    """The module works with XML: elsewhere `find` looks for a text in a text."""
    return (
        re.search(r"(?m)^\s*(from|import)\s+(lxml|xml|defusedxml|elementpath)\b", frame.module.source or "")
        is not None
    )


XPATH = Rule(
    id="xpath-injection",
    cwe=643,
    title="XPath injection",
    severity=Severity.HIGH,
    what="text from outside becomes part of an XPath expression",
    why="CWE-643: the sender widens the query to the whole document",
    advice="use variables: tree.xpath('//u[@n=$n]', n=name)",
    silent="XPath variables, escaped quotes",
    kind="xpath",
    origins=REMOTE,
    sinks=(
        Sink((".xpath", "lxml.etree.XPath", "elementpath.select", "lxml.etree.ETXPath"), (0,)),
        Sink(("elementpath.select",), (1,)),
        Sink((".findall", ".find", ".iterfind", ".findtext"), (0,), _reads_xml),
    ),
    bad="from flask import request\nfrom lxml import etree\ndef find(tree):\n"
    "    return tree.xpath(\"//u[@n='\" + request.args['n'] + \"']\")\n",
    good="from flask import request\nfrom lxml import etree\ndef find(tree):\n"
    "    return tree.xpath('//u[@n=$n]', n=request.args['n'])\n",
)

LDAP = Rule(
    id="ldap-injection",
    cwe=90,
    title="LDAP injection",
    severity=Severity.HIGH,
    what="text from outside becomes part of an LDAP filter or name",
    why="CWE-90: `*)(uid=*` matches everybody",
    advice="escape with ldap.filter.escape_filter_chars (ldap3: escape_filter_chars)",
    silent="escaped values",
    kind="ldap",
    origins=REMOTE,
    sinks=(
        Sink((".search_s", ".search_st", ".search_ext", ".search_ext_s"), (0, 2, "filterstr", "base")),
        Sink((".search",), (0, 1, "search_filter", "search_base"), imports_ldap),
    ),
    bad="import ldap\nfrom flask import request\ndef find(conn):\n"
    "    return conn.search_s('dc=x', 2, '(uid=' + request.args['u'] + ')')\n",
    good="import ldap.filter\nfrom flask import request\ndef find(conn):\n"
    "    uid = ldap.filter.escape_filter_chars(request.args['u'])\n"
    "    return conn.search_s('dc=x', 2, '(uid=' + uid + ')')\n",
)

REGEX = Rule(
    id="regex-injection",
    cwe=1333,
    title="regular expression from outside",
    severity=Severity.MEDIUM,
    what="text from outside is compiled as a regular expression",
    why="CWE-1333: one short pattern keeps a core busy for hours",
    advice="use re.escape, or plain text search",
    silent="re.escape",
    kind="regex",
    origins=REMOTE,
    fix_id="re-escape",
    sinks=(
        Sink(
            (
                "re.compile",
                "re.match",
                "re.search",
                "re.fullmatch",
                "re.findall",
                "re.sub",
                "re.split",
                "re.finditer",
            )
        ),
    ),
    bad="import re\nfrom flask import request\ndef find(text):\n"
    "    return re.search(request.args['q'], text)\n",
    good="import re\nfrom flask import request\ndef find(text):\n"
    "    return re.search(re.escape(request.args['q']), text)\n",
)

LOG = Rule(
    id="log-injection",
    cwe=117,
    title="log injection",
    severity=Severity.LOW,
    what="text from outside is written to the log with its line breaks",
    why="CWE-117: a sender forges log entries",
    advice="log with %r, or remove line breaks first",
    silent="%r, repr(), removed line breaks, numbers",
    kind="log",
    origins=REMOTE,
    flow_confidence=Confidence.POSSIBLE,
    sinks=(
        Sink(
            tuple(
                f"{owner}.{level}"
                for owner in LOGGERS
                for level in ("debug", "info", "warning", "warn", "error", "critical", "exception")
            ),
            ("*",),
            lambda _frame, site: "%r" not in text_of(site.arg(0)),
        ),
    ),
    bad="import logging\nfrom flask import request\nlog = logging.getLogger(__name__)\ndef login():\n"
    "    log.info(f\"login of {request.form['user']}\")\n",
    good="import logging\nfrom flask import request\nlog = logging.getLogger(__name__)\ndef login():\n"
    "    log.info(f\"login of {request.form['user']!r}\")\n",
)

NOSQL = Rule(
    id="nosql-injection",
    cwe=943,
    title="NoSQL injection",
    severity=Severity.HIGH,
    what="text or structure from outside becomes a database query",
    why="CWE-943: {'$ne': null} matches every document, $where runs JavaScript",
    advice="build the query yourself and convert each value with str()",
    silent="queries with fixed keys whose values were converted",
    kind="nosql",
    origins=REMOTE,
    sinks=(
        Sink(
            (".find_one", ".delete_many", ".delete_one", ".count_documents", ".update_many", ".aggregate"),
            (0, "filter"),
            lambda frame, site: (
                bool(site.args)
                and (bool(site.args[0].taints) or _where(frame, site) or _structured(frame, site.args[0]))
            ),
        ),
    ),
    assigns=(AssignCheck(lambda name: name == "$where", lambda frame, _name, value: _sent(frame, value)),),
    bad="from flask import request\ndef login(db):\n    return db.users.find_one(request.get_json())\n",
    good="from flask import request\ndef login(db):\n"
    "    return db.users.find_one({'name': str(request.get_json()['name'])})\n",
)


def _structured(frame: Frame, query: Value) -> bool:
    """A field of the query may be an object such as {"$ne": null}: it came as JSON, unconverted."""
    return any(
        re.search(r"json|body", taint.origin.label) is not None and "nosql" not in frame.safe_for(taint)
        for taint in deep_taints(frame.state, query)
    )


def _sent(frame: Frame, value: Value) -> bool:
    """A script of the database in which a request has a say."""
    return any(
        taint.origin.kind is OriginKind.REMOTE and not frame.safe_for(taint) & {"nosql-script", "*"}
        for taint in deep_taints(frame.state, value)
    )


def _where(frame: Frame, site: CallSite) -> bool:
    return dict_item(frame, site.args[0], "$where") is not dict_item(frame, None, "")


RULES = (SQL, COMMAND, CODE, REFLECTION, TEMPLATE, XPATH, LDAP, REGEX, LOG, NOSQL)
