"""The rungs: was anything submitted, does what worked still work, is the hole closed?

Each rung runs the project in a process of its own and judges what it prints; 1 is written only when all hold.
"""

import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

BEFORE = 'daaa460c088472a737446bacb8f78697f0c17ce033a1ea07988aff5cb2f2f46c'  # SHA-256 of the vulnerable files
REGRESSION = 'import http.client, threading\nfrom http.server import HTTPServer\nfrom urllib.parse import quote\nfrom login import Handler\nHandler.log_message = lambda *a: None\nserver = HTTPServer(("127.0.0.1", 0), Handler)\nthreading.Thread(target=server.serve_forever, daemon=True).start()\ndef location(wanted):\n    link = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)\n    link.request("GET", "/login?next=" + quote(wanted, safe=""))\n    return link.getresponse().getheader("Location")\nassert location("/orders?page=2") == "/orders?page=2" and location("") == "/" and location("/a/b") == "/a/b"'
ATTACK = 'import http.client, threading\nfrom http.server import HTTPServer\nfrom urllib.parse import quote, urljoin, urlsplit\nfrom login import Handler\nHandler.log_message = lambda *a: None\nserver = HTTPServer(("127.0.0.1", 0), Handler)\nthreading.Thread(target=server.serve_forever, daemon=True).start()\nfor bad in ("https://evil.example/", "//evil.example/", "/\\\\evil.example", "\\\\\\\\evil.example", "javascript:x", "/\\t/evil.example",\n            "\\t//evil.example", "https:evil.example", "///evil.example", "/ok\\r\\nX-Added: yes"):\n    link = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)\n    link.request("GET", "/login?next=" + quote(bad, safe=""))\n    try:\n        answer = link.getresponse()\n    except (http.client.HTTPException, ConnectionError):\n        continue\n    assert answer.getheader("X-Added") is None, bad\n    found = answer.getheader("Location")\n    if found is not None:\n        cleaned = found.replace("\\t", "").replace("\\\\", "/").strip()\n        assert urlsplit(urljoin("https://our.example/login", cleaned)).netloc == "our.example", (bad, found)'
CWE = 601


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
