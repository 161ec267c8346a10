"""`veilig audit` in several forms, with a baseline, on a diff, and with advisories that were synced."""

import json
import subprocess

from terminal import Terminal

WEAK = """import subprocess
from flask import Flask, request

app = Flask(__name__)


@app.route("/")
def index():
    return subprocess.run(f"ls {request.args['x']}", shell=True, capture_output=True).stdout
"""
PASSWORD = "tR0ub4dor" + "-and-3x7"


def test_several_forms_are_written_at_once_and_say_the_same(veilig: Terminal) -> None:
    veilig.project("weak", app=WEAK)
    files = [f"r{suffix}" for suffix in (".txt", ".json", ".sarif", ".md", ".html")]
    said = veilig("audit", "weak", *(word for file in files for word in ("--output", file)))
    assert said.code == 1, said.err
    texts = {file: (veilig.folder / file).read_text() for file in files}
    assert all("weak/app.py" in text for text in texts.values())
    assert json.loads(texts["r.json"])["exit_code"] == 1
    refused = veilig("audit", "weak", "--output", "a.xyz", "--output", "b.json")
    assert (refused.code, "known suffixes" in refused.err) == (2, True)


def test_a_baseline_hides_what_was_known_and_a_broken_one_is_refused_before_the_work(
    veilig: Terminal,
) -> None:
    folder = veilig.project("weak", app=WEAK)
    first = veilig("audit", "weak", "--write-baseline", "known.json")
    assert first.code == 1
    second = veilig("audit", "weak", "--baseline", "known.json", "--format", "json")
    assert (second.code, second.json["roots"][0]["report"]["findings"]) == (0, [])
    (folder / "app.py").write_text(
        WEAK + "\n\n@app.route('/b')\ndef b():\n    return eval(request.args['y'])\n"
    )
    third = veilig("audit", "weak", "--baseline", "known.json", "--format", "json")
    assert third.code == 1
    assert {f["line"] for f in third.json["roots"][0]["report"]["findings"]} == {14}
    (veilig.folder / "known.json").write_text("{}")
    assert veilig("audit", "weak", "--baseline", "known.json").code == 2
    assert veilig("audit", "weak", "--baseline", "gone.json").code == 2


def test_a_diff_narrows_the_report_to_its_lines(veilig: Terminal) -> None:
    veilig.project("weak", app=WEAK)
    head = "--- a/app.py\n+++ b/app.py\n"
    other = veilig(
        "audit",
        "weak",
        "--diff",
        "-",
        stdin=f"{head}@@ -1 +1,2 @@\n import subprocess\n+from flask import x\n",
    )
    assert other.code == 0, other.out
    hit = veilig("audit", "weak", "--diff", "-", stdin=f"{head}@@ -8 +8,2 @@\n def index():\n+    return 1\n")
    assert hit.code == 1
    assert veilig("audit", "weak", "--diff", "-", stdin="no diff").code == 2


def test_since_a_revision_only_new_lines_count_committed_or_not(veilig: Terminal) -> None:
    folder = veilig.project("grown", app=WEAK)
    who = ["-c", "user.name=t", "-c", "user.email=t@localhost"]

    def git(*words: str) -> None:
        subprocess.run(["git", *who, "-C", str(folder), *words], check=True, capture_output=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    assert veilig("audit", "grown", "--since", "HEAD").code == 0
    (folder / "new.py").write_text(WEAK)
    said = veilig("audit", "grown", "--since", "HEAD", "--format", "json")
    found = said.json["roots"][0]["report"]["findings"]
    assert (said.code, {f["path"] for f in found}) == (1, {"grown/new.py"})
    (folder / ".gitignore").write_text("new.py\n")
    assert veilig("audit", "grown", "--since", "HEAD").code == 0
    git("add", "-f", "new.py")
    git("commit", "-q", "-m", "second")
    assert veilig("audit", "grown", "--since", "HEAD~1").code == 1
    unknown = veilig("audit", "grown", "--since", "--output=x")
    assert unknown.code == 2
    wrong = veilig("audit", "grown", "--since", "v9")
    assert (wrong.code, "names no commit" in wrong.err) == (2, True)


def test_a_secret_in_a_file_is_named_without_its_value(veilig: Terminal) -> None:
    folder = veilig.project("leaky", app="x = 1\n")
    (folder / "settings.toml").write_text(f'[mail]\nsmtp_password = "{PASSWORD}"\n')
    said = veilig("audit", "leaky", "--format", "json")
    (found,) = said.json["roots"][0]["report"]["findings"]
    assert (said.code, found["rule"], found["path"], found["line"]) == (
        1,
        "secret-in-file",
        "leaky/settings.toml",
        2,
    )
    assert PASSWORD not in said.out


def test_another_tools_sarif_is_merged_and_seen_from_where_the_user_stands(veilig: Terminal) -> None:
    veilig.project("small", app="x = 1\n")
    place = {"artifactLocation": {"uri": "app.py"}, "region": {"startLine": 1}}
    result = {"ruleId": "R", "message": {"text": "m"}, "locations": [{"physicalLocation": place}]}
    run = {"tool": {"driver": {"name": "other"}}, "results": [result]}
    (veilig.folder / "o.sarif").write_text(json.dumps({"version": "2.1.0", "runs": [run]}))
    said = veilig("audit", "small", "--import", "o.sarif", "--format", "json")
    (found,) = said.json["roots"][0]["report"]["findings"]
    assert (said.code, found["rule"], found["path"]) == (1, "other:R", "small/app.py")


UV = """\
[[package]]
name = "shop"
version = "0"
source = { virtual = "." }
dependencies = [{ name = "flask" }]
[[package]]
name = "flask"
version = "3.0.3"
dependencies = [{ name = "jinja2" }]
[[package]]
name = "jinja2"
version = "3.1.2"
"""
RECORD = {
    "id": "PYSEC-2024-1",
    "modified": "2024-10-01T00:00:00Z",
    "aliases": ["CVE-2024-1"],
    "summary": "a flaw",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "jinja2"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.1.6"}]}],
        }
    ],
}


