"""Is the page of `veilig serve` the one that web/src says, and does it ask nobody else for anything?"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
BUILT = ROOT / "src" / "veilig" / "server" / "web"
GZIP_BYTES_MAX = 60_000  # what a phone on a bad line fetches once
PACKAGES = {"preact", "axe-core", "esbuild", "typescript"}


def test_the_built_page_is_what_its_sources_give(tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("no Node here: whether the built page is that of web/src was not checked")
    if not (WEB / "node_modules" / "esbuild").is_dir():
        pytest.skip("web/node_modules is not installed: run web/build to check the built page")
    subprocess.run([WEB / "build", tmp_path], check=True, capture_output=True)
    made = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    here = {p.name: p.read_bytes() for p in BUILT.iterdir()}
    assert sorted(made) == sorted(here)
    assert [n for n in made if made[n] != here[n]] == [], "run web/build and commit what it makes"


def test_the_page_is_small() -> None:
    import gzip

    size = sum(len(gzip.compress(p.read_bytes(), 9)) for p in BUILT.iterdir())
    assert size <= GZIP_BYTES_MAX


def test_the_page_runs_under_a_strict_policy_and_asks_nobody_else() -> None:
    html = (BUILT / "index.html").read_text()
    script = (BUILT / "app.js").read_text()
    style = (BUILT / "app.css").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", html)
    assert not re.search(r"\beval\(|new Function\(|insertAdjacentHTML|document\.write", script)
    ours = "".join(p.read_text() for p in (WEB / "src").glob("*.ts*"))
    assert not re.search(r"inner_?HTML|outerHTML|set_?InnerHTML", ours, re.IGNORECASE)
    assert "@import" not in style
    assert "url(" not in style
    named = set(re.findall(r"https?://([\w.-]+)", html + script + style))
    assert named <= {"www.w3.org", "cwe.mitre.org"}, "namespaces, and a link that a person may follow"


def test_the_page_needs_few_packages_and_each_is_pinned_by_its_hash() -> None:
    asked = json.loads((WEB / "package.json").read_text())
    versions = {**asked["dependencies"], **asked["devDependencies"]}
    assert set(versions) == PACKAGES
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", v) for v in versions.values())
    locked = json.loads((WEB / "package-lock.json").read_text())["packages"]
    assert [name for name, p in locked.items() if name and "integrity" not in p] == []


@pytest.mark.parametrize("path", sorted((WEB / "src").rglob("*.ts*")), ids=lambda p: p.name)
def test_a_source_of_the_page_says_its_question_and_stays_short(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0].startswith("// ")
    assert len(lines) <= 400
