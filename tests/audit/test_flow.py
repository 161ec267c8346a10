"""Does the engine follow values across calls, files, containers and branches, and believe the right
guards?"""

import textwrap

import pytest

from veilig.audit.finding import Confidence, Report
from veilig.audit.scan import scan_sources

HEAD = (
    "import os, re, subprocess\nfrom pathlib import Path\nfrom flask import request, abort\n"
    "BASE = Path('/srv')\nALLOWED = {'a', 'b'}\n"
)


def scan(body: str, **others: str) -> Report:
    files = {"app.py": HEAD + textwrap.dedent(body)}
    files.update({name.replace("__", "/") + ".py": textwrap.dedent(text) for name, text in others.items()})
    report = scan_sources(files)
    assert not report.skipped
    assert not report.incomplete
    return report


def rules(report: Report) -> set[str]:
    return {finding.rule for finding in report.findings}


VULNERABLE = {
    "straight": "def f():\n    os.system(request.args['q'])",
    "through a local function": "def run(c):\n    os.system(c)\ndef f():\n    run(request.args['q'])",
    "returned by a function": "def get():\n    return request.args['q']\ndef f():\n"
    "    os.system('ls ' + get())",
    "kept in an object": """
        class Job:
            def __init__(self, cmd):
                self.cmd = cmd
            def run(self):
                os.system(self.cmd)
        def f():
            Job(request.args['q']).run()
        """,
    "set by a method": """
        class Job:
            def put(self, cmd):
                self.cmd = cmd
            def run(self):
                os.system(self.cmd)
        def f():
            job = Job()
            job.put('ls')
            job.put(request.args['q'])
            job.run()
        """,
    "appended by a helper": "def add(xs, x):\n    xs.append(x)\ndef f():\n    xs = []\n"
    "    add(xs, request.args['q'])\n    os.system(xs[0])",
    "inherited": """
        class Base:
            def run(self, c):
                os.system(c)
        class Job(Base):
            def run(self, c):
                super().run('ls ' + c)
        def f():
            Job().run(request.args['q'])
        """,
    "dataclass": """
        from dataclasses import dataclass
        @dataclass
        class Job:
            name: str
            cmd: str
        def f():
            os.system(Job('x', request.args['q']).cmd)
        """,
    "property": """
        class Job:
            @property
            def cmd(self):
                return request.args['q']
        def f():
            os.system(Job().cmd)
        """,
    "closure": "def make(c):\n    def run():\n        os.system(c)\n    return run\ndef f():\n"
    "    make(request.args['q'])()",
    "decorator that injects": """
        import functools
        def with_arg(g):
            @functools.wraps(g)
            def inner(*a, **k):
                return g(*a, cmd=request.args['q'], **k)
            return inner
        @with_arg
        def f(cmd):
            os.system(cmd)
        """,
    "partial": "import functools\ndef f():\n    functools.partial(os.system, request.args['q'])()",
    "kwargs": "def run(**o):\n    subprocess.run(o['c'], shell=True)\ndef f():\n    run(c=request.args['q'])",
    "splat into the sink": "def f():\n    o = {'shell': True}\n    subprocess.run(request.args['q'], **o)",
    "generator": "def each():\n    yield request.args['q']\ndef f():\n    for c in each():\n"
    "        os.system(c)",
    "other key of a dict": "def f():\n    d = {'a': 'ls', 'b': request.args['q']}\n    os.system(d['b'])",
    "other branch": "def f():\n    c = 'ls'\n    if request.args.get('x'):\n"
    "        c = request.args['q']\n    os.system(c)",
    "loop": "def f():\n    c = ''\n    for x in request.args.getlist('q'):\n        c += x\n    os.system(c)",
    "format": "def f():\n    os.system('ls {}'.format(request.args['q']))",
    "percent": "def f():\n    os.system('ls %s' % request.args['q'])",
    "join": "def f():\n    os.system(' '.join(['ls', request.args['q']]))",
    "f-string": "def f():\n    os.system(f\"ls {request.args['q']}\")",
    "walrus": "def f():\n    if c := request.args.get('q'):\n        os.system(c)",
    "unpacking": "def f():\n    a, b = 'x', request.args['q']\n    os.system(b)",
    "comprehension": "def f():\n    os.system([c for c in request.args.getlist('q')][0])",
    "async": "async def get():\n    return request.args['q']\nasync def f():\n    os.system(await get())",
    "guard on another value": "def f():\n    if request.args['a'] not in ALLOWED:\n"
    "        abort(400)\n    os.system(request.args['b'])",
    "guard that does not stop": "def f():\n    c = request.args['q']\n    if c not in ALLOWED:\n"
    "        print('odd')\n    os.system(c)",
    "unanchored pattern": "def f():\n    c = request.args['q']\n    if not re.match('[a-z]+', c):\n"
    "        abort(400)\n    os.system(c)",
    "assert is no guard": "def f():\n    c = request.args['q']\n    assert c in ALLOWED\n    os.system(c)",
    "decoded after the check": "from urllib.parse import unquote\ndef f():\n"
    "    c = request.args['q']\n    if ';' in c or not re.fullmatch('[a-z%0-9]+', c):\n"
    "        abort(400)\n    os.system(unquote(c))",
    "swallowed conversion": "def f():\n    c = request.args['q']\n    try:\n        int(c)\n"
    "    except ValueError:\n        pass\n    os.system(c)",
    "shell in an argument list": "def f():\n    subprocess.run(['sh', '-c', 'ls ' + request.args['q']])",
}

