"""Does a hostile tree cost anything but the files that are hostile?"""

import os
from pathlib import Path

from veilig.audit.collect import collect
from veilig.audit.scan import ScanConfig
from veilig.audit.worker import audit

WEAK = "import os\nfrom flask import request\ndef f():\n    os.system(request.args['q'])\n"


def reasons(root: Path) -> dict[str, str]:
    return {skipped.path: skipped.reason for skipped in collect(root).skipped}


def test_a_hostile_tree_is_analysed_but_for_its_hostile_files(tmp_path: Path):
    (tmp_path / "app.py").write_text(WEAK)
    (tmp_path / "latin.py").write_bytes(b"name = 'caf\xe9'\n")
    (tmp_path / "binary.py").write_bytes(b"x = 1\0\n")
    (tmp_path / "deep.py").write_text("x = " + "(" * 10_000 + ")" * 10_000)
    with (tmp_path / "huge.py").open("wb") as handle:
        handle.truncate(50 << 20)
    loop = tmp_path / "loop"
    loop.mkdir()
    (loop / "again").symlink_to(loop, target_is_directory=True)
    (tmp_path / "self.py").symlink_to("self.py")
    os.mkfifo(tmp_path / "pipe.py")

    report = audit(tmp_path, ScanConfig())

    assert [(f.cwe, f.path) for f in report.findings] == [(78, "app.py")]
    told = {skipped.path: skipped.reason for skipped in report.skipped}
    assert set(told) == {"latin.py", "binary.py", "deep.py", "huge.py", "loop/again", "self.py", "pipe.py"}
    assert "null bytes" in told["binary.py"]
    assert "not readable as text" in told["latin.py"]
    assert str(50 << 20) in told["huge.py"]
    assert "symbolic link" in told["loop/again"]
    assert report.exit_code() != 0


def test_a_declared_encoding_is_read_and_a_link_to_a_file_is_named(tmp_path: Path):
    (tmp_path / "declared.py").write_bytes(b"# -*- coding: latin-1 -*-\nname = 'caf\xe9'\n")
    (tmp_path / "linked.py").symlink_to("declared.py")
    assert "café" in collect(tmp_path).files["declared.py"]
    assert reasons(tmp_path) == {"linked.py": "a symbolic link: not followed"}


def test_the_largest_file_that_is_read_has_exactly_the_limit(tmp_path: Path):
    (tmp_path / "at.py").write_text("#" * 100)
    (tmp_path / "above.py").write_text("#" * 101)
    found = collect(tmp_path, file_bytes_max=100)
    assert set(found.files) == {"at.py"}
    assert [skipped.path for skipped in found.skipped] == ["above.py"]
