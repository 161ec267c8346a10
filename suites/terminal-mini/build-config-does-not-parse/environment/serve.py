import sys
import tomllib
from pathlib import Path

config = tomllib.loads(Path(__file__).with_name("server.toml").read_text())
assert isinstance(config["limits"]["body_mb"], int)
assert config["tls"]["ciphers"], "no cipher"
print("ok", config["listen"]["port"], config["limits"]["body_mb"], len(config["tls"]["ciphers"]))
sys.exit(0)
