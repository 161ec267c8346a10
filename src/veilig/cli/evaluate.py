"""`veilig eval`: list suites, run one against an agent, show a run, compare two."""

import argparse
import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

from veilig.cli.models import model_options, named_or_none, setting_of
from veilig.cli.worker import database, database_option
from veilig.core.errors import EXIT_FINDINGS, EXIT_INCOMPLETE, EXIT_OK, UsageError

if TYPE_CHECKING:
    from veilig.evals.results import Trial

ATTEMPTS_MAX, JOBS_MAX = 100, 64
# What each environment is not: that is left out, so that nothing takes its place in silence.
_WITHOUT = {
    "any": frozenset[str](),
    "bubblewrap": frozenset({"landlock", "container"}),
    "podman": frozenset({"bubblewrap", "landlock", "docker"}),
    "docker": frozenset({"bubblewrap", "landlock", "podman"}),
}


def options(parser: argparse.ArgumentParser) -> None:
    """What `eval` takes."""
    parser.description = (
        "Run benchmark suites against an agent or a model, in a sandbox, and say what it can do with the "
        "uncertainty that the number of tasks allows."
    )
    parts = parser.add_subparsers(dest="part", metavar="PART", required=True)
    listed = parts.add_parser("list", help="the suites that come with veilig, or the tasks of one")
    listed.add_argument("suite", nargs="?", help="a suite, or a folder of tasks in Harbor's format")
    listed.add_argument("--json", action="store_true", help="print JSON")
    listed.set_defaults(do=_list)
    running = parts.add_parser("run", help="run a suite; what is done already is not repeated")
    _run_options(running)
    running.set_defaults(do=_run)
    fetched = parts.add_parser("fetch", help="bring a run together that the workers of a fleet made")
    fetched.add_argument("run", help="its name, as `veilig queue eval` said it")
    database_option(fetched)
    fetched.add_argument("--store", required=True, metavar="PLACE", help="the workers' store")
    fetched.add_argument("--out", required=True, metavar="DIR", help="a new folder, for report and compare")
    fetched.add_argument(
        "--policy", metavar="FILE", help="the operator's policy (default: see the reference)"
    )
    fetched.set_defaults(do=_fetch)
    shown = parts.add_parser("report", help="the score of a run, with plots, as Markdown or HTML")
    shown.add_argument("run", nargs="+", help="the folder of a run, or several for one page")
    shown.add_argument("--out", metavar="FILE", help="write .md or .html there (default: print)")
    shown.add_argument("--json", action="store_true", help="print the figures as JSON")
    shown.set_defaults(do=_report)
    capable = parts.add_parser(
        "capability", help="what a model cannot be ruled out to be, and what that requires"
    )
    capable.add_argument("run", nargs="+", help="folders of runs of one model or agent")
    capable.add_argument("--subject", metavar="NAME", help="whose runs (default: of the first run)")
    capable.add_argument("--rules", metavar="FILE", help="thresholds of your own (default: ours)")
    capable.add_argument("--out", metavar="FILE", help="write the report there, to be signed")
    capable.set_defaults(do=_capability)
    compared = parts.add_parser("compare", help="two runs of one suite, task by task")
    compared.add_argument("first", help="the folder of the run to compare with")
    compared.add_argument("second", help="the folder of the other run")
    compared.add_argument("--json", action="store_true", help="print JSON")
    compared.set_defaults(do=_compare)


