"""How are many repositories mended with one command? A patch for each, proven, and a person decides on it.

Nothing is pushed, and no tree of a user is written: the copies are veilig's, and what comes out is a file.
"""

import asyncio
import hashlib
import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from veilig.agent.fix_state import FIXED, PROPOSED, FixOptions, not_looked_at
from veilig.app.campaigns import Crew, Finished, Source, Wanted, Watcher, blank
from veilig.app.driver import Silent
from veilig.app.sessions import run_fix
from veilig.app.wiring import Ended, Setting, operator_policy
from veilig.campaign.repositories import Repository
from veilig.campaign.result import SEVERITIES, Found, Result, Status
from veilig.campaign.store import about_of
from veilig.core.errors import ProviderError, UsageError
from veilig.home import find_home


@dataclass(frozen=True, slots=True)
class Mend:
    """What is asked, beside which repositories. out: the folder for patches.

    budget_s: of repairs in one repository; budget_all_s: after which no further one is begun; 0: no bound.
    stop_after: repositories in a row of which nothing came; 0: never stop for that.
    """

    out: str
    only: str = ""
    budget_s: float = 300.0
    budget_all_s: float = 0.0
    stop_after: int = 0
    test_command: tuple[str, ...] = ()
    model: str = ""


async def fix_fleet(wanted: Wanted, mend: Mend, setting: Setting, watcher: Watcher) -> Finished:
    """A patch file for every repository in which something was mended and proven. Raises VeiligError."""
    mender = _Mender(mend, setting, wanted)
    crew = Crew(wanted, setting, watcher, mender.terms, "fix")
    about = about_of("fix", f"{wanted.listed}\0{mend.out}")
    return await crew.work(about, mender.one, mender.stop)


class _Mender:
    """Mends one repository; what was done for equal files is not done again."""

    def __init__(self, mend: Mend, setting: Setting, wanted: Wanted) -> None:
        from veilig import __version__

        self._mend = mend
        self._setting = setting
        self._began_s = time.monotonic()
        self._contents: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._done: dict[str, Result] = {}
        self._slugs = Counter(repository.slug for repository in wanted.repositories)
        policy = operator_policy(find_home(setting.environment), setting)
        facts = [__version__, policy.digest, mend.only, [*mend.test_command], mend.model]
        self.terms = hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def stop(self, row: int) -> str:
        """Why no further repository is begun; empty: go on."""
        return stop_reason(self._mend, self._began_s, row)

    async def one(self, repository: Repository, source: Source) -> Result:
        """Its result. Raises VeiligError."""
        async with self._contents[source.content]:
            if (done := self._done.get(source.content)) is not None:
                result = replace(
                    done, label=repository.label, place=repository.place, ref=repository.ref,
                    slug=repository.slug, commit=source.commit, reason=f"as {done.label}", session="",
                )  # fmt: skip
                diff = (
                    await asyncio.to_thread(diff_in, Path(self._mend.out) / done.patch) if done.patch else ""
                )
                return await self._with_patch(result, diff)
            result, diff = await self._mended(repository, source)
            self._done[source.content] = result = await self._with_patch(result, diff)
            return result

    async def _mended(self, repository: Repository, source: Source) -> tuple[Result, str]:
        ended = await run_fix(fix_options(self._mend, source), self._setting, Silent(), None)
        return mended(repository, source, ended)

    async def _with_patch(self, result: Result, diff: str) -> Result:
        if not diff:
            return result
        unique = self._slugs[result.slug] == 1
        return await asyncio.to_thread(with_patch, result, diff, Path(self._mend.out), unique=unique)


def stop_reason(mend: Mend, began_s: float, row: int) -> str:
    """Why no further repository is begun after so many in a row came to nothing; empty: go on."""
    spent_s = time.monotonic() - began_s
    if mend.budget_all_s and spent_s >= mend.budget_all_s:
        return f"the campaign's {mend.budget_all_s:.0f} s are over"
    if mend.stop_after and row >= mend.stop_after:
        return f"{row} repositories in a row failed: that is no trouble of one of them"
    return ""


def fix_options(mend: Mend, source: Source) -> FixOptions:
    """What a session is told."""
    return FixOptions(str(source.folder), mend.test_command, mend.only, mend.budget_s, model=mend.model)


def mended(repository: Repository, source: Source, ended: Ended) -> tuple[Result, str]:
    """The result and the diff of a session that ended. Raises ProviderError for one that came to nothing."""
    data = cast("Mapping[str, Any]", ended.finish.data)
    if not ended.finish.ok:
        raise ProviderError(f"it was not mended: {ended.finish.summary}", why=f"session {ended.session}")
    problems = cast("list[dict[str, Any]]", data.get("problems", []))
    fixed = [p for p in problems if p["status"] == FIXED]
    left = [p for p in problems if p["status"] != FIXED]
    status = Status.FIXED if fixed else Status.UNFIXED if left else Status.CLEAN
    proposed = sum(p["status"] == PROPOSED for p in left)
    result = replace(
        blank(repository, status, f"{proposed} need a decision" if proposed else ""),
        commit=source.commit,
        content=source.content,
        session=ended.session,
        wall=ended.wall.name if ended.wall else "",
        fixed=len(fixed),
        findings=tuple(_left(p) for p in left),
        files=int(data.get("scan", {}).get("files", 0)),
        incomplete=bool(not_looked_at(data)),
    )
    return result, str(data.get("diff", ""))


def with_patch(result: Result, diff: str, out: Path, *, unique: bool) -> Result:
    """The same, with a patch file in `out`. unique: no other repository of the list has its slug."""
    result = named(result, unique=unique)
    head = f"Repository: {result.label}\nBase: {result.commit or 'the folder as it was'}\n"
    head += f"Session: {result.session or result.reason}\nMended: {result.fixed}\n\n"
    _write(out / result.patch, head + diff)
    return result


def named(result: Result, *, unique: bool) -> Result:
    """The same, with the name of its patch."""
    name = f"{result.slug}.patch"
    if not unique:
        name = f"{result.slug}-{hashlib.sha256(result.label.encode()).hexdigest()[:8]}.patch"
    return replace(result, patch=name)


def diff_in(patch: Path) -> str:
    """What a patch file holds after its head. Raises UsageError."""
    try:
        return patch.read_text(encoding="utf-8").partition("\n\n")[2]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {patch}", why=str(error)) from error


def _left(problem: Mapping[str, Any]) -> Found:
    said = str(problem.get("severity") or "")
    return Found(
        str(problem["id"]),
        str(problem["kind"]),
        said if said in SEVERITIES else "medium",
        str(problem["path"]),
        int(problem["line"]),
        str(problem["title"]),
    )


def _write(place: Path, text: str) -> None:
    fresh = place.with_name(f".{place.name}.{os.getpid()}.new")
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(place)
    except OSError as error:
        raise UsageError(f"cannot write {place}", why=error.strerror or str(error)) from error
