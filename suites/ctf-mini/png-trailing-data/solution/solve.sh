#!/bin/bash
set -eu
cd /app
python3 - <<'PY' > flag.txt
import io, re, zipfile
data = open("logo.png", "rb").read()
with zipfile.ZipFile(io.BytesIO(data[data.index(b"IEND") + 8:])) as z:
    print(re.search(r"NL\d+", z.read("clients.csv").decode())[0])
PY
