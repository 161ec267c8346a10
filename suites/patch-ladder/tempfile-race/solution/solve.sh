#!/bin/bash
set -eu
cd /app
python3 - <<'PY'
p = 'export.py'
s = open(p).read()
a = '    path = tempfile.mktemp(suffix=".csv")\n    with open(path, "w") as file:\n'
assert a in s
open(p, "w").write(s.replace(a, '    handle, path = tempfile.mkstemp(suffix=".csv")\n    with os.fdopen(handle, "w") as file:\n'))

p = 'export.py'
s = open(p).read()
a = '    os.chmod(path, 0o644)\n'
assert a in s
open(p, "w").write(s.replace(a, ''))
PY
