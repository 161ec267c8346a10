"""Does each family of weakness get the edit a careful person would make, and advice where there is none?"""

# ruff: noqa: E501  # one case per line: a wrapped table of cases is harder to read

import pytest

from veilig.audit.finding import Confidence, Finding, Severity
from veilig.repair.edit import parse
from veilig.repair.recipes.proposal import Advice, Proposal
from veilig.repair.recipes.weakness import families, propose


def finding(cwe: int, text: str, mark: str, path: str = "app.py") -> Finding:
    at = text.index(mark)
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1)
    return Finding(
        f"R{cwe}",
        cwe,
        "title",
        "message",
        path,
        line,
        column,
        line,
        column + len(mark),
        Severity.HIGH,
        Confidence.FLOW,
    )


def repaired(cwe: int, text: str, mark: str, more: dict[str, str] | None = None) -> list[str]:
    files = {"app.py": text, **(more or {})}
    found = propose(finding(cwe, text, mark), files)
    return [item.patch().apply(files)["app.py"] for item in found if isinstance(item, Proposal)]


SQLITE = "import sqlite3\ncursor = sqlite3.connect('x').cursor()\n"
# name: (CWE, before, a text at the place of the finding, what the file then contains ...)
CASES: dict[str, tuple[int, str, str, tuple[str, ...]]] = {
    "f-string query": (
        89, SQLITE + "def f(name):\n    cursor.execute(f\"SELECT * FROM users WHERE name = '{name}'\")\n", "cursor.execute",
        ('cursor.execute("SELECT * FROM users WHERE name = ?", (name,))',),
    ),
    "query joined with +": (
        89, SQLITE + "def f(a, b):\n    cursor.execute('SELECT 1 FROM t WHERE a=' + str(a) + \" AND b='\" + b + \"'\")\n",
        "cursor.execute", ('cursor.execute("SELECT 1 FROM t WHERE a=? AND b=?", (a, b))',),
    ),
    "query with %": (
        89, "import psycopg2\ndef f(cursor, a):\n    cursor.execute(\"SELECT 1 FROM t WHERE a = '%s' AND c LIKE 'x%%'\" % a)\n",
        "cursor.execute", ('cursor.execute("SELECT 1 FROM t WHERE a = %s AND c LIKE \'x%%\'", (a,))',),
    ),
    "query with format": (
        89, SQLITE + "def f(a):\n    cursor.execute('SELECT 1 FROM t WHERE a = {}'.format(a))\n", "cursor.execute",
        ('cursor.execute("SELECT 1 FROM t WHERE a = ?", (a,))',),
    ),
    "query in a variable": (
        89, SQLITE + "def f(a):\n    q = f'SELECT 1 FROM t WHERE a = {a}'\n    return cursor.execute(q)\n", "cursor.execute",
        ('q = "SELECT 1 FROM t WHERE a = ?"', "cursor.execute(q, (a,))"),
    ),
    "LIKE with wildcards": (
        89, SQLITE + "def f(a):\n    cursor.execute(f\"SELECT 1 FROM t WHERE a LIKE '%{a}%'\")\n", "cursor.execute",
        ('cursor.execute("SELECT 1 FROM t WHERE a LIKE ?", (f"%{a}%",))',),
    ),
    "sqlalchemy text": (
        89, "from sqlalchemy import text\ndef f(s, a):\n    s.execute(text(f'SELECT 1 FROM t WHERE a = {a}'))\n", "s.execute",
        ('s.execute(text("SELECT 1 FROM t WHERE a = :p1"), {"p1": a})',),
    ),
    "shell=True": (
        78, "import subprocess\ndef f(host):\n    subprocess.run(f'ping -c 1 {host}', shell=True, check=True)\n", "subprocess.run(",
        ('subprocess.run(["ping", "-c", "1", str(host)], check=True)',),
    ),
    "os.system": (
        78, "import os\ndef f(host: str):\n    os.system('ping ' + host)\n", "os.system",
        ("import os\nimport subprocess\n", 'subprocess.run(["ping", host], check=False)'),
    ),
    "os.popen": (
        78, "import os\ndef f(host: str):\n    return os.popen('ping ' + host).read()\n", "os.popen",
        ('subprocess.run(["ping", host], capture_output=True, text=True, check=False).stdout',),
    ),
    "a pipe keeps its shell": (
        78, "import os\ndef f(x):\n    os.system(f'cat {x} | wc')\n", "os.system",
        ("import os\nimport shlex\n", "os.system(f'cat {shlex.quote(str(x))} | wc')"),
    ),
    "eval": (95, "def f(x):\n    return eval(x)\n", "eval", ("import ast\n\ndef f", "ast.literal_eval(x)")),
    "path joined in flask": (
        22, "import os\nfrom flask import Flask, request, send_file\ndef f():\n    return send_file(os.path.join('up', request.args['n']))\n",
        "send_file(", ("send_from_directory('up', request.args['n'])", "from flask import Flask, request, send_from_directory\n"),
    ),
    "path in open": (
        22, "import os\nBASE = 'up'\ndef f(name):\n    with open(os.path.join(BASE, name)) as file:\n        return file.read()\n", "open(os",
        ("    safe_path = os.path.join(BASE, name)\n    if not Path(safe_path).resolve().is_relative_to(Path(BASE).resolve()):\n",
         "with open(safe_path) as file", "import os\nfrom pathlib import Path\n"),
    ),
    "path in a variable": (
        22, "from flask import Flask\ndef f(name):\n    p = f'/srv/{name}'\n    return open(p).read()\n", "open(p)",
        ('    if not Path(p).resolve().is_relative_to(Path("/srv/").resolve()):\n        abort(404)\n    return open(p)',
         "from pathlib import Path\n\nfrom flask import Flask, abort\n"),
    ),
    "tar": (22, "import tarfile\ndef f(t):\n    tarfile.open(t).extractall('x')\n", "tarfile.open(t)", ("extractall('x', filter=\"data\")",)),
    "markup": (
        79, "from markupsafe import Markup\ndef f(n):\n    return Markup(f'<b>{n}</b>')\n", "Markup(f",
        ("from markupsafe import Markup, escape", "Markup(f'<b>{escape(n)}</b>')"),
    ),
    "returned page": (
        79, "from flask import request\ndef f():\n    return '<b>' + request.args['n'] + '</b>'\n", "'<b>'",
        ("'<b>' + str(escape(request.args['n'])) + '</b>'", "from markupsafe import escape"),
    ),
    "template": (
        1336, "from flask import render_template_string\ndef f(n):\n    return render_template_string(f'<b>{n}</b>')\n", "render_template_string(",
        ('render_template_string("<b>{{ n }}</b>", n=n)',),
    ),
    "yaml": (502, "import yaml\nx = yaml.load(open('f'), Loader=yaml.Loader)\n", "yaml.load", ("yaml.safe_load(open('f'))",)),
    "torch": (502, "import torch\nx = torch.load('f')\n", "torch.load", ("torch.load('f', weights_only=True)",)),
    "lxml": (
        611, "from lxml import etree\nx = etree.parse('f')\n", "etree.parse",
        ("etree.parse('f', parser=etree.XMLParser(resolve_entities=False))",),
    ),
    "verify": (295, "import requests\nrequests.get('u', verify=False)\n", "requests.get", ("verify=True",)),
    "unverified context": (295, "import ssl\nc = ssl._create_unverified_context()\n", "ssl._c", ("ssl.create_default_context()",)),
    "md5": (328, "import hashlib\nx = hashlib.md5(b'').hexdigest()\n", "hashlib.md5", ("hashlib.sha256(b'')",)),
    "hashlib.new": (328, "import hashlib\nx = hashlib.new('sha1', b'')\n", "hashlib.new", ("hashlib.new(\"sha256\", b'')",)),
    "random": (330, "import random\nt = random.choice('ab')\n", "random.choice", ("secrets.choice('ab')", "import random\nimport secrets\n")),
    "randint": (338, "import random\nt = random.randint(1, 6)\n", "random.randint", ("secrets.SystemRandom().randint(1, 6)",)),
    "cookie": (614, "def f(r):\n    r.set_cookie('a', 'b', secure=False)\n", "r.set_cookie", ("set_cookie('a', 'b', secure=True, httponly=True)",)),
    "httponly": (1004, "def f(r):\n    r.set_cookie('a', 'b', secure=True)\n", "r.set_cookie", ("secure=True, httponly=True)",)),
    "debug": (489, "def f(app):\n    app.run(host='x', debug=True)\n", "app.run", ("app.run(host='x', debug=False)",)),
    "mktemp": (377, "import tempfile\np = tempfile.mktemp('.x')\n", "tempfile.mktemp", ("tempfile.NamedTemporaryFile(suffix='.x', delete=False).name",)),
    "chmod": (732, "import os\nos.chmod('f', 0o777)\n", "os.chmod", ("os.chmod('f', 0o750)",)),
    "jwt": (
        347, "import jwt\nd = jwt.decode(t, k, options={'verify_signature': False})\n", "jwt.decode",
        ("options={'verify_signature': True}, algorithms=[\"HS256\"])",),
    ),
    "timeout": (400, "import requests\nrequests.get('u')\n", "requests.get", ("requests.get('u', timeout=10)",)),
    "redirect": (
        601, "from flask import redirect, request\ndef f():\n    return redirect(request.args.get('n'))\n", "redirect(request",
        ("    target = request.args.get('n')\n    if not target or urlsplit(target).netloc != \"\" or not", "        abort(400)\n    return redirect(target)"),
    ),
    "error shown": (
        209, "def f():\n    try:\n        g()\n    except ValueError as e:\n        return str(e)\n", "str(e)",
        ('return "internal error"', "logging.getLogger(__name__).exception("),
    ),
    "compare": (208, "def f(token, given):\n    return token == given\n", "token ==", ("hmac.compare_digest(token, given)",)),
    "credential": (798, "PASSWORD = 'hun' 'ter2'\n", "PASSWORD", ('PASSWORD = os.environ["PASSWORD"]', "import os\n")),
    "xpath": (
        643, "from lxml import etree\ndef f(tree, n):\n    return tree.xpath(f\"//u[@n='{n}']\")\n", "tree.xpath",
        ('tree.xpath("//u[@n=$v1]", v1=n)',),
    ),
    "ldap": (
        90, "import ldap\ndef f(c, n):\n    return c.search_s('dc=x', 2, f'(uid={n})')\n", "c.search_s",
        ("f'(uid={escape_filter_chars(n)})'", "from ldap.filter import escape_filter_chars"),
    ),
    "log": (117, "import logging\ndef f(n):\n    logging.info(f'user {n}')\n", "logging.info", ("f'user {n!r}'",)),
    "csrf": (352, "from d import csrf_exempt\n@csrf_exempt\ndef f(r):\n    pass\n", "def f", ("def f(r):\n    pass\n",)),
}  # fmt: skip


