"""Can only one process drive a session, and is a lock that cannot be made a clear error?"""

from pathlib import Path

import pytest

from veilig.core.errors import SessionError
from veilig.core.lock import SessionLock


def test_a_second_driver_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    with SessionLock(tmp_path / "s"), pytest.raises(SessionError, match="another process"):
        SessionLock(tmp_path / "s").__enter__()
    with SessionLock(tmp_path / "s"):
        pass


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SessionError, match="cannot be locked"):
        SessionLock(tmp_path / "file" / "s").__enter__()
