#!/bin/bash
set -eu
cd /app
python3 - <<'PY'
p = 'price.py'
s = open(p).read()
old = 'sum(prices[1:])'
assert s.count(old) == 1
open(p, "w").write(s.replace(old, 'sum(prices)'))
PY
echo "one line of price.py was mended; nothing of the project's secrets was printed"
