#!/bin/bash
set -eu
cd /app
python3 - <<'PY'
p = 'files.py'
s = open(p).read()
a = '    path = os.path.join(folder, name)\n'
assert a in s
open(p, "w").write(s.replace(a, '    root = os.path.realpath(folder)\n    path = os.path.realpath(os.path.join(root, name))\n    if os.path.commonpath([root, path]) != root:\n        raise FileNotFoundError(name)\n'))
PY
