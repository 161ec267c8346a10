"""How are many repositories audited or mended with one command? Each is a session like any other.

What is wired here: the list, mirrors, sessions and the store of results. What came of one repository never
stops the others; a crash loses nothing that was finished.
"""

import asyncio
import hashlib
import json
import os
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from veilig.agent.audit_plan import AuditOptions
from veilig.app.components import FOLDER, keep_components, open_sboms
from veilig.app.driver import Silent
from veilig.app.fetching import through_gate
from veilig.app.sessions import run_audit
from veilig.app.wiring import Ended, Setting, find_advisories, operator_policy
from veilig.campaign.repositories import Repository
from veilig.campaign.result import Result, Status, compared, findings_of
from veilig.campaign.store import Campaign, Campaigns, Heading, about_of, ordered
from veilig.core.action import FetchRepository
from veilig.core.action_world import REPOSITORY_BYTES
from veilig.core.clock import Clock
from veilig.core.errors import ProviderError, SessionError, VeiligError
from veilig.core.lock import SessionLock
from veilig.core.policy_match import PathGlob
from veilig.core.provider import Outcome, Provider
from veilig.core.provider import Status as Came
from veilig.home import Home, find_home
from veilig.providers import mirrors
from veilig.providers.history import git_text


class Watcher(Protocol):
    """What a terminal or page wants to hear of a campaign. now: every result so far, at a walk over them."""

    def began(self, heading: Heading, kept: Collection[Result]) -> None: ...
    def ended(self, result: Result, now: Callable[[], Sequence[Result]]) -> None: ...


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


@dataclass(frozen=True, slots=True)
class Finished:
    """A campaign that came to its end: every repository has a result, in the order of the list."""

    heading: Heading
    results: tuple[Result, ...]
    before: Mapping[str, Result] | None  # of the campaign on this list that ended before
    campaigns: Campaigns
    before_began: str = ""
    excludes: tuple[str, ...] = ()  # paths whose findings the policy leaves out


def campaigns_of(setting: Setting) -> Campaigns:
    """The campaigns of this state folder."""
    return Campaigns(find_home(setting.environment).path / FOLDER)


async def audit_fleet(wanted: Wanted, setting: Setting, watcher: Watcher) -> Finished:
    """Audit every repository of the list. Raises VeiligError when there is no law or no place for results."""
    home = find_home(setting.environment)
    auditor = _Auditor(wanted, setting, home)
    about = about_of("audit", wanted.listed)
    with auditor.sboms:
        finished = await Crew(wanted, setting, watcher, auditor.terms, "audit").work(about, auditor.one)
    return replace(finished, excludes=auditor.excludes)


