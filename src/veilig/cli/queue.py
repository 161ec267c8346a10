"""`veilig queue`: what waits for the workers of a fleet, and how it is stopped or tried again."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from veilig.cli import queue_campaigns, queue_heal, queue_prune
from veilig.cli.record import duration, print_json, table
from veilig.cli.worker import database, database_option
from veilig.core.errors import EXIT_FINDINGS, EXIT_OK, UsageError

if TYPE_CHECKING:
    from veilig.app.fleet import Shown

SHOWN_MAX = 50
ATTEMPTS_MAX = 100


def options(parser: argparse.ArgumentParser) -> None:
    """What `queue` takes."""
    parser.description = (
        "Sessions for the workers of a fleet. What one did stands in the ledger: `veilig sessions show`."
    )
    database_option(parser)
    acts = parser.add_subparsers(dest="act", metavar="ACT", required=True)
    put = acts.add_parser("put", help="queue an audit, fix or run of a project")
    put.add_argument("kind", choices=("audit", "fix", "run"))
    put.add_argument("path", help="the project's folder")
    put.add_argument("--task", default="", metavar="TEXT", help="for run: what is to be done")
    put.add_argument("--model", default="", metavar="NAME", help="vendor:name of the model")
    put.add_argument("--apply", action="store_true", help="write the proven change to the folder")
    put.add_argument("--branch", metavar="NAME", help="commit it on a new branch there")
    put.add_argument("--upload", metavar="STORE", help="put the project into the workers' store first")
    put.add_argument("--org", default="main", metavar="NAME")
    put.add_argument("--priority", type=int, default=0, metavar="N", help="larger is sooner")
    trials = acts.add_parser("eval", help="queue every trial of a suite of evaluation tasks")
    trials.add_argument("suite", help="one of `veilig eval list`, or a folder that every worker has")
    trials.add_argument("--agent", default="embedded", metavar="AGENT")
    trials.add_argument("--model", default="", metavar="NAME", help="vendor:name of the model")
    trials.add_argument("--task", action="append", default=[], metavar="NAME", help="only this task")
    trials.add_argument("--attempts", type=int, default=1, metavar="K", help="attempts at each task")
    trials.add_argument("--org", default="main", metavar="NAME")
    trials.add_argument("--priority", type=int, default=0, metavar="N", help="larger is sooner")
    healing = acts.add_parser("heal", help="queue the services of a file, to be watched and healed")
    queue_heal.options(healing)
    listing = acts.add_parser("list", help="sessions, newest first, and how many are in each state")
    listing.add_argument("--state", action="append", default=[], metavar="STATE")
    listing.add_argument("--org", default="", metavar="NAME")
    listing.add_argument("--limit", type=int, default=SHOWN_MAX, metavar="N")
    show = acts.add_parser("show", help="everything the queue knows of one session")
    fetch = acts.add_parser("fetch", help="lay out what the store has of one: copy, results, artefacts")
    fetch.add_argument("--store", required=True, metavar="PLACE", help="the workers' store")
    fetch.add_argument("--out", required=True, metavar="DIR", help="a new folder")
    cancel = acts.add_parser("cancel", help="end one: at once while it waits, else between two acts")
    retry = acts.add_parser("retry", help="queue one that is held, failed or cancelled again")
    aside = acts.add_parser("set-aside", help="after a restore: let nothing go on before somebody looked")
    campaigns = acts.add_parser("campaigns", help="lists that were given to the fleet, and how far they are")
    report = acts.add_parser("report", help="what is known of such a list now, as text, page, SARIF or lines")
    queue_campaigns.options(campaigns, report)
    pruning = acts.add_parser("prune", help="clear queue and store of what nobody needs any more")
    queue_prune.options(pruning)
    bound = acts.add_parser("limit", help="bound an org")
    bound.add_argument("org")
    bound.add_argument("--at-once", type=int, metavar="N", help="sessions at work at once")
    bound.add_argument("--per-hour", type=int, metavar="N", help="sessions begun per hour")
    prepare = acts.add_parser("prepare", help="make the queue's tables, as their owner")
    prepare.add_argument("--worker", default="", metavar="ROLE", help="a role that may use them")
    prepare.add_argument(
        "--bound", action="store_true", help="only that role may name the organisation of the address"
    )
    for one in (show, fetch, cancel, retry):
        one.add_argument("session", help="its id, or the beginning of it")
    ours = (put, trials, healing, listing, show, fetch, cancel, retry, aside)
    for one in (*ours, campaigns, report, pruning, bound, prepare):
        database_option(one)
        one.add_argument("--json", action="store_true", help="print JSON")


def run(given: argparse.Namespace) -> int:
    """Exit 0 done, 1 when a session could not be cancelled or tried again as it is."""
    acts: dict[str, Callable[[argparse.Namespace], int]] = {
        "put": _put,
        "eval": _eval, "heal": queue_heal.run,
        "fetch": _fetch, "list": _list, "show": _show, "cancel": _cancel, "retry": _retry, "limit": _limit,
        "campaigns": queue_campaigns.list_campaigns, "report": queue_campaigns.write,
        "prepare": _prepare, "prune": queue_prune.run, "set-aside": _set_aside,
    }  # fmt: skip
    return acts[given.act](given)


def _put(given: argparse.Namespace) -> int:
    from veilig.app.driver import job_of
    from veilig.app.fleet import Work, enqueue, upload

    source = Path(given.path).expanduser().resolve()
    if not source.is_dir():
        raise UsageError(f"{given.path!r} is not a folder", fix="give the project's folder")
    deliver = "apply" if given.apply else f"branch:{given.branch}" if given.branch else ""
    if deliver and given.upload:
        raise UsageError(
            "an uploaded project cannot be written to", why="the workers have a copy of it",
            fix="take the diff from `veilig sessions show --json`",
        )  # fmt: skip
    told = job_of(given.kind, source, task=given.task, model=given.model, deliver=deliver)
    if given.upload:
        told["options"]["source"] = upload(given.upload, source)
    session = enqueue(database(given), Work(given.kind, told["options"], given.org, given.priority))
    if given.json:
        print_json({"session": session})
    else:
        print(f"queued  {session}")
    return EXIT_OK


def _eval(given: argparse.Namespace) -> int:
    from veilig.app.fleet import Work, enqueue_all
    from veilig.evals.assembled import planned
    from veilig.evals.suite import find_suite

    if not 1 <= given.attempts <= ATTEMPTS_MAX:
        raise UsageError(f"--attempts {given.attempts} is outside 1 to {ATTEMPTS_MAX}")
    suite = find_suite(given.suite, given.task)
    run, trials = planned(suite, given.suite, given.agent, given.model, given.attempts)
    works = [Work("trial", told, given.org, given.priority, session) for session, told in trials]
    sessions = enqueue_all(database(given), works)
    if given.json:
        print_json({"run": run, "sessions": sessions})
    else:
        print(f"queued  {len(sessions)} trials of {suite.name}, run {run}")
        print(f"next    veilig eval fetch {run} --store PLACE --out DIR, once they are made")
    return EXIT_OK


def _fetch(given: argparse.Namespace) -> int:
    from veilig.app.fleet import fetch

    one = _found(given)
    fetch(database(given), given.store, one.session, Path(given.out).absolute())
    print(f"fetched {one.session} to {given.out}")
    return EXIT_OK


def _list(given: argparse.Namespace) -> int:
    from veilig.app.fleet import State, counts, jobs

    known = {str(state): state for state in State}
    if wrong := [one for one in given.state if one not in known]:
        raise UsageError(f"{wrong[0]!r} is no state", fix=f"one of {', '.join(known)}")
    url = database(given)
    states = [known[one] for one in given.state]
    found = jobs(url, states=states, org=given.org, limit=max(1, given.limit))
    totals = counts(url)
    if given.json:
        print_json(
            {
                "sessions": [_json(one) for one in found],
                "counts": [{"kind": k, "state": s, "sessions": n} for (k, s), n in sorted(totals.items())],
            }
        )
        return EXIT_OK
    rows = [("session", "org", "state", "age", "worker", "note")] if found else []
    now = time.time()
    for one in found:
        age = duration(now - one.queued_at)
        rows.append((one.session, one.org, one.state, age, one.worker or "-", one.note or "-"))
    print(table(rows) or "nothing is queued")
    print("  ".join(f"{n} {k} {s}" for (k, s), n in sorted(totals.items())))
    return EXIT_OK


def _show(given: argparse.Namespace) -> int:
    one = _found(given)
    told = _json(one)
    if given.json:
        print_json({**told, "work": dict(one.work)})
        return EXIT_OK
    print(table([(key, str(value)) for key, value in told.items() if value not in ("", None)]))
    print(f"record  veilig sessions show {one.session}")
    return EXIT_OK


def _cancel(given: argparse.Namespace) -> int:
    from veilig.app.fleet import State, cancel

    one = _found(given)
    done = cancel(database(given), one.session)
    at_work = one.state is State.WORKING
    said = "ends before its next act" if at_work else "cancelled"
    return _said(given, one, said if done else f"it is {one.state} already", done=done)


def _retry(given: argparse.Namespace) -> int:
    from veilig.app.fleet import retry

    one = _found(given)
    done = retry(database(given), one.session)
    return _said(given, one, "queued" if done else f"it is {one.state}", done=done)


def _set_aside(given: argparse.Namespace) -> int:
    from veilig.app.fleet import set_aside

    count = set_aside(database(given))
    if given.json:
        print_json({"sessions": count})
    else:
        print(f"{count} sessions set aside; `veilig queue retry SESSION` lets one go on")
    return EXIT_OK


def _limit(given: argparse.Namespace) -> int:
    from veilig.app.fleet import limit

    limit(database(given), given.org, at_once=given.at_once, per_hour=given.per_hour)
    said = f"at once {given.at_once or 'unbounded'}, per hour {given.per_hour or 'unbounded'}"
    print(f"{given.org}: {said}")
    return EXIT_OK


def _prepare(given: argparse.Namespace) -> int:
    from veilig.app.fleet import prepare

    prepare(database(given), given.worker, bound=given.bound)
    print(f"ready   {f'for {given.worker}' if given.worker else 'for its owner'}")
    return EXIT_OK


def _said(given: argparse.Namespace, one: "Shown", said: str, *, done: bool) -> int:
    if given.json:
        print_json({"session": one.session, "done": done, "said": said})
    else:
        print(f"{one.session}: {said}")
    return EXIT_OK if done else EXIT_FINDINGS


def _found(given: argparse.Namespace) -> "Shown":
    from veilig.app.fleet import jobs

    found = jobs(database(given), given.session, limit=2)
    exact = [one for one in found if one.session == given.session] or found
    if len(exact) != 1:
        known = "no" if not exact else "more than one"
        raise UsageError(
            f"{known} session of the queue starts with {given.session!r}", fix="veilig queue list"
        )
    return exact[0]


def _json(one: "Shown") -> dict[str, object]:
    return {
        "session": one.session, "org": one.org, "kind": one.kind, "state": str(one.state), "note": one.note,
        "priority": one.priority, "worker": one.worker, "tries": one.tries, "token": one.token,
        "queued_at": one.queued_at, "began_at": one.began_at, "ended_at": one.ended_at,
    }  # fmt: skip