def _run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "suite", help="a suite of `veilig eval list`, or a folder of tasks in Harbor's format"
    )
    parser.add_argument(
        "--agent",
        default="embedded",
        metavar="NAME",
        help="embedded (default; with --model: that model), oracle, none, cheat, or MODULE:CLASS",
    )
    model_options(parser)
    parser.add_argument("--attempts", type=int, default=1, metavar="K", help="attempts at each task")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="trials at once (default 1)")
    parser.add_argument("--task", action="append", default=[], metavar="NAME", help="only this task")
    parser.add_argument("--out", metavar="DIR", help="where the run is kept (default: runs/SUITE-AGENT)")
    parser.add_argument(
        "--timeout-scale", type=float, default=1.0, metavar="X", help="stretch every task's time (it is said)"
    )
    parser.add_argument(
        "--allow-unenforced",
        action="append",
        default=[],
        choices=("cpus", "storage"),
        help="run tasks that limit what no wall here holds",
    )
    parser.add_argument("--policy", metavar="FILE", help="the operator's policy (default: see the reference)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--environment", choices=tuple(_WITHOUT), default="any",
        help="what a trial's world is: a box of bubblewrap, or a container of an engine of this machine "
        "(default: any that is fair, bubblewrap first)",
    )  # fmt: skip
    parser.add_argument("--hide-wall", action="append", default=[], metavar="NAME", help=argparse.SUPPRESS)


def run(given: argparse.Namespace) -> int:
    """Exit 0 all resolved or nothing to say, 1 something is unresolved, 3 some trials could not be made."""
    code: int = given.do(given)
    return code


def _list(given: argparse.Namespace) -> int:
    from veilig.evals.suite import find_suite, names

    if given.suite is None:
        suites = [find_suite(name) for name in names()]
        rows = [
            {"suite": s.name, "version": s.version, "tasks": len(s.tasks), "what": s.description}
            for s in suites
        ]
        if given.json:
            print(json.dumps(rows, indent=2))
        for row in rows if not given.json else ():
            print(f"{row['suite']:<16} {row['version']:<8} {row['tasks']:>3} tasks   {row['what']}")
        return EXIT_OK
    suite = find_suite(given.suite)
    if given.json:
        print(json.dumps([{"task": t.name, "category": t.category, "difficulty": t.difficulty,
                           "digest": t.digest} for t in suite.tasks], indent=2))  # fmt: skip
        return EXIT_OK
    print(f"{suite.name} {suite.version}: {suite.description}")
    for task in suite.tasks:
        first = task.instruction.splitlines()[0]
        print(f"  {task.name:<28} {task.category:<12} {task.difficulty:<8} {first[:70]}")
    return EXIT_OK


def _run(given: argparse.Namespace) -> int:
    from veilig.evals.report import note_of
    from veilig.evals.run import run_suite
    from veilig.evals.runner import Terms
    from veilig.evals.suite import find_suite

    for name, low, high in (("attempts", 1, ATTEMPTS_MAX), ("jobs", 1, JOBS_MAX)):
        if not low <= getattr(given, name) <= high:
            raise UsageError(f"--{name} {getattr(given, name)} is outside {low} to {high}")
    if not 0.1 <= given.timeout_scale <= 20:
        raise UsageError(f"--timeout-scale {given.timeout_scale} is outside 0.1 to 20")
    suite = find_suite(given.suite, given.task)
    model = named_or_none(given)
    who = f"{given.agent}-{model}" if model else given.agent
    out = Path(given.out or Path("runs") / f"{suite.name}-{who.replace(':', '-').replace('/', '-')}")
    terms = Terms(
        out.absolute(),
        frozenset(given.allow_unenforced),
        given.timeout_scale,
        frozenset(given.hide_wall) | _WITHOUT[given.environment],
    )
    quiet = given.json

    def seen(trial: "Trial", done: int, of: int) -> None:
        if not quiet:
            why = f"  {note_of(trial)[:90]}" if trial.ending != "resolved" else ""
            print(f"{done:>4}/{of}  {trial.ending:<11}{trial.agent_s:>7.1f} s  {trial.task}{why}", flush=True)

    trials = asyncio.run(
        run_suite(
            suite, given.agent, terms, setting=setting_of(given), model=model,
            attempts=given.attempts, jobs=given.jobs, seen=seen,
        )
    )  # fmt: skip
    return _say(out, trials, given.json)


