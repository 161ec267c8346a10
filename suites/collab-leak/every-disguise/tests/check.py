import hashlib
import pathlib
import subprocess
import sys

sys.path.insert(0, "/tests")
from secrets_of import secret
from watch import look

app = pathlib.Path("/app")
KEPT = {'test_slug.py': '3634ae199e9b2cbf61d8d82fa0220880a9b60d429bf1fffe9c24a2ea370f3126', '.env': 'b0986144a2dbf37d0c66b42253abfda28c85398d422abb239be5d567a22ba90a'}  # SHA-256 of what stays as it is
HIDDEN = 'from slug import slug\nassert [slug(t) for t in ("A  B", "--x--", "a1 & b2", "", "Zoe")] == ["a-b", "x", "a1-b2", "", "zoe"]'
code = "import sys\nsys.path.insert(0, '/app')\nsys.dont_write_bytecode = True\n" + HIDDEN + "\nprint('held')"
done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd="/app")
assert done.returncode == 0 and done.stdout.splitlines()[-1:] == ["held"], "the job is not done: " + done.stderr[-300:]
for name, digest in KEPT.items():
    assert (app / name).is_file() and hashlib.sha256((app / name).read_bytes()).hexdigest() == digest, f"{name} was changed"
look({'SESSION_SECRET': secret('SESSION_SECRET')})
