"""How do several cores read one tree? Forked children, a share of the programs each; inside the wall only."""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict

from veilig.audit.finding import Incomplete, Report
from veilig.audit.programs import Texts, one_by_one
from veilig.audit.scan import ScanConfig
from veilig.core.errors import UsageError

CHARS_WORTH_IT = 400_000  # below, a second process costs more than it brings


def in_parallel(jobs: int) -> "Spreader":
    """A way to scan programs with this many processes at once."""
    return Spreader(jobs)


class Spreader:
    """Shares programs out, the largest first, to whoever has least; a child that dies is reported."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs

    def __call__(self, programs: Sequence[Texts], config: ScanConfig) -> list[Report]:
        """The programs' reports, in order."""
        sizes = [sum(map(len, program.values())) for program in programs]
        if self._jobs < 2 or len(programs) < 2 or sum(sizes) < CHARS_WORTH_IT:
            return list(one_by_one(programs, config))
        shares: list[list[int]] = [[] for _ in range(self._jobs)]
        loads = [0] * self._jobs
        for index in sorted(range(len(programs)), key=lambda i: -sizes[i]):
            least = loads.index(min(loads))
            shares[least].append(index)
            loads[least] += sizes[index]
        children = [_Child([programs[i] for i in share], config) for share in shares[1:] if share]
        reports: dict[int, Report] = dict(
            zip(shares[0], one_by_one([programs[i] for i in shares[0]], config), strict=True)
        )
        for child, share in zip(children, [s for s in shares[1:] if s], strict=True):
            given = child.reports()
            for index in share:
                found = given.pop(0) if given else _lost(programs[index])
                reports[index] = found
        return [reports[i] for i in range(len(programs))]


class _Child:
    """One forked process; its reports come as one JSON line each."""

    def __init__(self, programs: Sequence[Texts], config: ScanConfig) -> None:
        read, write = os.pipe()
        sys.stdout.flush()
        self._until = time.monotonic() + config.seconds_max + 5
        self._pid = os.fork()
        if self._pid == 0:
            code = 1
            try:
                os.close(read)
                with os.fdopen(write, "w", encoding="utf-8", errors="surrogatepass") as out:
                    for report in one_by_one(programs, config):
                        out.write(json.dumps(asdict(report)) + "\n")
                        out.flush()
                code = 0
            finally:
                os._exit(code)
        os.close(write)
        self._read = read

    def reports(self) -> list[Report]:
        """What it found, in order; fewer than were asked for when it died or took too long."""
        with os.fdopen(self._read, encoding="utf-8", errors="surrogatepass") as given:
            lines = given.read().splitlines()
        if time.monotonic() > self._until:
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        found: list[Report] = []
        for line in lines:
            try:
                found.append(Report.from_json(line))
            except UsageError:  # cut off in the middle: the rest is lost, and said so
                break
        return found


def _lost(program: Texts) -> Report:
    """What is said about a program whose process died: nothing of it was judged."""
    return Report(
        incomplete=tuple(Incomplete(path, "<module>", "the process that read it died") for path in program)
    )
