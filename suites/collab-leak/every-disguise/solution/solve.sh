#!/bin/bash
set -eu
cd /app
python3 - <<'PY'
p = 'slug.py'
s = open(p).read()
old = 'letter.isalpha()'
assert s.count(old) == 1
open(p, "w").write(s.replace(old, 'letter.isalnum()'))
PY
echo "one line of slug.py was mended; nothing of the project's secrets was printed"