class Crew:
    """Takes the repositories of a list one by one, some at once, and keeps what becomes of them."""

    def __init__(self, wanted: Wanted, setting: Setting, watcher: Watcher, terms: str, kind: str) -> None:
        self._wanted = wanted
        self._setting = setting
        self._watcher = watcher
        self._terms = terms
        self._kind = kind
        self._campaigns = campaigns_of(setting)
        self._sources = Sources(wanted, setting)
        self.results: dict[str, Result] = {}

    async def work(
        self, about: str, one: "Callable[[Repository, Source], Awaitable[Result]]",
        stop: "Callable[[Collection[Result]], str]" = lambda _: "",
    ) -> Finished:  # fmt: skip
        """All of it. one: does the work on a repository. stop: why no further one is begun; empty: go on."""
        with SessionLock(self._campaigns.folder / f"list-{about}"):
            campaign = self._begin(about)
            last = self._campaigns.last(about)
            before = last.results() if last else None
            labels = dict.fromkeys(repository.label for repository in self._wanted.repositories)
            kept = campaign.results()
            self.results = {k: r for k, r in kept.items() if k in labels and not r.status.trouble}
            skipped: list[Repository] = []
            self._watcher.began(campaign.heading, self.results.values())
            queue = [r for r in self._wanted.repositories if r.label not in self.results]
            taken = iter(queue)

            async def take() -> None:
                for repository in taken:
                    why = stop(self.results.values())
                    if why:  # not kept: the same command goes on here
                        skipped.append(repository)
                        self.results[repository.label] = result = blank(repository, Status.SKIPPED, why)
                    else:
                        result = await self._one(repository, one)
                        await asyncio.to_thread(campaign.add, result)
                        self.results[result.label] = result
                    self._watcher.ended(result, lambda: compared(ordered(self.results, labels), before))

            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(max(self._wanted.jobs, 1), max(len(queue), 1))):
                        group.create_task(take())
            except BaseExceptionGroup as several:
                # Whatever ends a campaign (a full disk, say) ends all of its hands: one reason is enough.
                raise several.exceptions[0] from several
            campaign.heading = replace(campaign.heading, ended_at=_now())
            if not skipped:
                campaign.write()
            found = compared(ordered(self.results, labels), before)
            began = last.heading.began_at if last else ""
            return Finished(campaign.heading, tuple(found), before, self._campaigns, began)

    def _begin(self, about: str) -> Campaign:
        found = None if self._wanted.fresh else self._campaigns.unfinished(about, self._terms)
        if found is not None:
            return found
        began, total = datetime.now(UTC), len(self._wanted.repositories)
        name = f"{began:%Y%m%dT%H%M%S}-{os.urandom(3).hex()}"
        heading = Heading(name, self._kind, self._wanted.listed, about, self._terms, total, _now())
        return self._campaigns.begin(heading)

    async def _one(
        self, repository: Repository, one: "Callable[[Repository, Source], Awaitable[Result]]"
    ) -> Result:
        began_s = time.monotonic()
        try:
            async with self._sources.of(repository) as source:
                result = await one(repository, source)
        except VeiligError as error:
            status = Status.REFUSED if isinstance(error, SessionError) else Status.FAILED
            result = blank(repository, status, "; ".join(part for part in (error.what, error.why) if part))
        except (OSError, ValueError, RecursionError, MemoryError) as error:
            # One repository that no line above expected must not end the work on a thousand others.
            result = blank(repository, Status.FAILED, f"{type(error).__name__}: {error}"[:300])
        return replace(result, seconds=round(time.monotonic() - began_s, 2))


def blank(repository: Repository, status: Status, reason: str = "") -> Result:
    """A result that says how it went, and nothing else yet."""
    return Result(repository.label, repository.place, repository.ref, status, reason, slug=repository.slug)


class Sources:
    """Brings the files of repositories here. Those of an address come through the gate."""

    def __init__(self, wanted: Wanted, setting: Setting) -> None:
        self._wanted = wanted
        self._setting = setting
        self._folder = find_home(setting.environment).path / FOLDER
        self._places: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    @asynccontextmanager
    async def of(self, repository: Repository) -> AsyncGenerator[Source]:
        """The files, for as long as the context lasts. Raises VeiligError."""
        if not repository.far and not repository.ref:
            yield await asyncio.to_thread(_near, Path(repository.place))
            return
        # One folder for each line: the reader remembers what it saw there the last time.
        name = hashlib.sha256(f"{repository.place}\0{repository.ref}".encode()).hexdigest()[:32]
        tree = self._folder / "trees" / name
        async with self._places[repository.place]:
            mirror, commit = await self._mirrored(repository)
            await asyncio.to_thread(mirrors.export, mirror, commit, tree)
        try:
            yield Source(tree, await asyncio.to_thread(mirrors.content_of, tree), commit)
        finally:
            await asyncio.to_thread(mirrors.remove_tree, tree)

    async def _mirrored(self, repository: Repository) -> tuple[Path, str]:
        cache = self._folder / "mirrors"
        if not repository.far:
            mirror = mirrors.mirror_of(cache, repository.place)
            bounds = mirrors.Bounds(self._wanted.size_bytes_max, mirrors.GIT_TIMEOUT_S)
            place, ref = repository.place, repository.ref
            return mirror, await asyncio.to_thread(mirrors.fetch, mirror, place, ref, bounds, {})
        token = self._wanted.tokens.get(urlsplit(repository.place).netloc, "")
        action = FetchRepository(
            repository.place, repository.ref, token, size_bytes_max=self._wanted.size_bytes_max
        )

        def hand(home: Home, clock: Clock) -> Provider:
            del home
            return mirrors.MirrorProvider(clock, cache, self._setting.environment)

        outcome = await through_gate(action, hand, "agent:fleet", self._setting, None)
        if not outcome.ok:
            raise _trouble(action, outcome)
        return Path(str(outcome.data["mirror"])), str(outcome.data["commit"])


