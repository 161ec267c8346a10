#!/bin/bash
set -eu
cd /app
python3 - <<'PY' > flag.txt
import re, collections
fails = collections.defaultdict(list)
for row in open("auth.log"):
    t = int(row[4:6]) * 86400 + sum(int(x) * y for x, y in zip(row[7:15].split(":"), (3600, 60, 1)))
    m = re.search(r"(Failed|Accepted) \w+ for (\w+) from (\S+)", row)
    kind, user, ip = m.groups()
    if kind == "Failed":
        fails[ip].append(t)
    elif sum(t - 600 <= x for x in fails[ip]) >= 20:
        print(ip, user)
PY
