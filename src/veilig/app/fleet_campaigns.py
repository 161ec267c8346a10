"""How does one process command a campaign that many machines work on? It queues, follows and gathers.

The database is the truth: whoever commands may die, and the same command on any machine goes on. What has
come is copied to a file here, so that reports are written as for a campaign of one machine. Everything here
blocks.
"""

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from veilig.app import fleet
from veilig.app.campaign_sources import Wanted, blank
from veilig.app.campaigns import Finished, Watcher, campaigns_of
from veilig.app.fleet_repository import AUDIT, FIX, Report, unpacked
from veilig.app.mending import Mend, stop_reason, with_patch
from veilig.app.wiring import Setting
from veilig.campaign.repositories import Repository
from veilig.campaign.result import Result, Status
from veilig.campaign.store import Campaign, Heading, Kept, about_of
from veilig.core.errors import ProviderError, UsageError
from veilig.home import find_home
from veilig.providers.fleet.campaigns import FleetCampaigns, Row
from veilig.providers.fleet.link import Link, org_of
from veilig.providers.fleet.queue import plain
from veilig.providers.fleet.store import Store, open_store

POLL_S: Final = 1.0
KINDS: Final = {"audit": AUDIT, "fix": FIX}


@dataclass(frozen=True, slots=True)
class Far:
    """Where the fleet is. store: the workers'; empty: this machine's. priority: larger is sooner."""

    database: str
    store: str = ""
    priority: int = 0


class Fleet:
    """The campaigns of an organisation in a fleet's database. Close it."""

    def __init__(
        self, far: Far, setting: Setting, change: Callable[[Result], Result] = lambda result: result
    ) -> None:
        """change: what is done with a result before it is kept here."""
        self._change = change
        self.far = far
        self._setting = setting
        self._home = find_home(setting.environment)
        self.org = org_of(far.database)
        self._link = Link(far.database, self.org)
        self.desk = FleetCampaigns(self._link)
        self.store: Store = open_store(far.store or str(self._home.path / "store"))
        self._local = campaigns_of(setting)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._link.close()

    def need_same_store(self) -> None:
        """Raises UsageError when the workers have another store: what they found could not be read."""
        mine = self.store.identity()
        if fleet.only_key(self.far.database, "store", mine) != mine:
            raise UsageError(
                "this is another store than the workers'", why="what they found lies in theirs",
                fix="give --store the same place as `veilig worker` has",
            )  # fmt: skip

    def spool(self, told: Mapping[str, Any]) -> Campaign:
        """The file here with what has come of a campaign so far; what is missing in it is fetched."""
        names = ("id", "kind", "list", "terms", "repositories", "began_at", "ended_at")
        heading = Heading(about=self._about(told), **{name: told[name] for name in names})
        campaign = Campaign.at(self._local.folder / heading.id)
        if campaign is None:
            campaign = self._local.begin(replace(heading, ended_at=""))  # until all of it is here
        whole = campaign.heading.ended_at != ""
        for _ in campaign.scan():
            continue
        if not whole:
            for row in self.desk.ended(heading.id):
                self.take(campaign, row)
            campaign.heading = heading
            campaign.write()
        return campaign

    def finished(self, told: Mapping[str, Any], campaign: Campaign, labels: Sequence[str] = (),
                 skipped: Mapping[str, Result] | None = None) -> Finished:  # fmt: skip
        """What is known of a campaign, with what it is compared with."""
        last = self.last(told)
        before = self.spool(last) if last else None
        shown = list(labels) or [row.label for row in self.desk.ended(str(told["id"]))]
        results = Kept(campaign, list(dict.fromkeys(shown)), before, skipped or {})
        began = before.heading.began_at if before else ""
        return Finished(campaign.heading, results, self.report, began)

    def last(self, told: Mapping[str, Any]) -> dict[str, Any] | None:
        """The newest campaign of the same list that ended before this one began."""
        every = self.desk.headings(str(told["about"]), 1000)
        return next((h for h in every if h["ended_at"] and h["id"] < told["id"]), None)

    def report(self, result: Result) -> Report | None:
        """What an audit ended with; None where the store does not have it any more."""
        try:
            return unpacked(self.store.get(result.key))
        except ProviderError as error:
            if error.retry_after_s is not None:
                raise
            return None

    def take(self, campaign: Campaign, row: Row) -> Result | None:
        """Copy a row's result here; None when it is here. Raises VeiligError."""
        if row.label in campaign or row.result is None:
            return None
        result = self._change(Result.from_json(row.result))
        campaign.add(result, durable=False)
        return result

    def _about(self, told: Mapping[str, Any]) -> str:
        return about_of(str(told["kind"]), f"{plain(self.far.database)}\0{self.org}\0{told['about']}")


