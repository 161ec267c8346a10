"""How is a tree audited in its own process, inside the sandbox? `python -m veilig.audit.worker ROOT
--json`."""

import argparse
import os
import resource
import sys
import threading
from dataclasses import replace
from pathlib import Path

from veilig.audit.collect import collect
from veilig.audit.finding import Report
from veilig.audit.parallel import in_parallel
from veilig.audit.programs import scan_tree
from veilig.audit.report import render_text
from veilig.audit.scan import ScanConfig
from veilig.core.errors import UsageError

MEMORY_BYTES_MAX = 2 << 30  # 2 GiB of address space: 400 KLOC need a quarter of it
STACK_BYTES = 64 << 20
RECURSION_MAX = 6_000  # with STACK_BYTES the interpreter raises before the thread's stack ends


def audit(root: Path, config: ScanConfig, jobs: int = 1) -> Report:
    """The report on everything below `root`. Raises UsageError when there is no such path."""
    if not root.exists():
        raise UsageError(f"{str(root)!r} does not exist", fix="give a directory or a Python file")
    collected = collect(root)
    report = scan_tree(collected.files, config, None, in_parallel(jobs))
    return replace(report, skipped=(*collected.skipped, *report.skipped))


def main(argv: list[str] | None = None) -> int:
    """Exit code as `Report.exit_code`; 2 for wrong use."""
    parser = argparse.ArgumentParser(prog="veilig.audit.worker", description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--pattern", action="store_true", help="also what only looks like a weakness")
    parser.add_argument("--tests", action="store_true", help="also report on test files")
    parser.add_argument("--seconds-max", type=float, default=600.0)
    parser.add_argument("--jobs", type=int, default=1, help="processes that read at once")
    parser.add_argument("--today", default="", help="ISO date on which suppressions are judged")
    options = parser.parse_args(argv)
    config = ScanConfig(
        include_pattern=options.pattern,
        include_tests=options.tests,
        seconds_max=options.seconds_max,
        today=options.today,
    )
    outcome: list[Report | UsageError] = []

    def work() -> None:
        try:
            outcome.append(audit(options.root, config, options.jobs))
        except UsageError as error:
            outcome.append(error)

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    sys.setrecursionlimit(RECURSION_MAX)
    threading.stack_size(STACK_BYTES)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if not outcome:
        print("the audit ended without a report: its thread died, see above", file=sys.stderr)
        return 3
    result = outcome[0]
    if isinstance(result, UsageError):
        print(result, file=sys.stderr)
        return result.exit_code
    print(result.to_json() if options.json else render_text(result, show_flow=True, color=False))
    return result.exit_code()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # nothing is left to tidy: taking all trees apart would cost a thirtieth of the work
