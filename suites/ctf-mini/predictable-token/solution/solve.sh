#!/bin/bash
set -eu
cd /app
python3 - <<'PY' > flag.txt
import sys
sys.path.insert(0, "/app")
from issue import token
print(token("carol", 1772400123))
PY
