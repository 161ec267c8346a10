#!/bin/bash
set -eu
cd /app
python3 - <<'PY' > flag.txt
import base64, re
pieces = {}
for row in open("dns.log"):
    m = re.search(r" (\d{3})\.([A-Za-z2-7]{8,})\.cdn-metrics\.example", row)
    if m:
        word = m[2].upper()
        pieces[int(m[1])] = base64.b32decode(word + "=" * (-len(word) % 8))
print(re.search(rb"PROJECT: ([\w-]+)", b"".join(pieces[n] for n in sorted(pieces)))[1].decode())
PY
