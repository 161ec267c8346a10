"""How does a report read as SARIF 2.1.0, the way code scanning services accept it?"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import quote

from veilig.audit.baseline import KNOWN_BEFORE
from veilig.audit.finding import Confidence, Finding, Opinion, Report, Severity, Step
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

CWE_PAGES = "https://cwe.mitre.org/data/definitions"

type Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Replacement:
    """Text for the span from (line, column) to (end_line, end_column); lines from 1, columns from 0."""

    line: int
    column: int
    end_line: int
    end_column: int
    text: str


@dataclass(frozen=True, slots=True)
class FileChange:
    """Everything that one fix replaces in one file."""

    path: str
    replacements: tuple[Replacement, ...]


type Fixes = Mapping[str, tuple[str, tuple[FileChange, ...]]]


def to_sarif(report: Report, *, version: str = "0.1.0", fixes: Fixes | None = None) -> str:
    """SARIF 2.1.0 text: CWE taxonomy, code flows, fingerprints, fixes; skipped files are notifications.

    fixes: fingerprint -> (what the fix does, its changes). Suppressed findings are marked with their reason,
    those of a baseline as external. Beyond RESULTS_MAX the least severe are left out, and a notification
    says how many. The same report gives the same text, whatever the order of its findings.
    """
    shown = sorted(report.findings, key=_order)
    left_out = max(0, len(shown) - RESULTS_MAX)
    shown = shown[:RESULTS_MAX]
    silenced = sorted(report.suppressed, key=lambda s: _order(s.finding))[: RESULTS_MAX - len(shown)]
    used = _used([*shown, *(item.finding for item in silenced)])
    places = {name: index for index, name in enumerate(used)}
    results = [_result(finding, places, fixes or {}) for finding in shown]
    for item in silenced:
        result = _result(item.finding, places, {})
        kind = "external" if item.reason.startswith(KNOWN_BEFORE) else "inSource"
        result["suppressions"] = [{"kind": kind, "justification": item.reason}]
        results.append(result)
    weaknesses = sorted({finding.cwe for finding in used.values()})
    driver: Json = {
        "name": "veilig",
        "version": version,
        "rules": [_rule(finding, weaknesses) for finding in used.values()],
        "supportedTaxonomies": [{"name": "CWE", "index": 0}],
    }
    run: Json = {
        "tool": {"driver": driver},
        "taxonomies": [_taxonomy(weaknesses)],
        "results": results,
        "invocations": [
            {
                "executionSuccessful": not report.skipped and not report.incomplete,
                "toolExecutionNotifications": _notes(report, left_out),
            }
        ],
        "columnKind": "unicodeCodePoints",
    }
    document: Json = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    }
    return json.dumps(document, ensure_ascii=False, indent=1)


def _order(finding: Finding) -> tuple[int, int, str, int, int, str, str]:
    rank, sure = -finding.severity.rank, finding.confidence.rank
    return (rank, sure, finding.path, finding.line, finding.column, finding.rule, finding.fingerprint)


def _used(findings: list[Finding]) -> dict[str, Finding]:
    """Rule id -> the first (worst) finding of it, by id."""
    first = {finding.rule: finding for finding in reversed(findings)}
    return {name: first[name] for name in sorted(first)}


def _notes(report: Report, left_out: int) -> list[Json]:
    notes = [_note(item.path, f"skipped: {item.reason}") for item in report.skipped]
    notes += [_note(item.path, f"{item.function}: {item.reason}") for item in report.incomplete]
    notes += [_note(item.path, item.message) for item in report.notices]
    if left_out:
        notes.append(_note("", f"{left_out} less severe results were left out"))
    return notes


def _taxonomy(weaknesses: list[int]) -> Json:
    taxa = [{"id": str(cwe), "helpUri": f"{CWE_PAGES}/{cwe}.html"} for cwe in weaknesses]
    return {
        "name": "CWE",
        "organization": "MITRE",
        "informationUri": "https://cwe.mitre.org/",
        "shortDescription": {"text": "Common Weakness Enumeration"},
        "taxa": taxa,
    }


def _rule(finding: Finding, weaknesses: list[int]) -> Json:
    """The rule of a finding; one that is not of this engine is described by the finding itself."""
    rule = BY_ID.get(finding.rule)
    described: Json = {
        "id": finding.rule,
        "name": finding.title,
        "shortDescription": {"text": finding.title},
        "fullDescription": {"text": finding.message},
    }
    if rule is not None:
        described["name"] = rule.title
        described["shortDescription"] = {"text": rule.title}
        described["fullDescription"] = {"text": rule.why}
        described["help"] = {
            "text": rule.advice,
            "markdown": f"{rule.why}\n\n**Instead:** {rule.advice}\n\n**Silent on:** {rule.silent}",
        }
    severity = rule.severity if rule is not None else finding.severity
    described["helpUri"] = f"{CWE_PAGES}/{finding.cwe}.html"
    described["defaultConfiguration"] = {"level": LEVELS[severity]}
    described["relationships"] = [
        {
            "target": {
                "id": str(finding.cwe),
                "index": weaknesses.index(finding.cwe),
                "toolComponent": {"name": "CWE", "index": 0},
            },
            "kinds": ["superset"],
        }
    ]
    described["properties"] = {
        "tags": ["security", f"external/cwe/cwe-{finding.cwe:03}"],
        "security-severity": SECURITY_SEVERITY[severity],
        "precision": PRECISION[finding.confidence],
    }
    return described


def _file(path: str) -> Json:
    return {"uri": quote(path), "uriBaseId": "%SRCROOT%"}


def _region(line: int, column: int, end_line: int, end_column: int) -> Json:
    return {
        "startLine": max(line, 1),
        "startColumn": column + 1,
        "endLine": max(end_line, line, 1),
        "endColumn": max(end_column, 0) + 1,
    }


def _result(finding: Finding, places: Mapping[str, int], fixes: Fixes) -> Json:
    region = _region(finding.line, finding.column, finding.end_line, finding.end_column)
    result: Json = {
        "ruleId": finding.rule,
        "ruleIndex": places[finding.rule],
        "level": LEVELS[finding.severity],
        "message": {"text": finding.message},
        "locations": [{"physicalLocation": {"artifactLocation": _file(finding.path), "region": region}}],
        "partialFingerprints": {
            "primaryLocationLineHash": finding.fingerprint,
            "veilig/v1": finding.fingerprint,
        },
        "properties": {
            "confidence": finding.confidence.value,
            "precision": PRECISION[finding.confidence],
            "security-severity": SECURITY_SEVERITY[finding.severity],
            "tags": [f"external/cwe/cwe-{finding.cwe:03}"],
        },
    }
    if finding.opinion is not None:
        result["properties"] = {**cast(Json, result["properties"]), "opinion": _said(finding.opinion)}
    if finding.claimed:
        result["level"] = "note"  # it fails nothing by itself
    if finding.flow:
        steps = [{"location": _location(step)} for step in finding.flow[:FLOW_LOCATIONS_MAX]]
        result["codeFlows"] = [{"threadFlows": [{"locations": steps}]}]
    if finding.fingerprint in fixes:
        what, changes = fixes[finding.fingerprint]
        edits = [{"artifactLocation": _file(c.path), "replacements": _replaced(c)} for c in changes]
        result["fixes"] = [{"description": {"text": what}, "artifactChanges": edits}]
    return result


def _said(opinion: Opinion) -> Json:
    """A model's word on a finding: a doubt with what the engine had said, or a claim of its own."""
    was = opinion.was.value if opinion.was is not None else None
    return {"by": opinion.by, "reason": opinion.reason, "was": was}


def _replaced(change: FileChange) -> list[Json]:
    return [
        {
            "deletedRegion": {
                "startLine": r.line,
                "startColumn": r.column + 1,
                "endLine": r.end_line,
                "endColumn": r.end_column + 1,
            },
            "insertedContent": {"text": r.text},
        }
        for r in change.replacements
    ]


def _location(step: Step) -> Json:
    return {
        "physicalLocation": {
            "artifactLocation": _file(step.path),
            "region": {"startLine": max(step.line, 1), "startColumn": step.column + 1},
        },
        "message": {"text": step.what},
    }


def _note(path: str, text: str) -> Json:
    note: Json = {"level": "warning", "message": {"text": text}}
    if path:
        note["locations"] = [{"physicalLocation": {"artifactLocation": _file(path)}}]
    return note
