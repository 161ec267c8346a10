#!/bin/bash
set -eu
cd /app
python3 - <<'PY'
p = 'profile.py'
s = open(p).read()
a = '    return (\n'
assert a in s
open(p, "w").write(s.replace(a, '    name, about = escape(name), escape(about)\n    site = escape(site) if site.startswith(("http://", "https://")) else "#"\n    return (\n'))

p = 'profile.py'
s = open(p).read()
a = 'from http.server'
assert a in s
open(p, "w").write(s.replace(a, 'from html import escape\nfrom http.server'))
PY
