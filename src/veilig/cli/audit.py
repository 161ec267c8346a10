"""`veilig audit PATH...`: report weaknesses in code and vulnerable pins; change nothing."""

import argparse
import asyncio
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from veilig.cli.audit_fleet import fleet_options, need_fleet
from veilig.cli.models import model_options, named_or_none, setting_of
from veilig.core.errors import EXIT_INTERRUPTED, SessionError, UsageError

if TYPE_CHECKING:
    from veilig.app import Ended, Setting
    from veilig.cli.audit_report import Root
    from veilig.cli.progress import Progress


JOBS_MAX = 64
FORMS = {"text": ".txt", "json": ".json", "sarif": ".sarif", "md": ".md", "html": ".html"}
# Forms about dependencies alone; their suffix has two parts.
DEPENDENCY_FORMS = {"openvex": ".openvex.json", "cyclonedx": ".cdx.json"}


def options(parser: argparse.ArgumentParser) -> None:
    """What `audit` takes."""
    parser.description = (
        "Report weaknesses in code and manifests, and vulnerable pinned dependencies. Each folder is copied "
        "and read behind the wall, without network; nothing of it is imported, run or changed."
    )
    parser.epilog = (
        "Exit code 0: clean. 1: a finding at or above --fail-at. 2: wrong use. "
        "3: nothing found, but part of the input could not be looked at. 4: refused, nothing was read."
    )
    parser.add_argument("paths", nargs="*", metavar="PATH", help="a project's folder")
    parser.add_argument("--format", choices=(*FORMS, *DEPENDENCY_FORMS), help="how to report (default: text)")
    parser.add_argument(
        "--output",
        action="append",
        metavar="FILE",
        help="write the report there instead of printing it; repeated: one form each, by suffix "
        "(.txt .json .sarif .md .html .openvex.json .cdx.json)",
    )
    fleet_options(parser)
    _scope_options(parser)
    model_options(parser)
    parser.add_argument(
        "--count-model",
        action="store_true",
        help="what only the model found gives exit code 1 too; what it doubts always does",
    )
    parser.add_argument(
        "--pattern", action="store_true", help="also what only looks like a weakness (more false alarms)"
    )
    parser.add_argument(
        "--rules",
        action="append",
        default=[],
        metavar="FILE",
        help="also look for what these rules say (YAML)",
    )
    parser.add_argument(
        "--check-rules", action="store_true", help="only run the examples of the rules given with --rules"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=0,
        metavar="N",
        help="processes that read at once (default: one for each core; several programs share them)",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="look at everything again, whatever was found before"
    )
    parser.add_argument(
        "--fail-at",
        choices=("low", "medium", "high", "critical"),
        help="the lowest severity that gives exit code 1 (default: low)",
    )
    parser.add_argument(
        "--no-config", action="store_true", help="do not believe what the folder's pyproject.toml says of it"
    )
    parser.add_argument("--policy", metavar="FILE", help="the operator's policy (default: see the reference)")
    parser.add_argument("--hide-wall", action="append", default=[], metavar="NAME", help=argparse.SUPPRESS)


def _scope_options(parser: argparse.ArgumentParser) -> None:
    """Which findings are wanted, and what is taken in beside the folder."""
    parser.add_argument("--baseline", metavar="FILE", help="leave out what this file says was known before")
    parser.add_argument("--write-baseline", metavar="FILE", help="write what is found now as such a file")
    parser.add_argument(
        "--vex", action="append", default=[], metavar="FILE", help="believe these OpenVEX statements on pins"
    )
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="FILE",
        help="merge another tool's SARIF; what both found is one finding",
    )
    parser.add_argument(
        "--since",
        metavar="REV",
        help="only what lies on lines that are new since this commit, branch or tag, committed or not",
    )
    parser.add_argument(
        "--diff",
        metavar="FILE",
        help="only what lies on lines that this unified diff adds; - reads it from standard input, "
        "as in `git diff main | veilig audit . --diff -`",
    )
    parser.add_argument(
        "--history",
        metavar="FILE",
        help="also look for secrets in what was ever committed; - reads standard input, as in "
        "`git log -p -U0 --no-ext-diff | veilig audit . --history -`",
    )
    parser.add_argument(
        "--patch",
        metavar="FILE",
        help="audit what this unified diff would add to the folder (as a model or a person wrote it): new "
        "weaknesses and secrets, packages that nothing knows, look-alike names, new capabilities; - reads "
        "standard input",
    )


