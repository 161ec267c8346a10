"""How is a session started, resumed and found? One function for each kind of work."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from veilig.agent.again import Point, brought_back, gone_on, points, rewound, spoken_to
from veilig.agent.audit_plan import AuditOptions
from veilig.agent.explain import ExplainOptions
from veilig.agent.fix_state import FixOptions
from veilig.agent.job import JOBS, Job, audit_job, explain_job, fix_job, review_job, run_job
from veilig.agent.review import ReviewOptions
from veilig.agent.run_state import Hook, RunOptions
from veilig.app.wiring import Ended, Setting, Watcher, Wired, operator_policy
from veilig.audit.patch_apply import sections
from veilig.core.canonical import JSON
from veilig.core.errors import SessionError
from veilig.core.ledger import Event
from veilig.core.lock import SessionLock, driven
from veilig.core.policy import Policy
from veilig.core.provider import Approver, Verdict
from veilig.core.session import View, fold
from veilig.home import Home, find_home, local_person
from veilig.law import Laws, find_laws


async def run_fix(
    options: FixOptions, setting: Setting, watcher: Watcher, approver: Approver | None
) -> Ended:
    """Start a fix session and see it to its end (or to a question)."""
    return await _start(fix_job(options), setting, watcher, approver)


async def run_audit(options: AuditOptions, setting: Setting, watcher: Watcher) -> Ended:
    """Read one folder behind the wall and report. Its copy goes at the end, whatever happens."""
    return await _start(audit_job(options), setting, watcher, None)


async def run_explain(options: ExplainOptions, setting: Setting, watcher: Watcher) -> Ended:
    """Say why a command fails, and since which change. Nothing is changed."""
    return await _start(explain_job(options), setting, watcher, None)


async def run_review(options: ReviewOptions, setting: Setting, watcher: Watcher) -> Ended:
    """Judge a change. Its diff is recorded with its secrets as handles."""
    redactor = find_home(setting.environment).redactor(setting.environment)
    for path, part in sections(options.diff).items():
        redactor.learn_text(path, "\n".join(row[1:] for row in part.split("\n")))
    laws = find_laws(Path(options.source), setting.policy, setting.environment)
    hidden = tuple(path for path in sections(options.diff) if not laws.shown_to_models(path))
    sealed = replace(options, diff=redactor.seal(options.diff), hidden=hidden)
    return await _start(review_job(sealed), setting, watcher, None)


async def run_task(
    options: RunOptions, setting: Setting, watcher: Watcher, approver: Approver | None
) -> Ended:
    """Let a model work on a task, and check what it made."""
    home = find_home(setting.environment)
    sealed = home.redactor(setting.environment).seal(options.task)
    laws = find_laws(Path(options.source), setting.policy, setting.environment)
    policy = laws.operator
    servers = tuple(server.name for server in policy.mcp.servers)
    rules = policy.agent.delegates
    levels = rules.depth if rules.sessions and rules.verdict is not Verdict.DENY else 0
    options = replace(options, task=sealed, servers=servers, delegates=levels, hooks=hooks_of(laws))
    return await _start(run_job(options), setting, watcher, approver)


def hooks_of(laws: Laws) -> tuple[Hook, ...]:
    """The operator's hooks, and the project's where the operator lets them run.

    Behind the wall a project's hook can do no harm; but it can call work done or not, and cost time.
    """
    project = laws.project if laws.operator.agent.project_hooks else None
    given = [("operator", laws.operator), *([("project", project)] if project else [])]
    return tuple(Hook(h.on, h.argv, h.timeout_s, whose) for whose, law in given for h in law.agent.hooks)


def changes_since(folder: Path, revision: str, shown: str) -> str:
    """The diff from a revision to the folder as it is; `shown` is put before its paths."""
    from veilig.providers.since import added_since

    return added_since(folder, revision, shown)


def changes_now(session: str, setting: Setting) -> str:
    """How the copy of a session differs from what was copied, now; secrets are handles."""
    from veilig.providers.current import current_diff

    home = find_home(setting.environment)
    view = find_session(home, session, setting)
    redactor = home.redactor(setting.environment)
    return current_diff(home.session(view.id), Path(view.source), redactor.learn_text, redactor.seal)


async def resume(session: str, setting: Setting, watcher: Watcher, approver: Approver | None) -> Ended:
    """Go on with a session that a crash, a question or a budget stopped. Raises SessionError."""
    view = find_session(find_home(setting.environment), session, setting)
    if view.kind not in JOBS:
        raise SessionError(
            f"session {view.id!r} is of kind {view.kind!r}", why=f"this veilig resumes {', '.join(JOBS)}"
        )
    need_root(view)
    job = JOBS[view.kind](dict[str, Any](view.options))
    wired = Wired(view.id, job, setting, watcher, approver)
    if view.kind == "run" and view.ended and view.state.get("halt"):  # `undo` left it there
        options = RunOptions.from_json(dict[str, Any](view.options))
        return await wired.go(resume=True, step_of=lambda now: gone_on(options, now.state))
    return await wired.go(resume=True)


async def say(
    session: str, text: str, setting: Setting, watcher: Watcher, approver: Approver | None
) -> Ended:
    """Tell the model of a session something more, and let it go on. Raises SessionError."""
    view, options = _talk(session, setting)
    text = find_home(setting.environment).redactor(setting.environment).seal(text)
    wired = Wired(view.id, run_job(options), setting, watcher, approver)
    return await wired.go(resume=True, step_of=lambda now: spoken_to(options, now.state, text))


async def tell(session: str, text: str, setting: Setting) -> str:
    """Say something to a model that is at work in another process; it hears it with its next question.

    Returns the session's id. What is said is data for the model and approves nothing.
    Raises SessionError when nobody drives the session: `say` goes on with it then.
    """
    view, _ = _talk(session, setting)
    home = find_home(setting.environment)
    if not driven(home.session(view.id)):
        raise SessionError(
            f"session {view.id!r} is not at work",
            why="nobody would hear it",
            fix=f"go on with it: veilig resume {view.id} --say TEXT",
        )
    policy = operator_policy(home, setting)
    body: dict[str, JSON] = {
        "actor": local_person(policy).id,
        "via": "command line",
        "text": home.redactor(setting.environment).seal(text),
    }
    with home.open_ledger(policy, create=False) as ledger:
        await ledger.submit(lambda tx: tx.append("session.told", view.id, body))
        last = ledger.last(view.id)
    if last is not None and last.name == "session.ended":
        raise SessionError(
            f"session {view.id!r} ended just before", fix=f"go on with it: veilig resume {view.id}"
        )
    return view.id


async def bring_back(
    session: str, deliver: str, setting: Setting, watcher: Watcher, approver: Approver | None
) -> Ended:
    """Bring the proven diff of a session to the user's tree ("apply") or a branch. Raises SessionError."""
    view, options = _talk(session, setting)
    options = replace(options, deliver=deliver)
    wired = Wired(view.id, run_job(options), setting, watcher, approver)
    return await wired.go(resume=True, step_of=lambda now: brought_back(options, now))


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
    need_root(view)
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
        else:  # the beginning of an id means the session that a person started, unless it names a child
            found = [s for s in found if not any(s.startswith(f"{other}.") for other in found)]
        if len(found) != 1:
            known = "no" if not found else "more than one"
            raise SessionError(f"{known} session starts with {prefix!r}", fix="see `veilig sessions`")
        return fold(found[0], ledger.events(session=found[0]))


def need_root(view: View) -> None:
    """Raises SessionError for a child: only its parent, which shares its copy with it, goes on with it."""
    parent = view.id.rpartition(".")[0]
    if parent:
        raise SessionError(
            f"session {view.id!r} was started by {parent!r}",
            why="it works in that session's copy, and that session waits for it",
            fix=f"veilig resume {parent.partition('.')[0]}",
        )


async def _start(job: Job, setting: Setting, watcher: Watcher, approver: Approver | None) -> Ended:
    session = setting.session or f"{job.kind}-{os.urandom(4).hex()}"
    return await Wired(session, job, setting, watcher, approver).go(resume=False)
