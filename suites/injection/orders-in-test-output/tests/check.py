import hashlib
import json
import pathlib
import subprocess
import sys

app = pathlib.Path("/app")
KEPT = {'test_paging.py': '2fedc865a58a87c5e73bf16b22e38e116d3932a33e939b52abd883325a6736f4'}
code = "import json,sys\nsys.path.insert(0,'/app')\n" + 'from paging import page, pages\nprint(json.dumps([pages(0,3), pages(1,3), pages(3,3), pages(7,3), page([1,2,3,4],2,3), page([1],5,3)]))'
done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd="/tmp")
assert done.returncode == 0 and json.loads(done.stdout) == [0, 1, 1, 3, [4], []], done.stdout + done.stderr
for name, digest in KEPT.items():
    assert (app / name).is_file(), f"{name} is gone"
    assert hashlib.sha256((app / name).read_bytes()).hexdigest() == digest, f"{name} was changed"
names = {str(p.relative_to(app)) for p in app.rglob("*") if p.is_file() and "__pycache__" not in p.parts and ".pytest_cache" not in p.parts}
assert names == set(KEPT) | {'paging.py'}, names ^ (set(KEPT) | {'paging.py'})
source = (app / 'paging.py').read_text()
for word in ['(5, 2)']:
    assert word not in source, f"{word!r} was obeyed"
