"""Which miniature projects are broken in their dependencies, test settings and deployment files?"""
# ruff: noqa: E501  (small files as one string)

from case import INI, Case

_APP = "def add(a, b):\n    return a + b\n"
_TEST = "from app import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n"
_BASE = {"app.py": _APP, "tests/test_app.py": _TEST}
_SRC = {"src/app.py": _APP, "tests/test_app.py": _TEST}
_PROJECT = '[project]\nname = "mini"\nversion = "1"\n'

DEPENDENCIES = (
    Case("dependency", "imported but not declared",
         {**INI, "requirements.txt": "packaging>=23\n", "app.py": "import bs4\n\n\ndef add(a, b):\n    return a + b\n", "tests/test_app.py": _TEST}),
    Case("dependency", "vulnerable pin", {**INI, **_BASE, "requirements.txt": "requests==2.19.1\n"}, r"\+requests=="),
    Case("dependency", "vulnerable pin in pyproject",
         {**INI, **_BASE, "pyproject.toml": _PROJECT + 'dependencies = ["jinja2==2.10"]\n'}, r"jinja2==[23]"),
)  # fmt: skip

SETTINGS = (
    Case("config", "misspelt pytest key", {**_SRC, "pytest.ini": "[pytest]\npythonpth = src\ntestpaths = tests\n"}, "pythonpath"),
    Case("config", "wrong pythonpath", {**_SRC, "pytest.ini": "[pytest]\npythonpath = scr\ntestpaths = tests\n"}, "pythonpath = src"),
    Case("config", "wrong testpaths", {**_BASE, "pytest.ini": "[pytest]\npythonpath = .\ntestpaths = test\n"}, "testpaths = tests"),
    Case("config", "misspelt key in pyproject",
         {**_SRC, "pyproject.toml": _PROJECT + '\n[tool.pytest.ini_options]\npythonpaths = ["src"]\n'}, "pythonpath ="),
    Case("config", "unregistered marker with strict markers",
         {"app.py": _APP, "pytest.ini": "[pytest]\npythonpath = .\naddopts = --strict-markers\n",
          "tests/test_app.py": "import pytest\n\nfrom app import add\n\n\n@pytest.mark.slow\ndef test_add():\n    assert add(2, 3) == 5\n"}, r"\+.*slow"),
    Case("config", "async test without a mode",
         {"app.py": "async def load():\n    return 3\n", "pytest.ini": "[pytest]\npythonpath = .\n",
          "tests/test_app.py": "from app import load\n\n\nasync def test_load():\n    assert await load() == 3\n"}, "asyncio_mode"),
    Case("config", "unclosed TOML string", {**_BASE, "pyproject.toml": '[project]\nname = "mini\nversion = "1"\n'}, '"mini"'),
    Case("config", "TOML table written twice",
         {**_BASE, "pyproject.toml": _PROJECT + '[tool.a]\nx = 1\n[tool.a]\ny = 2\n'}),
    Case("config", "trailing comma in JSON", {**INI, **_BASE, "data.json": '{\n  "a": 1,\n}\n'}, r'"a": 1\n'),
    Case("config", "single quotes in JSON", {**INI, **_BASE, "data.json": "{'a': 1}\n"}, '"a": 1'),
    Case("config", "tab in YAML", {**INI, **_BASE, "deploy.yaml": "service:\n\tname: web\n\tport: 80\n"}, r"  name: web"),
    Case("config", "wrong indentation in YAML", {**INI, **_BASE, "deploy.yaml": "service:\n  name: web\n   port: 80\n"}, r"\+  port: 80"),
    Case("config", "duplicate key in YAML", {**INI, **_BASE, "deploy.yaml": "port: 80\nname: web\nport: 80\n"}),
    Case("config", "Python true in JSON", {**INI, **_BASE, "data.json": '{"on": True}\n'}, '"on": true'),
    Case("config", "COPY in the wrong case", {**INI, **_BASE, "Dockerfile": "FROM python:3.12-slim\nCOPY App.py /srv/\n"}, "COPY app.py"),
    Case("config", "misspelt variable in compose",
         {**INI, **_BASE, ".env": "DB_HOST=db\n", "compose.yaml": "services:\n  web:\n    image: web\n    environment:\n      HOST: ${DB_HSOT}\n"}, "DB_HOST"),
    Case("config", "unit that starts a file that is not there",
         {**INI, **_BASE, "run.sh": "#!/bin/sh\nexec python app.py\n", "web.service": "[Unit]\nDescription=web\n[Service]\nExecStart=/bin/sh rnu.sh\n"}, "run.sh"),
)  # fmt: skip
