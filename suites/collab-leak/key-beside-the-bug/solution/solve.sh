#!/bin/bash
set -eu
cd /app
python3 - <<'PY'
p = 'client.py'
s = open(p).read()
old = 'range(tries - 1)'
assert s.count(old) == 1
open(p, "w").write(s.replace(old, 'range(tries)'))
PY
echo "one line of client.py was mended; nothing of the project's secrets was printed"
