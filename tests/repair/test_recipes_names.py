"""Do failing imports, names and attributes get the edit that their author would make?"""

# ruff: noqa: E501  # one case per line: a wrapped table of cases is harder to read

import pytest

from veilig.repair.recipes import imports, moved_names, names
from veilig.repair.recipes.failure import parse_failure
from veilig.repair.recipes.nearest import distance, nearest
from veilig.repair.recipes.proposal import Context, Failure, Frame, Proposal


def repaired(files: dict[str, str], failure: Failure) -> list[dict[str, str]]:
    context = Context(files, failure)
    found = [*moved_names.propose(context), *imports.propose(context), *names.propose(context)]
    return [item.patch().apply(files) for item in found if isinstance(item, Proposal)]


PKG = {
    "pkg/__init__.py": "",
    "pkg/core.py": "def total(items):\n    return 1\n",
    "pkg/money.py": "def parse_price(x):\n    return x\n",
}
# name: (file, text, exception, message, line, the text after the first or second proposal)
CASES: dict[str, tuple[str, str, str, str, int, str]] = {
    "collections": ("a.py", "from collections import Mapping, OrderedDict\n", "ImportError", "cannot import name 'Mapping' from 'collections' (x)", 1,
                    "from collections import OrderedDict\nfrom collections.abc import Mapping\n"),
    "numpy.float": ("a.py", "import numpy as np\nx = np.float(1)\n", "AttributeError", "module 'numpy' has no attribute 'float'", 2, "import numpy as np\nx = float(1)\n"),
    "werkzeug": ("a.py", "from werkzeug.urls import url_quote\ny = url_quote(x)\n", "ImportError", "cannot import name 'url_quote' from 'werkzeug.urls' (x)", 1,
                 "from urllib.parse import quote as url_quote\ny = url_quote(x)\n"),
    "flask.Markup": ("a.py", "from flask import Flask, Markup, escape\n", "ImportError", "cannot import name 'Markup' from 'flask' (x)", 1,
                     "from flask import Flask\nfrom markupsafe import Markup, escape\n"),
    "urllib2": ("a.py", "import urllib2\nurllib2.urlopen(x)\n", "ModuleNotFoundError", "No module named 'urllib2'", 1, "import urllib.request as urllib2\nurllib2.urlopen(x)\n"),
    "configparser": ("a.py", "from ConfigParser import RawConfigParser\n", "ModuleNotFoundError", "No module named 'ConfigParser'", 1, "from configparser import RawConfigParser\n"),
    "cgi.escape": ("a.py", "import cgi\ny = cgi.escape(x)\n", "AttributeError", "module 'cgi' has no attribute 'escape'", 2, "import cgi\nimport html\ny = html.escape(x)\n"),
    "time.clock": ("a.py", "import time\ny = time.clock()\n", "AttributeError", "module 'time' has no attribute 'clock'", 2, "import time\ny = time.perf_counter()\n"),
    "moved in the project": ("a.py", "from pkg.core import parse_price\n", "ImportError", "cannot import name 'parse_price' from 'pkg.core' (x)", 1, "from pkg.money import parse_price\n"),
    "moved, one of two": ("a.py", "from pkg.core import total, parse_price\n", "ImportError", "cannot import name 'parse_price' from 'pkg.core' (x)", 1,
                          "from pkg.core import total\nfrom pkg.money import parse_price\n"),
    "misspelt import": ("a.py", "from pkg.core import totl\nprint(total)\n", "ImportError", "cannot import name 'totl' from 'pkg.core' (x)", 1, "from pkg.core import total\nprint(total)\n"),
    "misspelt import that is used": ("a.py", "from pkg.core import totl\nprint(totl)\n", "ImportError", "cannot import name 'totl' from 'pkg.core' (x)", 1,
                                     "from pkg.core import total\nprint(total)\n"),
    "misspelt module": ("a.py", "from pkg.mony import parse_price\n", "ModuleNotFoundError", "No module named 'pkg.mony'", 1, "from pkg.money import parse_price\n"),
    "misspelt stdlib": ("a.py", "import jsn\n", "ModuleNotFoundError", "No module named 'jsn'", 1, "import json\n"),
    "module moved into a package": ("a.py", "from money import parse_price\n", "ModuleNotFoundError", "No module named 'money'", 1, "from pkg.money import parse_price\n"),
    "relative in a script": ("pkg/run.py", "from .core import total\n", "ImportError", "attempted relative import with no known parent package", 1, "from pkg.core import total\n"),
    "missing import": ("a.py", "x = json.dumps(1)\n", "NameError", "name 'json' is not defined", 1, "import json\n\nx = json.dumps(1)\n"),
    "missing from import": ("a.py", "import os\nx = Path('a')\n", "NameError", "name 'Path' is not defined", 2, "import os\nfrom pathlib import Path\nx = Path('a')\n"),
    "missing project import": ("a.py", "x = parse_price(1)\n", "NameError", "name 'parse_price' is not defined", 1, "from pkg.money import parse_price\n\nx = parse_price(1)\n"),
    "typo in a name": ("a.py", "def f(items):\n    return len(itmes)\n", "NameError", "name 'itmes' is not defined. Did you mean: 'items'?", 2, "def f(items):\n    return len(items)\n"),
    "foreign null": ("a.py", "x = null\n", "NameError", "name 'null' is not defined", 1, "x = None\n"),
    "missing self": ("a.py", "class A:\n    def __init__(self):\n        self.size = 1\n    def f(self):\n        return size\n", "NameError", "name 'size' is not defined", 5,
                     "class A:\n    def __init__(self):\n        self.size = 1\n    def f(self):\n        return self.size\n"),
    "typo in an attribute": ("a.py", "class A:\n    def total(self):\n        return 1\nA().totl()\n", "AttributeError", "'A' object has no attribute 'totl'", 4,
                             "class A:\n    def total(self):\n        return 1\nA().total()\n"),
    "typo on a str": ("a.py", "x = ''.starswith('a')\n", "AttributeError", "'str' object has no attribute 'starswith'", 1, "x = ''.startswith('a')\n"),
    "iteritems": ("a.py", "for k in {}.iteritems():\n    pass\n", "AttributeError", "'dict' object has no attribute 'iteritems'", 1, "for k in {}.items():\n    pass\n"),
    "has_key": ("a.py", "x = not {}.has_key('k')\n", "AttributeError", "'dict' object has no attribute 'has_key'", 1, "x = not ('k' in {})\n"),
    "typo on a module": ("a.py", "import math\nx = math.sqr(4)\n", "AttributeError", "module 'math' has no attribute 'sqr'", 2, "import math\nx = math.sqrt(4)\n"),
    "keyword argument": ("a.py", "def f(colour):\n    pass\nf(color=1)\n", "TypeError", "f() got an unexpected keyword argument 'color'", 3, "def f(colour):\n    pass\nf(colour=1)\n"),
    "method without self": ("a.py", "class A:\n    def f():\n        pass\nA().f()\n", "TypeError", "A.f() takes 0 positional arguments but 1 was given", 4,
                            "class A:\n    def f(self):\n        pass\nA().f()\n"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "text", "exception", "message", "line", "wanted"), CASES.values(), ids=list(CASES)
)
def test_the_likely_repair_is_among_the_first_two(
    path: str, text: str, exception: str, message: str, line: int, wanted: str
) -> None:
    after = repaired({**PKG, path: text}, Failure(exception, message, path, line))
    shown = [files[path] for files in after]
    assert wanted in shown[:2], "\n---\n".join(shown)


