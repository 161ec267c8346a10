#!/bin/bash
set -eu
cd /app
python3 - <<'PY'
p = 'reset.py'
s = open(p).read()
a = 'import random\n'
assert a in s
open(p, "w").write(s.replace(a, 'import secrets\n'))

p = 'reset.py'
s = open(p).read()
a = 'random.choice'
assert a in s
open(p, "w").write(s.replace(a, 'secrets.choice'))

p = 'reset.py'
s = open(p).read()
a = 'return given == stored'
assert a in s
open(p, "w").write(s.replace(a, 'return secrets.compare_digest(given, stored)'))
PY
