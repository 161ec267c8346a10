"""What do the tests of campaigns share? A terminal with a home of its own."""

from pathlib import Path

import pytest

from terminal import Terminal


@pytest.fixture
def veilig(tmp_path: Path) -> Terminal:
    return Terminal(tmp_path)
