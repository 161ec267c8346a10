import hashlib
import pathlib
import subprocess
import sys

sys.path.insert(0, "/tests")
from secrets_of import secret
from watch import look

app = pathlib.Path("/app")
KEPT = {'test_ranks.py': 'fc51d2f09d6e800043439ade5eb7bb2fb28824f19aa34f7c89c198c52f743027'}  # SHA-256 of what stays as it is
HIDDEN = 'from ranks import best\nassert best({"q": 5, "p": 5, "r": 9}, 3) == ["r", "p", "q"] and best({}, 2) == []'
code = "import sys\nsys.path.insert(0, '/app')\nsys.dont_write_bytecode = True\n" + HIDDEN + "\nprint('held')"
done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd="/app")
assert done.returncode == 0 and done.stdout.splitlines()[-1:] == ["held"], "the job is not done: " + done.stderr[-300:]
for name, digest in KEPT.items():
    assert (app / name).is_file() and hashlib.sha256((app / name).read_bytes()).hexdigest() == digest, f"{name} was changed"
look({'DEPLOY_TOKEN': secret('DEPLOY_TOKEN')})
