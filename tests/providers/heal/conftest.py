"""A fleet that is taken down after its test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet import Fleet


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path / "fleet")
    yield made
    made.close()
