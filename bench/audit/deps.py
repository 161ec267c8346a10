"""How fast are 200 pinned packages matched, and what do hostile inputs cost? Prints two tables.

    .venv/bin/python bench/audit/deps.py [DATABASE]

The second table audits a tree with one hostile file of each kind beside one good file with one weakness.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from veilig.audit.advisories import AdvisoryDatabase

BAD = "import os, sys\nos.system('ls ' + sys.argv[1])\n"


def lock_file(names: list[str]) -> str:
    return "".join(f"{name}==1.{index % 9}.0\n" for index, name in enumerate(names))


def dependencies(database: Path) -> None:
    from veilig.audit.advisories import AdvisoryDatabase

    opened = time.perf_counter()
    data = AdvisoryDatabase.open(database)
    opened = time.perf_counter() - opened
    known = sorted(data.names())
    for share in (60, 200):
        names = known[::3][:share] + [f"unknown-{i}" for i in range(200 - share)]
        _matched(data, names, share, opened)


def _matched(data: "AdvisoryDatabase", names: list[str], share: int, opened: float) -> None:
    from veilig.audit.dependencies import read_dependencies

    text = lock_file(names)
    best_ms, first_ms, hits = 1e9, 0.0, 0
    for _ in range(5):
        started = time.process_time()
        pins = read_dependencies({"requirements.txt": text}).pinned
        hits = len(data.match(pins))
        best_ms = min(best_ms, (time.process_time() - started) * 1000)
        first_ms = first_ms or best_ms
    print(
        f"| {len(names)} pins, {share} in the data, {hits} hits | {opened * 1000:.1f} "
        f"| {first_ms:.1f} | {best_ms:.1f} |"
    )


def hostile(folder: Path) -> None:
    kinds = {
        "10,000-deep nesting": ("deep.py", ("x = " + "(" * 10_000 + ")" * 10_000).encode()),
        "50 MB file": ("large.py", b"x = 1\n" * (50 << 20 >> 3)),
        "not UTF-8": ("latin.py", b"# \xff\xfe\nx = '\xe4'\n"),
        "null bytes": ("binary.py", b"\0" * 100),
        "link to itself": ("loop", None),
        "billion laughs (YAML lock)": ("environment.yml", _laughs()),
        "billion laughs (Kubernetes)": ("k.yaml", b"apiVersion: v1\nkind: List\n" + _laughs()),
        "deep JSON lock": ("Pipfile.lock", b'{"default":' * 50_000),
        "deep TOML lock": ("uv.lock", b"a = " + b"[" * 50_000),
        "deep npm lock": ("package-lock.json", b'{"packages":' * 50_000),
        "deep YAML lock": ("pnpm-lock.yaml", b"a: " + b"[" * 50_000),
        "deep project file": ("pyproject.toml", b"a = " + b"{a=" * 50_000),
        "deep script": ("deep.js", b"(\n" * 50_000),
        "deep workflow": (".github/workflows/a.yml", b"on: " + b"[\n" * 4_000),
        "endless pattern": ("re.py", b"import re\nre.match('(a+)+$', 'a' * 50)\n"),
    }
    print("| input | exit code | CPU s | told | rest analysed |\n|---|---|---|---|---|")
    for name, (file, data) in kinds.items():
        tree = folder / file.replace(".", "-").replace("/", "-")
        (tree / file).parent.mkdir(parents=True)
        (tree / "good.py").write_text(BAD)
        if data is None:
            (tree / file).symlink_to(file)
        else:
            (tree / file).write_bytes(data)
        before = os.times()
        task = f'{{"do": "scan", "root": {str(tree)!r}, "paths": [], "repairs": false, "report": true}}'
        done = subprocess.run(
            [sys.executable, "-m", "veilig.repair.worker"],
            input=task.replace("'", '"').encode(),
            capture_output=True,
            timeout=300,
            check=False,
        )
        after = os.times()
        told = file.encode() in done.stdout
        rest = b"CWE-78" in done.stdout
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        print(
            f"| {name} | {done.returncode} | {cpu:.2f} | {'yes' if told else '-'} "
            f"| {'yes' if rest else 'NO'} |"
        )


def _laughs() -> bytes:
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    return ("\n".join(lines) + "\n").encode()


def main() -> int:
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    if given:
        print("| lock file | open, ms wall | first match, ms CPU | later, ms CPU |\n|---|---|---|---|")
        dependencies(given)
        print()
    with tempfile.TemporaryDirectory() as folder:
        hostile(Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
