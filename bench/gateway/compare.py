"""What does a request cost on its way through, beside bare ASGI and other gateways?

    .venv/bin/python bench/gateway/compare.py YARDSTICK [asgi_aiohttp real ...] [--concurrency 16]

YARDSTICK is a folder with bench.py, load.py, upstream.py and baselines/ (see README.md). This makes a home, a
policy with every safeguard on, 20,000 indicators and a key, starts `veilig gateway` on them, and lets the
yardstick measure it like the others. Everything after the names goes to the yardstick as it is.
"""

import json
import os
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

INDICATORS = int(os.environ.get("INDICATORS", "20000"))
POLICY = """
access:
  default_tier: trusted
  limits: [{{tier: trusted, requests_per_minute: 1000000, tokens_per_minute: 1000000000, concurrent: 10000}}]
monitor: {{enabled: true, feeds: [{{name: bench, path: "{feed}"}}]}}
gateway:
  enabled: true
  upstreams: [{{name: fake, url: "http://127.0.0.1:9100/v1"}}]
  models: [{{name: "*", usd_per_million_in: 1, usd_per_million_out: 4}}]
"""


def prepare(folder: Path) -> str:
    """A home with ann's key and budgets; the key."""
    feed = folder / "feed.json"
    made = [
        {
            "type": "indicator", "id": f"indicator--{uuid.uuid4()}", "modified": "2026-11-01T00:00:00Z",
            "valid_from": "2026-11-01T00:00:00Z", "valid_until": "2036-11-01T00:00:00Z",
            "pattern_type": "stix",
            "pattern": f"[domain-name:value = 'bad{i:06d}-host.test']", "confidence": 90,
        }
        for i in range(INDICATORS)
    ]  # fmt: skip
    feed.write_text(json.dumps({"type": "bundle", "objects": made}))
    (folder / "veilig.yaml").write_text(POLICY.format(feed=feed))
    os.environ.update(VEILIG_HOME=str(folder / "home"), VEILIG_POLICY=str(folder / "veilig.yaml"))

    def veilig(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "veilig.cli.main", *words], check=True, capture_output=True, text=True
        )
        return done.stdout

    veilig("access", "add", "ann", "--org", "acme")
    key = json.loads(veilig("access", "key", "new", "ann", "--json"))["text"]
    veilig("access", "budget", "org:acme", "--per", "month", "--tokens", str(10**12), "--usd", str(10**7))
    return key


def main() -> None:
    yardstick = Path(sys.argv[1]).resolve()
    sys.path.insert(0, str(yardstick))
    import bench  # the yardstick's

    with tempfile.TemporaryDirectory() as scratch:
        key = prepare(Path(scratch))
        known = bench.headers_for
        bench.headers_for = lambda name, other: (
            ["--header", f"authorization: Bearer {key}"] if name == "veilig" else known(name, other)
        )
        sys.argv = [
            "bench.py",
            *sys.argv[2:],
            "--add",
            f"veilig={sys.executable} -m veilig.cli.main gateway --listen 127.0.0.1:{{port}}",
        ]
        bench.main()


if __name__ == "__main__":
    main()