SAFE = {
    "other element of a list": "def f():\n    xs = ['ls', request.args['q']]\n    os.system(xs[0])",
    "other key of a dict": "def f():\n    d = {'a': 'ls', 'b': request.args['q']}\n    os.system(d['a'])",
    "popped away": "def f():\n    xs = [request.args['q'], 'ls']\n    xs.pop(0)\n    os.system(xs[0])",
    "dead branch": "def f():\n    c = request.args['q']\n    if 7 * 6 > 40:\n        c = 'ls'\n"
    "    os.system(c)",
    "dead case": "def f():\n    c = request.args['q']\n    match 'AB'[1]:\n        case 'A':\n"
    "            pass\n        case 'B':\n            c = 'ls'\n    os.system(c)",
    "overwritten": "def f():\n    c = request.args['q']\n    c = 'ls'\n    os.system(c)",
    "argument list": "def f():\n    subprocess.run(['ls', request.args['q']])",
    "quoted": "import shlex\ndef f():\n    os.system('ls ' + shlex.quote(request.args['q']))",
    "number": "def f():\n    os.system('ls %d' % int(request.args['q']))",
    "conversion proves": "def f():\n    c = request.args['q']\n    int(c)\n    os.system('kill ' + c)",
    "allow-list": "def f():\n    c = request.args['q']\n    if c not in ALLOWED:\n"
    "        abort(400)\n    os.system(c)",
    "allow-list with default": "def f():\n    c = request.args['q']\n    if c not in ALLOWED:\n"
    "        c = 'a'\n    os.system(c)",
    "allow-list read twice": "def f():\n    if request.args['q'] in ALLOWED:\n"
    "        os.system(request.args['q'])",
    "literal lookup": "def f():\n    os.system({'a': 'ls', 'b': 'df'}.get(request.args['q'], 'ls'))",
    "full match": "def f():\n    c = request.args['q']\n    if not re.fullmatch('[a-z]+', c):\n"
    "        abort(400)\n    os.system(c)",
    "compiled pattern": "OK = re.compile('^[a-z]+$')\ndef f():\n    c = request.args['q']\n"
    "    if OK.match(c) is None:\n        return 'no'\n    os.system(c)",
    "isalnum": "def f():\n    c = request.args['q']\n    if c.isalnum():\n        os.system(c)",
    "validator that raises": "def check(c):\n    if c not in ALLOWED:\n"
    "        raise ValueError(c)\ndef f():\n    c = request.args['q']\n    check(c)\n"
    "    os.system(c)",
    "validator that answers": "def good(c):\n    return c in ALLOWED\ndef f():\n"
    "    c = request.args['q']\n    if not good(c):\n        return 'no'\n    os.system(c)",
    "validator with two returns": "def good(c):\n    if c in ALLOWED:\n        return True\n"
    "    return False\ndef f():\n    c = request.args['q']\n    if good(c):\n"
    "        os.system(c)",
    "validator that returns the value": "def clean(c):\n    if c in ALLOWED:\n        return c\n"
    "    return 'ls'\ndef f():\n    os.system(clean(request.args['q']))",
    "substituted": "def f():\n    os.system('ls ' + re.sub('[^a-z0-9]', '', request.args['q']))",
    "conditional expression": "def f():\n    c = request.args['q']\n"
    "    os.system(c if c in ALLOWED else 'ls')",
    "filtered comprehension": "def f():\n"
    "    for c in [c for c in request.args.getlist('q') if c in ALLOWED]:\n"
    "        os.system(c)",
    "all of them": "def f():\n    xs = request.args.getlist('q')\n    c = xs[0]\n"
    "    if c == 'a' or c == 'b':\n        os.system(c)",
    "constant caller only": "def run(c):\n    os.system(c)\ndef f():\n    run('ls')",
}


