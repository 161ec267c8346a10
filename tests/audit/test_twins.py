"""Does the audit tell a weakness from its harmless twin in the styles people write?"""

import pytest

from veilig.audit.scan import scan_sources

# name -> (module, CWE, whether it is there)
TWINS: dict[str, tuple[str, int, bool]] = {
    "tar safe loop": (
        (
            "import tarfile\ndef f(p):\n    with tarfile.open(p) as t:\n"
            "        for m in t.getmembers():\n            t.extract(m, '/x')\n"
        ),
        22,
        True,
    ),
    "zip extract write": (
        (
            "import zipfile, os\nfrom flask import request\ndef f():\n"
            "    z=zipfile.ZipFile(request.files['f'])\n    for n in z.namelist():\n"
            "        open(os.path.join('/srv',n),'wb').write(z.read(n))\n"
        ),
        22,
        True,
    ),
    "django raw": (
        (
            "from django.db import connection\ndef v(request):\n    q=request.GET.get('q','')\n"
            "    with connection.cursor() as c:\n"
            "        c.execute(f\"SELECT * FROM t WHERE n LIKE '%{q}%'\")\n"
        ),
        89,
        True,
    ),
    "salt of the account": (
        (
            "import hashlib\ndef check(user, password):\n    raw = password.encode()\n"
            "    digest = hashlib.pbkdf2_hmac('sha256', raw, user.salt.encode(), 600_000)\n"
            "    return digest\n"
        ),
        760,
        False,
    ),
    "address as salt": (
        (
            "import hashlib\ndef check(user, password):\n    raw = password.encode()\n"
            "    digest = hashlib.pbkdf2_hmac('sha256', raw, user.email.encode(), 600_000)\n"
            "    return digest\n"
        ),
        760,
        True,
    ),
    "django orm safe": (
        "from app.models import T\ndef v(request):\n    return T.objects.filter(n=request.GET.get('q',''))\n",
        89,
        False,
    ),
    "sqlalchemy text": (
        (
            "from sqlalchemy import text\nfrom fastapi import FastAPI\napp=FastAPI()\n"
            "@app.get('/u/{n}')\nasync def u(n: str, db=None):\n"
            "    return db.execute(text(f\"select * from u where n='{n}'\"))\n"
        ),
        89,
        True,
    ),
    "sqlalchemy bound": (
        (
            "from sqlalchemy import text\nfrom fastapi import FastAPI\napp=FastAPI()\n"
            "@app.get('/u/{n}')\nasync def u(n: str, db=None):\n"
            "    return db.execute(text('select * from u where n=:n'), {'n': n})\n"
        ),
        89,
        False,
    ),
    "orderby allow": (
        (
            "import sqlite3\nfrom flask import request\nCOLS={'name':'name','age':'age'}\ndef f():\n"
            "    c=COLS.get(request.args.get('s'),'name')\n"
            "    return sqlite3.connect('x').execute(f'select * from t order by {c}').fetchall()\n"
        ),
        89,
        False,
    ),
    "aiohttp": (
        (
            "from aiohttp import web\nimport asyncio\nasync def h(request):\n"
            "    d = await request.json()\n"
            "    p = await asyncio.create_subprocess_shell('ping '+d['host'])\n"
            "    return web.Response(text='x')\n"
        ),
        78,
        True,
    ),
    "redirect ok": (
        (
            "from flask import request, redirect\nfrom urllib.parse import urlparse\ndef f():\n"
            "    t=request.args.get('next','/')\n    p=urlparse(t)\n    if p.netloc or p.scheme:\n"
            "        t='/'\n    return redirect(t)\n"
        ),
        601,
        False,
    ),
    "redirect //": (
        (
            "from flask import request, redirect\ndef f():\n    t=request.args.get('next','/')\n"
            "    if not t.startswith('/') or t.startswith('//'):\n        return redirect('/')\n"
            "    return redirect(t)\n"
        ),
        601,
        False,
    ),
    "ssrf": (
        (
            "import httpx\nfrom fastapi import FastAPI\napp=FastAPI()\n@app.post('/h')\n"
            "async def h(url: str):\n    async with httpx.AsyncClient() as c:\n"
            "        r = await c.get(url)\n    return r.text\n"
        ),
        918,
        True,
    ),
    "ssrf helper ok": (
        (
            "import requests\nfrom urllib.parse import urlparse\nfrom flask import request, abort\n"
            "H={'a.b'}\ndef ok(u):\n    p=urlparse(u)\n"
            "    return p.scheme=='https' and p.hostname in H\ndef f():\n"
            "    u=request.json['url']\n    if not ok(u):\n        abort(400)\n"
            "    return requests.get(u,timeout=3).text\n"
        ),
        918,
        False,
    ),
    "eval ops ok": (
        (
            "import operator\nfrom flask import request\nOPS={'+':operator.add}\ndef f():\n"
            "    op=OPS[request.args['o']]\n    return str(op(1,2))\n"
        ),
        94,
        False,
    ),
    "pickle cookie": (
        (
            "import pickle,base64\nfrom flask import request\ndef f():\n"
            "    return pickle.loads(base64.b64decode(request.cookies['s']))\n"
        ),
        502,
        True,
    ),
    "xss jinja safe": (
        (
            "from flask import render_template, request\ndef f():\n"
            "    return render_template('a.html', n=request.args['n'])\n"
        ),
        79,
        False,
    ),
    "markup": (
        (
            "from markupsafe import Markup\nfrom flask import request\ndef f():\n"
            "    return Markup(f\"<b>{request.args['n']}</b>\")\n"
        ),
        79,
        True,
    ),
    "django httpresponse": (
        (
            "from django.http import HttpResponse\ndef v(request):\n"
            "    return HttpResponse('<h1>'+request.GET['n']+'</h1>')\n"
        ),
        79,
        True,
    ),
    "jwt alg": (
        "import jwt\ndef f(t,k):\n    return jwt.decode(t,k,algorithms=['none','HS256'])\n",
        347,
        True,
    ),
    "random int otp": (
        "import random\ndef make_otp():\n    return str(random.randint(100000,999999))\n",
        330,
        True,
    ),
    "random game ok": ("import random\ndef roll():\n    return random.randint(1,6)\n", 330, False),
    "md5 pw": (
        (
            "import hashlib\ndef register(user, password):\n"
            "    user.pw = hashlib.md5(password.encode()).hexdigest()\n"
        ),
        916,
        True,
    ),
    "static send": (
        (
            "from flask import send_from_directory, request\ndef f():\n"
            "    return send_from_directory('/srv', request.args['f'])\n"
        ),
        22,
        False,
    ),
    "send_file": (
        "from flask import send_file, request\ndef f():\n    return send_file('/srv/'+request.args['f'])\n",
        22,
        True,
    ),
    "getattr": (
        (
            "from flask import request\nclass A:\n    def x(self): pass\ndef f(o):\n"
            "    return getattr(o, request.args['m'])()\n"
        ),
        470,
        True,
    ),
    "log": (
        (
            "import logging\nfrom flask import request\nlogger=logging.getLogger(__name__)\ndef f():\n"
            "    logger.warning('bad user %s', request.form['u'])\n"
        ),
        117,
        True,
    ),
    "app logger": (
        (
            "from flask import Flask, request\napp=Flask('x')\n@app.route('/')\ndef f():\n"
            "    app.logger.info('u '+request.args['u'])\n    return ''\n"
        ),
        117,
        True,
    ),
    "err": (
        (
            "from flask import Flask, jsonify\napp=Flask('x')\n@app.route('/')\ndef f():\n    try:\n"
            "        return g()\n    except Exception as e:\n"
            "        return jsonify(error=str(e)), 500\n"
        ),
        209,
        True,
    ),
    "upload": (
        (
            "import os\nfrom flask import request\ndef f():\n    u=request.files['f']\n"
            "    u.save(os.path.join('/up', u.filename))\n"
        ),
        22,
        True,
    ),
    "upload ok": (
        (
            "import os\nfrom flask import request\nfrom werkzeug.utils import secure_filename\n"
            "def f():\n    u=request.files['f']\n"
            "    u.save(os.path.join('/up', secure_filename(u.filename)))\n"
        ),
        22,
        False,
    ),
    "const cond": (
        (
            "import subprocess\nfrom flask import request\ndef f():\n"
            "    subprocess.run(f\"ls {request.args['d']}\", shell=False)\n"
        ),
        78,
        True,
    ),
    "cursor percent": (
        (
            "import psycopg2\nfrom flask import request\ndef f():\n"
            "    c=psycopg2.connect('').cursor()\n"
            "    c.execute(\"select * from t where id=%s\" % request.args['id'])\n"
        ),
        89,
        True,
    ),
    "lxml xxe": (
        (
            "from lxml import etree\nfrom flask import request\ndef f():\n"
            "    p=etree.XMLParser(resolve_entities=True, no_network=False)\n"
            "    return etree.fromstring(request.data, parser=p)\n"
        ),
        611,
        True,
    ),
    "self attr": (
        (
            "from flask import request\nimport sqlite3\nclass Repo:\n    def __init__(self):\n"
            "        self.db=sqlite3.connect('x')\n    def find(self, n):\n"
            "        return self.db.execute('select * from t where n='+n)\nrepo=Repo()\ndef f():\n"
            "    return repo.find(request.args['n'])\n"
        ),
        89,
        True,
    ),
}


@pytest.mark.parametrize(("text", "cwe", "there"), TWINS.values(), ids=TWINS.keys())
def test_a_weakness_is_told_from_its_harmless_twin(text: str, cwe: int, there: bool):
    assert (cwe in {finding.cwe for finding in scan_sources({"app.py": text}).findings}) is there