class Commander:
    """Queues a list, follows what becomes of it, and gathers it."""

    def __init__(
        self, wanted: Wanted, far: Far, setting: Setting, watcher: Watcher, mend: Mend | None = None
    ) -> None:
        """mend: what a fix is asked; None: an audit."""
        self._wanted = wanted
        self._setting = setting
        self._watcher = watcher
        self._mend = mend
        self._kind = "fix" if mend else "audit"
        self._labels = [repository.label for repository in wanted.repositories]
        self._slugs = Counter(repository.slug for repository in wanted.repositories)
        self._fleet = Fleet(far, setting, self._patched)
        self._began_s = time.monotonic()
        self._row = 0

    def queue(self) -> str:
        """Only queue what is not queued yet; the campaign's id. Workers go on, whoever watches."""
        with self._fleet:
            self._fleet.need_same_store()
            return str(self._queued()["id"])

    def go(self) -> Finished:
        """All of it. Raises VeiligError; what was queued goes on then, and the same command follows it."""
        with self._fleet as at:
            at.need_same_store()
            told = self._queued()
            campaign = at.spool(told)
            self._watcher.began(campaign.heading, Kept(campaign, self._labels, None, {}))
            last = at.last(told)
            before = at.spool(last) if last else None
            skipped = self._followed(str(told["id"]), campaign, before)
            ended = datetime.now(UTC).isoformat(timespec="seconds")
            if not skipped and at.desk.close(str(told["id"]), ended):
                campaign.write_ended(ended)
            else:
                campaign.heading = replace(campaign.heading, ended_at=ended)
            return at.finished(told, campaign, self._labels, skipped)

    # --- queue --------------------------------------------------------------------------------------

    def _queued(self) -> dict[str, Any]:
        desk, far = self._fleet.desk, self._fleet.far
        asked = json.dumps(self._asked(), sort_keys=True)
        named = [[r.label, r.place, r.ref] for r in self._wanted.repositories]
        terms = hashlib.sha256(json.dumps([asked, named]).encode()).hexdigest()
        now = datetime.now(UTC)
        about = f"{self._wanted.listed}\0{self._mend.out}" if self._mend else self._wanted.listed
        heading: dict[str, Any] = {
            "id": f"{now:%Y%m%dT%H%M%S}-{os.urandom(3).hex()}", "kind": self._kind,
            "list": self._wanted.listed, "about": about_of(self._kind, about), "terms": terms,
            "repositories": len(named), "began_at": now.isoformat(timespec="seconds"), "asked": asked,
        }  # fmt: skip
        told = desk.begin(heading, fresh=self._wanted.fresh)
        campaign = str(told["id"])
        self._supersede(told)
        names = {r.label: n for n, r in enumerate(self._wanted.repositories)}
        desk.add(campaign, ((n, label, self._session(campaign, n)) for label, n in names.items()))
        fleet.retry_all(far.database, [row.session for row, state, _ in desk.abandoned(campaign)
                                       if state == "cancelled"])  # fmt: skip
        works = [self._work(campaign, n, session) for n, session in desk.unqueued(campaign)]
        fleet.enqueue_all(far.database, works)
        return told

    def _supersede(self, told: Mapping[str, Any]) -> None:
        """An unfinished campaign of the same list that asked for something else is over."""
        desk = self._fleet.desk
        for old in desk.headings(str(told["about"]), 1000):
            if not old["ended_at"] and old["id"] < told["id"]:
                fleet.cancel_all(self._fleet.far.database, desk.waiting(str(old["id"])))
                desk.remove(str(old["id"]))

    def _session(self, campaign: str, number: int) -> str:
        return f"{self._kind}-{campaign}-{number}"

    def _work(self, campaign: str, number: int, session: str) -> fleet.Work:
        at: Repository = self._wanted.repositories[number]
        options: dict[str, Any] = {
            "campaign": campaign, "number": number,
            "name": at.name, "place": at.place, "ref": at.ref, "line": at.line,
        }  # fmt: skip
        far = self._fleet.far
        return fleet.Work(KINDS[self._kind], options, self._fleet.org, far.priority, session)

    def _asked(self) -> dict[str, Any]:
        wanted, mend = self._wanted, self._mend
        if mend is None:
            return {"pattern": wanted.pattern, "rules": wanted.rules, "fresh": wanted.fresh}
        return {
            "only": mend.only, "budget_s": mend.budget_s, "model": mend.model,
            "test_command": [*mend.test_command],
        }  # fmt: skip

    # --- follow -------------------------------------------------------------------------------------

    def _followed(self, told: str, campaign: Campaign, before: Campaign | None) -> dict[str, Result]:
        """Until every repository has a result, or no further one is to be begun; those then."""
        skipped: dict[str, Result] = {}

        def now() -> Sequence[Result]:
            return Kept(campaign, self._labels, before, skipped)

        desk, since, why = self._fleet.desk, 0.0, ""
        while True:
            rows, since = desk.ended_since(told, since)
            for result in filter(None, (self._fleet.take(campaign, row) for row in rows)):
                self._row = self._row + 1 if result.status.trouble else 0
                self._watcher.ended(result, now)
            over = self._conclude(told, stopped=bool(why))
            ended, total = desk.counts(told)
            if ended == total == sum(label in campaign for label in dict.fromkeys(self._labels)):
                return skipped
            if why and ended + over == total:
                for repository in self._wanted.repositories:
                    if repository.label not in campaign:
                        skipped[repository.label] = result = blank(repository, Status.SKIPPED, why)
                        self._watcher.ended(result, now)
                return skipped
            if not why and self._mend and (why := stop_reason(self._mend, self._began_s, self._row)):
                fleet.cancel_all(self._fleet.far.database, desk.waiting(told))
                continue
            time.sleep(POLL_S)

    def _conclude(self, told: str, *, stopped: bool) -> int:
        """Say what became of those whose sessions ended without a word; how many are left as they are."""
        desk, left = self._fleet.desk, 0
        for row, state, note in desk.abandoned(told):
            if stopped and state == "cancelled":
                left += 1
                continue
            status = Status.SKIPPED if state == "cancelled" else Status.FAILED
            why = "cancelled in the queue" if state == "cancelled" else note or "its session gave no result"
            result = blank(self._wanted.repositories[row.number], status, why)
            desk.conclude(told, row.number, replace(result, session=row.session).to_json())
        return left

    # --- patches ------------------------------------------------------------------------------------

    def _patched(self, result: Result) -> Result:
        """With its patch in the folder for them."""
        if self._mend is None or not result.key:
            return result
        out, unique = Path(self._mend.out), self._slugs[result.slug] == 1
        return with_patch(result, self._fleet.store.get(result.key).decode(), out, unique=unique)


def campaigns_in(far: Far, setting: Setting, limit: int) -> list[tuple[dict[str, Any], int]]:
    """(campaign, how many results it has) of an organisation, newest first."""
    with Fleet(far, setting) as at:
        return [(told, at.desk.counts(str(told["id"]))[0]) for told in at.desk.headings(limit=limit)]


def gathered(campaign: str, far: Far, setting: Setting, use: Callable[[Finished], None]) -> None:
    """What is known of a campaign now, for a report. Raises UsageError when there is none of this name."""
    with Fleet(far, setting) as at:
        found = [h for h in at.desk.headings(limit=10_000) if str(h["id"]).startswith(campaign)]
        if len(found) != 1:
            known = "no" if not found else "more than one"
            raise UsageError(f"{known} campaign starts with {campaign!r}", fix="veilig queue campaigns")
        at.need_same_store()
        use(at.finished(found[0], at.spool(found[0])))
