"""How many broken miniature projects does `veilig fix` mend, by kind, and in what time?

    python bench/miniatures/run.py [--set recipes|styles|unseen|all] [--only TEXT] [--json FILE]

Each project is made in a temporary folder and goes through the real command line of the `veilig` beside the
interpreter; nothing is mocked. A repair is "fixed" when every problem is fixed and the repair is the
intended one: a hidden test passes on the repaired project, or, where there is none, the diff is of the
intended form. It is "different" when it is proven but neither, "proposed" when a person is asked, and "not
fixed" else.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from case import Case, read
from cases_config import DEPENDENCIES, SETTINGS
from cases_crash import CRASH, HISTORY
from cases_text import IMPORTS, NAMES, SYNTAX

SETS = {
    "recipes": (*SYNTAX, *IMPORTS, *NAMES, *DEPENDENCIES, *SETTINGS, *CRASH, *HISTORY),
    "styles": read(Path(__file__).with_name("styles.txt")),
    "unseen": read(Path(__file__).with_name("unseen.txt")),
}
BUDGET_S = 40
VERDICTS = ("fixed", "different", "proposed", "not fixed")


def make(case: Case, root: Path) -> None:
    """Write the project, with its history when it has one."""
    if case.commits:
        _git(root, "init", "-q", "-b", "main")
    for subject, files in case.commits:
        _write(root, files)
        _commit(root, subject)
    _write(root, case.files)
    if case.committed:
        _commit(root, "Change how it works")


def _write(root: Path, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8", newline="")


def _commit(root: Path, subject: str) -> None:
    _git(root, "add", "-A")
    _git(root, "-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-q", "-m", subject)


def _git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, timeout=60)


def run(case: Case) -> tuple[str, float, dict[str, Any]]:
    """(verdict, seconds, the result) of one project."""
    with tempfile.TemporaryDirectory(prefix="veilig-mini-") as folder:
        root, home = Path(folder, "project"), Path(folder, "home")
        root.mkdir()
        make(case, root)
        environment = {**os.environ, "VEILIG_HOME": str(home)}  # the user's own ledger is left alone
        argv = [
            str(Path(sys.executable).with_name("veilig")),
            "fix",
            str(root),
            "--json",
            "--budget",
            str(BUDGET_S),
            *case.arguments,
        ]
        started_s = time.monotonic()
        done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False, env=environment)
        spent_s = time.monotonic() - started_s
        try:
            result = json.loads(done.stdout)
        except ValueError:
            return "not fixed", spent_s, {"error": (done.stdout + done.stderr)[-2000:]}
        return judge(case, result, root), spent_s, result


def judge(case: Case, result: Mapping[str, Any], root: Path) -> str:
    """What became of the project; `root` is applied the diff when a hidden test decides."""
    problems: Sequence[Mapping[str, Any]] = result.get("problems", [])
    states = {str(p["status"]) for p in problems}
    diff = str(result.get("diff", ""))
    if not problems or "not fixed" in states:
        return "not fixed"
    if "proposed" in states:
        return "proposed"
    if case.hidden:
        return "fixed" if _passes(case.hidden, diff, root) else "different"
    return "fixed" if re.search(case.right, diff) else "different"


def _passes(test: str, diff: str, root: Path) -> bool:
    """Whether a test that the repair never saw passes on the repaired project."""
    (root.parent / "fix.diff").write_text(diff, encoding="utf-8", newline="")
    _git(root, "apply", str(root.parent / "fix.diff"))
    (root / "test_hidden.py").write_text(test, encoding="utf-8")
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_hidden.py"]
    return subprocess.run(argv, cwd=root, capture_output=True, timeout=120, check=False).returncode == 0


def main() -> int:
    """Print one line per project and the table by kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", default="all", choices=[*SETS, "all"], help="which projects")
    parser.add_argument("--only", default="", help="run the projects whose kind or name holds this text")
    parser.add_argument("--json", default="", help="also write every result to this file")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    cases = [c for name, held in SETS.items() if options.set in (name, "all") for c in held]
    for case in cases:
        if options.only not in f"{case.kind}: {case.name}":
            continue
        verdict, spent_s, result = run(case)
        print(f"{case.kind:<11} {case.name:<48} {verdict:<10} {spent_s:6.1f} s", flush=True)
        rows.append(
            {"kind": case.kind, "name": case.name, "verdict": verdict, "seconds": spent_s, "result": result}
        )
        if options.json:
            Path(options.json).write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print("\n| kind | projects | " + " | ".join(VERDICTS) + " | median s |\n|---|---|" + "---|" * 5)
    for kind in [*dict.fromkeys(r["kind"] for r in rows), "all"]:
        here = [r for r in rows if kind in (r["kind"], "all")]
        counts = [sum(r["verdict"] == v for r in here) for v in VERDICTS]
        middle = sorted(r["seconds"] for r in here)[len(here) // 2]
        print(f"| {kind} | {len(here)} | " + " | ".join(map(str, counts)) + f" | {middle:.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