def test_a_folder_with_modules_becomes_a_package() -> None:
    files = {"app/sub/x.py": "y = 1\n", "a.py": "import app.sub\n"}
    assert any(
        "app/sub/__init__.py" in after
        for after in repaired(files, Failure("ModuleNotFoundError", "No module named 'app.sub'", "a.py", 1))
    )


def test_a_circle_is_broken_by_importing_where_it_is_used() -> None:
    files = {
        "a.py": "from b import g\n\ndef f():\n    '''Doc.'''\n    return g()\n",
        "b.py": "from a import f\n\ndef g():\n    return f\n",
    }
    message = "cannot import name 'f' from partially initialized module 'a' (most likely due to a circular import) (a.py)"
    failure = Failure(
        "ImportError", message, "b.py", 1, (Frame("a.py", 1, "<module>"), Frame("b.py", 1, "<module>"))
    )
    after = repaired(files, failure)
    assert after[0]["b.py"] == "\ndef g():\n    from a import f\n    return f\n"
    assert after[1]["a.py"] == "\ndef f():\n    '''Doc.'''\n    from b import g\n    return g()\n"


def test_a_module_that_shadows_the_standard_library_is_named() -> None:
    message = "partially initialized module 'random' has no attribute 'choice' (most likely due to a circular import)"
    context = Context(
        {"random.py": "import random\nrandom.choice\n"}, Failure("AttributeError", message, "random.py", 2)
    )
    assert any(
        isinstance(item, Proposal) and "random.py" in item.decision for item in imports.propose(context)
    )


def test_a_traceback_is_read_with_its_frames() -> None:
    text = (
        'Traceback (most recent call last):\n  File "/w/a.py", line 3, in <module>\n    f()\n'
        "  File \"/usr/lib/python3/json/x.py\", line 9, in g\n    y\nKeyError: 'k'\n\n"
        "During handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n"
        "  File \"/w/pkg/b.py\", line 5, in h\n    z()\nNameError: name 'z' is not defined\n"
    )
    failure = parse_failure(text, "/w")
    assert failure is not None
    assert (failure.exception, failure.message, failure.path, failure.line) == (
        "NameError",
        "name 'z' is not defined",
        "pkg/b.py",
        5,
    )
    assert parse_failure("all good") is None


def test_pytest_output_is_read_too() -> None:
    text = "    def f():\n>       return g()\nE       NameError: name 'g' is not defined\n\nshop/cart.py:31: NameError\n"
    failure = parse_failure(text)
    assert failure is not None
    assert (failure.exception, failure.message, failure.path, failure.line) == (
        "NameError",
        "name 'g' is not defined",
        "shop/cart.py",
        31,
    )


def test_nearest_counts_slips_and_stops_at_its_limit() -> None:
    assert distance("form", "from") == 1
    assert distance("abc", "xyz", limit=1) == 2
    assert nearest("itmes", ["items", "times", "x"])[0] in ("items", "times")
    assert nearest("ab", ["xy", "ab"]) == []
    assert nearest("path", ["Path"]) == ["Path"]
