"""Are scripts read within bounds, is nothing dropped in silence, and does a stranger's value keep its way?"""

import builtins
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veilig.audit.finding import Confidence, Report
from veilig.audit.languages import grammar
from veilig.audit.languages.collect import collect_scripts
from veilig.audit.languages.language import Language, language_of
from veilig.audit.languages.registry import PACKS
from veilig.audit.languages.scan import scan_texts
from veilig.repair.audit_more import with_languages


@pytest.mark.parametrize(
    ("path", "text", "language"),
    [
        ("a/x.mjs", "", Language.JAVASCRIPT),
        ("a/x.tsx", "", Language.TYPESCRIPT),
        ("bin/run", "#!/usr/bin/env bash\n", Language.SHELL),
        ("bin/run", "#!/usr/bin/env python\n", None),
        ("docker/Dockerfile.dev", "", Language.DOCKERFILE),
        ("docker/api.dockerfile", "", Language.DOCKERFILE),
        ("src/dockerfile.py", "", None),
        ("src/Dockerfile.md", "", None),
        (".github/workflows/a.yml", "on: push", Language.WORKFLOW),
        ("k/x.yaml", "apiVersion: v1\nkind: Pod\n", Language.KUBERNETES),
        ("k/x.yaml", "name: a\n", None),
        ("main.tf", "", Language.TERRAFORM),
    ],
)
def test_the_language_is_told_from_name_and_first_lines(path: str, text: str, language: Language | None):
    assert language_of(path, text) is language


TAINT = [
    ("const q = req.query.a; const b = q.trim(); db.query(`select * from t where a = '${b}'`)", True),
    ("const q = parseInt(req.query.a); db.query(`select * from t where a = ${q}`)", False),
    (
        "const q = req.query.a; if (!/^\\d$/.test(q)) { return; } db.query(`select a from t where a = ${q}`)",
        False,
    ),
    ("const q = 'x'; db.query(`select * from t where a = ${q}`)", False),
    ("const { a } = req.body; db.query('select * from t where a = ' + a)", True),
    ("const q = ALLOWED[req.query.a]; db.query('select * from t order by ' + q)", False),
]


@pytest.mark.parametrize(("body", "found"), TAINT)
def test_a_strangers_value_is_followed_through_a_function_until_it_is_checked(body: str, found: bool):
    seen = scan_texts({"a.js": f"app.get('/', (req, res) => {{ {body}; }});\n"})
    assert [f.rule for f in seen.findings] == (["js-sql-injection"] if found else [])
    if found:
        assert seen.findings[0].confidence is Confidence.POSSIBLE
        assert seen.findings[0].flow[0].what.startswith("req.")


def test_a_missing_parser_is_one_notice_with_the_extra_to_install(monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("tree_sitter"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(grammar, "import_module", without)
    grammar.parser_of.cache_clear()
    files = {"a.js": "eval(x)", "b.js": "eval(x)", "c.sh": "ls", "Dockerfile": "FROM x:latest\nUSER a\n"}
    found = scan_texts(files)
    grammar.parser_of.cache_clear()
    assert {n.message for n in found.notices} == {
        "2 JavaScript files not read: install veilig[languages]",
        "1 shell file not read: install veilig[languages]",
    }
    assert [f.rule for f in found.findings] == ["docker-moving-image"]
    assert with_languages(Report(), {"a.js": ""}, pattern=False).exit_code() == 0


def test_hostile_files_cost_only_themselves():
    laughs = "apiVersion: v1\nkind: List\na: &a [1, 1]\n" + "".join(
        f"a{i}: &a{i} [*a{i - 1 if i else ''}, *a{i - 1 if i else ''}]\n".replace("*a-1", "*a")
        for i in range(40)
    )
    files = {
        "deep.js": "eval(\n" * 20_000,
        "deep.yaml": "apiVersion: v1\nkind: Pod\nx: " + "[" * 3_000,
        "laughs.yaml": laughs,
        "min.js": "var a=1;" * 2_000,
        "half.sh": "if [ 1 ; do ((( \n",
        "ok.sh": "curl -k https://example.com/a\n",
    }
    found = scan_texts(files)
    assert [f.path for f in found.findings] == ["ok.sh"]
    assert "deep.yaml" in {s.path for s in found.skipped}
    assert [n.path for n in found.notices] == ["min.js"]
    assert "made by a machine" in found.notices[0].message


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(list(PACKS)), st.text(max_size=200))
def test_no_text_raises(language: Language, text: str):
    pack = PACKS[language]
    found = scan_texts({pack.sample: pack.rules[0].bad + text})
    assert not found.incomplete


def test_a_suppression_with_a_reason_silences_a_script_too():
    bad = "document.write(location.hash); // veilig: ignore[CWE-79] reason=shown only to its author\n"
    report = with_languages(Report(), {"a.js": bad}, pattern=False)
    assert not report.findings
    assert [s.reason for s in report.suppressed] == ["shown only to its author"]


def test_files_are_collected_by_name_shebang_and_content(tmp_path: Path):
    (tmp_path / "deploy").write_text("#!/bin/sh\nls\n")
    (tmp_path / "data").write_bytes(b"\0\1")
    (tmp_path / "a.ts").write_text("eval(1)")
    (tmp_path / "values.yaml").write_text("a: 1\n")
    (tmp_path / "bad.js").write_bytes(b"\xff\xfe\x00a")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules/x.js").write_text("eval(1)")
    (tmp_path / "loop.sh").symlink_to("loop.sh")
    files, skipped = collect_scripts(tmp_path)
    assert sorted(files) == ["a.ts", "deploy"]
    assert [(s.path, s.reason) for s in skipped] == [("bad.js", "not UTF-8 text")]