@pytest.mark.parametrize(("cwe", "before", "mark", "wanted"), CASES.values(), ids=list(CASES))
def test_a_weakness_gets_its_edit(cwe: int, before: str, mark: str, wanted: tuple[str, ...]) -> None:
    texts = repaired(cwe, before, mark)
    assert texts, propose(finding(cwe, before, mark), {"app.py": before})
    for part in wanted:
        assert part in texts[0], texts[0]
    for text in texts:
        parse(text)


ADVICE = {
    "a query that is used twice": (
        89, SQLITE + "def f(a):\n    q = f'SELECT 1 WHERE x = {a}'\n    cursor.execute(q)\n    cursor.execute(q)\n", "cursor.execute(q)"),
    "pickle": (502, "import pickle\nx = pickle.loads(b'')\n", "pickle.loads"),
    "a URL from outside": (918, "import requests\nrequests.get(u, timeout=1)\n", "requests.get"),
    "a family without a recipe": (1333, "import re\nre.match('(a+)+', x)\n", "re.match"),
}  # fmt: skip


@pytest.mark.parametrize(("cwe", "text", "mark"), ADVICE.values(), ids=list(ADVICE))
def test_where_no_edit_is_right_there_is_advice(cwe: int, text: str, mark: str) -> None:
    (advice,) = propose(finding(cwe, text, mark), {"app.py": text})
    assert isinstance(advice, Advice)
    assert advice.text


