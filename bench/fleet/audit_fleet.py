"""How many repositories and lines a second does `veilig audit --fleet` read, at 1 and 2 at once?

`python bench/fleet/audit_fleet.py [REPOSITORIES] [FILES]`. The repositories are made anew (seeded): small web
services of this many modules, no two alike. The second campaign over the same list shows what a look costs
that finds nothing changed. CPU seconds are of all processes: on a busy machine they say more than the clock.
"""

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODULE = '''"""Orders of shop {n}."""

import sqlite3

from flask import Flask, request

app = Flask(__name__)


def total(prices: list[float], rate: float = {rate}) -> float:
    found = 0.0
    for price in prices:
        if price > {limit}:
            found += price * rate
        else:
            found += price
    return round(found, 2)


@app.route("/orders/{n}")
def orders{n}():
    name = request.args["name"]
    connection = sqlite3.connect("shop.db")
    rows = connection.execute("SELECT price FROM orders WHERE name = ?", (name,)).fetchall()
    return {{"total": total([row[0] for row in rows])}}
'''
HOLE = """

@app.route("/raw/{n}")
def raw{n}():
    wanted = "SELECT * FROM t WHERE x = '" + request.args["x"] + "'"
    return str(sqlite3.connect("shop.db").execute(wanted).fetchall())
"""


def make(folder: Path, repositories: int, files: int) -> int:
    """Lines of Python written."""
    dice, lines = random.Random(7), 0
    for number in range(repositories):
        place = folder / f"service-{number}"
        place.mkdir()
        for at in range(files):
            text = MODULE.format(n=at, rate=round(dice.uniform(1, 2), 3), limit=number * 1000 + at)
            text += HOLE.format(n=at) if dice.random() < 0.1 else ""
            (place / f"orders{at}.py").write_text(text)
            lines += text.count("\n")
        (place / "requirements.txt").write_text("flask==3.0.0\nrequests==2.19.0\n")
    return lines


def campaign(folder: Path, home: Path, jobs: int) -> tuple[float, float, int]:
    """Seconds, CPU seconds and findings of one campaign over the list."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began_s = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "veilig.cli.main", "audit", "--fleet", "repos.txt", "--jobs", str(jobs),
         "--output", "f.jsonl"],
        cwd=folder, env=os.environ | {"VEILIG_HOME": str(home)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    took_s = time.perf_counter() - began_s
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr)
    results = [json.loads(line) for line in (folder / "f.jsonl").read_text().splitlines()[1:]]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took_s, cpu_s, sum(len(result["findings"]) for result in results)


def main() -> None:
    """Prints the table."""
    repositories = int(sys.argv[1]) if len(sys.argv) > 1 else 24
    files = int(sys.argv[2]) if len(sys.argv) > 2 else 40
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = make(folder, repositories, files)
        (folder / "repos.txt").write_text("\n".join(f"service-{n}" for n in range(repositories)))
        print(f"{repositories} repositories, {lines} lines of Python, {os.cpu_count()} cores")
        names = ("seconds", "CPU s", "repos/s", "KLOC/s", "KLOC/CPU s", "findings")
        print(f"{'at once':>7} {'state':<6}" + "".join(f"{name:>11}" for name in names))
        for jobs in (1, 2):
            home = folder / f"home-{jobs}"
            for state in ("new", "known"):
                took_s, cpu_s, found = campaign(folder, home, jobs)
                kloc = lines / 1000
                cells = [
                    f"{took_s:.1f}",
                    f"{cpu_s:.1f}",
                    f"{repositories / took_s:.2f}",
                    f"{kloc / took_s:.2f}",
                ]
                cells += [f"{kloc / cpu_s:.2f}", str(found)]
                print(f"{jobs:>7} {state:<6}" + "".join(f"{cell:>11}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
