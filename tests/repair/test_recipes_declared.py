"""Where is a module that is imported and not declared written down, and when is it left alone?"""

# ruff: noqa: E501  # one case per line
import pytest

from veilig.repair.recipes import declared
from veilig.repair.recipes.proposal import Context, Distribution, Failure

FAILURE = Failure("ModuleNotFoundError", "No module named 'requests'", "app.py", 1)
KNOWN = {"requests": Distribution("requests", "2.32.3")}
CFG = "[options]\ninstall_requires =\n    attrs>=23\n    rich\n\n[options.extras_require]\ndev = pytest\n"


def texts(files: dict[str, str]) -> list[str]:
    """The texts of the dependency files after each proposal."""
    offered = declared.propose(Context({"app.py": "import requests\n", **files}, FAILURE, KNOWN))
    assert all(one.decision for one in offered)
    return [one.patch().apply(files | {"app.py": ""})[one.path] for one in offered]


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("setup.cfg", CFG, CFG.replace("    attrs", "    requests>=2.32.3\n    attrs")),
        ("setup.cfg", CFG.replace("\n", "\r\n"), CFG.replace("    attrs", "    requests>=2.32.3\n    attrs").replace("\n", "\r\n")),
        ("requirements.txt", "rich", "rich\nrequests>=2.32.3\n"),
        ("pyproject.toml", '[project]\ndependencies = ["rich"]\n', '[project]\ndependencies = ["requests>=2.32.3", "rich"]\n'),
    ],
    ids=["setup.cfg", "windows line ends", "requirements", "pyproject"],
)  # fmt: skip
def test_a_missing_requirement_is_written_beside_the_others(path: str, before: str, after: str) -> None:
    assert texts({path: before}) == [after]


@pytest.mark.parametrize(
    "text",
    [
        CFG.replace("rich", "Requests [socks] ~= 2.0"),
        "[options]\ninstall_requires = rich; attrs\n",
        "[metadata]\n",
    ],
    ids=["declared already", "one line", "no list"],
)
def test_a_list_that_names_it_or_has_no_lines_of_its_own_is_left_alone(text: str) -> None:
    assert texts({"setup.cfg": text}) == []
