"""What does the broker itself know of a service's files? Read from disk for each act, never remembered."""

from collections.abc import Sequence
from pathlib import Path

from veilig.core.service import Inventory, Service
from veilig.providers.heal.disk import regenerable
from veilig.providers.heal.good import GoodStates
from veilig.providers.heal.good_restore import restore


class KeptFiles:
    """acts.Files over the recorded good states and the rules of what can be made again."""

    def __init__(self, folder: Path, inventory: Inventory) -> None:
        self._folder, self._inventory = folder, inventory

    def last_good(self, service: Service) -> str:
        """Digest of the recorded state; "" for none."""
        return GoodStates(self._folder, self._inventory).digest(service)

    def regenerable(self, service: Service) -> frozenset[str]:
        """Absolute paths, judged now."""
        return frozenset(row[0] for row in regenerable(service))

    def restore(self, service: Service, files: Sequence[tuple[str, str, str]], to: str) -> str:
        """Bring exactly these back to state `to`, each fenced by its SHA-256 now. Raises ProviderError."""
        done = restore(GoodStates(self._folder, self._inventory), service, files, to)
        return f"restored {', '.join(done.files[:5])} (taken back by {done.undo})"