@pytest.mark.parametrize("text", ["import os\ndef f(x):\n    os.system(x)\n", "def f(x):\n    exec(x)\n"])
def test_a_command_from_outside_is_looked_up_in_a_list_that_a_person_fills(text: str) -> None:
    cwe, mark = (78, "os.system") if "os.system" in text else (94, "exec")
    (item,) = propose(finding(cwe, text, mark), {"app.py": text})
    assert isinstance(item, Proposal)
    assert item.decision
    assert "if x not in ALLOWED_COMMANDS:\n        raise" in item.patch().apply({"app.py": text})["app.py"]


def test_a_file_with_tabs_gets_tabs() -> None:
    text = "import os\nfrom flask import request\ndef f():\n\tx = 1\n\treturn open(os.path.join('up', request.args['n'])).read()\n"
    new = repaired(22, text, "open(")[0]
    assert "\n\tif not Path(safe_path)" in new
    assert "\n\t\tabort(404)\n" in new


def test_a_name_of_a_table_is_looked_up_in_a_list_that_a_person_fills() -> None:
    text = SQLITE + "def f(t):\n    cursor.execute(f'SELECT * FROM {t}')\n"
    (item,) = propose(finding(89, text, "cursor.execute"), {"app.py": text})
    assert isinstance(item, Proposal)
    assert item.decision
    assert "    if t not in ALLOWED_COLUMNS:\n        raise" in item.patch().apply({"app.py": text})["app.py"]


