"""How does a report read as SARIF 2.1.0, the way code scanning services accept it?"""

import json
from collections.abc import Mapping

from veilig.audit.finding import Confidence, Finding, Report, Severity, Step
from veilig.audit.rules import BY_ID

RESULTS_MAX = 5_000  # code scanning shows no more; the worst come first
FLOW_LOCATIONS_MAX = 1_000
LEVELS: Mapping[Severity, str] = {
    Severity.LOW: "note",
    Severity.MEDIUM: "warning",
    Severity.HIGH: "error",
    Severity.CRITICAL: "error",
}
SECURITY_SEVERITY: Mapping[Severity, str] = {
    Severity.LOW: "3.0",
    Severity.MEDIUM: "5.5",
    Severity.HIGH: "8.0",
    Severity.CRITICAL: "9.5",
}
PRECISION: Mapping[Confidence, str] = {
    Confidence.CERTAIN: "very-high",
    Confidence.FLOW: "high",
    Confidence.POSSIBLE: "medium",
    Confidence.PATTERN: "low",
}

type Json = dict[str, object]


def to_sarif(report: Report, *, version: str = "0.1.0") -> str:
    """SARIF 2.1.0 text: CWE tags, code flows, fingerprints; skipped files are tool notifications.

    Suppressed findings are in it, marked as suppressed with their reason. Beyond RESULTS_MAX the least
    severe are
    left out, and a notification says how many.
    """
    shown = sorted(report.findings, key=lambda f: (-f.severity.rank, f.confidence.rank, f.path, f.line))
    left_out = max(0, len(shown) - RESULTS_MAX)
    shown = shown[:RESULTS_MAX]
    results = [_result(finding) for finding in shown]
    for item in report.suppressed[: RESULTS_MAX - len(results)]:
        result = _result(item.finding)
        result["suppressions"] = [{"kind": "inSource", "justification": item.reason}]
        results.append(result)
    used = sorted({f.rule for f in shown} | {item.finding.rule for item in report.suppressed})
    notes = [_note(item.path, f"skipped: {item.reason}") for item in report.skipped]
    notes += [_note(item.path, f"{item.function}: {item.reason}") for item in report.incomplete]
    notes += [_note(item.path, item.message) for item in report.notices]
    if left_out:
        notes.append(_note("", f"{left_out} less severe results were left out"))
    complete = not report.skipped and not report.incomplete
    run: Json = {
        "tool": {"driver": {"name": "veilig", "version": version, "rules": [_rule(name) for name in used]}},
        "results": results,
        "invocations": [{"executionSuccessful": complete, "toolExecutionNotifications": notes}],
        "columnKind": "unicodeCodePoints",
    }
    document: Json = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    }
    return json.dumps(document, ensure_ascii=False, indent=1)


def _rule(name: str) -> Json:
    rule = BY_ID.get(name)
    if rule is None:
        return {"id": name}
    return {
        "id": rule.id,
        "name": rule.title,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "help": {
            "text": rule.advice,
            "markdown": f"{rule.why}\n\n**Instead:** {rule.advice}\n\n**Silent on:** {rule.silent}",
        },
        "helpUri": f"https://cwe.mitre.org/data/definitions/{rule.cwe}.html",
        "properties": {
            "tags": ["security", f"external/cwe/cwe-{rule.cwe:03}"],
            "security-severity": SECURITY_SEVERITY[rule.severity],
        },
    }


def _region(line: int, column: int, end_line: int, end_column: int) -> Json:
    return {
        "startLine": max(line, 1),
        "startColumn": column + 1,
        "endLine": max(end_line, line, 1),
        "endColumn": max(end_column, 0) + 1,
    }


def _result(finding: Finding) -> Json:
    region = _region(finding.line, finding.column, finding.end_line, finding.end_column)
    result: Json = {
        "ruleId": finding.rule,
        "level": LEVELS[finding.severity],
        "message": {"text": finding.message},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": finding.path}, "region": region}}],
        "partialFingerprints": {
            "primaryLocationLineHash": finding.fingerprint,
            "veilig/v1": finding.fingerprint,
        },
        "properties": {
            "confidence": finding.confidence.value,
            "precision": PRECISION[finding.confidence],
            "tags": [f"external/cwe/cwe-{finding.cwe:03}"],
        },
    }
    if finding.flow:
        steps = [{"location": _location(step)} for step in finding.flow[:FLOW_LOCATIONS_MAX]]
        result["codeFlows"] = [{"threadFlows": [{"locations": steps}]}]
    return result


def _location(step: Step) -> Json:
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": step.path},
            "region": {"startLine": max(step.line, 1), "startColumn": step.column + 1},
        },
        "message": {"text": step.what},
    }


def _note(path: str, text: str) -> Json:
    note: Json = {"level": "warning", "message": {"text": text}}
    if path:
        note["locations"] = [{"physicalLocation": {"artifactLocation": {"uri": path}}}]
    return note
