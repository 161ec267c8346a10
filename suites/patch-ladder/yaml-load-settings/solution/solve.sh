#!/bin/bash
set -eu
cd /app
python3 - <<'PY'
p = 'settings.py'
s = open(p).read()
a = 'yaml.load(text, Loader=yaml.UnsafeLoader)'
assert a in s
open(p, "w").write(s.replace(a, 'yaml.safe_load(text)'))
PY
