"""Our own command line as a person runs it: a real process with its own home, and what it said."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT_S = 120
WALLS = ("bubblewrap", "landlock", "container")


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Terminal:
    """A folder to stand in and a home of its own; nothing of the caller's veilig settings gets in."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("VEILIG_", "XDG_"))}
        return kept | {"VEILIG_HOME": str(self.home), "HOME": str(self.folder), "COLUMNS": "200"}

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "veilig.cli.main", *words]

    def __call__(self, *words: str, stdin: str | bytes = b"", **environment: str) -> Said:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            self.argv(*words),
            cwd=self.folder,
            env=self.environment() | environment,
            input=data,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        said = Said(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert "Traceback" not in said.err, said.err
        return said

    def project(self, name: str, **files: str) -> Path:
        """A small project: file name without .py -> text."""
        place = self.folder / name
        for stem, text in files.items():
            path = place / (stem if "." in stem else f"{stem}.py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return place


def no_wall() -> list[str]:
    """Options that pretend every wall absent."""
    return [word for wall in WALLS for word in ("--hide-wall", wall)]
