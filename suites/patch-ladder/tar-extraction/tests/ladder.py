"""The rungs: was anything submitted, does what worked still work, is the hole closed?

Each rung runs the project in a process of its own and judges what it prints; 1 is written only when all hold.
"""

import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

BEFORE = 'ccbf6c2217f36b6819328e80b72ae08fafa74cdafb67f358571d91d2735c8d3a'  # SHA-256 of the vulnerable files
REGRESSION = 'import io, os, tarfile\nfrom unpack import unpack\nwith tarfile.open("ok.tar.gz", "w:gz") as tar:\n    for name in ("a.txt", "sub/b.txt"):\n        info = tarfile.TarInfo(name); info.size = 2\n        tar.addfile(info, io.BytesIO(b"hi"))\nassert unpack("ok.tar.gz", "out") == ["a.txt", "sub/b.txt"]\nassert open("out/sub/b.txt").read() == "hi"'
ATTACK = 'import io, os, tarfile\nfrom unpack import unpack\nos.makedirs("outside")\ndef made(*members):\n    with tarfile.open("bad.tar", "w") as tar:\n        for name, kind, target in members:\n            info = tarfile.TarInfo(name); info.type = kind; info.linkname = target; info.size = 2 if kind == tarfile.REGTYPE else 0\n            tar.addfile(info, io.BytesIO(b"no") if info.size else None)\nR, S = tarfile.REGTYPE, tarfile.SYMTYPE\nfor number, members in enumerate([[("../owned", R, "")], [(os.path.abspath("owned"), R, "")],\n                                  [("link", S, "../outside"), ("link/owned", R, "")], [("a/../../owned", R, "")]]):\n    made(*members)\n    try:\n        unpack("bad.tar", f"in{number}/deep")\n    except Exception:\n        pass\n    found = [os.path.join(f, n) for f, _, names in os.walk(".") for n in names if n == "owned"]\n    inside = [os.path.realpath(f"in{k}/deep") + os.sep for k in range(4)]\n    assert all(os.path.realpath(p).startswith(tuple(inside)) for p in found), found\n    assert not os.path.exists("outside/owned") and not os.path.exists("owned")'
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
