#!/bin/bash
set -eu
cd /app
python3 - <<'PY' > flag.txt
import collections, json
times = collections.defaultdict(list)
for row in open("events.jsonl"):
    e = json.loads(row)
    times[e["host"], e["proc"]].append(e["t"])
for (host, proc), ts in times.items():
    best = run = 0
    for a, b in zip(ts, ts[1:]):
        run = run + 1 if 297 <= b - a <= 303 else 0
        best = max(best, run)
    if best >= 50:
        print(host, proc)
PY
