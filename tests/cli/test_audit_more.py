"""`veilig audit` beyond Python files: other languages, rules of one's own, the history, and a second time."""

import json

from terminal import Terminal

RULE = """version: 1
rules:
  - id: shop-note
    cwe: 546
    title: Note about security
    severity: low
    what: a note says that security is unfinished
    why: It is.
    advice: Finish it.
    pattern: 'SECURITY-?TODO'
    bad: "# SECURITY-TODO check the owner\\n"
    good: "# done\\n"
"""
DOCKERFILE = 'FROM python:latest\nUSER app\nCMD ["app"]\n'


def test_scripts_rules_and_settings_of_the_project_are_in_one_report_and_a_second_audit_says_the_same(
    veilig: Terminal,
) -> None:
    folder = veilig.project("weak", app="x = 1  # SECURITYTODO\n")
    (folder / "old").mkdir()
    (folder / "old/run.sh").write_text("curl -k https://example.com/x\n")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "rules.yaml").write_text(RULE)
    (folder / "pyproject.toml").write_text(
        '[tool.veilig.audit]\nrules = ["rules.yaml"]\nexclude = ["old/**"]\n'
    )
    first = veilig("audit", "weak", "--format", "json")
    assert first.code == 1, first.err
    report = first.json["roots"][0]["report"]
    assert {f["rule"] for f in report["findings"]} == {"shop-note", "docker-moving-image"}
    assert [(s["finding"]["path"], s["reason"]) for s in report["suppressed"]] == [
        ("weak/old/run.sh", "pyproject.toml excludes old/**")
    ]
    again = veilig("audit", "weak", "--format", "json", "--jobs", "2")
    assert again.json["roots"][0]["report"]["findings"] == report["findings"]
    bare = veilig("audit", "weak", "--format", "json", "--no-config", "--fresh")
    rules = {f["rule"] for f in bare.json["roots"][0]["report"]["findings"]}
    assert rules == {"sh-certificate-unchecked", "docker-moving-image"}


def test_a_rule_that_fails_its_example_stops_the_audit_with_its_line(veilig: Terminal) -> None:
    folder = veilig.project("weak", app="x = 1\n")
    (folder / "rules.yaml").write_text(RULE.replace("# done", "# SECURITYTODO"))
    said = veilig("audit", "weak", "--rules", "weak/rules.yaml")
    assert (said.code, "weak/rules.yaml:3: the good example of shop-note is found too" in said.err) == (
        2,
        True,
    )
    (folder / "rules.yaml").write_text(RULE)
    held = veilig("audit", "--rules", "weak/rules.yaml", "--check-rules")
    assert (held.code, "shop-note" in held.out) == (0, True)


def test_a_secret_that_was_removed_is_found_in_the_history_and_not_shown(veilig: Terminal) -> None:
    veilig.project("weak", app="x = 1\n")
    token = "AKIA" + "Q7RT" * 4
    head = "diff --git a/m.py b/m.py\n--- a/m.py\n+++ b/m.py\n@@ -1 +1 @@"
    (veilig.folder / "log").write_text(f"commit {'a' * 40}\n\n{head}\n-x\n+KEY = '{token}'\n")
    said = veilig("audit", "weak", "--history", "log", "--format", "json")
    findings = said.json["roots"][0]["report"]["findings"]
    assert [(f["path"], f["rule"]) for f in findings] == [("weak/m.py", "secret-in-history")]
    assert token not in json.dumps(said.json)
    (veilig.folder / "log").write_text("nothing\n")
    assert veilig("audit", "weak", "--history", "log").code == 2
