"""Where are the scripts that run inside the sandbox, with the project's own interpreter?

They use the standard library and the project's pytest only, never import veilig, and read Python >= 3.9.
"""

from pathlib import Path


def folder() -> Path:
    """The folder to bind read-only into the sandbox; `testrun.py` and `search.py` are the entry points."""
    return Path(__file__).parent