@pytest.mark.parametrize("body", VULNERABLE.values(), ids=VULNERABLE.keys())
def test_a_value_from_outside_is_followed_into_the_shell(body: str):
    assert "command-injection" in rules(scan(body))


@pytest.mark.parametrize("body", SAFE.values(), ids=SAFE.keys())
def test_a_harmless_value_in_a_shell_command_is_no_finding(body: str):
    assert "command-injection" not in rules(scan(body))


PATH_GUARDS = {
    "is_relative_to": "p = (BASE / n).resolve()\n    if not p.is_relative_to(BASE):\n"
    "        abort(400)\n    return p.read_text()",
    "startswith after realpath": "p = os.path.realpath(os.path.join('/srv', n))\n"
    "    if not p.startswith('/srv/'):\n        abort(400)\n    return open(p)",
    "commonpath": "p = os.path.realpath(os.path.join('/srv', n))\n"
    "    if os.path.commonpath(['/srv', p]) != '/srv':\n        abort(400)\n"
    "    return open(p)",
    "parents": "p = (BASE / n).resolve()\n    if BASE not in p.parents:\n        abort(400)\n"
    "    return p.read_text()",
    "basename": "return open(os.path.join('/srv', os.path.basename(n)))",
    "no dots": "if '..' in n or n.startswith('/'):\n        abort(400)\n    return open('/srv/' + n)",
    "relative_to raises": "p = (BASE / n).resolve()\n    p.relative_to(BASE)\n    return p.read_text()",
}


@pytest.mark.parametrize("guard", PATH_GUARDS.values(), ids=PATH_GUARDS.keys())
def test_a_checked_path_may_be_opened(guard: str):
    assert "path-traversal" not in rules(scan(f"def f():\n    n = request.args['n']\n    {guard}\n"))


NO_PATH_GUARDS = {
    "nothing": "return open('/srv/' + n)",
    "startswith without normalising": "p = '/srv/' + n\n    if not p.startswith('/srv/'):\n"
    "        abort(400)\n    return open(p)",
    "suffix": "if not n.endswith('.txt'):\n        abort(400)\n    return open('/srv/' + n)",
    "replaced dots": "return open('/srv/' + n.replace('../', ''))",
    "checked for shells only": "import shlex\n    return open(shlex.quote(n))",
}


@pytest.mark.parametrize("guard", NO_PATH_GUARDS.values(), ids=NO_PATH_GUARDS.keys())
def test_a_path_that_is_not_really_checked_is_found(guard: str):
    assert "path-traversal" in rules(scan(f"def f():\n    n = request.args['n']\n    {guard}\n"))


