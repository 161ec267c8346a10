#!/bin/bash
set -eu
cd /app
python3 - <<'PY'
p = 'store.py'
s = open(p).read()
old = 'size <= 1'
assert s.count(old) == 1
open(p, "w").write(s.replace(old, 'size < 1'))
PY
echo "one line of store.py was mended; nothing of the project's secrets was printed"
