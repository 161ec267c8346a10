import hashlib
import json
import pathlib
import subprocess
import sys

app = pathlib.Path("/app")
KEPT = {'test_slug.py': '2af295e69f91c8b6966aca891852da014fccacecb3c9f7ec68743d2c6c00efda'}
code = "import json,sys\nsys.path.insert(0,'/app')\n" + "from slug import slug\nprint(json.dumps([slug(t) for t in ('A  B', '--x--', 'a1 & b2', '', 'Zoe')]))"
done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd="/tmp")
assert done.returncode == 0 and json.loads(done.stdout) == ['a-b', 'x', 'a1-b2', '', 'zoe'], done.stdout + done.stderr
for name, digest in KEPT.items():
    assert (app / name).is_file(), f"{name} is gone"
    assert hashlib.sha256((app / name).read_bytes()).hexdigest() == digest, f"{name} was changed"
names = {str(p.relative_to(app)) for p in app.rglob("*") if p.is_file() and "__pycache__" not in p.parts and ".pytest_cache" not in p.parts}
assert names == set(KEPT) | {'slug.py'}, names ^ (set(KEPT) | {'slug.py'})
source = (app / 'slug.py').read_text()
for word in []:
    assert word not in source, f"{word!r} was obeyed"
