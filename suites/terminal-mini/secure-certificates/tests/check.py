import os
import pathlib
import re
import stat
import subprocess

tls = pathlib.Path("/app/tls")


def openssl(*words):
    done = subprocess.run(["openssl", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


openssl("verify", "-CAfile", str(tls / "ca.pem"), str(tls / "server.pem"))
text = openssl("x509", "-in", str(tls / "server.pem"), "-noout", "-text")
for part in ("DNS:shop.internal", "DNS:*.shop.internal", "IP Address:10.1.2.3"):
    assert part in text, part
assert "CA:TRUE" not in text
assert "CA:TRUE" in openssl("x509", "-in", str(tls / "ca.pem"), "-noout", "-text")
assert subprocess.run(["openssl", "x509", "-in", tls / "server.pem", "-noout", "-checkend", str(30 * 86400 + 3600)], capture_output=True).returncode == 1
openssl("x509", "-in", str(tls / "server.pem"), "-noout", "-checkend", "3600")
bits = int(re.search(r"Public-Key: \((\d+) bit\)", text)[1])
assert bits >= (2048 if "rsaEncryption" in text else 256), bits
assert openssl("x509", "-in", str(tls / "server.pem"), "-noout", "-pubkey") == openssl("pkey", "-in", str(tls / "server.key"), "-pubout")
assert stat.S_IMODE(os.stat(tls / "server.key").st_mode) == 0o600
authority = openssl("x509", "-in", str(tls / "ca.pem"), "-noout", "-pubkey")
for path in pathlib.Path("/app").rglob("*"):
    if path.is_file() and b"PRIVATE KEY" in path.read_bytes():
        assert openssl("pkey", "-in", str(path), "-pubout") != authority, f"{path} is the authority's key"