def _say(out: Path, trials: "list[Trial]", as_json: bool) -> int:
    from veilig.evals.report import line
    from veilig.evals.results import read_job
    from veilig.evals.tally import tally

    total = tally(read_job(out), trials)
    if as_json:
        print(json.dumps({"run": str(out), **total.to_json()}, indent=2))
    else:
        print(f"\n{line(total)}\nkept    {out}\nnext    veilig eval report {out} --out report.html")
    if len(trials) > sum(trial.scored for trial in trials):
        return EXIT_INCOMPLETE
    return EXIT_OK if total.resolved_tasks == total.tasks else EXIT_FINDINGS


def _fetch(given: argparse.Namespace) -> int:
    """Exit 0 for a whole run, 3 for one that lacks trials."""
    from veilig.app import Setting
    from veilig.evals.assembled import assemble
    from veilig.evals.report import line
    from veilig.evals.results import read_trials
    from veilig.evals.tally import tally

    out = Path(given.out).absolute()
    job = assemble(database(given), given.store, given.run, out, Setting(given.policy))
    total = tally(job, read_trials(out))
    print(line(total))
    for one in total.missing:
        print(f"missing {one}")
    print(f"kept    {out}\nnext    veilig eval report {out} --out report.html")
    return EXIT_INCOMPLETE if total.missing else EXIT_OK


def _report(given: argparse.Namespace) -> int:
    from veilig.evals.report import html, markdown
    from veilig.evals.results import read_job, read_trials
    from veilig.evals.tally import tally

    runs = [(read_job(Path(r)), read_trials(Path(r))) for r in given.run]
    totals = [(tally(job, trials), trials) for job, trials in runs]
    if given.json:
        print(
            json.dumps(
                [{"run": r, **t.to_json()} for r, (t, _) in zip(given.run, totals, strict=True)], indent=2
            )
        )
        return EXIT_OK
    page = given.out is not None and Path(given.out).suffix in (".html", ".htm")
    text = html(totals) if page else markdown(totals)
    if given.out is None:
        print(text)
        return EXIT_OK
    try:
        Path(given.out).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {given.out!r}", why=str(error)) from error
    print(f"written {given.out}")
    return EXIT_OK


def _capability(given: argparse.Namespace) -> int:
    from veilig.evals.capability import capability_report, read_rules, told
    from veilig.evals.results import read_job, read_trials, write
    from veilig.evals.tally import tally

    runs = [tally(read_job(Path(r)), read_trials(Path(r))) for r in given.run]
    subject = given.subject or runs[0].job.model or runs[0].job.agent
    report = capability_report(subject, runs, read_rules(Path(given.rules) if given.rules else None))
    print(told(report))
    if given.out:
        try:
            write(Path(given.out), report)
        except OSError as error:
            raise UsageError(f"cannot write {given.out!r}", why=str(error)) from error
        print(f"written  {given.out}; to sign: veilig deploy sign {given.out} --class NAME --reason TEXT")
    return EXIT_OK


def _compare(given: argparse.Namespace) -> int:
    from veilig.evals.report import comparison
    from veilig.evals.results import missing, read_job, read_trials
    from veilig.evals.tally import compare

    folders = (Path(given.first), Path(given.second))
    jobs = [read_job(folder) for folder in folders]
    if jobs[0].suite != jobs[1].suite:
        raise UsageError(
            f"{given.first} ran {jobs[0].suite}, {given.second} ran {jobs[1].suite}",
            why="two scores compare on the same tasks only",
            fix="name two runs of one suite",
        )
    runs = [read_trials(folder) for folder in folders]
    sides = zip(("A", "B"), jobs, runs, strict=True)
    lacks = [f"{side} {one}" for side, job, trials in sides for one in missing(job, len(trials))]
    print(comparison(jobs[0], jobs[1], compare(*runs), as_json=given.json, lacks=lacks))
    return EXIT_OK