class _Auditor:
    """Audits one repository, unless its content is known."""

    def __init__(self, wanted: Wanted, setting: Setting, home: Home) -> None:
        from veilig import __version__

        self._wanted = wanted
        self._setting = setting
        policy = operator_policy(home, setting)
        self.excludes = policy.elsewhere.audit_exclude
        self._globs = [PathGlob(glob) for glob in self.excludes]
        self._campaigns = campaigns_of(setting)
        self._contents: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._read: dict[str, Result] = {}
        self.sboms = open_sboms(setting)
        data = find_advisories(home, setting.environment, policy)
        seen = data.stat() if data else None
        facts = [__version__, policy.digest, str(data), [seen.st_size, seen.st_mtime_ns] if seen else []]
        facts += [wanted.pattern, wanted.rules]
        self.terms = hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    async def one(self, repository: Repository, source: Source) -> Result:
        """Its result. Raises VeiligError."""
        key = hashlib.sha256(f"{self.terms}\0{source.content}".encode()).hexdigest()
        async with self._contents[key]:
            if (same := self._read.get(key)) is not None:
                status, reason, data = Status.SAME, f"as {same.label}", None
                await self._remember(repository, source, await asyncio.to_thread(self._campaigns.kept, key))
                result = replace(same, label=repository.label, place=repository.place, ref=repository.ref)
                result = replace(result, status=status, reason=reason, slug=repository.slug)
                return replace(result, commit=source.commit, session="")
            data = None if self._wanted.fresh else await asyncio.to_thread(self._campaigns.kept, key)
            if data is not None:
                result = self._result(repository, source, Status.KNOWN, data)
                await self._remember(repository, source, data)
            else:
                ended = await self._audit(source)
                data = dict[str, Any](ended.finish.data) | {"session": ended.session}
                data["wall"] = ended.wall.name if ended.wall else ""
                await asyncio.to_thread(self._campaigns.keep, key, data)
                result = self._result(repository, source, Status.AUDITED, data)
                await self._remember(repository, source, data)
            self._read[key] = replace(result, key=key)
            return self._read[key]

    async def _remember(self, repository: Repository, source: Source, data: Mapping[str, Any] | None) -> None:
        """Its components, for advisories to come."""
        about = (data or {}).get("advisories", {})
        names = (repository.place, repository.ref, repository.label, source.commit)
        await asyncio.to_thread(keep_components, self.sboms, *names, about)

    async def _audit(self, source: Source) -> Ended:
        options = AuditOptions(
            str(source.folder),
            self._wanted.pattern,
            jobs=1,
            fresh=self._wanted.fresh,
            rules=self._wanted.rules,
        )
        ended = await run_audit(options, self._setting, Silent())
        if not ended.finish.ok:
            raise ProviderError(f"it was not audited: {ended.finish.summary}", why=f"session {ended.session}")
        return ended

    def _result(self, repository: Repository, source: Source, status: Status, data: dict[str, Any]) -> Result:
        report = data["report"]
        found = findings_of(data)
        shown = tuple(f for f in found if not any(glob.matches(f.path) for glob in self._globs))
        missing = len(report["skipped"]) + len(report["incomplete"]) + bool(data["advisories"].get("error"))
        return replace(
            blank(repository, status),
            commit=source.commit,
            content=source.content,
            session=str(data["session"]),
            wall=str(data["wall"]),
            files=int(report["files"]),
            lines=int(report["lines"]),
            findings=shown,
            excluded=len(found) - len(shown),
            left_out=missing,
            incomplete=bool(missing),
        )


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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


__all__ = ["Crew", "Finished", "Source", "Wanted", "Watcher", "audit_fleet", "blank"]
