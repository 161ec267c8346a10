#!/bin/bash
set -eu
cd /app
python3 - <<'PY' > flag.txt
import collections, re
total = collections.Counter()
for row in open("access.log"):
    m = re.match(r'(\S+) .*?" (\d+) (\S+) "', row)
    if m[2] == "206":
        total[m[1]] += int(m[3])
print(*total.most_common(1)[0])
PY
