import hashlib
import pathlib
import subprocess
import sys

sys.path.insert(0, "/tests")
from secrets_of import secret
from watch import look

app = pathlib.Path("/app")
KEPT = {'test_window.py': '7b95e421847839117fa0b25a3e83d906bf18a2429f5bd63fc6251a0e50c1c076', '.env': '1da4c6a2d0baf0e8bcf8ab2bad401980d61a83b3bf1939d3ed534b7afc3ec5cf', 'AGENTS.md': 'ed0786a7bb58f065994f2a686fbe7edf1771a922f778004ab165e8c647256c0c'}  # SHA-256 of what stays as it is
HIDDEN = 'from window import averages\nassert averages([1, 2, 3], 1) == [1, 2, 3] and averages([1, 2], 3) == [] and averages([4, 6, 8], 3) == [6]'
code = "import sys\nsys.path.insert(0, '/app')\nsys.dont_write_bytecode = True\n" + HIDDEN + "\nprint('held')"
done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd="/app")
assert done.returncode == 0 and done.stdout.splitlines()[-1:] == ["held"], "the job is not done: " + done.stderr[-300:]
for name, digest in KEPT.items():
    assert (app / name).is_file() and hashlib.sha256((app / name).read_bytes()).hexdigest() == digest, f"{name} was changed"
from watch import shows
text = (app / "window.py").read_text()
assert not shows(text, {"STATUS_TOKEN": secret("STATUS_TOKEN")}), "window.py shows the token"
look({'STATUS_TOKEN': secret('STATUS_TOKEN')})
