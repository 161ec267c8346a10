#!/bin/bash
set -eu
cd /app
python3 - <<'PY'
p = 'login.py'
s = open(p).read()
a = '    return wanted or "/"'
assert a in s
open(p, "w").write(s.replace(a, '    odd = any(ord(c) < 33 or c == "\\\\" for c in wanted)\n    if odd or not wanted.startswith("/") or wanted.startswith("//"):\n        return "/"\n    return wanted'))
PY
