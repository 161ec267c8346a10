"""How does a worker audit or mend one repository of a campaign? As on one machine, under its lease.

What comes of it is a row of the campaign. Trouble with a repository is its result, with the reason; trouble
with the database or the store is not: the session is tried again.
"""

import asyncio
import gzip
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from veilig.agent.audit_plan import AuditOptions
from veilig.agent.job import JOBS
from veilig.app.campaign_sources import Source, Sources, blank
from veilig.app.campaigns import audited, content_key, read_result, terms_of
from veilig.app.components import keep_components, open_sboms
from veilig.app.driver import Silent
from veilig.app.fleet_hold import Held
from veilig.app.fleet_session import Came, Handler, need_own
from veilig.app.mending import Mend, fix_options, mended
from veilig.app.sessions import run_audit, run_fix
from veilig.app.wiring import Ended, Setting, Wired, operator_policy
from veilig.campaign.repositories import Repository
from veilig.campaign.result import Result, Status
from veilig.core.action_world import REPOSITORY_BYTES
from veilig.core.errors import Fenced, LedgerError, ProviderError, SessionError, VeiligError
from veilig.core.lock import SessionLock
from veilig.core.policy_match import PathGlob
from veilig.core.provider import Finish
from veilig.core.session import Left, View, fold
from veilig.home import find_home
from veilig.providers.fleet.campaigns import Claim, FleetCampaigns, Row
from veilig.providers.fleet.entries import LeaseLost, State
from veilig.providers.fleet.link import Link
from veilig.providers.fleet.store import Store

AUDIT: Final = "fleet-audit"
FIX: Final = "fleet-fix"
AGAIN_S: Final = 2.0  # until a content that another session reads is asked for again

type Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Repositories:
    """What a worker needs for them. tokens: host -> the variable with its token, of this worker.

    sources: where commits are laid out; the same path on every machine.
    """

    database: str
    sources: Path
    tokens: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def handlers(self) -> dict[str, Handler]:
        """For the worker's plan."""
        return {AUDIT: self._drive, FIX: self._drive}

    async def _drive(self, held: Held, setting: Setting) -> Came:
        link = Link(self.database, held.taken.org)
        try:
            return await _One(self, held, setting, FleetCampaigns(link)).drive()
        finally:
            await asyncio.to_thread(link.close)


class _Later(Exception):  # no error: somebody else is at it
    """Another session reads the same files now."""


