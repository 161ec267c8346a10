#!/bin/bash
set -eu
cd /app
python3 - <<'PY'
p = 'unpack.py'
s = open(p).read()
a = 'filter="fully_trusted"'
assert a in s
open(p, "w").write(s.replace(a, 'filter="data"'))
PY
