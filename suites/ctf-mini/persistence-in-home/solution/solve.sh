#!/bin/bash
set -eu
cd /app
python3 - <<'PY' > flag.txt
import base64, re
text = open("home/.config/fonts/.cache").read()
print(re.search(r"http://([^/]+)/", base64.b64decode(re.search(r"x=(\S+)", text)[1]).decode())[1])
PY