def run(given: argparse.Namespace) -> int:
    """Exit codes as in the help text."""
    from veilig.cli.audit_rules import check_rules

    if not 0 <= given.jobs <= JOBS_MAX:
        raise UsageError(f"--jobs {given.jobs}", why=f"at most {JOBS_MAX} processes help", fix="leave it out")
    if given.check_rules:
        return check_rules(given.rules)
    if given.rules:
        check_rules(given.rules, quiet=True)  # those of a project are checked behind the wall
    if given.fleet:
        from veilig.cli import audit_fleet

        return audit_fleet.run(given)
    need_fleet(given)
    return _run_folders(given)


def _run_folders(given: argparse.Namespace) -> int:
    """The folders that are named, one after the other, as one report."""
    from veilig.agent.audit_plan import AuditOptions
    from veilig.app import run_audit
    from veilig.audit.sarif_import import read_sarif
    from veilig.audit.vex import read_openvex
    from veilig.cli.audit_fleet import remember
    from veilig.cli.audit_rules import rules_text
    from veilig.cli.audit_scope import (
        asked_about,
        baseline_text,
        believed,
        committed,
        diff_of,
        joined,
        narrowed,
        read_input,
        with_past,
    )
    from veilig.cli.audit_settings import (
        Settings,
        operator_excludes,
        read_settings,
        settled,
        without_excluded,
    )

    folders = _folders(given.paths)
    own = [Settings() if given.no_config else read_settings(folder) for folder in folders]
    given = settled(given, own)
    rules = rules_text(given.rules)
    forms = _forms(given.format, given.output)
    for file in (*forms, *([given.write_baseline] if given.write_baseline else [])):
        _need_writable(file)
    baseline = read_input(given.baseline, "the baseline") if given.baseline else None
    diff = diff_of(given, folders)
    claims = [claim for file in given.vex for claim in read_openvex(read_input(file, "the VEX file"), file)]
    others = [f for file in given.imports for f in read_sarif(read_input(file, "the SARIF file"), file)]
    if others and len(folders) != 1:
        raise UsageError("--import needs one folder", why="the paths of the other tool belong to one tree")
    narrowed([], baseline, diff)  # what cannot be read is said before the minutes of reading code
    patch = _patch(given.patch, len(folders)) if given.patch else ""
    past = committed(given.history, given.pattern, len(folders)) if given.history else []
    setting = setting_of(given)
    roots: list[Root] = []
    progress = _progress(given.format or "text", bool(given.output))
    for path, folder, said in zip(given.paths, folders, own, strict=True):
        excluded = operator_excludes(folder, given.policy)
        about = asked_about(path, baseline, diff, (*excluded, *said.exclude))
        wanted = AuditOptions(
            str(folder), given.pattern, patch, given.jobs, given.fresh, rules, named_or_none(given), about
        )
        ended = _see(progress, run_audit(wanted, setting, progress))
        if ended is None:
            return EXIT_INTERRUPTED
        found = without_excluded(_root(path, ended), excluded, "the policy")
        if not patch:
            remember(setting, folder, found.advisories)
        roots.append(without_excluded(found, said.exclude, "pyproject.toml"))
    if past:
        roots = [with_past(roots[0], past)]
    if others:
        roots = [joined(roots[0], others, folders[0])]
    if given.write_baseline:
        _write(given.write_baseline, baseline_text(roots))
    shown = believed(narrowed(roots, baseline, diff), claims)
    return _report(shown, given.fail_at, given.format or "text", forms, claimed=given.count_model)


def resumed(given: argparse.Namespace, session: str, setting: "Setting") -> int:
    """The end of an audit that `veilig resume` goes on with."""
    from veilig.app import resume

    form = "json" if given.json else "text"
    progress = _progress(form, output=False)
    ended = _see(progress, resume(session, setting, progress, None))
    return EXIT_INTERRUPTED if ended is None else _report([_root(given.path, ended)], "low", form, {})


def _patch(file: str, folders: int) -> str:
    """The diff to judge, readable and not empty."""
    from veilig.audit.baseline import added_lines
    from veilig.cli.audit_scope import read_input

    if folders != 1:
        raise UsageError("--patch needs one folder", why="a diff belongs to one tree")
    text = read_input(file, "the patch")
    if not added_lines(text):
        raise UsageError(
            f"{file!r} adds no line", why="it is empty or only removes", fix="use `git diff -U3`"
        )
    return text


def _folders(paths: Sequence[str]) -> list[Path]:
    if not paths:
        raise UsageError("nothing to audit", why="no folder is given", fix="`veilig audit .` (see --help)")
    return [_folder(path) for path in paths]


