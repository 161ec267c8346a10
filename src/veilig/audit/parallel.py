"""How do several cores read one tree? Forked children, a share of the modules each; inside the wall only."""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any, cast

from veilig.audit.memory import part_from
from veilig.audit.programs import Task, Units, one_by_one
from veilig.audit.units import LINES_PREPARED_MAX, Part, Unit

CHARS_WORTH_IT = 400_000  # below, a second process costs more than it brings
GRACE_S = 5.0  # a child that is later than this after the deadline is ended


def in_parallel(jobs: int) -> "Spreader":
    """A way to judge modules with this many processes at once."""
    return Spreader(jobs)


class Spreader:
    """Shares modules out, large programs in pieces; a child that dies is reported."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs

    def __call__(self, tasks: Sequence[Task], deadline: float) -> list[Units]:
        """The tasks' units, in order."""
        total = sum(map(_size, tasks))
        if self._jobs < 2 or total < CHARS_WORTH_IT:
            return list(one_by_one(tasks, deadline))
        pieces = [
            piece for at, task in enumerate(tasks) for piece in _pieces(at, task, total // (self._jobs * 4))
        ]
        shares: list[list[tuple[int, Task]]] = [[] for _ in range(self._jobs)]
        loads = [0] * self._jobs
        for at, piece in sorted(pieces, key=lambda item: -_size(item[1])):
            least = loads.index(min(loads))
            shares[least].append((at, piece))
            loads[least] += _size(piece)
        shares = [sorted(share, key=lambda item: item[0]) for share in shares]  # one world after the other
        room = LINES_PREPARED_MAX
        for task in tasks:
            if task.paths:  # once, before the processes part
                room -= task.world.prepare(room)
        children = [_Child(share, deadline) for share in shares[1:] if share]
        found: list[dict[str, Unit]] = [{} for _ in tasks]
        for (at, _), units in zip(shares[0], one_by_one([t for _, t in shares[0]], deadline), strict=True):
            found[at].update(units)
        for child in children:
            for at, units in child.units():
                found[at].update(units)
        return list(found)


def _size(task: Task) -> int:
    return sum(len(task.world.texts[path]) for path in task.paths)


def _pieces(at: int, task: Task, size: int) -> list[tuple[int, Task]]:
    """Neighbouring modules together, about `size` characters each."""
    pieces: list[list[str]] = [[]]
    room = size
    for path in task.paths:
        if room < 0:
            pieces.append([])
            room = size
        pieces[-1].append(path)
        room -= len(task.world.texts[path])
    return [(at, Task(task.world, tuple(paths), task.old)) for paths in pieces if paths]


class _Child:
    """One forked process; the units of its pieces come as one JSON line each."""

    def __init__(self, share: Sequence[tuple[int, Task]], deadline: float) -> None:
        read, write = os.pipe()
        sys.stdout.flush()
        self._until = deadline + GRACE_S
        self._share = share
        self._pid = os.fork()
        if self._pid == 0:
            code = 1
            try:
                os.close(read)
                with os.fdopen(write, "w", encoding="utf-8", errors="surrogatepass") as out:
                    for units in one_by_one([task for _, task in share], deadline):
                        told = {path: [_plain(unit.flow), _plain(unit.shape)] for path, unit in units.items()}
                        out.write(json.dumps(told) + "\n")
                        out.flush()
                code = 0
            finally:
                os._exit(code)
        os.close(write)
        self._read = read

    def units(self) -> list[tuple[int, dict[str, Unit]]]:
        """What it found by task; what is missing when it died or took too long is told to be missing."""
        with os.fdopen(self._read, encoding="utf-8", errors="surrogatepass") as given:
            lines = given.read().splitlines()
        if time.monotonic() > self._until:
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        found: list[tuple[int, dict[str, Unit]]] = []
        for index, (at, task) in enumerate(self._share):
            try:
                told = cast("dict[str, list[list[Any]]]", json.loads(lines[index]))
                units = {
                    path: Unit(part_from(flow), part_from(shape)) for path, (flow, shape) in told.items()
                }
            except (ValueError, LookupError):  # cut off in the middle: the rest is lost, and said so
                units = {path: _lost(path) for path in task.paths}
            found.append((at, units))
        return found


def _plain(part: Part) -> list[object]:
    return [part.hits, part.incomplete, part.touched, part.asked]


def _lost(path: str) -> Unit:
    """What is said about a module whose process died: nothing of it was judged, nothing is remembered."""
    return Unit(Part(incomplete=[[path, "<module>", "the process that read it died"]]), Part())
