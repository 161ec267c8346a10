import os
import pathlib
import subprocess
import tempfile


def rotate(path, keep):
    return subprocess.run(["bash", "/app/rotate.sh", str(path), str(keep)], capture_output=True).returncode


with tempfile.TemporaryDirectory() as folder:
    log = pathlib.Path(folder, "the log.txt")
    log.write_text("0\n")
    writer = log.open("a")
    inode = log.stat().st_ino
    for number in range(1, 6):
        assert rotate(log, 3) == 0
        assert log.stat().st_ino == inode and log.read_text() == ""
        writer.write(f"{number}\n")
        writer.flush()
    assert log.read_text() == "5\n"
    names = sorted(p.name for p in pathlib.Path(folder).iterdir())
    assert names == ["the log.txt", "the log.txt.1", "the log.txt.2", "the log.txt.3"], names
    assert [pathlib.Path(folder, f"the log.txt.{i}").read_text() for i in (1, 2, 3)] == ["4\n", "3\n", "2\n"]
    for bad in ("0", "-1", "x", ""):
        assert rotate(log, bad) == 2
    assert log.read_text() == "5\n"
    for _ in range(12):
        assert rotate(log, 11) == 0
    assert pathlib.Path(folder, "the log.txt.11").exists() and not pathlib.Path(folder, "the log.txt.12").exists()
