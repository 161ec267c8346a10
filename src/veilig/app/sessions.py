"""How is a session started, resumed and found? One function for each kind of work."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from veilig.agent.again import Point, brought_back, points, rewound, spoken_to
from veilig.agent.audit_plan import AuditOptions
from veilig.agent.fix_state import FixOptions
from veilig.agent.job import JOBS, Job, audit_job, fix_job, run_job
from veilig.agent.run_state import RunOptions
from veilig.app.wiring import Ended, Setting, Watcher, Wired, operator_policy
from veilig.core.errors import SessionError
from veilig.core.ledger import Event
from veilig.core.lock import SessionLock
from veilig.core.policy import Policy
from veilig.core.provider import Approver
from veilig.core.session import View, fold
from veilig.home import Home, find_home


async def run_fix(
    options: FixOptions, setting: Setting, watcher: Watcher, approver: Approver | None
) -> Ended:
    """Start a fix session and see it to its end (or to a question)."""
    return await _start(fix_job(options), setting, watcher, approver)


async def run_audit(options: AuditOptions, setting: Setting, watcher: Watcher) -> Ended:
    """Read one folder behind the wall and report. Its copy goes at the end, whatever happens."""
    return await _start(audit_job(options), setting, watcher, None)


async def run_task(
    options: RunOptions, setting: Setting, watcher: Watcher, approver: Approver | None
) -> Ended:
    """Let a model work on a task, and check what it made."""
    home = find_home(setting.environment)
    sealed = home.redactor(setting.environment).seal(options.task)
    servers = tuple(server.name for server in operator_policy(home, setting).mcp.servers)
    return await _start(run_job(replace(options, task=sealed, servers=servers)), setting, watcher, approver)


def changes_since(folder: Path, revision: str, shown: str) -> str:
    """The diff from a revision to the folder as it is; `shown` is put before its paths."""
    from veilig.providers.since import added_since

    return added_since(folder, revision, shown)


async def resume(session: str, setting: Setting, watcher: Watcher, approver: Approver | None) -> Ended:
    """Go on with a session that a crash, a question or a budget stopped. Raises SessionError."""
    view = find_session(find_home(setting.environment), session, setting)
    if view.kind not in JOBS:
        raise SessionError(
            f"session {view.id!r} is of kind {view.kind!r}", why=f"this veilig resumes {', '.join(JOBS)}"
        )
    job = JOBS[view.kind](dict[str, Any](view.options))
    return await Wired(view.id, job, setting, watcher, approver).go(resume=True)


async def say(
    session: str, text: str, setting: Setting, watcher: Watcher, approver: Approver | None
) -> Ended:
    """Tell the model of a session something more, and let it go on. Raises SessionError."""
    view, options = _talk(session, setting)
    text = find_home(setting.environment).redactor(setting.environment).seal(text)
    wired = Wired(view.id, run_job(options), setting, watcher, approver)
    return await wired.go(resume=True, step_of=lambda now: spoken_to(options, now.state, text))


async def bring_back(
    session: str, deliver: str, setting: Setting, watcher: Watcher, approver: Approver | None
) -> Ended:
    """Bring the proven diff of a session to the user's tree ("apply") or a branch. Raises SessionError."""
    view, options = _talk(session, setting)
    options = replace(options, deliver=deliver)
    wired = Wired(view.id, run_job(options), setting, watcher, approver)
    return await wired.go(resume=True, step_of=lambda now: brought_back(options, now.state))


async def rewind(session: str, to: int, text: str, setting: Setting, watcher: Watcher) -> Ended:
    """Bring files and conversation back to before the model's answer `to` (from 1). Raises SessionError."""
    view, options = _talk(session, setting)
    home = find_home(setting.environment)
    point, events = _moment(view, to, setting)
    step = rewound(view.id, events, point, home.redactor(setting.environment).seal(text))
    wired = Wired(view.id, run_job(options), setting, watcher, None)
    return await wired.go(resume=True, step_of=lambda _: step, to=point.seq)


async def fork(
    session: str, to: int, text: str, setting: Setting, watcher: Watcher, approver: Approver | None
) -> Ended:
    """A new session that goes on from before the model's answer `to` of another, with its own copy.

    The other session stays as it is. Raises SessionError.
    """
    view, options = _talk(session, setting)
    home = find_home(setting.environment)
    point, events = _moment(view, to, setting)
    step = rewound(view.id, events, point, home.redactor(setting.environment).seal(text))
    made = f"run-{os.urandom(4).hex()}"
    with SessionLock(home.session(view.id)):
        await asyncio.to_thread(home.copy_session, view.id, made)
    return await Wired(made, run_job(options), setting, watcher, approver).go(resume=False, first=step)


def _moment(view: View, to: int, setting: Setting) -> tuple[Point, list[Event]]:
    with find_home(setting.environment).open_ledger(_policy(setting), create=False) as ledger:
        events = list(ledger.events(session=view.id))
    point = next((point for point in points(events) if point.number == to), None)
    if point is None or not point.tree:
        raise SessionError(f"session {view.id!r} has no answer {to}", fix="see `veilig undo SESSION --list`")
    return point, events


def _policy(setting: Setting) -> Policy:
    return operator_policy(find_home(setting.environment), setting)


def moments(session: str, setting: Setting) -> list[Point]:
    """What `rewind` can go back to. Raises SessionError."""
    view, _ = _talk(session, setting)
    with find_home(setting.environment).open_ledger(_policy(setting), create=False) as ledger:
        return points(ledger.events(session=view.id))


def _talk(session: str, setting: Setting) -> tuple[View, RunOptions]:
    view = find_session(find_home(setting.environment), session, setting)
    if view.kind != "run":
        raise SessionError(
            f"session {view.id!r} is of kind {view.kind!r}", why="only a model can be talked to"
        )
    return view, RunOptions.from_json(dict[str, Any](view.options))


def find_session(home: Home, prefix: str, setting: Setting | None = None) -> View:
    """The one session whose id starts with `prefix`. Raises SessionError for none or several."""
    policy = operator_policy(home, setting) if setting else None
    with home.open_ledger(policy, create=False) as ledger:
        started = {e.session for e in ledger.events(names=("session.started",))}
        found = sorted(s for s in started if prefix and s.startswith(prefix))
        if prefix in found:
            found = [prefix]
        if len(found) != 1:
            known = "no" if not found else "more than one"
            raise SessionError(f"{known} session starts with {prefix!r}", fix="see `veilig sessions`")
        return fold(found[0], ledger.events(session=found[0]))


async def _start(job: Job, setting: Setting, watcher: Watcher, approver: Approver | None) -> Ended:
    session = f"{job.kind}-{os.urandom(4).hex()}"
    return await Wired(session, job, setting, watcher, approver).go(resume=False)
