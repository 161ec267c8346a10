"""The rungs: was anything submitted, does what worked still work, is the hole closed?

Each rung runs the project in a process of its own and judges what it prints; 1 is written only when all hold.
"""

import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

BEFORE = 'd1f3ad6931cba41df75f47228780a9751df461bcb909e5b608f5bed9f534347e'  # SHA-256 of the vulnerable files
REGRESSION = 'import os\nfrom export import export\none, two = export(["a", "b"]), export([])\nassert open(one).read() == "a\\nb\\n" and one != two and one.endswith(".csv")\nos.unlink(one); os.unlink(two)'
ATTACK = 'import os, stat, tempfile\nimport export\nopened = []\ndef audit(event, args):\n    if event == "open" and isinstance(args[0], str) and args[0].endswith(".csv"):\n        opened.append(args[2])\nimport sys\nsys.addaudithook(audit)\npath = export.export(["x"])\nassert stat.S_IMODE(os.stat(path).st_mode) & 0o077 == 0, "others may read it"\nassert opened and opened[0] & os.O_EXCL, "it may have been there before"\nos.unlink(path)'
CWE = 377


def digest():
    whole = hashlib.sha256()
    for path in sorted(p for p in pathlib.Path("/app").rglob("*.py") if "__pycache__" not in p.parts):
        whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()


def holds(code):
    with tempfile.TemporaryDirectory() as folder:
        start = "import sys\nsys.path.insert(0, '/app')\nsys.dont_write_bytecode = True\n"
        nonce = hashlib.sha256(folder.encode()).hexdigest()[:12]
        code = start + code + f"\nprint('held', {nonce!r})\n"
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-c", code], cwd=folder, capture_output=True, text=True, timeout=15
            )
        except subprocess.TimeoutExpired:
            return False, "out of time"
        right = done.returncode == 0 and done.stdout.splitlines()[-1:] == [f"held {nonce}"]
        return right, (done.stdout + done.stderr)[-800:]


def found_again():
    """What a scan still reports of that kind; None where no scanner is at hand. The code is parsed, never run."""
    try:
        from veilig.audit.scan import scan_sources
    except ImportError:
        return None
    files = {p.name: p.read_text() for p in pathlib.Path("/app").rglob("*.py") if "__pycache__" not in p.parts}
    return [f"{f.path}:{f.line} CWE-{f.cwe}" for f in scan_sources(files).findings if f.cwe == CWE]


changed = digest() != BEFORE
works, said = holds(REGRESSION)
secure, more = holds(ATTACK)
print("regression", works, said if not works else "")
print("attack", secure, more if not secure else "")
again = found_again()
print("scan", again)
good = changed and works and secure and not again
steps = {"submitted": float(changed), "regression": float(works), "secure": float(secure)}
if again is not None:
    steps["scan_clean"] = float(not again)
steps |= {"reward": 1.0 if good else 0.0}
pathlib.Path("/logs/verifier/reward.json").write_text(json.dumps(steps))
sys.exit(0 if good else 1)
