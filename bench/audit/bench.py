"""How does the audit compare with Bandit and Ruff S: CPU, memory, noise, and J where cases are labelled?

    .venv/bin/python bench/audit/bench.py NAME=PATH[,EXPECTED.csv] ... [--scorer SCORE.py]

Each set is a folder; with a CSV of labelled cases and the scorer it gets Youden's J, else findings per KLOC.
Nothing of the sets is imported, run or copied.
"""

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

# Ruff's SARIF carries no CWE; these are ours, chosen in its favour: the weakness that each rule is about.
RUFF_CWES = {
    "S102": 95, "S103": 732, "S104": 605, "S105": 798, "S106": 798, "S107": 798, "S108": 377, "S110": 703,
    "S112": 703, "S113": 400, "S201": 94, "S202": 22, "S301": 502, "S302": 502, "S303": 327, "S304": 327,
    "S305": 327, "S306": 377, "S307": 95, "S308": 79, "S310": 918, "S311": 330, "S312": 319, "S313": 611,
    "S314": 611, "S315": 611, "S316": 611, "S317": 611, "S318": 611, "S319": 611, "S321": 319, "S323": 295,
    "S324": 327, "S501": 295, "S502": 327, "S503": 327, "S504": 327, "S505": 326, "S506": 502, "S507": 295,
    "S508": 319, "S509": 319, "S601": 78, "S602": 78, "S603": 78, "S604": 78, "S605": 78, "S606": 78,
    "S607": 78, "S608": 89, "S609": 155, "S611": 89, "S612": 94, "S701": 94, "S702": 79,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of one tool cost."""

    cpu_s: float
    wall_s: float
    peak_mib: float
    code: int


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `j` is macro Youden's J, `fpr` its false positive rate."""

    data: str
    tool: str
    cost: Cost
    findings: int
    per_kloc: float
    j: float | None
    tpr: float | None
    fpr: float | None
    speed: float


def measured(argv: list[str], out: Path) -> Cost:
    """Run a tool, its standard output into a file; CPU and memory of it and its children."""
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        sink = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(sink, 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        resource.setrlimit(resource.RLIMIT_CPU, (1800, 1800))
        try:
            os.execvp(argv[0], argv)
        finally:
            os._exit(127)
    _, status, used = os.wait4(pid, 0)
    wall = time.monotonic() - started
    peak = used.ru_maxrss / 1024
    return Cost(used.ru_utime + used.ru_stime, wall, peak, os.waitstatus_to_exitcode(status))


def veilig(root: Path, out: Path) -> Cost:
    """Our engine's worker as the wall runs it, its JSON turned into SARIF afterwards."""
    from veilig.audit.finding import Report
    from veilig.audit.sarif import to_sarif

    raw = out.with_suffix(".json")
    argv = [sys.executable, "-m", "veilig.audit.worker", str(root), "--json", "--tests", "--jobs", "2"]
    cost = measured(argv, raw)
    out.write_text(to_sarif(Report.from_json(raw.read_text())))
    return cost


def bandit(program: str, root: Path, out: Path) -> Cost:
    """Bandit with its own SARIF writer (bandit[sarif]: others drop the CWE tags)."""
    return measured([program, "-q", "-r", str(root), "-f", "sarif", "-o", str(out)], out.with_suffix(".txt"))


def ruff(program: str, root: Path, out: Path) -> Cost:
    """Ruff's security rules alone, configuration of the set ignored, CWE numbers added."""
    argv = [
        program,
        "check",
        "--isolated",
        "--no-cache",
        "--config",
        "exclude=[]",
        "--select",
        "S",
        "--output-format",
        "sarif",
        str(root),
    ]
    cost = measured(argv, out)
    document = json.loads(out.read_text())
    for result in (r for run in document["runs"] for r in run["results"]):
        cwe = RUFF_CWES.get(result["ruleId"])
        if cwe:
            result.setdefault("properties", {})["tags"] = [f"external/cwe/cwe-{cwe:03}"]
    out.write_text(json.dumps(document))
    return cost


def score(scorer: Path, sarif: Path, expected: Path) -> tuple[float | None, float, float | None]:
    """(J, TPR, FPR), macro, in mode group; without safe cases only the share that was found, pooled."""
    out = sarif.with_suffix(".score.json")
    argv = [
        sys.executable,
        str(scorer),
        "--sarif",
        str(sarif),
        "--expected",
        str(expected),
        "--json",
        str(out),
    ]
    measured([*argv, "--quiet"], sarif.with_suffix(".score.txt"))
    judged = json.loads(out.read_text())
    macro = judged["macro"]
    if not judged["pooled"].get("tn", 1) and not judged["pooled"].get("fp", 1):
        macro = judged["pooled"]  # only vulnerable cases: the share that was found
    return macro["j"], macro["tpr"], macro["fpr"]


def kloc(root: Path) -> float:
    """Thousand lines of Python below a folder."""
    return sum(len(p.read_bytes().splitlines()) for p in root.rglob("*.py") if p.is_file()) / 1000


def rows(name: str, root: Path, expected: Path | None, given: argparse.Namespace, folder: Path) -> list[Row]:
    """One row for each tool that is there."""
    tools = {"veilig": veilig}
    for tool, run in (("bandit", bandit), ("ruff S", ruff)):
        program = getattr(given, tool.split()[0]) or shutil.which(tool.split()[0])
        if program:
            tools[tool] = lambda root, out, run=run, program=program: run(program, root, out)
        else:
            print(f"{tool} is not installed: left out", file=sys.stderr)
    size = kloc(root)
    found: list[Row] = []
    for tool, run in tools.items():
        out = folder / f"{name}-{tool.split()[0]}.sarif"
        cost = run(root, out)
        if not out.is_file():
            print(f"{tool} gave no report on {name} (exit code {cost.code}): left out", file=sys.stderr)
            continue
        document = json.loads(out.read_text())
        count = sum(
            1
            for part in document["runs"]
            for r in part["results"]
            if not r.get("suppressions") and r.get("level") != "none"
        )
        j = tpr = fpr = None
        if expected and given.scorer:
            j, tpr, fpr = score(given.scorer, out, expected)
        found.append(
            Row(
                name,
                tool,
                cost,
                count,
                count / size if size else 0.0,
                j,
                tpr,
                fpr,
                size / cost.cpu_s if cost.cpu_s else 0.0,
            )
        )
    print(f"{name}: {size:.1f} KLOC", file=sys.stderr)
    return found


def main() -> int:
    """Print the table; exit code 2 when a set does not exist."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", metavar="NAME=PATH[,EXPECTED]")
    parser.add_argument("--scorer", type=Path)
    parser.add_argument("--bandit", help="path of Bandit (default: from PATH)")
    parser.add_argument("--ruff", help="path of Ruff (default: from PATH)")
    parser.add_argument("--keep", type=Path, help="keep the SARIF files in this folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        table: list[Row] = []
        for one in given.sets:
            name, _, rest = one.partition("=")
            path, _, expected = rest.partition(",")
            if not path or not Path(path).exists():
                print(f"{one!r}: there is no such set", file=sys.stderr)
                return 2
            table += rows(name, Path(path), Path(expected) if expected else None, given, folder)
    print(f"load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}\n")
    print(
        "| set | tool | CPU s | KLOC per CPU s | peak MiB | findings | per KLOC | macro TPR % | FPR % | J |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for r in table:
        judged = " | ".join(
            (
                "-" if r.tpr is None else f"{r.tpr:.1%}",
                "-" if r.fpr is None else f"{r.fpr:.1%}",
                "-" if r.j is None else f"{r.j:+.3f}",
            )
        )
        print(
            f"| {r.data} | {r.tool} | {r.cost.cpu_s:.2f} | {r.speed:.1f} | {r.cost.peak_mib:.0f} "
            f"| {r.findings} | {r.per_kloc:.2f} | {judged} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
