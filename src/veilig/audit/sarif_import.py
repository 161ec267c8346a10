"""What did other tools find (SARIF 2.1.0), and which of it do we not report ourselves already?"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit

from veilig.audit.finding import Confidence, Finding, Notice, Report, Severity, Step
from veilig.core.errors import UsageError

SARIF_CHARS_MAX = 64 << 20
RESULTS_MAX = 25_000  # as many as one run may hold at a code scanning service
STEPS_MAX = 100
MESSAGE_CHARS_MAX = 1_000
_CWE = re.compile(r"cwe[-_/ :]*0*(\d{1,4})\b", re.IGNORECASE)
_LEVELS = {"error": Severity.HIGH, "warning": Severity.MEDIUM, "note": Severity.LOW}


def read_sarif(text: str, name: str = "the SARIF file") -> tuple[Finding, ...]:
    """The results of a SARIF file as findings with confidence `possible`; the rule is `TOOL:RULE`.

    Suppressed, passed and absent results are left out. The CWE comes from the result, its rule's tags or
    relationships; 0 says that the tool names none. Text is data: lengths are bounded and nothing is opened.
    Raises UsageError when the file is no SARIF 2.1.0.
    """
    try:
        if len(text) > SARIF_CHARS_MAX:
            raise ValueError(f"more than {SARIF_CHARS_MAX} characters")
        data: Any = json.loads(text.removeprefix("\ufeff"))
        if data["version"] != "2.1.0":
            raise ValueError(f"version {str(data['version'])[:20]!r}, 2.1.0 is read")
        found = [finding for run in data["runs"] for finding in _run(run)]
        return tuple(found[:RESULTS_MAX])
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise UsageError(
            f"{name} cannot be read as SARIF",
            why=str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}",
            fix="write it anew with the tool's SARIF 2.1.0 output; nothing of it was taken",
        ) from error


def with_imported(report: Report, imported: Iterable[Finding]) -> Report:
    """The report with findings of other tools; what stands on the same line with the same CWE is one finding.

    A finding without a CWE is the same as any other on its line. Ours stays, since it shows the flow.
    """
    places = {(f.path, f.line, f.cwe) for f in report.findings}
    places |= {(s.finding.path, s.finding.line, s.finding.cwe) for s in report.suppressed}
    lines = {(path, line) for path, line, _ in places}
    taken: list[Finding] = []
    doubled = 0
    for finding in imported:
        place = (finding.path, finding.line, finding.cwe)
        if place in places or (not finding.cwe and (finding.path, finding.line) in lines):
            doubled += 1
            continue
        places.add(place)
        lines.add((finding.path, finding.line))
        taken.append(finding)
    told = (Notice(".", 1, f"{doubled} imported results are found here already"),) if doubled else ()
    return replace(report, findings=(*report.findings, *taken), notices=(*report.notices, *told))


def _member(part: Any, *names: str) -> Any:
    """What lies under the names, one in the other; None where one of them is missing."""
    for name in names:
        part = None if part is None else part.get(name)
    return part


def _members(part: Any, *names: str) -> list[Any]:
    return list(_member(part, *names) or [])


def _text(part: Any, *names: str) -> str:
    return str(_member(part, *names) or "")


def _run(run: Any) -> Iterator[Finding]:
    driver: Any = run["tool"]["driver"]
    parts = [driver, *_members(run, "tool", "extensions")]
    by_id = {_text(rule, "id"): rule for part in parts for rule in _members(part, "rules")}
    tool = str(driver["name"])[:60]
    for result in _members(run, "results"):
        if _member(result, "suppressions") or _member(result, "level") == "none":
            continue
        if (_text(result, "kind") or "fail") not in ("fail", "review", "open"):
            continue
        if _member(result, "baselineState") == "absent":
            continue
        yield _finding(tool, result, by_id.get(_rule_id(result), {}))


def _rule_id(result: Any) -> str:
    return _text(result, "ruleId") or _text(result, "rule", "id") or "unnamed"


def _finding(tool: str, result: Any, rule: Any) -> Finding:
    places = _members(result, "locations")
    path, region = _place(places[0]) if places else ("", None)
    line = _number(region, "startLine", 1)
    name = f"{tool}:{_rule_id(result)}"
    message = _text(result, "message", "text")[:MESSAGE_CHARS_MAX]
    title = _text(rule, "shortDescription", "text") or _text(rule, "name") or name
    prints: Any = _member(result, "partialFingerprints") or _member(result, "fingerprints") or {}
    identity = "\0".join((name, path, *(sorted(map(str, prints.values())) or [str(line), message])))
    return Finding(
        rule=name,
        cwe=_cwe(result, rule),
        title=title[:120],
        message=message or title[:120],
        path=path,
        line=line,
        column=_number(region, "startColumn", 1) - 1,
        end_line=_number(region, "endLine", line),
        end_column=_number(region, "endColumn", 1) - 1,
        severity=_severity(result, rule),
        confidence=Confidence.POSSIBLE,
        flow=_flow(result),
        fingerprint=hashlib.sha256(identity.encode("utf-8", "backslashreplace")).hexdigest()[:32],
    )


def _number(region: Any, name: str, least: int) -> int:
    value: Any = _member(region, name)
    return least if value is None else max(int(value), least)


def _place(location: Any) -> tuple[str, Any]:
    physical: Any = _member(location, "physicalLocation")
    uri = _text(physical, "artifactLocation", "uri")
    parts = urlsplit(uri)
    path = unquote(parts.path if parts.scheme == "file" else uri).removeprefix("./")
    return path, _member(physical, "region")


def _flow(result: Any) -> tuple[Step, ...]:
    flows = _members(result, "codeFlows")
    threads = _members(flows[0], "threadFlows") if flows else []
    steps: list[Step] = []
    for entry in _members(threads[0], "locations")[:STEPS_MAX] if threads else ():
        location: Any = _member(entry, "location")
        path, region = _place(location)
        snippet = _text(region, "snippet", "text").strip()[:200]
        what = _text(location, "message", "text")[:200]
        steps.append(Step(path, _number(region, "startLine", 1), 0, snippet, what))
    return tuple(steps)


def _cwe(result: Any, rule: Any) -> int:
    taxa = _members(result, "taxa")
    taxa += [_member(relation, "target") for relation in _members(rule, "relationships")]
    for taxon in taxa:
        if _text(taxon, "toolComponent", "name").upper() == "CWE":
            number = re.search(r"\d+", _text(taxon, "id"))
            if number:
                return int(number[0])
    for part in (result, rule):
        match = _CWE.search(json.dumps(_member(part, "properties")))
        if match:
            return int(match[1])
    match = _CWE.search(_text(rule, "helpUri").replace("definitions/", "cwe-"))
    return int(match[1]) if match else 0


def _severity(result: Any, rule: Any) -> Severity:
    """From the tool's security-severity (a CVSS-like number), else from the level."""
    for part in (result, rule):
        try:
            score = float(_text(part, "properties", "security-severity"))
        except ValueError:
            continue
        bounds = ((9.0, Severity.CRITICAL), (7.0, Severity.HIGH), (4.0, Severity.MEDIUM))
        return next((severity for least, severity in bounds if score >= least), Severity.LOW)
    level = _text(result, "level") or _text(rule, "defaultConfiguration", "level") or "warning"
    return _LEVELS.get(level, Severity.MEDIUM)
