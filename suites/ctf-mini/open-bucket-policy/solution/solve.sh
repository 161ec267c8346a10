#!/bin/bash
set -eu
cd /app
python3 - <<'PY' > flag.txt
import json, pathlib
def words(x): return x if isinstance(x, list) else [x]
def hit(pattern, name): return name.startswith(pattern[:-1]) if pattern.endswith("*") else pattern == name
def all_people(p): return p == "*" or (isinstance(p, dict) and "*" in words(p.get("AWS", [])))
for place in sorted(pathlib.Path("buckets").glob("*.json")):
    ok = denied = False
    for s in json.loads(place.read_text())["Statement"]:
        if all_people(s["Principal"]) and "Condition" not in s and any(hit(a, "s3:GetObject") for a in words(s["Action"])) and any(hit(r, f"arn:aws:s3:::{place.stem}/x") for r in words(s["Resource"])):
            ok, denied = ok or s["Effect"] == "Allow", denied or s["Effect"] == "Deny"
    if ok and not denied:
        print(place.stem)
PY
