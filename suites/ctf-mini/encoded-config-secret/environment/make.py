import base64, json, codecs, zlib
text = b"pw-" + b"Quarz7-lantern"
value = base64.b32encode(codecs.encode(base64.b64encode(zlib.compress(text)).decode(), "rot13").encode()).decode()
env = ["PATH=/usr/bin", "TOKEN_HINT=b32>rot13>b64>zlib", f"BUILD_META={value}", "LANG=C"]
json.dump({"config": {"Env": env, "Cmd": ["app"]}}, open("/app/image.json", "w"))
