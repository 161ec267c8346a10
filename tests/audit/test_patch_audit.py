"""Does the audit of a change report what the change adds, and nothing that was there before?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veilig.audit.patch_audit import Capability, audit_change, edits, lookalike, uses

OLD = "import os\nimport sys\n\n\ndef old():\n    os.system('ls ' + sys.argv[1])\n"
NEW = OLD + "\n\ndef new():\n    os.system('cat ' + sys.argv[2])\n"
LINES = frozenset(range(7, 11))


def change(before: str, after: str, path: str = "app.py", **more: str):
    lines = frozenset(range(len(before.splitlines()) + 1, len(after.splitlines()) + 1))
    tree = {path: before} if before else {}
    return audit_change({**tree, **more}, {path: after, **more}, {path: lines})


def test_only_the_weakness_that_the_change_adds_is_reported() -> None:
    report = change(OLD, NEW)
    assert [(f.cwe, f.line) for f in report.findings] == [(78, 10)]
    assert report.notices == ()  # it could start programs before


def test_packages_nobody_knows_and_lookalikes_are_named() -> None:
    report = change(
        "", "import reqeusts\nimport flask_auto_magic\nimport yaml, json\nfrom app2 import x\n", app2=""
    )
    got = {(f.rule, f.line) for f in report.findings}
    assert ("lookalike-package", 1) in got
    assert ("unknown-package", 2) in got
    assert all(line not in (3,) for _, line in got)


def test_a_package_of_the_lock_or_of_the_project_is_known() -> None:
    lock = 'version = 1\n[[package]]\nname = "flask-auto-magic"\nversion = "1"\n'
    report = change("", "import flask_auto_magic\nimport mine\n", **{"uv.lock": lock, "mine/__init__.py": ""})
    assert report.findings == ()


def test_added_requirements_are_judged_too() -> None:
    report = change("flask==3.0.0\n", "flask==3.0.0\ndjagno==4.2\n", "requirements.txt")
    assert [(f.rule, f.line) for f in report.findings] == [("lookalike-package", 2)]


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("requests", None), ("sklearn", None), ("request", "requests"),
        ("reqeusts", "requests"), ("python-requests", "requests"),
        ("djang0", "django"),
        ("beautifulsoup", "beautifulsoup4"), ("tensorfow", "tensorflow"), ("abcd", None),
        ("completely-other-name", None), ("python-dateutils", "python-dateutil"),
    ],
)  # fmt: skip
def test_lookalikes(name: str, twin: str | None) -> None:
    assert lookalike(name, ()) == twin


def test_a_known_name_is_never_a_lookalike() -> None:
    assert lookalike("request", {"request"}) is None


def test_new_capabilities_and_files_that_run_by_themselves_are_notices() -> None:
    report = change("x = 1\n", "x = 1\nimport socket\nfrom os import path\neval('1')\n", "setup.py")
    told = [(n.line, n.message) for n in report.notices]
    assert (2, "new for the project: can reach the network (import socket)") in told
    assert (4, "new for the project: can start programs or run code (eval())") in told
    assert any("runs by itself" in text for _, text in told)
    assert [use.capability for use in uses("import ctypes.util\n")] == [Capability.NATIVE]


def test_what_does_not_parse_is_skipped_and_said() -> None:
    report = change("x = 1\n", "x = 1\ndef (:\n")
    assert [s.path for s in report.skipped] == ["app.py"]
    assert report.exit_code() == 3


@given(st.text("abc", max_size=7), st.text("abc", max_size=7))
def test_edits_are_symmetric_and_zero_only_for_equal_names(left: str, right: str) -> None:
    assert edits(left, right, 9) == edits(right, left, 9)
    assert (edits(left, right, 9) == 0) == (left == right)
    assert (edits(left, right, 2) > 2) == (edits(left, right, 9) > 2)
