#!/bin/bash
set -eu
cd /app
python3 - <<'PY'
p = 'people.py'
s = open(p).read()
old = '"select name from people where name = \'" + name + "\'"'
assert s.count(old) == 1
open(p, "w").write(s.replace(old, '"select name from people where name = ?", (name,)'))
PY
echo "one line of people.py was mended; nothing of the project's secrets was printed"
