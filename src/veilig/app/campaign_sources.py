"""How do the files of a repository come here? A folder as it is, or a commit, through the gate."""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from veilig.app.components import FOLDER
from veilig.app.fetching import through_gate
from veilig.app.wiring import Setting
from veilig.campaign.repositories import Repository
from veilig.campaign.result import Result, Status
from veilig.core.action import FetchRepository
from veilig.core.action_world import REPOSITORY_BYTES
from veilig.core.clock import Clock
from veilig.core.errors import ProviderError, SessionError, VeiligError
from veilig.core.provider import Outcome, Provider
from veilig.core.provider import Status as Came
from veilig.home import Home, find_home
from veilig.providers import mirrors
from veilig.providers.history import git_text


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of every repository of a list.

    listed: the list's file. jobs: repositories at once. tokens: host -> the variable with its token.
    fresh: begin anew, and believe nothing that was found before.
    """

    listed: str
    repositories: tuple[Repository, ...]
    jobs: int = 1
    pattern: bool = False
    fresh: bool = False
    rules: str = ""
    tokens: Mapping[str, str] = field(default_factory=dict[str, str])
    size_bytes_max: int = REPOSITORY_BYTES


@dataclass(frozen=True, slots=True)
class Source:
    """A repository as files: `content` is a digest of them, `commit` empty where nobody named one."""

    folder: Path
    content: str
    commit: str


def blank(repository: Repository, status: Status, reason: str = "") -> Result:
    """A result that says how it went, and nothing else yet."""
    return Result(repository.label, repository.place, repository.ref, status, reason, slug=repository.slug)


class Sources:
    """Brings the files of repositories here. Those of an address come through the gate."""

    def __init__(
        self, tokens: Mapping[str, str], size_bytes_max: int, setting: Setting, trees: Path | None = None
    ) -> None:
        """tokens: host -> the variable with its token. trees: where files are laid out, if not here."""
        self._tokens = tokens
        self._size_bytes_max = size_bytes_max
        self._setting = setting
        self._folder = find_home(setting.environment).path / FOLDER
        self._trees = trees or self._folder / "trees"
        self._places: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @asynccontextmanager
    async def of(self, repository: Repository, commit: str = "") -> AsyncGenerator[Source]:
        """The files, for as long as the context lasts. commit: what its ref meant. Raises VeiligError."""
        if not repository.far and not repository.ref:
            yield await asyncio.to_thread(_near, Path(repository.place))
            return
        # One folder for each line: the reader remembers what it saw there the last time.
        name = hashlib.sha256(f"{repository.place}\0{repository.ref}".encode()).hexdigest()[:32]
        tree = self._trees / name
        async with self._places[repository.place]:
            meant = replace(repository, ref=commit or repository.ref)
            mirror, commit = await self._mirrored(meant)
            await asyncio.to_thread(mirrors.export, mirror, commit, tree)
        try:
            yield Source(tree, await asyncio.to_thread(mirrors.content_of, tree), commit)
        finally:
            await asyncio.to_thread(mirrors.remove_tree, tree)

    async def _mirrored(self, repository: Repository) -> tuple[Path, str]:
        cache = self._folder / "mirrors"
        if not repository.far:
            mirror = mirrors.mirror_of(cache, repository.place)
            bounds = mirrors.Bounds(self._size_bytes_max, mirrors.GIT_TIMEOUT_S)
            place, ref = repository.place, repository.ref
            return mirror, await asyncio.to_thread(mirrors.fetch, mirror, place, ref, bounds, {})
        token = self._tokens.get(urlsplit(repository.place).netloc, "")
        action = FetchRepository(repository.place, repository.ref, token, size_bytes_max=self._size_bytes_max)

        def hand(home: Home, clock: Clock) -> Provider:
            del home
            return mirrors.MirrorProvider(clock, cache, self._setting.environment)

        outcome = await through_gate(action, hand, "agent:fleet", self._setting, None)
        if not outcome.ok:
            raise _trouble(action, outcome)
        return Path(str(outcome.data["mirror"])), str(outcome.data["commit"])


def _near(folder: Path) -> Source:
    """A folder of this machine as it is now. Raises ProviderError."""
    if not folder.is_dir():
        raise ProviderError(f"{folder} is not a folder", why="there is nothing to read")
    folder = folder.resolve()
    commit = git_text(folder, "rev-parse", "-q", "--verify", "HEAD")
    return Source(folder, mirrors.content_of(folder), (commit or "").strip())


def _trouble(action: FetchRepository, outcome: Outcome) -> VeiligError:
    if outcome.status in (Came.REFUSED, Came.HELD):
        return SessionError(f"{action.url} was not fetched", why=outcome.detail, fix="see `audit.hosts`")
    return ProviderError(f"{action.url} did not come", why=outcome.detail)
