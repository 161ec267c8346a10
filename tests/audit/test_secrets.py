"""Are secrets found by shape, name and checksum, and is no value ever in what is reported?"""

import json
import zlib

import pytest

from veilig.audit.finding import Confidence, Report
from veilig.audit.sarif import to_sarif
from veilig.audit.secrets import checksum, entropy_bits, in_history, scan_secrets
from veilig.core.errors import UsageError

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def github_token(body: str = "Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9St0") -> str:
    number, end = zlib.crc32(body.encode()), ""
    while number:
        number, rest = divmod(number, 62)
        end = DIGITS[rest] + end
    return "gh" + "p_" + body + end.rjust(6, "0")


PASSWORD = "tR0ub4dor" + "-and-3x7"


def test_secrets_are_found_with_place_kind_and_name_but_never_with_their_value() -> None:
    token = github_token()
    files = {"app/settings.py": f"DEBUG = 1\nTOKEN = '{token}'\nDB_PASSWORD = '{PASSWORD}'\n"}
    found = scan_secrets(files)
    assert [(f.line, f.column, f.confidence) for f in found] == [
        (2, 9, Confidence.CERTAIN),
        (3, 15, Confidence.POSSIBLE),
    ]
    assert "DB_PASSWORD" in found[1].message
    report = Report(findings=tuple(found))
    for text in (report.to_json(), to_sarif(report)):
        assert token not in text
        assert PASSWORD not in text
        assert token[4:20] not in text


def test_fingerprints_do_not_depend_on_the_value() -> None:
    one = scan_secrets({"a.env": f"API_KEY={PASSWORD}"})
    two = scan_secrets({"a.env": f"\n\nAPI_KEY={PASSWORD}xY9"})
    assert [f.fingerprint for f in one] == [f.fingerprint for f in two]
    assert len(one) == 1


def test_a_token_whose_checksum_is_wrong_is_only_a_pattern() -> None:
    token = github_token()
    wrong = token[:-1] + ("a" if token[-1] != "a" else "b")
    assert (checksum("github-token", token), checksum("github-token", wrong)) == (True, False)
    assert scan_secrets({"a.py": f"T = '{wrong}'"}) == []
    (shown,) = scan_secrets({"a.py": f"T = '{wrong}'"}, pattern=True)
    assert shown.confidence is Confidence.PATTERN


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("uv.lock", f'password = "{PASSWORD}"'),
        ("settings.example.env", f"DB_PASSWORD={PASSWORD}"),
        ("tests/test_login.py", f"PASSWORD = '{PASSWORD}'"),
        ("a.py", "PASSWORD = os.environ['PASSWORD']"),
        ("a.py", "password = 'changeme'"),
        ("a.py", f"sha256 = '{'0123456789abcdef' * 4}'"),
    ],
)
def test_locks_examples_tests_and_placeholders_are_silent(path: str, text: str) -> None:
    assert scan_secrets({path: text}) == []


def test_random_values_are_shown_only_when_asked_and_not_when_their_name_says_what_they_are() -> None:
    value = "q8Zr3Kx1Vb7Nw5Jt2Hy6Lm9Pd4Fs0GcXa"
    text = f"salted = '{value}'\nsha_sum = '{value}'\nalphabet = '{'ab' * 20}'\n"
    assert scan_secrets({"a.py": text}) == []
    assert [f.line for f in scan_secrets({"a.py": text}, pattern=True)] == [1]
    assert entropy_bits("aaaa") == 0.0
    assert entropy_bits("abcd") == 2.0


def test_a_secret_in_the_history_names_its_oldest_commit_once() -> None:
    token = github_token()
    head = "diff --git a/m.py b/m.py\n--- a/m.py\n+++ b/m.py\n@@ -1 +1 @@"
    log = "".join(f"commit {c * 40}\n\n{head}\n-x\n+T = '{token}'\n" for c in "ba")
    (found,) = in_history(log)
    assert "commit aaaaaaaaaaaa" in found.message
    assert token not in json.dumps([found.message, found.fingerprint])


def test_a_handle_in_a_text_is_no_secret() -> None:
    assert scan_secrets({"a.py": "# seal puts handles ‹secret:DB_PASSWORD#n1k9x0q2› in its place\n"}) == []


@pytest.mark.parametrize(
    "head",
    ["+++ b/m.py", '+++ "b/caf\\303\\251.py"', "+++ m.py", "+++ i/m.py\r"],
    ids=["plain", "quoted", "bare", "cr"],
)
def test_no_way_to_name_a_file_hides_its_secrets_from_the_history(head: str) -> None:
    token = github_token()
    log = (
        f"commit {'a' * 40}\n\n--- /dev/null\n{head}\n@@ -0,0 +1,3 @@\n+++ no head\n+x\x0cy\n+T = '{token}'\n"
    )
    assert len(in_history(log)) == 1


@pytest.mark.parametrize("text", ["", "@@@ -1 -1 +1,2 @@@\n++x\n"], ids=["no change", "a merge's diff"])
def test_a_history_without_readable_changes_is_an_error_and_no_clean_past(text: str) -> None:
    with pytest.raises(UsageError):
        in_history(f"commit {'a' * 40}\n\n+++ b/m.py\n{text}")
