"""A program of ours that speaks JSON-RPC over its pipes, line by line: what no polite client would send."""

import json
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from terminal import Terminal


@dataclass
class Talk:
    """A running `veilig mcp` or `veilig acp`."""

    process: "subprocess.Popen[bytes]"

    def raw(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def send(self, method: str, params: Any = None, id: int | str | None = None) -> None:  # noqa: A002
        body: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        body |= {"params": params} if params is not None else {}
        body |= {"id": id} if id is not None else {}
        self.raw(json.dumps(body).encode() + b"\n")

    def next(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "it closed its output"
        return json.loads(line)

    def answer(self, id: int | str | None) -> dict[str, Any]:  # noqa: A002
        """The answer to one call; what comes before it is let go."""
        while True:
            said = self.next()
            if "method" not in said and said.get("id") == id:
                return said

    def ask(self, method: str, params: Any = None, id: int | str = 1) -> dict[str, Any]:  # noqa: A002
        self.send(method, params, id)
        return self.answer(id)

    def close(self) -> tuple[int, str]:
        """End of input; the exit code and what was said on the side."""
        out, err = self.process.communicate(timeout=60)
        del out
        return self.process.returncode, err.decode()


@contextmanager
def talk(veilig: Terminal, *words: str, **environment: str) -> Generator[Talk]:
    process = subprocess.Popen(
        veilig.argv(*words),
        cwd=veilig.folder,
        env=veilig.environment() | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield Talk(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
