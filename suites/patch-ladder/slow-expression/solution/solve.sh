#!/bin/bash
set -eu
cd /app
python3 - <<'PY'
p = 'names.py'
s = open(p).read()
a = 'r"^([a-z0-9]+[._-]?)+$"'
assert a in s
open(p, "w").write(s.replace(a, 'r"^[a-z0-9]+(?:[._-][a-z0-9]+)*[._-]?$"'))
PY
