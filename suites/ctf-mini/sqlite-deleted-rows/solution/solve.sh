#!/bin/bash
set -eu
cd /app
python3 - <<'PY' > flag.txt
import re
print(re.search(rb"the word is ([a-z0-9-]+)", open("chat.db", "rb").read())[1].decode())
PY
