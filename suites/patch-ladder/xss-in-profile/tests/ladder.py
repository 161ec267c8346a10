"""The rungs: was anything submitted, does what worked still work, is the hole closed?

Each rung runs the project in a process of its own and judges what it prints; 1 is written only when all hold.
"""

import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

BEFORE = 'd7d465b1c0bd75351158f0be1e32a455d26a8ee92e37eacc7da488b0f54d15f5'  # SHA-256 of the vulnerable files
REGRESSION = 'from profile import render\npage = render("Ann", "likes tea & toast", "https://example.org/a?b=1")\nassert "<h1>Ann</h1>" in page and \'href="https://example.org/a?b=1"\' in page.replace("&amp;", "&")\nassert "likes tea &amp; toast" in page or "likes tea & toast" in page'
ATTACK = 'from html.parser import HTMLParser\nfrom profile import render\nclass Seen(HTMLParser):\n    def __init__(self):\n        super().__init__(); self.tags = []\n    def handle_starttag(self, tag, attrs):\n        self.tags.append((tag, dict(attrs)))\nfor bad in ("<script>x</script>", \'" onmouseover="x\', "<img src=x onerror=x>", "</h1><svg onload=x>"):\n    for spot in range(3):\n        given = ["n", "a", "https://e.org"]; given[spot] = bad\n        seen = Seen(); seen.feed(render(*given))\n        assert {tag for tag, _ in seen.tags} <= {"html", "head", "body", "h1", "p", "a", "div", "meta"}, seen.tags\n        assert all(not key.startswith("on") for _, attrs in seen.tags for key in attrs), seen.tags\nseen = Seen(); seen.feed(render("n", "a", "javascript:alert(1)"))\nassert all(not (a.get("href") or "").lower().startswith("javascript") for _, a in seen.tags), "a script as a link"'
CWE = 79


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
