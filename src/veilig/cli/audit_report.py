"""How is the audit of one or several folders shown: as text, as JSON, as SARIF, and as an exit code?"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, cast

from veilig.audit.dependencies import is_dependency_file
from veilig.audit.finding import Finding, Notice, Report, Severity, Skipped
from veilig.audit.report import finding_lines, not_looked_at, ordered, printable, summary
from veilig.audit.sarif import LEVELS, SECURITY_SEVERITY, to_sarif
from veilig.core.errors import EXIT_FINDINGS, EXIT_INCOMPLETE, EXIT_OK

NOT_ASSESSED_SHOWN_MAX = 10
ENVIRONMENTS_SHOWN_MAX = 10
# Why a folder stays out of the copy although nothing of the project's own code is in it.
NOT_OURS = frozenset({"history stays with the user", "environment", "cache", "veilig's own"})
PYTHON = frozenset({".py", ".pyw", ""})  # "": a link without a suffix may be a folder

PIN_MEMBERS = (
    *("id", "kind", "package", "version", "title", "rule", "severity", "score", "path", "line", "message"),
    *("aliases", "cwes", "clean", "way", "reach"),
)

type Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Root:
    """What the audit of one folder found; every path begins with the folder as the user named it."""

    path: str
    session: str
    wall: str
    report: Report
    pins: tuple[Json, ...]
    defects: tuple[Json, ...]
    advisories: Json
    model: Json = field(default_factory=dict[str, Any])  # who was heard on the findings, and what it cost

    @property
    def error(self) -> str:
        """Why dependencies were not assessed; empty when they were, or when there are none."""
        return str(self.advisories.get("error", ""))


def root_of(path: str, session: str, wall: str, data: Json) -> Root:
    """The result of one audit session, its paths as seen from where the user stands."""
    prefix = "" if path in (".", "./") else f"{PurePosixPath(path).as_posix()}/"
    report = Report.from_json(json.dumps(data["report"]))
    left_out = [Skipped(p, why) for p, why in data.get("left_out", []) if _matters(p, why)]
    others = [p for p, why in data.get("left_out", []) if why == "environment"]
    if others:
        told = f"an environment, not read: {', '.join(others[:ENVIRONMENTS_SHOWN_MAX])}"
        report = replace(report, notices=(*report.notices, Notice(others[0], 1, told)))
    problems = [{**p, "path": f"{prefix}{p['path']}"} for p in data.get("problems", [])]
    about = dict(data.get("advisories", {}))
    about["not_assessed"] = [[f"{prefix}{p}", *rest] for p, *rest in about.get("not_assessed", [])]
    about["unread"] = [f"{prefix}{p}" for p in about.get("unread", [])]
    return Root(
        path,
        session,
        wall,
        _prefixed(replace(report, skipped=(*report.skipped, *left_out)), prefix),
        tuple(p for p in problems if p["kind"] == "dependency"),
        tuple(p for p in problems if p["kind"] != "dependency"),
        about,
        dict(data.get("model", {})),
    )


def exit_code(roots: Sequence[Root], fail_at: Severity, *, claimed: bool = False) -> int:
    """0 clean, 1 a finding at or above `fail_at`, 3 nothing found but part was not looked at.

    claimed: count what only a model found.

    A vulnerability that nobody rated counts: unrated is not harmless.
    """
    codes = {r.report.exit_code(fail_at, claimed=claimed) for r in roots}
    pins = [p for r in roots for p in r.pins]
    if EXIT_FINDINGS in codes or any(_reaches(p, fail_at) for p in pins):
        return EXIT_FINDINGS
    unread = EXIT_INCOMPLETE in codes or any(r.error or r.advisories.get("unread") for r in roots)
    return EXIT_INCOMPLETE if unread else EXIT_OK


def render_text(roots: Sequence[Root], *, color: bool) -> str:
    """Findings of each folder, worst first, then pins, then what was not looked at, then the numbers."""
    return "\n".join(line for root in roots for line in _root_lines(root, color=color))


def render_json(roots: Sequence[Root], code: int) -> str:
    """Everything, for a script; `report` is what `python -m veilig.audit.worker --json` prints."""
    shown = [
        {
            "path": r.path,
            "session": r.session,
            "wall": r.wall,
            "report": asdict(r.report),
            "dependencies": {**r.advisories, "problems": [_plain(p) for p in r.pins]},
            "defects": [_plain(p) for p in r.defects],
            **({"model": r.model} if r.model else {}),
        }
        for r in roots
    ]
    return json.dumps({"version": 1, "exit_code": code, "roots": shown}, indent=1, ensure_ascii=False)


def render_sarif(roots: Sequence[Root], version: str) -> str:
    """One SARIF 2.1.0 document with one run per folder; pins are results beside the weaknesses."""
    documents = [cast(Json, json.loads(to_sarif(r.report, version=version))) for r in roots]
    runs: list[Json] = []
    for root, document in zip(roots, documents, strict=True):
        run = cast(Json, document["runs"][0])
        for pin in root.pins:
            run["tool"]["driver"]["rules"].append(_pin_rule(pin))
            run["results"].append(_pin_result(pin))
        if root.error:
            run["invocations"][0]["executionSuccessful"] = False
            note = {"level": "warning", "message": {"text": f"dependencies: {root.error}"}}
            run["invocations"][0]["toolExecutionNotifications"].append(note)
        if root.model:
            run["properties"] = {"model": root.model}
            told = [{"level": "warning", "message": {"text": f"model: {t}"}} for t in root.model["trouble"]]
            run["invocations"][0]["toolExecutionNotifications"] += told
        if len(roots) > 1:
            run["automationDetails"] = {"id": f"veilig/{root.path}/"}
        runs.append(run)
    return json.dumps({**documents[0], "runs": runs}, indent=1, ensure_ascii=False)


def render_dependencies(roots: Sequence[Root], form: str, version: str) -> str:
    """OpenVEX or CycloneDX on all folders."""
    from veilig.audit.sbom import to_cyclonedx
    from veilig.audit.vex import to_openvex

    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    pins = [pin for root in roots for pin in root.pins]
    if form == "openvex":
        return to_openvex(pins, author="veilig", timestamp=now)
    components: list[tuple[str, str, str]] = []
    for root in roots:
        here = "" if root.path in (".", "./") else f"{PurePosixPath(root.path).as_posix()}/"
        components += [(str(n), str(v), f"{here}{p}") for n, v, p in root.advisories.get("components", [])]
    return to_cyclonedx(components, pins, version=version, timestamp=now)


# --- parts ------------------------------------------------------------------------------------------


def _matters(path: str, why: str) -> bool:
    """Could the file that stayed out of the copy have held code or pins?"""
    if why in NOT_OURS:
        return False
    return PurePosixPath(path).suffix in PYTHON or is_dependency_file(path)


def _prefixed(report: Report, prefix: str) -> Report:
    if not prefix:
        return report

    def moved(finding: Finding) -> Finding:
        flow = tuple(replace(step, path=f"{prefix}{step.path}") for step in finding.flow)
        return replace(finding, path=f"{prefix}{finding.path}", flow=flow)

    return replace(
        report,
        findings=tuple(moved(f) for f in report.findings),
        suppressed=tuple(replace(s, finding=moved(s.finding)) for s in report.suppressed),
        skipped=tuple(replace(s, path=f"{prefix}{s.path}") for s in report.skipped),
        incomplete=tuple(replace(i, path=f"{prefix}{i.path}") for i in report.incomplete),
        notices=tuple(replace(n, path=f"{prefix}{n.path}") for n in report.notices),
        outside_profile=tuple(f"{prefix}{path}" for path in report.outside_profile),
    )


def _reaches(pin: Json, fail_at: Severity) -> bool:
    known = {severity.value: severity.rank for severity in Severity}
    return known.get(str(pin.get("severity", "")), Severity.CRITICAL.rank) >= fail_at.rank


def _root_lines(root: Root, *, color: bool) -> list[str]:
    report, lines = root.report, list[str]()
    for number, finding in enumerate(ordered(report.findings), 1):
        lines += finding_lines(number, finding, show_flow=True, color=color)
    for number, pin in enumerate(root.pins, len(report.findings) + 1):
        severity = f"{pin.get('severity') or 'unknown':<8}"
        place = printable(f"{pin['path']}:{pin['line']}")
        lines.append(f"{number:>2}  pin      {severity} {place}  {printable(str(pin['title']))}")
        lines.append(f"      {printable(' '.join(str(pin.get('message', '')).split()))[:160]}")
        lines.append(f"      {printable(about_pin(pin))}")
    if lines:
        lines.append("")
    lines += [printable(line) for line in not_looked_at(report)]
    lines += [printable(f"notice  {n.path}:{n.line}  {n.message}") for n in report.notices]
    lines += [printable(f"defect  {d['path']}:{d['line']}  {d['title']}") for d in root.defects]
    lines += _dependency_lines(root)
    lines += model_lines(root)
    lines.append(printable(summary(report)))
    return lines


def model_lines(root: Root) -> list[str]:
    """What a model had to do with the report, and what it could not judge; none when none was asked for."""
    told = root.model
    if not told:
        return []
    judged = f"{told['judged']} findings judged, {told['doubted']} doubted, {told['claimed']} found by it"
    spent = f"{told['tokens_in']} + {told['tokens_out']} tokens"
    head = f"model   {told['name']}: {told['asked']} questions, {judged}, {spent}"
    return [printable(line) for line in (head, *(f"model   {why}" for why in told["trouble"]))]


def about_pin(pin: Json) -> str:
    """What to do about a pin, who brings it in, and whether the code imports it."""
    clean = pin.get("clean")
    parts = [f"lowest clean version {clean}" if clean else "no clean version is known"]
    way = [str(name) for name in pin.get("way", [])]
    if len(way) > 1:
        parts.append(f"brought in by {' > '.join(way)}")
    if pin.get("reach"):
        parts.append(str(pin["reach"]))
    return "; ".join(parts)


def remarks(roots: Sequence[Root]) -> list[str]:
    """Lines about dependencies and defects for forms that are one page."""
    found = [line for root in roots for line in (*model_lines(root), *_dependency_lines(root))]
    return found + [f"defect  {d['path']}:{d['line']}  {d['title']}" for r in roots for d in r.defects]


def _dependency_lines(root: Root) -> list[str]:
    about, pins = root.advisories, int(root.advisories.get("pins", 0))
    skipped = about.get("not_assessed", [])
    lines = [
        printable(f"skipped {path}:{line}  {name}: {reason}")
        for path, line, name, reason in skipped[:NOT_ASSESSED_SHOWN_MAX]
    ]
    if len(skipped) > NOT_ASSESSED_SHOWN_MAX:
        more = len(skipped) - NOT_ASSESSED_SHOWN_MAX
        lines.append(f"skipped {more} more requirements, all in the JSON report")
    if root.error:
        lines.append(printable(f"skipped {pins} pinned dependencies: {' '.join(root.error.split())}"))
    elif pins or skipped:
        lines.append(f"pins    {pins} assessed, {len(root.pins)} vulnerable, {len(skipped)} not assessed")
    if about.get("warning"):
        lines.append(printable(f"data    {about['warning']}"))
    return lines


def _plain(problem: Json) -> Json:
    return {key: problem[key] for key in PIN_MEMBERS if key in problem}


def _pin_rule(pin: Json) -> Json:
    severity = _severity(pin)
    return {
        "id": str(pin["id"]),
        "name": str(pin["title"]),
        "shortDescription": {"text": str(pin["title"])},
        "fullDescription": {"text": f"{pin.get('message', '')} ({pin.get('rule', '')})"},
        "properties": {"tags": ["security"], "security-severity": SECURITY_SEVERITY[severity]},
    }


def _pin_result(pin: Json) -> Json:
    place = {"artifactLocation": {"uri": pin["path"]}, "region": {"startLine": max(int(pin["line"]), 1)}}
    return {
        "ruleId": str(pin["id"]),
        "level": LEVELS[_severity(pin)],
        "message": {"text": f"{pin['title']}: {pin.get('message', '')}"},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"veilig/v1": str(pin["id"])},
    }


def _severity(pin: Json) -> Severity:
    word = str(pin.get("severity", ""))
    return Severity(word) if word in set(Severity) else Severity.CRITICAL
