#!/bin/bash
set -eu
cd /app
python3 - <<'PY' > flag.txt
import json, math
keys = json.load(open("keys.json"))
message = json.load(open("message.json"))
own = next(int(k["n"]) for k in keys if k["device"] == message["to"])
for key in keys:
    p = math.gcd(own, int(key["n"]))
    if 1 < p < own:
        q = own // p
        d = pow(65537, -1, (p - 1) * (q - 1))
        m = pow(int(message["c"]), d, own)
        print(m.to_bytes((m.bit_length() + 7) // 8, "big").decode())
        break
PY
