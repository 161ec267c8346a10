"""Does repaired code do for honest callers what it did before, and refuse the others?"""

import re
import sqlite3
import string
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilig.audit.rules.backtracking import catastrophic
from veilig.audit.scan import scan_sources
from veilig.repair.recipes.proposal import Proposal
from veilig.repair.recipes.weakness import propose


def repaired(rule: str, text: str) -> str:
    """The text after first edits until the rule finds nothing."""
    files = {"app.py": text}
    for _ in range(6):
        found = [f for f in scan_sources(files).findings if f.rule == rule]
        if not found:
            return files["app.py"]
        first = propose(found[0], files)[0]
        assert isinstance(first, Proposal), first
        files = first.patch().apply(files)
    raise AssertionError(files["app.py"])


def loaded(text: str, **given: Any) -> Any:
    """The module that the text makes, with names given to it beforehand."""
    module = ModuleType("app")
    vars(module).update(given)
    exec(compile(text, "app.py", "exec"), vars(module))  # the tests' own programs
    return module


def both(rule: str, text: str, **given: Any) -> tuple[Any, Any]:
    """The program before and after its repair."""
    return loaded(text, **given), loaded(repaired(rule, text), **given)


REQUEST = "class request:\n    args: dict = {}\n"


def _find(module: Any, name: str) -> list[Any]:
    module.request.args = {"name": name, "floor": "1"}
    return module.find()


SQL = """
import sqlite3
from flask import request
def find():
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE t (n TEXT, f INT)")
    db.executemany("INSERT INTO t VALUES (?, ?)", [("anna", 1), ("o'neil", 1), ("bob", 2)])
    name = request.args["name"]
    sql = {query}
    return db.execute(sql).fetchall()
"""
QUERIES = {
    "f-string": "f\"SELECT n FROM t WHERE n LIKE '%{name}%' AND f = {request.args['floor']}\"",
    "percent": "\"SELECT n FROM t WHERE n LIKE '%%%s%%' AND f = %s\" % (name, request.args['floor'])",
    "format": "\"SELECT n FROM t WHERE n LIKE '%{}%' AND f = {}\".format(name, request.args['floor'])",
    "plus": "\"SELECT n FROM t WHERE n LIKE '%\" + name + \"%' AND f = \" + request.args['floor']",
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=list(QUERIES))
def test_a_query_with_parameters_answers_the_same_and_takes_no_commands(query: str) -> None:
    text = SQL.replace("{query}", query)
    new = repaired("sql-injection", text).replace("from flask import request", REQUEST)
    before, after = loaded(text.replace("from flask import request", REQUEST)), loaded(new)
    assert _find(after, "ann") == _find(before, "ann") == [("anna",)]
    assert len(_find(before, "x' OR '1'='1")) == 3 or _find(before, "' OR 1=1 --")
    assert _find(after, "x' OR '1'='1") == []
    assert _find(after, "o'n") == [("o'neil",)]
    with pytest.raises(sqlite3.OperationalError):
        _find(before, "o'n")


