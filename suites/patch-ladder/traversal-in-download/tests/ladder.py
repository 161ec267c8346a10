"""The rungs: was anything submitted, does what worked still work, is the hole closed?

Each rung runs the project in a process of its own and judges what it prints; 1 is written only when all hold.
"""

import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

BEFORE = '7487999c67deffa6893b5271d8ceb02be5040adb8f38942222611a24033e0c20'  # SHA-256 of the vulnerable files
REGRESSION = 'import os\nfrom files import handle, read_upload\nos.makedirs("up/sub"); open("up/a.txt", "w").write("A"); open("up/sub/b.txt", "w").write("B")\nassert read_upload("up", "a.txt") == b"A" and read_upload("up", "sub/b.txt") == b"B"\nassert handle({"args": {"name": "none"}}, "up")[0] == 404\nassert handle({"args": {"name": "a.txt"}}, os.path.abspath("up")) == (200, b"A")'
ATTACK = 'import os\nfrom files import read_upload\nos.makedirs("up"); os.makedirs("up-other"); open("secret", "w").write("S"); open("up-other/x", "w").write("S")\nos.symlink("../secret", "up/link")\nfor name in ("../secret", "/etc/passwd", os.path.abspath("secret"), "../up-other/x", "./../secret", "link", "sub/../../secret"):\n    try:\n        found = read_upload("up", name)\n    except Exception:\n        continue\n    raise SystemExit(f"{name} gives {found!r}")'
CWE = 22


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