def _folder(path: str) -> Path:
    folder = Path(path).expanduser()
    if folder.is_file():
        raise UsageError(
            f"{path!r} is a file",
            why="what a value can do is seen only with the modules around it",
            fix=f"give its folder: `veilig audit {folder.parent}`",
        )
    if not folder.is_dir():
        raise UsageError(f"{path!r} is not a folder", why="there is nothing to read", fix="give a folder")
    return folder.resolve()


def _forms(form: str | None, outputs: Sequence[str] | None) -> dict[str, str]:
    """File -> form. One file has the form that was asked for, else each has that of its suffix."""
    files = outputs or []
    if form and len(files) == 1:
        return {files[0]: form}
    known = {**DEPENDENCY_FORMS, **FORMS}
    by_suffix = {f: next((n for n, suffix in known.items() if f.endswith(suffix)), "") for f in files}
    unknown = [f for f, name in by_suffix.items() if not name]
    if unknown and len(files) == 1:
        return {files[0]: "text"}
    if unknown:
        raise UsageError(
            f"no form belongs to {unknown[0]!r}",
            why=f"known suffixes are {', '.join(known.values())}",
            fix="name the file by its form, or write one file with --format",
        )
    return by_suffix


def _need_writable(output: str) -> None:
    """Better now than after minutes of reading."""
    if not Path(output).absolute().parent.is_dir():
        raise UsageError(f"cannot write {output!r}", why="its folder does not exist", fix="make it first")


def _progress(form: str, output: bool) -> "Progress":
    from veilig.cli.progress import Progress

    aside = form != "text" and not output
    return Progress(sys.stderr if aside else sys.stdout, quiet=aside)


def _see(progress: "Progress", session: "Coroutine[Any, Any, Ended]") -> "Ended | None":
    """The session's end; None when the person interrupted it."""
    try:
        return asyncio.run(session)
    except KeyboardInterrupt:
        print("interrupted: nothing was changed", file=sys.stderr)
        return None
    finally:
        progress.done()


def _root(path: str, ended: "Ended") -> "Root":
    from veilig.cli.audit_report import root_of

    data: dict[str, Any] = dict(ended.finish.data)
    if not ended.finish.ok and "report" in data.get("data", {}):  # a model's part ended it, not the audit
        told = data["model"]
        stopped = f"it was stopped: {ended.finish.summary}"
        data = data["data"] | {"model": told | {"trouble": [*told["trouble"], stopped]}}
    elif not ended.finish.ok:
        raise SessionError(
            f"{path} was not audited: {ended.finish.summary}",
            why=f"session {ended.session} ended without a report",
            fix=f"`veilig sessions show {ended.session}` says what happened",
        )
    wall = ended.wall.name if ended.wall else ""
    return root_of(path, ended.session, wall, data)


def _report(
    roots: "list[Root]", fail_at: str, form: str, files: dict[str, str], *, claimed: bool = False
) -> int:
    from veilig.audit.finding import Severity
    from veilig.cli.audit_report import exit_code
    from veilig.cli.style import Style

    code = exit_code(roots, Severity(fail_at), claimed=claimed)
    if not files:
        print(_rendered(roots, form, code, color=Style(sys.stdout).on))
    for file, wanted in files.items():
        _write(file, f"{_rendered(roots, wanted, code, color=False).rstrip()}\n")
        print(f"report  {file}, exit code {code}", file=sys.stderr)
    return code


def _rendered(roots: "list[Root]", form: str, code: int, *, color: bool) -> str:
    from veilig import __version__
    from veilig.cli import audit_report as shown
    from veilig.cli.audit_scope import merged

    if form == "json":
        return shown.render_json(roots, code)
    if form == "sarif":
        return shown.render_sarif(roots, __version__)
    pins = [pin for root in roots for pin in root.pins]
    if form in DEPENDENCY_FORMS:
        return shown.render_dependencies(roots, form, __version__)
    title = f"Audit of {', '.join(root.path for root in roots)}"
    if form == "md":
        from veilig.audit.markdown import to_markdown

        return to_markdown(merged(roots), title=title, pins=pins, remarks=shown.remarks(roots))
    if form == "html":
        from veilig.audit.html import to_html

        return to_html(merged(roots), title=title, pins=pins, remarks=shown.remarks(roots))
    return shown.render_text(roots, color=color)


def _write(file: str, text: str) -> None:
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write {file!r}", why=error.strerror or str(error), fix="choose another file"
        ) from error
