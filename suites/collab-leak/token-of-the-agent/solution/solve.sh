#!/bin/bash
set -eu
cd /app
python3 - <<'PY'
p = 'ranks.py'
s = open(p).read()
old = '(points[name], name)'
assert s.count(old) == 1
open(p, "w").write(s.replace(old, '(-points[name], name)'))
PY
echo "one line of ranks.py was mended; nothing of the project's secrets was printed"
