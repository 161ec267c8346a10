"""What do the tests of the command line share? A terminal of their own."""

from pathlib import Path

import pytest
from terminal import Terminal


@pytest.fixture
def veilig(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)
