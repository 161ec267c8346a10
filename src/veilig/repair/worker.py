"""What is wrong with a tree, and which edits could mend it? Reads only; runs inside the wall, by name.

    python -m veilig.repair.worker < task.json

Task: {"do": "scan", "root", "paths", "repairs", "report", "pattern"}, or {"do": "propose", "root", "failure",
"python"}.
Prints one JSON object. Nothing of the project is imported or executed, nothing is written.
"""

import json
import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from veilig.audit.advisories import AdvisoryDatabase, VulnerablePin, locate
from veilig.audit.collect import collect
from veilig.audit.custom import configured, texts_of
from veilig.audit.dependencies import is_dependency_file, read_dependencies
from veilig.audit.finding import Finding, Report
from veilig.audit.languages.collect import collect_scripts
from veilig.audit.memory import Memory
from veilig.audit.parallel import in_parallel
from veilig.audit.programs import scan_tree
from veilig.audit.scan import ScanConfig
from veilig.audit.worker import RECURSION_MAX, STACK_BYTES
from veilig.core.errors import UsageError, VeiligError
from veilig.repair.audit_more import (
    PinLabels,
    audited_part,
    change_report,
    with_languages,
    with_others,
    with_secrets,
    with_the_rest,
    without_change,
)
from veilig.repair.collecting import collect_text
from veilig.repair.propose import defects, for_defects, for_failure, for_pin, for_weakness
from veilig.repair.recipes.outside import named_exports
from veilig.repair.recipes.proposal import Advice, Defect, Distribution, Proposal

PROPOSALS_MAX = 12  # per problem, before they are carried over


def scan(
    root: Path,
    paths: list[str],
    *,
    repairs: bool,
    whole: bool = False,
    pattern: bool = False,
    jobs: int = 1,
    memory: Memory | None = None,
    rules: str = "",
) -> dict[str, Any]:
    """Every problem found by reading (only those in `paths` when given), and what was not looked at.

    whole: with the audit report as JSON under "report". pattern: also what only looks like a weakness.
    """
    python = collect(root)
    text = collect_text(root, utf16=whole)
    files = {**text.files, **python.files}
    config = configured(ScanConfig(include_pattern=pattern), texts_of(rules))
    report = scan_tree(python.files, config, memory, in_parallel(jobs))
    unread = [s for s in text.skipped if is_dependency_file(s.path)]
    report = replace(report, skipped=(*python.skipped, *report.skipped))
    found = [_weakness(f, files, repairs=repairs) for f in report.findings]
    broken = defects(files, text.paths)
    nothing: list[list[Proposal | Advice]] = [[] for _ in broken]
    offered = for_defects(broken, files, text.paths) if repairs else nothing
    found += [_defect(d, o) for d, o in zip(broken, offered, strict=True)]
    pins, about = _pins(files, repairs=repairs, labels=whole)
    if whole:
        scripts, unread_scripts = collect_scripts(root)
        unread += [s for s in unread_scripts if s.path not in {u.path for u in unread}]
        report = with_secrets(report, {**scripts, **files}, pattern=pattern)
        report = with_languages(report, scripts, pattern=pattern)
        known = bool(about["pins"] or about["not_assessed"] or unread)
        report = with_the_rest(report, python.passed, text.paths, looked_at=known)
    found += pins
    if paths:
        found = [p for p in found if p["path"] in paths]
    return {
        "files": report.files,
        "lines": report.lines,
        "wall_s": round(report.seconds, 3),
        "skipped": [[s.path, s.reason] for s in (*report.skipped, *text.skipped)],
        "incomplete": [[i.path, i.function, i.reason] for i in report.incomplete],
        "suppressed": [[s.finding.path, s.finding.line, s.finding.rule, s.reason] for s in report.suppressed],
        "notices": [[n.path, n.line, n.message] for n in report.notices],
        "not_reported": _tests(report),
        "advisories": about,
        "problems": found,
        "memory": memory.to_text() if memory is not None else "",
        **({"report": asdict(replace(report, skipped=(*report.skipped, *unread)))} if whole else {}),
    }


