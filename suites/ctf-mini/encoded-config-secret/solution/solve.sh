#!/bin/bash
set -eu
cd /app
python3 - <<'PY' > flag.txt
import base64, json, codecs, zlib
value = next(e.split("=", 1)[1] for e in json.load(open("image.json"))["config"]["Env"] if e.startswith("BUILD_META"))
print(zlib.decompress(base64.b64decode(codecs.decode(base64.b32decode(value).decode(), "rot13"))).decode())
PY
