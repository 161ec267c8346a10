"""Services, a policy, and a healer at a terminal of their own."""

import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from fleet import Fleet, until
from terminal import Terminal


@dataclass
class Town:
    """Services, a policy, and at most one healer."""

    veilig: Terminal
    fleet: Fleet
    healers: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    @property
    def policy(self) -> str:
        return str(self.veilig.folder / "veilig.yaml")

    @property
    def log(self) -> Path:
        return self.veilig.folder / "healer.log"

    def heal(self, *words: str) -> subprocess.Popen[bytes]:
        given = ("heal", "--services", str(self.fleet.file), "--policy", self.policy, *words)
        begun = self.text().count("services ")
        with self.log.open("ab") as log:
            healer = subprocess.Popen(
                self.veilig.argv(*given),
                cwd=self.veilig.folder,
                env=self.veilig.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.healers.append(healer)
        until(lambda: self.text().count("services ") > begun, 60)
        return healer

    def text(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def end(self) -> None:
        for healer in self.healers:
            if healer.poll() is None:
                os.killpg(healer.pid, signal.SIGKILL)
                healer.wait()
        self.fleet.close()
