#!/bin/bash
set -eu
cd /app
python3 - <<'PY'
p = 'preview.py'
s = open(p).read()
a = '    if not any(host in url for host in ALLOWED):\n'
assert a in s
open(p, "w").write(s.replace(a, '    parts = urlsplit(url)\n    plain = "\\\\" not in url and parts.username is None\n    if parts.scheme not in ("http", "https") or not plain or parts.hostname not in ALLOWED:\n'))

p = 'preview.py'
s = open(p).read()
a = 'import urllib.request\n'
assert a in s
open(p, "w").write(s.replace(a, 'import urllib.request\nfrom urllib.parse import urlsplit\n'))
PY
