"""The rungs: was anything submitted, does what worked still work, is the hole closed?

Each rung runs the project in a process of its own and judges what it prints; 1 is written only when all hold.
"""

import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

BEFORE = '9f1ded3dc66f0c7c5f555d32c40a357a899d775ddec9b4952b7db5c3bb0098a1'  # SHA-256 of the vulnerable files
REGRESSION = 'from settings import parse\nassert parse("a: 1\\nb: [x, 2.5, true]\\nc: {d: null}") == {"a": 1, "b": ["x", 2.5, True], "c": {"d": None}}\ntry:\n    parse("[1]")\nexcept ValueError:\n    pass\nelse:\n    raise SystemExit("a list was taken")'
ATTACK = 'import os\nfrom settings import parse\nfor text in (\'a: !!python/object/apply:os.system ["touch owned"]\', "a: !!python/name:os.system", \'!!python/object/new:os.system ["touch owned"]\'):\n    try:\n        found = parse(text)\n    except Exception:\n        continue\n    raise SystemExit(f"{text} gives {found}")\nassert not os.path.exists("owned")'
CWE = 502


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
