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
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from veilig.agent.audit_plan import AuditOptions
from veilig.app.campaign_sources import Source, Sources, Wanted, blank
from veilig.app.components import FOLDER, keep_components, open_sboms
from veilig.app.driver import Silent
from veilig.app.sessions import run_audit
from veilig.app.wiring import Ended, Setting, find_advisories, operator_policy
from veilig.audit.advisories import AdvisoryDatabase
from veilig.campaign.repositories import Repository
from veilig.campaign.result import Result, Status, findings_of
from veilig.campaign.store import Campaign, Campaigns, Heading, Kept, about_of
from veilig.core.errors import ProviderError, SessionError, VeiligError
from veilig.core.lock import SessionLock
from veilig.core.policy import Policy
from veilig.core.policy_match import PathGlob
from veilig.home import Home, find_home


class Watcher(Protocol):
    """What a terminal or page wants to hear of a campaign. now: every result so far, at a walk over them."""

    def began(self, heading: Heading, kept: Collection[Result]) -> None: ...
    def ended(self, result: Result, now: Callable[[], Sequence[Result]]) -> None: ...


@dataclass(frozen=True, slots=True)
class Finished:
    """A campaign that came to its end: every repository has a result, in the order of the list."""

    heading: Heading
    results: Sequence[Result]  # read from the disk when asked for
    report: Callable[[Result], dict[str, Any] | None]  # what its audit ended with, if it is kept
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
        self._sources = Sources(wanted.tokens, wanted.size_bytes_max, setting)
        self._row = 0  # in which nothing came of repositories, up to now

    async def work(
        self, about: str, one: "Callable[[Repository, Source], Awaitable[Result]]",
        stop: "Callable[[int], str]" = lambda _: "",
    ) -> Finished:  # fmt: skip
        """All of it. one: does the work on a repository.

        stop: told how many in a row failed; why no further one is begun; empty: go on.
        """
        with SessionLock(self._campaigns.folder / f"list-{about}"):
            campaign = self._begin(about)
            last = self._campaigns.last(about)
            for _ in last.scan() if last else ():
                continue  # it knows then where each result lies
            labels = list(dict.fromkeys(repository.label for repository in self._wanted.repositories))
            done = {result.label: not result.status.trouble for result in campaign.scan()}
            skipped: dict[str, Result] = {}
            known = Kept(campaign, [label for label in labels if done.get(label)], None, {})
            self._watcher.began(campaign.heading, known)
            queue = [r for r in self._wanted.repositories if not done.get(r.label)]
            await self._all(
                queue, campaign, one, stop, skipped, lambda: Kept(campaign, labels, last, skipped)
            )
            campaign.heading = replace(campaign.heading, ended_at=_now())
            if not skipped:
                campaign.write()
            began = last.heading.began_at if last else ""
            results = Kept(campaign, labels, last, skipped)
            return Finished(campaign.heading, results, lambda r: self._campaigns.kept(r.key), began)

    async def _all(
        self, queue: list[Repository], campaign: Campaign,
        one: "Callable[[Repository, Source], Awaitable[Result]]", stop: "Callable[[int], str]",
        skipped: dict[str, Result], now: Callable[[], Sequence[Result]],
    ) -> None:  # fmt: skip
        taken = iter(queue)

        async def take() -> None:
            for repository in taken:
                why = stop(self._row)
                if why:  # not kept: the same command goes on here
                    skipped[repository.label] = result = blank(repository, Status.SKIPPED, why)
                else:
                    result = await self._one(repository, one)
                    await asyncio.to_thread(campaign.add, result)
                    self._row = self._row + 1 if result.status.trouble else 0
                self._watcher.ended(result, now)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(max(self._wanted.jobs, 1), max(len(queue), 1))):
                    group.create_task(take())
        except BaseExceptionGroup as several:
            # Whatever ends a campaign (a full disk, say) ends all of its hands: one reason is enough.
            raise several.exceptions[0] from several

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


class _Auditor:
    """Audits one repository, unless its content is known."""

    def __init__(self, wanted: Wanted, setting: Setting, home: Home) -> None:

        self._wanted = wanted
        self._setting = setting
        policy = operator_policy(home, setting)
        self.excludes = policy.elsewhere.audit_exclude
        self._globs = [PathGlob(glob) for glob in self.excludes]
        self._campaigns = campaigns_of(setting)
        self._contents: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._read: dict[str, str] = {}  # content and terms -> who was read
        self.sboms = open_sboms(setting)
        self.terms = terms_of(setting, home, policy, pattern=wanted.pattern, rules=wanted.rules)

    async def one(self, repository: Repository, source: Source) -> Result:
        """Its result. Raises VeiligError."""
        key = content_key(self.terms, source.content)
        async with self._contents[key]:
            same = self._read.get(key)
            known = same is not None or not self._wanted.fresh
            data = await asyncio.to_thread(self._campaigns.kept, key) if known else None
            status = Status.SAME if same is not None else Status.KNOWN
            if data is None:
                status, data = Status.AUDITED, audited(await self._audit(source))
                await asyncio.to_thread(self._campaigns.keep, key, data)
            await self._remember(repository, source, data)
            result = replace(read_result(repository, source, status, data, self._globs), key=key)
            if status is Status.SAME:
                return replace(result, reason=f"as {same}", session="")
            self._read[key] = repository.label
            return result

    async def _remember(self, repository: Repository, source: Source, data: Mapping[str, Any] | None) -> None:
        """Its components, for advisories to come."""
        about = (data or {}).get("advisories", {})
        names = (repository.place, repository.ref, repository.label, source.commit)
        await asyncio.to_thread(keep_components, self.sboms, *names, about)

    async def _audit(self, source: Source) -> Ended:
        wanted = self._wanted
        options = AuditOptions(
            str(source.folder), wanted.pattern, jobs=1, fresh=wanted.fresh, rules=wanted.rules
        )
        return await run_audit(options, self._setting, Silent())


def terms_of(setting: Setting, home: Home, policy: Policy, *, pattern: bool, rules: str) -> str:
    """A digest of what an audit's answer hangs on, beside the files: the same on every machine."""
    from veilig import __version__

    facts: list[object] = [__version__, policy.digest, pattern, rules]
    if place := find_advisories(home, setting.environment, policy):
        data = AdvisoryDatabase.open(place)
        try:
            facts += [sorted(data.meta.items()), data.advisories]
        finally:
            data.close()
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def content_key(terms: str, content: str) -> str:
    """The name under which an audit of some files is kept."""
    return hashlib.sha256(f"{terms}\0{content}".encode()).hexdigest()


def audited(ended: Ended) -> dict[str, Any]:
    """What is kept of an audit. Raises ProviderError for one that was not brought to its end."""
    if not ended.finish.ok:
        raise ProviderError(f"it was not audited: {ended.finish.summary}", why=f"session {ended.session}")
    wall = ended.wall.name if ended.wall else ""
    return dict[str, Any](ended.finish.data) | {"session": ended.session, "wall": wall}


def read_result(
    repository: Repository, source: Source, status: Status, data: Mapping[str, Any], globs: Sequence[PathGlob]
) -> Result:
    """The result of an audit that ended with `data`. globs: paths whose findings are only counted."""
    report = data["report"]
    found = findings_of(data)
    shown = tuple(f for f in found if not any(glob.matches(f.path) for glob in globs))
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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


__all__ = ["Crew", "Finished", "Source", "Wanted", "Watcher", "audit_fleet", "blank"]