def scan_change(
    root: Path,
    diff: str,
    *,
    pattern: bool,
    made: bool = False,
    jobs: int = 1,
    memory: Memory | None = None,
) -> dict[str, Any]:
    """What a unified diff adds to the tree; `error` says why it cannot be judged. made: the tree holds it."""
    config = ScanConfig(include_pattern=pattern)
    memory = memory or Memory()

    def read(texts: Mapping[str, str]) -> Report:
        return scan_tree(texts, config, memory, in_parallel(jobs))

    files = {**collect_text(root).files, **collect_scripts(root)[0], **collect(root).files}
    try:
        known = AdvisoryDatabase.open(locate(os.environ)).names()
    except VeiligError:
        known = frozenset[str]()  # without advisory data fewer packages are known: more is asked about
    try:
        diff, others = audited_part(root, files, diff, made=made)
        files = without_change(files, diff) if made and diff else files
        report = change_report(files, diff, known, config, read) if diff else Report()
        report = with_others(report, others)
    except VeiligError as error:
        return {"error": str(error), "problems": []}
    told: dict[str, Any] = {"files": report.files, "problems": [], "report": asdict(report)}
    return {**told, "memory": memory.to_text()}


def propose(root: Path, failure: Mapping[str, Any], python: Path) -> dict[str, Any]:
    """Deterministic repairs for one failure, best first."""
    files = {**collect_text(root).files, **collect(root).files}
    told = "\n".join(str(failure.get(key, "")) for key in ("message", "text"))
    known = named_exports(told, site_packages(python))
    offered = for_failure(files, failure, installed(python), known)
    return {"proposals": [_json(p) for p in offered][:PROPOSALS_MAX]}


def site_packages(python: Path) -> list[Path]:
    """Where the packages of the project's interpreter lie."""
    return sorted(python.parent.parent.glob("lib*/python*/site-packages"))


def installed(python: Path) -> dict[str, Distribution]:
    """Import name -> distribution, from the metadata beside the project's interpreter."""
    found: dict[str, Distribution] = {}
    for one in distributions(path=[str(folder) for folder in site_packages(python)]):
        known = Distribution(one.metadata["Name"] or "", one.version)
        listed = (one.read_text("top_level.txt") or "").split()
        record = one.read_text("RECORD")  # `one.files` asks the file system about each: only as a last resort
        rows = record.splitlines() if record is not None else list(map(str, one.files or ()))
        paths = [row.split(",")[0] for row in rows]
        names = listed or {path.split("/")[0].removesuffix(".py") for path in paths if path.endswith(".py")}
        found.update(dict.fromkeys(names, known))
    return found


def _tests(report: Report) -> int:
    return len(report.outside_profile)


def _weakness(finding: Finding, files: Mapping[str, str], *, repairs: bool) -> dict[str, Any]:
    offered = for_weakness(finding, files) if repairs else []
    return {
        "id": finding.fingerprint,
        "kind": "weakness",
        "title": f"CWE-{finding.cwe} {finding.title}",
        "rule": finding.rule,
        "cwe": finding.cwe,
        "severity": finding.severity.value,
        "confidence": finding.confidence.value,
        "path": finding.path,
        "line": finding.line,
        "message": finding.message,
        "flow": [asdict(step) for step in finding.flow],
        **_offers(offered),
    }


def _defect(defect: Defect, offered: list[Proposal | Advice]) -> dict[str, Any]:
    kind = "syntax" if defect.kind == "syntax" else "config"
    return {
        "id": f"{defect.kind}:{defect.path}:{defect.message if kind == 'config' else ''}",
        "kind": kind,
        "title": f"{defect.kind}: {defect.message}",
        "path": defect.path,
        "line": defect.line,
        "message": defect.message,
        **_offers(offered),
    }


