"""Does a vulnerable pin go to the lowest clean version, in every file that holds it?"""

from veilig.audit.advisories import VulnerablePin
from veilig.audit.advisories_versions import Severity
from veilig.audit.dependencies import Requirement, read_dependencies
from veilig.repair.recipes.pins import propose
from veilig.repair.recipes.proposal import Advice, Confidence, Proposal


def vulnerable(item: Requirement, clean: str | None, branch: str | None = None) -> VulnerablePin:
    return VulnerablePin(item, "CVE-1", (), (), "s", Severity.UNKNOWN, None, "2024", clean, branch)


def of(files: dict[str, str], clean: str | None, branch: str | None = None) -> list[Proposal | Advice]:
    return propose([vulnerable(item, clean, branch) for item in read_dependencies(files).pinned], files)


def test_a_pin_moves_in_all_files_and_nothing_else_changes() -> None:
    files = {
        "requirements.txt": "flask>=2  # web\r\nJinja2 == 3.1.2 ; python_version > '3.8'  # keep\r\n",
        "pyproject.toml": '[project]\ndependencies = ["jinja2[i18n]==3.1.2"]\n',
    }
    (item,) = of(files, "3.1.4")
    assert isinstance(item, Proposal)
    assert item.title == "jinja2 3.1.2 -> 3.1.4, the lowest clean version"
    after = item.patch().apply(files)
    assert after == {path: text.replace("3.1.2", "3.1.4") for path, text in files.items()}


def test_a_new_major_version_is_less_sure_and_the_branch_is_offered_too() -> None:
    items = of({"requirements.txt": "a==1.2.0\n"}, "2.0", "1.2.9")
    assert [(i.title, i.confidence) for i in items if isinstance(i, Proposal)] == [
        ("a 1.2.0 -> 2.0, the lowest clean version", Confidence.MEDIUM),
        ("a 1.2.0 -> 1.2.9, the lowest clean version of its branch", Confidence.HIGH),
    ]


def test_locks_hashes_and_pins_without_a_clean_version_get_advice() -> None:
    cases = [
        (
            {"uv.lock": '[[package]]\nname = "a"\nversion = "1.0"\n'},
            "1.1",
            "uv lock --upgrade-package a==1.1",
        ),
        ({"requirements.txt": "a==1.0 --hash=sha256:aa\n"}, "1.1", "hashes"),
        ({"requirements.txt": "a==1.0\n"}, None, "names a clean version"),
    ]
    for files, clean, part in cases:
        (item,) = of(files, clean)
        assert isinstance(item, Advice)
        assert part in item.text
