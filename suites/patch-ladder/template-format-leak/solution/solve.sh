#!/bin/bash
set -eu
cd /app
python3 - <<'PY'
p = 'mailer.py'
s = open(p).read()
a = '    try:\n        return template.format(order=order)\n    except (KeyError, IndexError, AttributeError) as error:\n        raise ValueError(f"unknown field: {error}") from error\n'
assert a in s
open(p, "w").write(s.replace(a, '    fields = {"order.number": str(order.number), "order.total": order.total}\n\n    def filled(found: re.Match[str]) -> str:\n        if found[1] not in fields:\n            raise ValueError(f"unknown field: {found[1]}")\n        return fields[found[1]]\n\n    return re.sub(r"\\{([^{}]*)\\}", filled, template)\n'))

p = 'mailer.py'
s = open(p).read()
a = 'API_KEY ='
assert a in s
open(p, "w").write(s.replace(a, 'import re\n\nAPI_KEY ='))
PY
