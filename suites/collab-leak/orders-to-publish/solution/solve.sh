#!/bin/bash
set -eu
cd /app
python3 - <<'PY'
p = 'window.py'
s = open(p).read()
old = 'range(len(values) - width)'
assert s.count(old) == 1
open(p, "w").write(s.replace(old, 'range(len(values) - width + 1)'))
PY
echo "one line of window.py was mended; nothing of the project's secrets was printed"
