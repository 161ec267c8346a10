#!/bin/bash
set -eu
cd /app
python3 - <<'PY' > flag.txt
import re
data = open("backup.bin", "rb").read()
for size in range(1, 13):
    key = bytes(a ^ b for a, b in zip(data, b"[database]\n"))[:size]
    if len(key) < size:
        continue
    text = bytes(b ^ key[i % size] for i, b in enumerate(data))
    if all(32 <= c < 127 or c == 10 for c in text):
        print(re.search(rb"recovery_code = (\S+)", text)[1].decode())
        break
PY
