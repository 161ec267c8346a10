#!/bin/bash
set -eu
cd /app
python3 - <<'PY' > flag.txt
import hashlib, json
lines = open("ledger.jsonl").read().splitlines()
for number, (line, after) in enumerate(zip(lines, lines[1:]), 1):
    if hashlib.sha256(line.encode()).hexdigest() != json.loads(after)["prev"]:
        print(number)
PY