class _One:
    """One repository, from the lease to its row."""

    def __init__(self, site: Repositories, held: Held, setting: Setting, desk: FleetCampaigns) -> None:
        self._site = site
        self._held = held
        self._setting = setting
        self._desk = desk
        self._began_s = time.monotonic()
        told: dict[str, Any] = held.taken.work["options"]
        self._campaign, self._number = str(told["campaign"]), int(told["number"])
        self._repository = Repository(
            str(told["name"]), str(told["place"]), str(told["ref"]), int(told["line"])
        )
        self._store: Store = held.copies.store
        self._home = find_home(setting.environment)
        self._policy = operator_policy(self._home, setting)

    async def drive(self) -> Came:
        """Raises VeiligError where it is to be tried again."""
        row = await asyncio.to_thread(self._desk.row, self._campaign, self._number)
        if row.result is not None:  # the worker before died between the row and the queue
            return Came(State.DONE, "")
        asked: dict[str, Any] = json.loads(await asyncio.to_thread(self._desk.asked, self._campaign))
        work = self._audit if self._held.taken.kind == AUDIT else self._mend
        try:
            with self._alone():
                return await self._with_source(row, asked, work)
        except _Later:
            return Came(State.QUEUED, "the same files are read elsewhere", AGAIN_S, free=True)
        except (LeaseLost, Fenced, Left):
            raise
        except VeiligError as error:
            if self._held.gone or error.retry_after_s is not None or isinstance(error, LedgerError):
                raise
            refused = isinstance(error, SessionError)
            why = "; ".join(part for part in (error.what, error.why) if part)
            result = blank(self._repository, Status.REFUSED if refused else Status.FAILED, why)
        except (OSError, ValueError, RecursionError, MemoryError) as error:
            result = blank(self._repository, Status.FAILED, f"{type(error).__name__}: {error}"[:300])
        return await self._end(row, result)

    @contextmanager
    def _alone(self) -> Generator[None]:
        """Two sessions of one machine must not lay out the same repository in the same folder."""
        need_own(self._site.sources)
        told = f"{self._held.taken.org}\0{self._repository.place}\0{self._repository.ref}"
        name = hashlib.sha256(told.encode()).hexdigest()[:32]
        with ExitStack() as held:
            try:
                held.enter_context(SessionLock(self._site.sources / "locks" / name))
            except SessionError as error:
                if error.retry_after_s is None:
                    raise
                raise _Later from error
            yield

    async def _with_source(
        self, row: Row, asked: dict[str, Any],
        work: "Callable[[Row, dict[str, Any], Source, View], Awaitable[Came]]",
    ) -> Came:  # fmt: skip
        pinned: dict[str, str] = json.loads(row.pinned) if row.pinned else {}
        trees = self._site.sources / "repositories" / self._held.taken.org
        sources = Sources(self._site.tokens, REPOSITORY_BYTES, self._setting, trees)
        await asyncio.to_thread(self._held.bring)
        view = await asyncio.to_thread(self._view)
        begun = pinned if view.kind else {}
        async with sources.of(self._repository, begun.get("commit", "")) as source:
            if begun:  # a folder may have changed since; what is read is the copy of then
                source = replace(source, content=begun["content"], commit=begun["commit"])
            return await work(row, asked, source, view)

    def _view(self) -> View:
        with self._home.open_ledger(self._policy) as ledger:
            return fold(self._held.taken.session, ledger.events(session=self._held.taken.session))

    # --- audit ------------------------------------------------------------------------------------

    async def _audit(self, row: Row, asked: dict[str, Any], source: Source, view: View) -> Came:
        pattern, rules, fresh = bool(asked["pattern"]), str(asked["rules"]), bool(asked["fresh"])
        terms = await asyncio.to_thread(
            lambda: terms_of(self._setting, self._home, self._policy, pattern=pattern, rules=rules)
        )
        key = content_key(terms, source.content)
        claim = await asyncio.to_thread(lambda: self._desk.claim(key, row, self._campaign, fresh=fresh))
        if not claim.mine:
            return await self._known(row, source, claim)

        async def start() -> Ended:
            options = AuditOptions(str(source.folder), pattern, jobs=1, fresh=fresh, rules=rules)
            return await run_audit(options, self._setting, Silent())

        try:
            data = audited(await self._begun(source, view, start))
        except VeiligError:
            await asyncio.to_thread(self._desk.disclaim, key, row.session)
            raise
        excludes = self._policy.elsewhere.audit_exclude
        data["excludes"] = [*excludes]
        globs = [PathGlob(glob) for glob in excludes]
        report = await asyncio.to_thread(lambda: self._store.put(packed(data)))
        result = replace(read_result(self._repository, source, Status.AUDITED, data, globs), key=report)
        await asyncio.to_thread(self._remember, source, data)
        return await self._end(row, result, report, key)

    async def _known(self, row: Row, source: Source, claim: Claim) -> Came:
        """The content was read, in this campaign or an earlier one; or it is being read."""
        if not claim.result:
            raise _Later
        data = await asyncio.to_thread(lambda: unpacked(self._store.get(claim.report)))
        await asyncio.to_thread(self._remember, source, data)
        result = self._as(Result.from_json(claim.result), source)
        if claim.campaign == self._campaign:
            return await self._end(
                row, replace(result, status=Status.SAME, reason=f"as {claim.label}", session=""), claim.report
            )
        return await self._end(row, replace(result, status=Status.KNOWN), claim.report)

    def _remember(self, source: Source, data: Report) -> None:
        """Its components, for advisories to come."""
        with open_sboms(self._setting, self._site.database, self._held.taken.org) as sboms:
            place, ref = self._repository.place, self._repository.ref
            keep_components(
                sboms, place, ref, self._repository.label, source.commit, data.get("advisories", {})
            )

    # --- fix --------------------------------------------------------------------------------------

    async def _mend(self, row: Row, asked: dict[str, Any], source: Source, view: View) -> Came:
        command = tuple(str(word) for word in asked["test_command"])
        mend = Mend("", str(asked["only"]), float(asked["budget_s"]), test_command=command,
                    model=str(asked["model"]))  # fmt: skip
        key = hashlib.sha256(f"fix\0{self._campaign}\0{source.content}".encode()).hexdigest()
        claim = await asyncio.to_thread(lambda: self._desk.claim(key, row, self._campaign, fresh=False))
        if not claim.mine:
            if not claim.result:
                raise _Later
            result = self._as(Result.from_json(claim.result), source)
            result = replace(result, reason=f"as {claim.label}", session="")
            return await self._end(row, result, claim.report)

        async def start() -> Ended:
            return await run_fix(fix_options(mend, source), self._setting, Silent(), None)

        try:
            result, diff = mended(self._repository, source, await self._begun(source, view, start))
        except VeiligError:
            await asyncio.to_thread(self._desk.disclaim, key, row.session)
            raise
        report = await asyncio.to_thread(lambda: self._store.put(diff.encode())) if diff else ""
        return await self._end(row, replace(result, key=report), report, key)

    # --- both -------------------------------------------------------------------------------------

    async def _begun(self, source: Source, view: View, start: "Callable[[], Awaitable[Ended]]") -> Ended:
        """Start the session, go on with it, or take its end from the record."""
        if view.ended:
            return Ended(view.id, Finish(view.ended == "done", view.summary, view.result), 0, None)
        if view.kind:
            job = JOBS[view.kind](dict[str, Any](view.options))
            return await Wired(view.id, job, self._setting, Silent(), None).go(resume=True)
        pinned = json.dumps({"commit": source.commit, "content": source.content})
        await asyncio.to_thread(self._desk.pin, self._campaign, self._number, pinned)
        return await start()

    def _as(self, other: Result, source: Source) -> Result:
        """The result of another repository with the same files, as this one's."""
        mine = self._repository
        return replace(
            other, label=mine.label, place=mine.place, ref=mine.ref, slug=mine.slug, commit=source.commit
        )

    async def _end(self, row: Row, result: Result, report: str = "", key: str = "") -> Came:
        told = replace(result, seconds=round(time.monotonic() - self._began_s, 2)).to_json()
        token = self._held.taken.token
        self._held.must_hold()
        await asyncio.to_thread(
            lambda: self._desk.end(self._campaign, row, token, told, report, key=key, kept=told)
        )
        return Came(State.DONE, result.reason or f"{result.status}, {len(result.findings)} findings")


def packed(data: Report) -> bytes:
    """As the store keeps what an audit ended with."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return gzip.compress(text.encode("utf-8", "surrogatepass"), 3, mtime=0)


def unpacked(kept: bytes) -> Report:
    """The inverse of `packed`. Raises ProviderError."""
    try:
        found: Report = json.loads(gzip.decompress(kept).decode("utf-8", "surrogatepass"))
    except (OSError, EOFError, ValueError) as error:
        raise ProviderError("a report in the store cannot be read", why=str(error)) from error
    return found
