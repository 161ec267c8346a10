"""Where does a session's copy lie, and what did its files hold before the session changed them?"""

import json
from collections.abc import Mapping
from pathlib import Path

from veilig.providers.tree import Tree


class Workspace:
    """Where a session's copy lies, whose it is, and which files it changed since it was made.

    folder: the session's own folder; the copy is `folder/work`, the originals of changed files
    are `folder/originals.json` (path -> text or null), written before each first change.
    """

    def __init__(self, folder: Path, source: Path, owner: tuple[int, int] | None = None) -> None:
        self.folder = folder
        self.source = source
        self.tree = Tree(folder / "work", owner)
        self._log = folder / "originals.json"
        self._originals: dict[str, str | None] | None = None

    def originals(self) -> Mapping[str, str | None]:
        """Path -> the text before the session's first change, None for files it made."""
        if self._originals is None:
            self._originals = json.loads(self._log.read_text()) if self._log.exists() else {}
        return self._originals or {}

    def keep(self, path: str, text: str | None) -> None:
        """Remember the first original of `path`, durable before the change."""
        if path not in self.originals():
            self.keep_all({path: text})

    def keep_all(self, texts: Mapping[str, str | None]) -> None:
        """The same for several files at once; what is known already stays."""
        known = {**texts, **self.originals()}
        fresh = self._log.with_suffix(".new")
        fresh.write_text(json.dumps(known))
        fresh.chmod(0o600)
        fresh.replace(self._log)
        self._originals = known

    def forget(self) -> None:
        """The copy is fresh: nothing has changed in it."""
        self._log.unlink(missing_ok=True)
        self._originals = None
