import subprocess
import sys
import tomllib

found = tomllib.load(open("/app/server.toml", "rb"))
assert found == {
    "listen": {"host": "127.0.0.1", "port": 8443},
    "limits": {"body_mb": 16, "timeout_s": 30},
    "tls": {"ciphers": ["TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]},
}, found
done = subprocess.run([sys.executable, "-I", "/app/serve.py", "--check"], capture_output=True, text=True)
assert done.stdout == "ok 8443 16 2\n", done
assert "exactly these two" in open("/app/server.toml").read()
