"""What does an audit tell beyond what a repair needs: secrets, who brings a pin in, what a diff would add?"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from veilig.audit.advisories import VulnerablePin
from veilig.audit.dependencies import is_dependency_file
from veilig.audit.dependencies_edges import chains, imported_names, reach
from veilig.audit.finding import Finding, Notice, Report, Skipped
from veilig.audit.languages.scan import scan_texts
from veilig.audit.languages.unread import unread_languages
from veilig.audit.patch_apply import apply_diff, reversed_diff, sections
from veilig.audit.patch_audit import audit_change
from veilig.audit.rows import rows_of
from veilig.audit.scan import ScanConfig
from veilig.audit.secrets import CWE, handles, scan_secrets
from veilig.audit.suppress import apply_suppressions

FOLDERS_MAX = 8  # named in one remark


def with_secrets(report: Report, files: Mapping[str, str], *, pattern: bool) -> Report:
    """The report with the secrets of all text files; one that the engine reports already is not repeated."""
    known = {(f.path, f.line) for f in report.findings if f.cwe == CWE}
    known |= {(s.finding.path, s.finding.line) for s in report.suppressed if s.finding.cwe == CWE}
    fresh = [f for f in scan_secrets(files, pattern=pattern) if (f.path, f.line) not in known]
    return _added(report, fresh, files)


def with_languages(report: Report, scripts: Mapping[str, str], *, pattern: bool) -> Report:
    """The report with what shows in scripts and manifests that are not Python."""
    found = scan_texts(scripts, include_pattern=pattern)
    whole = _added(report, list(found.findings), scripts)
    return replace(
        whole,
        skipped=(*whole.skipped, *found.skipped),
        incomplete=(*whole.incomplete, *found.incomplete),
        notices=(*whole.notices, *found.notices),
        outside_profile=(*whole.outside_profile, *found.outside_profile),
        files=whole.files + found.files,
        lines=whole.lines + found.lines,
    )


def with_the_rest(report: Report, passed: Sequence[str], paths: Iterable[str], *, looked_at: bool) -> Report:
    """The report with what no rule is about: other languages and others' code; and when that is everything.

    passed: folders of others' code. looked_at: whether a dependency file was read, or is named as unread.
    """
    notices = [*report.notices, *unread_languages(paths)]
    if passed:
        more = f" and {len(passed) - FOLDERS_MAX} more" if len(passed) > FOLDERS_MAX else ""
        told = f"others' code, not read: {', '.join(passed[:FOLDERS_MAX])}{more}"
        notices.append(Notice(passed[0], 1, told))
    looked_at = looked_at or bool(report.files or report.findings or report.skipped or report.outside_profile)
    skipped = report.skipped if looked_at else (Skipped(".", "no file of a kind that is read"),)
    return replace(report, notices=tuple(notices), skipped=skipped)


def _added(report: Report, fresh: list[Finding], files: Mapping[str, str]) -> Report:
    texts = {finding.path: rows_of(files[finding.path]) for finding in fresh}
    kept, silenced, notices = apply_suppressions(fresh, texts)
    return replace(
        report,
        findings=(*report.findings, *kept),
        suppressed=(*report.suppressed, *silenced),
        notices=tuple(dict.fromkeys((*report.notices, *notices))),
    )


class PinLabels:
    """Who brings a vulnerable pin in, and whether the code imports it: computed once for a tree."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._ways = chains(files)
        self._imported = imported_names(text for path, text in files.items() if path.endswith(".py"))

    def of(self, pin: VulnerablePin) -> dict[str, Any]:
        """`way` (a direct dependency first), `reach` (a label) and `clean` (the lowest clean version)."""
        way = self._ways.get((pin.path, pin.requirement.name), ())
        return {
            "package": pin.requirement.name,
            "version": pin.requirement.version,
            "way": list(way),
            "reach": reach(pin.requirement, way, self._imported).value,
            "clean": pin.lowest_clean,
            "score": pin.score,
            "cwes": list(pin.cwes),
            "aliases": list(pin.aliases),
        }


def audited_part(
    root: Path, files: Mapping[str, str], diff: str, *, made: bool = False
) -> tuple[str, list[str]]:
    """The part of a diff about files that an audit reads, and the files that it does not read.

    made: the tree holds the change; a file of it that is not there stayed out of the copy, as links do.
    """
    parts = sections(diff)
    missing = {path for path, part in parts.items() if made and "\n+++ /dev/null" not in f"\n{part}"}
    others = [p for p in parts if p not in files and (p in missing or os.path.lexists(root / p))]
    kept = "\n".join(part for path, part in parts.items() if path not in others)
    return (kept if others else diff), others


def with_others(report: Report, others: list[str]) -> Report:
    """The report with the files that were not read: code among them is missing, the rest is only named."""
    code = [path for path in others if path.endswith((".py", ".pyw")) or is_dependency_file(path)]
    skipped = [Skipped(path, "it was not read: too large, or no text") for path in code]
    notices = [Notice(path, 1, "not a file that an audit reads") for path in others if path not in code]
    return replace(report, skipped=(*report.skipped, *skipped), notices=(*report.notices, *notices))


def without_change(files: Mapping[str, str], diff: str) -> dict[str, str]:
    """The tree before a change that it holds. Raises UsageError when the diff does not fit it."""
    before = dict(files)
    for path, text in apply_diff(files, reversed_diff(diff)).after.items():
        if text is None:
            before.pop(path, None)
        else:
            before[path] = text
    return before


def change_report(
    files: Mapping[str, str],
    diff: str,
    known_packages: frozenset[str],
    config: ScanConfig,
    scan: Callable[[Mapping[str, str]], Report] | None = None,
) -> Report:
    """What the tree would gain in weaknesses and secrets if this unified diff were applied to it.

    Raises UsageError when the diff is none or does not fit the tree.
    """
    applied = apply_diff(files, diff)
    added = applied.added
    after = dict(files)
    for path, text in applied.after.items():
        if text is None:
            after.pop(path, None)
        else:
            after[path] = text
    report = audit_change(files, after, added, known_packages=known_packages, config=config, scan=scan)
    touched = {path: after[path] for path in added if path in after}
    before = {f.fingerprint for f in scan_secrets({path: files.get(path, "") for path in touched})}
    known = {(f.path, f.line) for f in report.findings if f.cwe == CWE}
    fresh = [f for path in touched for f in handles(path, touched[path])]
    fresh = [f for f in fresh if f.line in added[f.path] and (f.path, f.line) not in known]
    known |= {(f.path, f.line) for f in fresh}
    others = scan_texts(touched, include_pattern=config.include_pattern)
    fresh += [f for f in others.findings if f.line in added[f.path] and (f.path, f.line) not in known]
    report = replace(
        report,
        skipped=(*report.skipped, *others.skipped),
        incomplete=(*report.incomplete, *others.incomplete),
        notices=(*report.notices, *others.notices),
    )
    fresh += [
        f
        for f in scan_secrets(touched, pattern=config.include_pattern)
        if f.line in added[f.path] and f.fingerprint not in before and (f.path, f.line) not in known
    ]
    return _added(report, fresh, after)
