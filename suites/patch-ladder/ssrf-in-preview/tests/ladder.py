"""The rungs: was anything submitted, does what worked still work, is the hole closed?

Each rung runs the project in a process of its own and judges what it prints; 1 is written only when all hold.
"""

import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

BEFORE = 'f11203cc863dcbdfcf1e76de63c34ceefb04decda1215a1652d523eebe489997'  # SHA-256 of the vulnerable files
REGRESSION = 'import io\nfrom preview import fetch\nasked = []\ndef opener(url, *a, **k):\n    asked.append(url if isinstance(url, str) else url.full_url)\n    return io.BytesIO(b"page")\nassert fetch("https://news.example.org/a", opener=opener) == b"page"\nassert fetch("http://blog.example.org:8080/b?c=1", opener=opener) == b"page"\n\nassert len(asked) == 2'
ATTACK = 'import io\nfrom preview import fetch\nasked = []\ndef opener(url, *a, **k):\n    asked.append(url)\n    return io.BytesIO(b"page")\nfor url in ("http://169.254.169.254/?news.example.org", "http://news.example.org.evil.example/", "http://evil.example/news.example.org",\n            "http://news.example.org@127.0.0.1/", "file:///etc/passwd#news.example.org", "http://evilnews.example.org/",\n            "ftp://news.example.org/", "http://127.0.0.1\\\\@news.example.org/x", "//news.example.org/"):\n    try:\n        fetch(url, opener=opener)\n    except Exception:\n        continue\n    raise SystemExit(f"{url} was fetched")\nassert not asked'
CWE = 918


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
