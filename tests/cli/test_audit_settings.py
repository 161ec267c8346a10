"""Does a project say what its audit leaves out, within its own folder, and never unseen?"""

import argparse
from pathlib import Path

import pytest

from veilig.audit.finding import Confidence, Finding, Report, Severity
from veilig.cli.audit_report import Root
from veilig.cli.audit_settings import Settings, operator_excludes, read_settings, settled, without_excluded
from veilig.core.errors import UsageError


def project(tmp_path: Path, table: str) -> Path:
    (tmp_path / "pyproject.toml").write_text(f"[tool.veilig.audit]\n{table}\n")
    return tmp_path


def finding(path: str) -> Finding:
    return Finding("r", 1, "t", "m", path, 1, 0, 1, 1, Severity.HIGH, Confidence.FLOW, fingerprint=path)


def line(**words: object) -> argparse.Namespace:
    base = {"fail_at": None, "pattern": False, "rules": [], "baseline": None, "write_baseline": None}
    return argparse.Namespace(**{**base, **words})


def test_a_folder_without_settings_has_the_defaults(tmp_path: Path):
    assert read_settings(tmp_path) == Settings()
    (tmp_path / "pyproject.toml").write_text("a = [" * 5_000)
    assert read_settings(tmp_path) == Settings()


def test_every_setting_is_read(tmp_path: Path):
    table = (
        'exclude = ["old/**"]\nrules = ["r.yaml"]\nfail-at = "high"\npattern = true\nbaseline = "known.json"'
    )
    found = read_settings(project(tmp_path, table))
    inside = tmp_path.resolve()
    assert (found.exclude, found.rules) == (("old/**",), (str(inside / "r.yaml"),))
    assert (found.fail_at, found.pattern, found.baseline) == ("high", True, str(inside / "known.json"))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('exlude = ["a"]', "did you mean 'exclude'?"),
        ('exclude = "a"', "a list of texts"),
        ('exclude = ["../a"]', "`..` level"),
        ('rules = ["../../etc/x.yaml"]', "not inside the project"),
        ('rules = ["/etc/x.yaml"]', "not inside the project"),
        ('fail-at = "never"', "one of low, medium, high, critical"),
        ("pattern = 1", "true or false"),
    ],
)
def test_a_wrong_setting_is_an_error_with_the_file(tmp_path: Path, table: str, said: str):
    with pytest.raises(UsageError) as refused:
        read_settings(project(tmp_path, table))
    assert said in str(refused.value)
    assert str(refused.value).startswith(str(tmp_path / "pyproject.toml"))


def test_the_command_line_wins_and_of_several_folders_the_strictest():
    both = [Settings(fail_at="high"), Settings(fail_at="medium", pattern=True)]
    assert (settled(line(), both).fail_at, settled(line(), both).pattern) == ("medium", True)
    assert settled(line(), [Settings(fail_at="high"), Settings()]).fail_at == "low"
    assert settled(line(fail_at="critical"), both).fail_at == "critical"
    with pytest.raises(UsageError):
        settled(line(), [Settings(baseline="/a"), Settings()])


def test_what_is_excluded_is_counted_with_who_said_so():
    report = Report(findings=(finding("shop/old/a.py"), finding("shop/new/a.py")))
    root = without_excluded(Root("shop", "s", "w", report, (), (), {}), ["old/**"], "pyproject.toml")
    assert [f.path for f in root.report.findings] == ["shop/new/a.py"]
    assert [(s.finding.path, s.reason) for s in root.report.suppressed] == [
        ("shop/old/a.py", "pyproject.toml excludes old/**")
    ]


def test_the_operators_policy_excludes_too(tmp_path: Path):
    policy = tmp_path / "law.yaml"
    policy.write_text("audit:\n  exclude: ['vendor/**']\n")
    assert operator_excludes(tmp_path, str(policy)) == ("vendor/**",)
    assert operator_excludes(tmp_path, None) == ()
