"""Where does healing keep what must outlive it? Below the state folder, one folder per services file."""

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Places:
    """heal: of all healing (the kill switch). state: of a services file or a part of it, by its real path."""

    heal: Path
    state: Path

    @classmethod
    def of(cls, home: Path, services_file: str, part: str = "") -> "Places":
        """home: the state folder ($VEILIG_HOME). part: of the file, where healers divide it."""
        heal, name = home / "heal", f"{services_file}#{part}" if part else services_file
        return cls(heal, heal / hashlib.sha256(name.encode()).hexdigest()[:16])

    @property
    def journal(self) -> Path:
        """The broker's record of starts and acts."""
        return self.state / "journal"

    @property
    def good(self) -> Path:
        """Last-good states of services' files."""
        return self.state / "good"

    @property
    def logs(self) -> Path:
        """Output of services that name no log, and of the broker itself."""
        return self.state / "logs"
