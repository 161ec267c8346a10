"""Unpacks uploaded archives."""

import os
import tarfile


def unpack(archive: str, folder: str) -> list[str]:
    """Unpack a tar archive into a folder; the names of what was unpacked, sorted."""
    os.makedirs(folder, exist_ok=True)
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="fully_trusted")
        return sorted(tar.getnames())