def test_a_credential_is_never_moved_without_a_decision() -> None:
    text = "PASSWORD = 'hunter'\n"
    (item,) = propose(finding(798, text, "PASSWORD"), {"app.py": text})
    assert isinstance(item, Proposal)
    assert item.decision


def test_the_imports_go_behind_docstring_and_future() -> None:
    text = '"""Doc."""\n\nfrom __future__ import annotations\n\nimport zlib\n\nimport flask\n\nx = eval(y)\n'
    assert "annotations\n\nimport ast\nimport zlib\n\nimport flask\n" in repaired(95, text, "eval")[0]
    assert repaired(95, '"""Doc."""\nx = eval(y)\n', "eval")[0].startswith('"""Doc."""\n\nimport ast\n')
    assert repaired(95, "import ast\nx = eval(y)\n", "eval")[0].count("import ast") == 1
    assert repaired(95, "#!/bin/python\nx = eval(y)\n", "eval")[0].startswith("#!/bin/python\nimport ast\n")
    assert "import ast\n\nimport flask\n" in repaired(95, "import flask\nx = eval(y)\n", "eval")[0]


def test_formatting_carriage_returns_and_a_byte_order_mark_stay() -> None:
    text = "\ufeffimport random\r\nt = [ random.choice( 'ab' ) ,  1 ]\r\n"
    (fixed,) = repaired(330, text, "random.choice")
    assert fixed == "\ufeffimport random\r\nimport secrets\r\nt = [ secrets.choice( 'ab' ) ,  1 ]\r\n"


def test_a_file_that_is_gone_or_does_not_parse_gives_advice() -> None:
    text = "x = eval(y)\n"
    (gone,) = propose(finding(95, text, "eval"), {})
    (broken,) = propose(finding(95, text, "eval"), {"app.py": "x = eval(\n"})
    assert isinstance(gone, Advice)
    assert isinstance(broken, Advice)


def test_at_least_twenty_families_have_an_edit() -> None:
    assert len(families()) >= 20