def test_synced_advisories_are_used_and_say_who_brings_a_pin_in(veilig: Terminal) -> None:
    folder = veilig.project("shop", app="import flask\n")
    (folder / "uv.lock").write_text(UV)
    (veilig.folder / "osv.json").write_text(json.dumps([RECORD]))
    synced = veilig("advisories", "sync", "--from", "osv.json")
    assert (synced.code, "1 advisories for 1 packages" in synced.out) == (0, True)
    said = veilig("audit", "shop")
    assert said.code == 1
    assert "CVE-2024-1" in said.out
    assert (
        "lowest clean version 3.1.6; brought in by flask > jinja2; only brought in by another package"
        in said.out
    )
    assert "days old" in said.out
    status = veilig("advisories", "status", "--json")
    assert (status.code, status.json["as_of"]) == (0, "2024-10-01")


def test_a_vex_statement_silences_a_pin_that_the_code_does_not_import_and_the_bill_holds_it(
    veilig: Terminal,
) -> None:
    folder = veilig.project("shop", app="import flask\n")
    (folder / "uv.lock").write_text(UV)
    (veilig.folder / "osv.json").write_text(json.dumps([RECORD]))
    assert veilig("advisories", "sync", "--from", "osv.json").code == 0
    claim = {
        "vulnerability": {"name": "CVE-2024-1"},
        "products": [{"@id": "pkg:pypi/jinja2@3.1.2"}],
        "status": "not_affected",
        "justification": "vulnerable_code_not_in_execute_path",
    }
    vex = {"@context": "https://openvex.dev/ns/v0.2.0", "statements": [claim]}
    (veilig.folder / "vex.json").write_text(json.dumps(vex))
    said = veilig("audit", "shop", "--vex", "vex.json", "--output", "bom.cdx.json", "--output", "r.txt")
    assert said.code == 0, said.err
    assert "left out: CVE-2024-1: not_affected" in (veilig.folder / "r.txt").read_text()
    bill = json.loads((veilig.folder / "bom.cdx.json").read_text())
    assert [c["purl"] for c in bill["components"]] == ["pkg:pypi/flask@3.0.3", "pkg:pypi/jinja2@3.1.2"]
    (veilig.folder / "vex.json").write_text("{}")
    assert veilig("audit", "shop", "--vex", "vex.json").code == 2


def patch(*lines: str, path: str = "app.py", after: str = "x = 1") -> str:
    added = "".join(f"+{line}\n" for line in lines)
    return f"--- a/{path}\n+++ b/{path}\n@@ -1 +1,{len(lines) + 1} @@\n {after}\n{added}"


def test_a_patch_is_judged_by_what_it_adds_and_nothing_is_changed(veilig: Terminal) -> None:
    folder = veilig.project("small", app="x = 1\n")
    secret = f"smtp_password = '{PASSWORD}'"
    diff = patch(
        "import subprocess, sys, reqeusts", "subprocess.run('ls ' + sys.argv[1], shell=True)", secret
    )
    said = veilig("audit", "small", "--patch", "-", "--format", "json", stdin=diff)
    assert said.code == 1, said.err
    report = said.json["roots"][0]["report"]
    rules = {(f["rule"], f["line"]) for f in report["findings"]}
    assert ("lookalike-package", 2) in rules
    assert any(f["cwe"] == 78 and f["line"] == 3 for f in report["findings"])
    assert any(f["cwe"] == 798 and f["line"] == 4 for f in report["findings"])
    assert any("start programs" in n["message"] for n in report["notices"])
    assert (folder / "app.py").read_text() == "x = 1\n"
    assert PASSWORD not in said.out
    assert PASSWORD.encode() not in (veilig.home / "ledger.db").read_bytes()


def test_a_harmless_patch_is_clean_and_one_that_does_not_fit_is_refused(veilig: Terminal) -> None:
    veilig.project("small", app="x = 1\n")
    clean = veilig("audit", "small", "--patch", "-", stdin=patch("y = 2"))
    assert (clean.code, clean.err) == (0, "")
    other = veilig("audit", "small", "--patch", "-", stdin=patch("y = 2", after="z = 3"))
    assert other.code not in (0, 1)
    assert "do not stand there" in other.err
    assert veilig("audit", "small", "--patch", "-", stdin="").code == 2
