"""Uploads: a plain archive is unpacked; one that would leave its folder, or fill the disk, leaves nothing."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from veilig.collab import archive
from veilig.collab.archive import unpack
from veilig.collab.roles import Refused


def zipped(*names: str, mode: int = 0o100644, content: bytes = b"x = 1\n") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            packed.writestr(info, content)
    return out.getvalue()


def tarred(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", content: bytes = b"x = 1\n") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, link, len(content) if kind == tarfile.REGTYPE else 0
        tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize("data", [zipped("shop/a.py", "shop/b/c.py", "shop/empty/"), tarred("./shop/a.py")])
def test_a_plain_archive_is_unpacked(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a").write_bytes(data)
    unpacked = unpack(tmp_path / "a", tmp_path / "out")
    assert (tmp_path / "out/shop/a.py").read_text() == "x = 1\n"
    assert unpacked.size_bytes == 6 * unpacked.files


BAD: dict[str, Callable[[], bytes]] = {
    "zip slip": lambda: zipped("../evil.py"),
    "zip slip, deep": lambda: zipped("a/../../evil.py"),
    "absolute": lambda: zipped("/tmp/evil.py"),
    "backslash": lambda: zipped("..\\evil.py"),
    "zip symlink": lambda: zipped("link", mode=0o120777, content=b"/etc/passwd"),
    "zip device": lambda: zipped("dev", mode=0o020666),
    "twice": lambda: zipped("a.py", "A.py"),
    "tar slip": lambda: tarred("../evil.py"),
    "tar symlink": lambda: tarred("link", tarfile.SYMTYPE, "/etc/passwd"),
    "tar hard link": lambda: tarred("link", tarfile.LNKTYPE, "../../people.db"),
    "tar device": lambda: tarred("dev", tarfile.CHRTYPE),
    "tar fifo": lambda: tarred("fifo", tarfile.FIFOTYPE),
    "control character": lambda: zipped("a\x1b[2Jb.py"),
    "nothing in it": lambda: zipped(),
    "cut off": lambda: zipped("a.py")[:40],
    "no archive": lambda: b"#!/bin/sh\n",
    "empty": lambda: b"",
    "zip bomb": lambda: zipped("big", content=b"\0" * (1 << 21)),
    "tar bomb": lambda: tarred("big", content=b"\0" * (1 << 21)),
    "too many": lambda: zipped(*(f"f{i}" for i in range(30))),
}


@pytest.mark.parametrize("name", BAD)
def test_any_other_archive_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(archive, "FILE_BYTES_MAX", 1 << 20)
    monkeypatch.setattr(archive, "FILES_MAX", 20)
    (tmp_path / "a").write_bytes(BAD[name]())
    with pytest.raises(Refused) as error:
        unpack(tmp_path / "a", tmp_path / "in" / "out")
    assert error.value.status == 400
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["a"]
    assert not (tmp_path / "in/out").exists()
