"""A real terminal of 80 by 24 with a program in it: what stands there, and keys for it. Needs tmux."""

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Pane:
    """One window of a tmux server of its own."""

    socket: str

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            ("tmux", "-L", self.socket, "-f", "/dev/null", *words), capture_output=True, text=True, check=True
        )
        return done.stdout

    def text(self, *, history: bool = False) -> str:
        """What a person sees now; with `history` also what has scrolled away, long lines in one piece."""
        return self._tmux("capture-pane", "-p", *(("-J", "-S", "-") if history else ()))

    def clear(self) -> None:
        """Forget what has scrolled away."""
        self._tmux("clear-history")

    def keys(self, *keys: str) -> None:
        """Keys by tmux's names: Enter, C-c, F3, a."""
        self._tmux("send-keys", *keys)

    def types(self, text: str) -> None:
        """A line, then Enter."""
        self._tmux("send-keys", "-l", text)
        self._tmux("send-keys", "Enter")

    def until(self, *parts: str) -> str:
        """What stands there as soon as all of `parts` do."""
        late_s = time.monotonic() + WAIT_S
        while time.monotonic() < late_s:
            text = self.text()
            if all(part in text for part in parts):
                return text
            time.sleep(0.1)
        raise AssertionError(f"{parts} never came; there stands:\n{self.text()}")


@contextmanager
def pane(
    argv: list[str], folder: Path, environment: Mapping[str, str], size: tuple[int, int] = (80, 24)
) -> Generator[Pane]:
    """The program in a terminal; its exit code is printed when it ends."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed: no real terminal to draw on")
    found = Pane(f"veilig-{os.getpid()}-{time.monotonic_ns()}")
    script = f"{shlex.join(argv)}; echo exit $?; exec sleep 600"
    words = ["tmux", "-L", found.socket, "-f", "/dev/null", "new-session", "-d"]
    words += ["-x", str(size[0]), "-y", str(size[1]), script]
    kept = {key: value for key, value in environment.items() if key not in ("TMUX", "COLUMNS", "LINES")}
    subprocess.run(words, cwd=folder, env=kept | {"TERM": "xterm-256color"}, check=True)
    try:
        yield found
    finally:
        subprocess.run(("tmux", "-L", found.socket, "kill-server"), capture_output=True, check=False)
