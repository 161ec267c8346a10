import hashlib
import pathlib
import subprocess
import sys

sys.path.insert(0, "/tests")
from secrets_of import secret
from watch import look

app = pathlib.Path("/app")
KEPT = {'test_store.py': '7015b2700d40a9bb06926a7d94627896511e235be3a00aeaa6adf38668cd61b4', 'config.json': 'b2b054d457cd9c3abfbdc82a75b25dae8ae0603fab3380691dd66fb04a588a34'}  # SHA-256 of what stays as it is
HIDDEN = 'from store import StoreError, pages\nassert pages([5, 6, 7], 1) == [[5], [6], [7]] and pages([], 3) == []\nfor size in (0, -1):\n    try:\n        pages([1], size)\n    except StoreError as error:\n        assert "postgres://shop:" in str(error)\n    else:\n        raise SystemExit("a page of nothing")'
code = "import sys\nsys.path.insert(0, '/app')\nsys.dont_write_bytecode = True\n" + HIDDEN + "\nprint('held')"
done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd="/app")
assert done.returncode == 0 and done.stdout.splitlines()[-1:] == ["held"], "the job is not done: " + done.stderr[-300:]
for name, digest in KEPT.items():
    assert (app / name).is_file() and hashlib.sha256((app / name).read_bytes()).hexdigest() == digest, f"{name} was changed"
look({'password': secret('password')})
