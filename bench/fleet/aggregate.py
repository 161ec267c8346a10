"""How much memory do the reports of a campaign take, and does it grow with the repositories?

`python bench/fleet/aggregate.py [REPOSITORIES ...]`. Results and reports are made up (ten findings each), the
reports are written by a process of its own for each size: page, SARIF, JSON lines and the sums.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from veilig.app.campaigns import Finished
from veilig.campaign.result import Result, Status, findings_of
from veilig.campaign.store import Campaigns, Heading, Kept
from veilig.cli.fleet_report import write_report

FINDINGS = 10
FORMS = {"html": "f.html", "sarif": "f.sarif", "jsonl": "f.jsonl", "text": "f.txt"}


def audit(number: int) -> dict[str, Any]:
    """What an audit session could have ended with."""
    flow = [
        {
            "path": "app.py",
            "line": n,
            "column": 0,
            "text": "subprocess.run(line)",
            "what": "text from outside",
        }
        for n in range(1, 4)
    ]
    found = [
        {
            "rule": "command-injection", "cwe": 78, "title": "command injection", "severity": "high",
            "message": "text from outside becomes part of a shell command", "path": f"app_{n}.py",
            "line": n + 1, "column": 0, "end_line": n + 1, "end_column": 40, "confidence": "flow",
            "flow": flow, "fix_id": "command-argv", "fingerprint": f"{number:016x}{n:016x}", "opinion": None,
        }
        for n in range(FINDINGS)
    ]  # fmt: skip
    report: dict[str, Any] = {"findings": found, "skipped": [], "files": 20, "lines": 2000, "seconds": 1.0}
    report |= {"incomplete": [], "suppressed": [], "notices": [], "outside_profile": [], "version": 1}
    whole: dict[str, Any] = {"report": report, "problems": [], "session": "s", "wall": "bubblewrap"}
    return whole | {
        "files": 20, "lines": 2000, "wall_s": 1.0, "skipped": [], "incomplete": [], "suppressed": [],
        "notices": [], "not_reported": 0, "advisories": {"pins": 0, "components": [], "not_assessed": []},
        "left_out": [],
    }  # fmt: skip


def fill(folder: Path, count: int) -> None:
    """A campaign of so many repositories."""
    campaigns = Campaigns(folder)
    campaign = campaigns.begin(Heading("c", "audit", "repos.txt", "a", "t", count, "now", "later"))
    for number in range(count):
        data = audit(number)
        key = f"{number:064x}"
        campaigns.keep(key, data)
        result = Result(f"team/r{number}", f"/r{number}", "", Status.AUDITED, key=key, files=20, lines=2000,
                        findings=findings_of(data))  # fmt: skip
        campaign.add(result, durable=False)


def write(folder: Path, forms: list[str]) -> None:
    """Write the reports, and say how much memory that took."""
    campaigns = Campaigns(folder)
    campaign = campaigns.last("a")
    assert campaign is not None
    labels = [result.label for result in campaign.scan()]
    results = Kept(campaign, labels, None, {})
    finished = Finished(campaign.heading, results, lambda result: campaigns.kept(result.key))
    began_s = time.perf_counter()
    for form in forms:
        write_report(str(folder / FORMS[form]), form, finished)
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(json.dumps({"rss_mib": rss, "seconds": round(time.perf_counter() - began_s, 1)}))


def main() -> int:
    """Prints the table."""
    if sys.argv[1:2] == ["write"]:
        write(Path(sys.argv[2]), sys.argv[3:])
        return 0
    sizes = [int(size) for size in sys.argv[1:]] or [100, 2000, 8000]
    print(f"{'repositories':>12} {'findings':>9} {'peak MiB':>9} {'seconds':>8} {'all reports MiB':>16}")
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            fill(folder, size)
            words = [sys.executable, __file__, "write", name, *FORMS]
            told = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)
            written = sum((folder / FORMS[form]).stat().st_size for form in FORMS) / (1 << 20)
            print(
                f"{size:>12} {size * FINDINGS:>9} {told['rss_mib']:>9} {told['seconds']:>8} {written:>16.1f}"
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
