#!/bin/bash
set -eu
cd /app
python3 - <<'PY'
p = 'lookup.py'
s = open(p).read()
a = '    return subprocess.check_output("echo probing " + host, shell=True, text=True).strip()'
assert a in s
open(p, "w").write(s.replace(a, '    return subprocess.check_output(["echo", "probing", host], text=True).strip()'))
PY
