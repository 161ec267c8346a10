"""How does a throw-away copy stay what it was while mutants run in it?"""

from __future__ import annotations

import os
from pathlib import Path

from veilig_worker_project import IGNORED_FOLDERS

FILES_MAX = 3000
BYTES_MAX = 32 << 20  # kept in memory; a larger project is left to the next fresh copy, and that is said


class Tree:
    """The project's files as they were; `restore()` puts back what a mutant changed, removed or added."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.marks: dict[str, tuple[int, int]] = {}
        self.contents: dict[str, bytes] = {}
        self.guarded = True
        size_bytes = 0
        for path, mark in self._walk():
            size_bytes += mark[1]
            if len(self.marks) >= FILES_MAX or size_bytes > BYTES_MAX:
                self.guarded = False
                self.contents.clear()
                return
            self.marks[path] = mark
            self.contents[path] = Path(path).read_bytes()

    def restore(self) -> int:
        """How many files had to be put back or removed."""
        if not self.guarded:
            return 0
        now = dict(self._walk())
        if now == self.marks:
            return 0
        touched = 0
        for path in now.keys() - self.marks.keys():
            Path(path).unlink()
            touched += 1
        for path, mark in self.marks.items():
            if now.get(path) != mark:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                Path(path).write_bytes(self.contents[path])
                os.utime(path, ns=(mark[0], mark[0]))
                touched += 1
        return touched

    def _walk(self) -> list[tuple[str, tuple[int, int]]]:
        found: list[tuple[str, tuple[int, int]]] = []
        for folder, folders, names in os.walk(self.root):
            folders[:] = sorted(one for one in folders if one not in IGNORED_FOLDERS)
            for name in names:
                path = os.path.join(folder, name)  # noqa: PTH118
                if os.path.isfile(path) and not os.path.islink(path):  # noqa: PTH113, PTH114
                    stat = os.stat(path)  # noqa: PTH116
                    found.append((path, (stat.st_mtime_ns, stat.st_size)))
        return found