def test_a_flow_crosses_files_of_the_project_and_names_every_step():
    report = scan(
        "from shop.orders import find\ndef f():\n    return find(request.args['q'])\n",
        shop____init__="",
        shop__orders="from .db import run\ndef find(name):\n"
        "    sql = f\"SELECT * FROM o WHERE n = '{name}'\"\n    return run(sql)\n",
        shop__db="import sqlite3\ndef run(sql):\n    return sqlite3.connect('x').execute(sql).fetchall()\n",
    )
    (finding,) = [finding for finding in report.findings if finding.rule == "sql-injection"]
    assert (finding.path, finding.line, finding.confidence) == ("shop/db.py", 3, Confidence.FLOW)
    assert finding.flow[0].path == "app.py"
    assert {step.path for step in finding.flow} == {"app.py", "shop/orders.py", "shop/db.py"}
    assert finding.flow[-1].line == finding.line


def test_an_unknown_call_in_between_lowers_the_confidence_to_possible():
    body = "from elsewhere import mangle\ndef f():\n    os.system(mangle(request.args['q']))\n"
    assert [f.confidence for f in scan(body).findings] == [Confidence.POSSIBLE]


def test_a_parameter_of_a_function_nobody_calls_is_only_possible():
    report = scan('def find(db, name):\n    return db.execute("SELECT 1 WHERE n = \'" + name + "\'")\n')
    assert [(f.rule, f.confidence) for f in report.findings] == [("sql-injection", Confidence.POSSIBLE)]


FRAMEWORKS = {
    "flask route": "from flask import Flask\nimport os\napp = Flask('x')\n@app.route('/<name>')\n"
    "def f(name):\n    os.system(name)\n",
    "fastapi": "from fastapi import FastAPI\nimport os\napp = FastAPI()\n@app.get('/')\n"
    "def f(name: str):\n    os.system(name)\n",
    "fastapi model": "from fastapi import FastAPI\nfrom pydantic import BaseModel\nimport os\n"
    "app = FastAPI()\nclass M(BaseModel):\n    name: str\n@app.post('/')\ndef f(m: M):\n"
    "    os.system(m.name)\n",
    "django": "from django.http import HttpResponse\nimport os\ndef f(request):\n"
    "    os.system(request.GET['q'])\n",
    "django class": "from django.views import View\nimport os\nclass V(View):\n"
    "    def get(self, request):\n        os.system(request.GET.get('q'))\n",
    "tornado": "import tornado.web, os\nclass H(tornado.web.RequestHandler):\n    def get(self):\n"
    "        os.system(self.get_argument('q'))\n",
    "http.server": "from http.server import BaseHTTPRequestHandler\nimport os\n"
    "class H(BaseHTTPRequestHandler):\n    def do_GET(self):\n"
    "        os.system(self.path)\n",
    "click": "import click, os\n@click.command()\n@click.option('--name')\ndef f(name):\n"
    "    os.system(name)\n",
    "argparse": "import argparse, os\ndef f():\n    a = argparse.ArgumentParser().parse_args()\n"
    "    os.system(a.name)\n",
    "nested in a factory": "from flask import Flask, request\nimport os\ndef create():\n"
    "    app = Flask('x')\n    @app.route('/')\n    def f():\n"
    "        os.system(request.args['q'])\n    return app\n",
}


@pytest.mark.parametrize("text", FRAMEWORKS.values(), ids=FRAMEWORKS.keys())
def test_each_framework_s_input_is_a_source(text: str):
    assert "command-injection" in rules(scan_sources({"app.py": text}))


TYPED = {
    "flask number": FRAMEWORKS["flask route"].replace("<name>", "<int:name>"),
    "fastapi number": FRAMEWORKS["fastapi"].replace("name: str", "name: int"),
    "model number": FRAMEWORKS["fastapi model"].replace("name: str", "name: int"),
}


@pytest.mark.parametrize("text", TYPED.values(), ids=TYPED.keys())
def test_a_parameter_that_can_only_be_a_number_is_harmless(text: str):
    assert "command-injection" not in rules(scan_sources({"app.py": text}))