def test_a_folder_keeps_its_files_and_shows_no_others(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("inside")
    (tmp_path / "secret").write_text("outside")
    path = f"os.path.join({str(tmp_path / 'in')!r}, request.args['name'])"
    text = (
        "import os\nfrom flask import request\ndef show():\n"
        f"    with open({path}) as f:\n        return f.read()\n"
    )
    new = repaired("path-traversal", text)
    assert "is_relative_to" in new
    new = re.sub(r"from flask import .*", f"{REQUEST}def abort(n): raise LookupError(n)", new)
    module = loaded(new)
    module.request.args = {"name": "a.txt"}
    assert module.show() == "inside"
    module.request.args = {"name": "../secret"}
    with pytest.raises(LookupError):
        module.show()


def test_a_handle_is_closed_when_the_work_between_raises(tmp_path: Path) -> None:
    text = (
        "OPENED = []\n\ndef first(path, fail):\n    f = open(path)\n    OPENED.append((f, 1)[0:1])\n"
        "    text = '''a\nb'''\n    if fail:\n        raise ValueError(text)\n"
        "    line = f.readline()\n    f.close()\n    return line, text\n"
    )
    path = tmp_path / "x"
    path.write_text("one\ntwo\n")
    before, after = both("handle-left-open", text)
    assert after.first(path, fail=False) == before.first(path, fail=False) == ("one\n", "a\nb")
    for module in (before, after):
        with pytest.raises(ValueError, match="a\nb"):
            module.first(path, fail=True)
    assert not before.OPENED[-1][0].closed
    assert after.OPENED[-1][0].closed
    before.OPENED[-1][0].close()


LOCK = """
import threading
lock = threading.Lock()
def add(items, x):
    lock.acquire()
    if x < 0:
        lock.release()
        return None
    items.append(check(x))
    lock.release()
    return items
def check(x):
    if x == 13:
        raise ValueError(x)
    return x
"""


def test_a_lock_is_free_again_after_an_error_and_after_a_return() -> None:
    before, after = both("lock-left-held", LOCK)
    assert after.add([1], 2) == before.add([1], 2) == [1, 2]
    assert after.add([1], -1) is None
    for module in (before, after):
        with pytest.raises(ValueError, match="13"):
            module.add([], 13)
    assert before.lock.locked()
    assert not after.lock.locked()


def test_a_file_is_claimed_once_however_many_try(tmp_path: Path) -> None:
    text = (
        "import os\ndef claim(folder, owner):\n    path = os.path.join(folder, 'job.lock')\n"
        "    if os.path.exists(path):\n        return False\n    with open(path, 'w') as f:\n"
        "        f.write(owner)\n    return True\n"
    )
    after = loaded(repaired("check-then-use", text))
    won: list[bool] = []
    ready = threading.Barrier(8)

    def race(number: int) -> None:
        ready.wait()
        won.append(after.claim(tmp_path, str(number)))

    threads = [threading.Thread(target=race, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]


def test_a_password_is_hashed_with_its_own_salt_and_still_checked() -> None:
    text = (
        "import hashlib\nimport hmac\ndef make(password):\n"
        "    return hashlib.sha256(password.encode()).hexdigest()\n"
        "def check(password, stored):\n    return hmac.compare_digest(make(password), stored)\n"
    )
    after = loaded(repaired("fast-password-hash", text))
    one, two = after.make("tulip"), after.make("tulip")
    assert one != two
    assert after.check("tulip", one)
    assert after.check("tulip", two)
    assert not after.check("rose", one)
    assert not after.check("tulip", "0" * 64)


def test_a_poll_ends_with_an_error_at_its_deadline_and_with_the_answer_before() -> None:
    text = (
        "import time\ndef wait(client, timeout=5):\n    while True:\n"
        "        if client.status() == 'done':\n            break\n        time.sleep(0)\n    return 'ok'\n"
    )
    after = loaded(repaired("endless-polling", text))

    class Client:
        def __init__(self, turns: int) -> None:
            self.turns = turns

        def status(self) -> str:
            self.turns -= 1
            return "done" if self.turns <= 0 else "busy"

    assert after.wait(Client(3)) == "ok"
    with pytest.raises(TimeoutError):
        after.wait(Client(10**9), timeout=0.01)


def test_recursion_is_counted_and_refused_above_its_limit() -> None:
    text = (
        "from flask import request\ndef count(tree):\n"
        "    return 1 + sum(count(c) for c in tree['c'])\n"
        "def view():\n    return count(request.get_json())\n"
    )
    new = repaired("unbounded-recursion", text).replace("from flask import request\n", "")
    after = loaded(new)

    def chain(levels: int) -> dict[str, Any]:
        tree: dict[str, Any] = {"c": []}
        for _ in range(levels):
            tree = {"c": [tree]}
        return tree

    assert after.count(chain(200)) == 201
    with pytest.raises(ValueError, match="nested"):
        after.count(chain(201))


def test_a_secret_does_not_reach_the_log_and_the_rest_does(caplog: pytest.LogCaptureFixture) -> None:
    text = "import logging\ndef login(user, password):\n    logging.warning('login %s %s', user, password)\n"
    loaded(repaired("secret-in-log", text)).login("anna", "tulip")
    assert "login anna" in caplog.text
    assert "tulip" not in caplog.text


def test_a_temporary_file_is_gone_whatever_happens(tmp_path: Path) -> None:
    text = (
        "import os, tempfile\ndef shrink(folder, tool):\n    fd, name = tempfile.mkstemp(dir=folder)\n"
        "    os.close(fd)\n    tool(name)\n    with open(name, 'rb') as f:\n        return f.read()\n"
    )
    after = loaded(repaired("temporary-file-left", text))

    def write(name: str) -> None:
        Path(name).write_text("x")

    def fail(name: str) -> None:
        raise OSError(name)

    assert after.shrink(tmp_path, write) == b"x"
    with pytest.raises(OSError):
        after.shrink(tmp_path, fail)
    assert list(tmp_path.iterdir()) == []


PATTERNS = {
    "r'^(a+)+$'": "ab",
    "r'^([a-z]+-?)+$'": "ab-",
    r"r'^(\w+\s?)*$'": "ab ",
    "r'^(([a-z0-9]+-?)+\\.?)+$'": "a1-.",
    "r'(x+x+)+y'": "xy",
}


@cache
def simpler(pattern: str) -> str:
    """The pattern that is proposed for a catastrophic one, "" when there is only advice."""
    text = f"import re\nfrom flask import request\ndef f():\n    re.match({pattern}, request.args['q'])\n"
    found = [f for f in scan_sources({"app.py": text}).findings if f.rule == "catastrophic-pattern"]
    offered = [o for f in found for o in propose(f, {"app.py": text}) if isinstance(o, Proposal)]
    new = re.search(r"re\.match\(r'(.*)', ", offered[0].patch().apply({"app.py": text})["app.py"])
    assert new is not None
    return new[1]


@pytest.mark.parametrize("pattern", list(PATTERNS))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_simpler_pattern_matches_the_same_texts(pattern: str, data: st.DataObject) -> None:
    new = simpler(pattern)
    assert not catastrophic(new)
    sample = data.draw(st.text(alphabet=PATTERNS[pattern] + string.digits[:1] + "!", max_size=12))
    assert bool(re.match(pattern[2:-1], sample)) == bool(re.match(new, sample))


def test_a_constant_time_comparison_takes_any_text_and_a_missing_header() -> None:
    text = (
        "from flask import abort, request\nTOKEN = 'tulip-7'\ndef check():\n"
        "    if request.headers.get('X-Token') != TOKEN:\n        abort(403)\n    return 'in'\n"
    )
    new = repaired("timing-compare", text)
    refused: Callable[[int], None] = _refuse
    request = SimpleNamespace(headers={})
    module = loaded(re.sub(r"from flask import .*", "", new), request=request, abort=refused)
    for given_token in ("rose", "t\u00fclip", None):
        request.headers = {"X-Token": given_token} if given_token else {}
        with pytest.raises(PermissionError):
            module.check()
    request.headers = {"X-Token": "tulip-7"}
    assert module.check() == "in"


def _refuse(status: int) -> None:
    raise PermissionError(status)