def _pins(
    files: Mapping[str, str], *, repairs: bool, labels: bool
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Vulnerable pins, one problem per pin however many advisories it has; and how far to believe it."""
    named = read_dependencies({p: t for p, t in files.items() if is_dependency_file(p)})
    left_out = [[n.path, n.line, n.name, n.reason] for n in named.not_assessed]
    about: dict[str, Any] = {"pins": len(named.pinned), "not_assessed": left_out}
    about["unread"] = sorted({n.path for n in named.not_assessed if n.is_file})
    if labels:
        about["components"] = [[r.name, r.version, r.path] for r in named.pinned]
    if not named.requirements:
        return [], about
    try:
        database = AdvisoryDatabase.open(locate(os.environ))
    except VeiligError as error:
        return [], {**about, "error": str(error)}
    today = datetime.now(UTC).date()
    about |= {
        "as_of": str(database.as_of() or ""),
        "advisories": database.advisories,
        "warning": database.warning(today),
        "attribution": database.meta.get("attribution", ""),
    }
    by_pin: dict[tuple[str, int, str], list[VulnerablePin]] = {}
    for pin in database.match(named.pinned):
        by_pin.setdefault((pin.path, pin.line, pin.requirement.name), []).append(pin)
    problems = [_pin(pins, files, repairs=repairs) for pins in by_pin.values()]
    if labels and problems:
        known = PinLabels(files)
        for problem, pins in zip(problems, by_pin.values(), strict=True):
            problem |= known.of(pins[0])
    return problems, about


def _pin(pins: list[VulnerablePin], files: Mapping[str, str], *, repairs: bool) -> dict[str, Any]:
    worst, requirement = pins[0], pins[0].requirement
    more = f" and {len(pins) - 1} more" if len(pins) > 1 else ""
    return {
        "id": f"pin:{worst.path}:{requirement.name}",
        "kind": "dependency",
        "title": f"{worst.id}{more}: {requirement.name} {requirement.version}",
        "rule": ", ".join(pin.id for pin in pins),
        "severity": str(worst.severity),
        "path": worst.path,
        "line": worst.line,
        "message": worst.summary,
        **_offers(for_pin(pins, files) if repairs else []),
    }


def _offers(offered: list[Proposal | Advice]) -> dict[str, Any]:
    proposals = [o for o in offered if isinstance(o, Proposal)]
    advice = next((o.text for o in offered if isinstance(o, Advice)), "")
    return {"proposals": [_json(p) for p in proposals[:PROPOSALS_MAX]], "why": advice}


def _json(proposal: Proposal) -> dict[str, Any]:
    return {
        "recipe": proposal.recipe,
        "title": proposal.title,
        "cost": proposal.cost,
        "needs": proposal.needs.value,
        "confidence": proposal.confidence.value,
        "decision": proposal.decision,
        "edits": [asdict(e) for e in proposal.edits],
        "removed": list(proposal.removed),
    }


def _scanned(root: Path, task: Mapping[str, Any]) -> dict[str, Any]:
    return scan(
        root,
        list(task["paths"]),
        repairs=bool(task["repairs"]),
        whole=bool(task.get("report")),
        pattern=bool(task.get("pattern")),
        jobs=int(task.get("jobs", 1)),
        memory=Memory(str(task.get("memory", ""))),
        rules=str(task.get("rules", "")),
    )


def answer(task: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to one task; `error` says what is wrong with the task."""
    root = Path(task["root"])
    if task["do"] == "scan" and task.get("diff"):
        return scan_change(
            root,
            str(task["diff"]),
            pattern=bool(task.get("pattern")),
            made=bool(task.get("made")),
            jobs=int(task.get("jobs", 1)),
            memory=Memory(str(task.get("memory", ""))),
        )
    if task["do"] == "scan":
        try:
            return _scanned(root, task)
        except UsageError as error:  # the user's own rules
            return {"error": str(error), "problems": []}
    return propose(root, task["failure"], Path(task["python"]))


def main() -> int:
    """Exit code 0 with an answer on standard output."""
    task = json.load(sys.stdin)
    answers: list[dict[str, Any]] = []
    sys.setrecursionlimit(RECURSION_MAX)
    threading.stack_size(STACK_BYTES)  # deep nesting must end in an exception, not in a crash
    thread = threading.Thread(target=lambda: answers.append(answer(task)))
    thread.start()
    thread.join()
    if not answers:
        return 1
    json.dump(answers[0], sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
