"""Which rules speak on code that people rely on, and how often per thousand lines?

    .venv/bin/python bench/audit/noise.py FOLDER... [--show RULE] [--max PER_KLOC]

Each folder is audited as a project of its own, as `veilig audit` would by default. Prints a line for each
folder and the count of each rule; --show also prints where a rule speaks. With --max the exit code may be 1.
Nothing of the folders is imported or run.
"""

import argparse
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from veilig.audit.finding import Finding, Report
from veilig.audit.scan import ScanConfig
from veilig.audit.worker import RECURSION_MAX, STACK_BYTES, audit


def measured(folder: Path) -> Report:
    """The report on one folder, after a line about it."""
    began_s = time.process_time()
    report = audit(folder, ScanConfig())
    cpu_s, kloc = time.process_time() - began_s, report.lines / 1000
    rate = len(report.findings) / max(kloc, 0.001)
    unseen = f"{len(report.skipped)} skipped, {len(report.incomplete)} partly followed"
    print(
        f"{folder.name:20} {kloc:7.1f} KLOC {len(report.findings):4} findings {rate:5.2f} per KLOC "
        f"{cpu_s:6.1f} CPU s, {unseen}",
        flush=True,
    )
    return report


def main(argv: list[str]) -> int:
    """0, or 1 above --max."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--show", action="append", default=[], metavar="RULE")
    parser.add_argument("--max", type=float, default=0.0, metavar="PER_KLOC")
    given = parser.parse_args(argv)
    found: list[tuple[Path, Finding]] = []
    lines = 0
    for folder in given.folders:
        report = measured(folder)
        lines += report.lines
        found += [(folder, finding) for finding in report.findings]
    rate = 1000 * len(found) / max(lines, 1)
    print(f"{'together':20} {lines / 1000:7.1f} KLOC {len(found):4} findings {rate:5.2f} per KLOC")
    for rule, count in Counter(finding.rule for _, finding in found).most_common():
        print(f"{count:5} {rule}")
        for folder, one in found:
            if one.rule == rule and rule in given.show:
                print(
                    f"      {one.confidence.value:8} {folder.name}/{one.path}:{one.line} {one.message[:90]}"
                )
    return int(bool(given.max) and rate > given.max)


if __name__ == "__main__":
    sys.setrecursionlimit(RECURSION_MAX)
    threading.stack_size(STACK_BYTES)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(sys.argv[1:])))
    thread.start()
    thread.join()
    sys.exit(codes[0] if codes else 3)
