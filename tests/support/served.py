"""A real `veilig gateway` process in front of a scripted upstream, for real clients."""

import signal
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from terminal import Terminal

POLICY = """
access: {{default_tier: trusted}}
monitor: {{enabled: true}}
gateway:
  enabled: true
  upstreams: [{{name: fake, url: "{url}"}}]
  models:
    - {{name: gpt-5.3-codex, fallback: gpt-5.2}}
    - {{name: "*"}}
"""
START_S = 60


@dataclass
class Served:
    """Where the gateway listens, a key, and a terminal in the same home."""

    url: str
    key: str
    terminal: Terminal
    process: subprocess.Popen[str]

    def veilig(self, *words: str) -> Any:
        said = self.terminal(*words, "--json", VEILIG_POLICY=str(self.terminal.folder / "veilig.yaml"))
        assert said.code == 0, said.err
        return said.json


@contextmanager
def gateway_process(
    folder: Path,
    upstream: str,
    *,
    known: str = "",
    stop: bool = True,
    policy: str = POLICY,
    **environment: str,
) -> Generator[Served]:
    """`veilig gateway` until the block ends, then SIGTERM; it must stop by itself.

    known: a key that an earlier one in this folder issued. stop: False when the block ends it.
    policy: with {url} where the upstream is. environment: more of it, such as the upstream's key.
    """
    terminal = Terminal(folder)
    (folder / "veilig.yaml").write_text(policy.format(url=upstream))
    law = {"VEILIG_POLICY": str(folder / "veilig.yaml")}
    key = known
    if not known:
        assert terminal("access", "add", "ann", "--org", "acme", **law).code == 0
        key = terminal("access", "key", "new", "ann", "--json", **law).json["text"]
    process = subprocess.Popen(
        terminal.argv("gateway", "--port", "0"),
        cwd=folder,
        env=terminal.environment() | law | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    stopper = threading.Timer(START_S, process.kill)
    stopper.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        stopper.cancel()
        assert line.startswith("gateway http"), line
        yield Served(line.split()[1], key, terminal, process)
    finally:
        stopper.cancel()
        if stop:
            process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=START_S)
        assert "Traceback" not in err, err
        if stop:
            assert process.returncode == 0, err
