"""Which paths hold tests, steer tests, or are nobody's to repair?"""

from pathlib import PurePosixPath

_TEST_FOLDERS = frozenset({"tests", "test", "testing"})
_PROTECTED_FOLDERS = frozenset(
    {".git", ".hg", ".svn", ".veilig", ".github", ".gitlab", ".circleci", ".husky"}
)
_PROTECTED_NAMES = frozenset(
    {"veilig.yaml", "veilig.yml", ".gitlab-ci.yml", "azure-pipelines.yml", ".travis.yml", "Jenkinsfile",
     ".pre-commit-config.yaml", ".gitattributes", ".gitmodules"}
)  # fmt: skip
# Files that Python or pytest load on their own: a new one can make any test pass.
_STEERING_NAMES = frozenset(
    {
        "conftest.py",
        "sitecustomize.py",
        "usercustomize.py",
        "pytest.py",
        "unittest.py",
        "noxfile.py",
        "doctest.py",
    }
)
_STEERING_FOLDERS = frozenset({"_pytest", "pytest", "unittest", "pluggy"})


def is_test_path(path: str) -> bool:
    """Test modules by pytest's names, conftest.py, and everything in a folder of tests, its data included."""
    pure = PurePosixPath(path)
    if any(part.lower() in _TEST_FOLDERS for part in pure.parts[:-1]):
        return True
    name = pure.name
    if name in ("conftest.py", "tests.py"):
        return True
    return name.endswith(".py") and (name.startswith("test_") or pure.stem.endswith("_test"))


def is_protected(path: str) -> bool:
    """Version control, veilig's own files and CI: changing them changes who watches."""
    pure = PurePosixPath(path)
    return pure.name in _PROTECTED_NAMES or any(part in _PROTECTED_FOLDERS for part in pure.parts)


def steers_tests(path: str) -> bool:
    """Whether Python or pytest would load this file without being asked."""
    pure = PurePosixPath(path)
    if pure.suffix == ".pth" or pure.name in _STEERING_NAMES:
        return True
    return bool(pure.parts[:-1]) and pure.parts[0] in _STEERING_FOLDERS
