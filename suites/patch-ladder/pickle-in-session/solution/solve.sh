#!/bin/bash
set -eu
cd /app
python3 - <<'PY'
p = 'session.py'
s = open(p).read()
a = 'import base64\nimport pickle\n'
assert a in s
open(p, "w").write(s.replace(a, 'import base64\nimport json\n'))

p = 'session.py'
s = open(p).read()
a = 'pickle.dumps(session)'
assert a in s
open(p, "w").write(s.replace(a, 'json.dumps(session).encode()'))

p = 'session.py'
s = open(p).read()
a = 'return pickle.loads(base64.b64decode(cookie))'
assert a in s
open(p, "w").write(s.replace(a, 'found = json.loads(base64.b64decode(cookie))\n        return found if isinstance(found, dict) else {}'))
PY
