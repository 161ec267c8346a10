"""What is wrong in these sources? The pure entry: text in, report out; nothing is read, run or asked."""

import hashlib
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from veilig.audit.detect import Detector, Hit, finding_of
from veilig.audit.finding import Confidence, Finding, Incomplete, Report
from veilig.audit.options import ScanConfig
from veilig.audit.rows import rows_of
from veilig.audit.suppress import apply_suppressions
from veilig.audit.units import TextLines, Unit, World, skipped_of


def scan_sources(files: Mapping[str, str], config: ScanConfig | None = None) -> Report:
    """The report on these files (relative posix path -> text).

    Never raises on any content: what cannot be parsed is `skipped`, what is too deep or too large to follow
    is `incomplete`. Test files take part (they may be imported) but are not reported on unless asked for.
    """
    config = config if config is not None else ScanConfig()
    started = time.monotonic()
    world = World(files, config)
    units = world.judge(sorted(files), {}, started + config.seconds_max)
    return judged(assembled(world, units, config), files, config, time.monotonic() - started)


def assembled(world: World, units: Mapping[str, Unit], config: ScanConfig) -> Report:
    """One report on all units of a world, nothing silenced and nothing left out yet."""
    lines = TextLines(world.texts)
    detector = Detector(config.rules, lines)
    incomplete: list[Incomplete] = []
    for path in sorted(units):
        for part in (units[path].flow, units[path].shape):
            incomplete.extend(Incomplete(*item) for item in part.incomplete)
            for hit in world.hits(part, lines):
                detector.add(hit)
    read = [item for item in world.files.values() if not item.skipped]
    return Report(
        findings=tuple(fingerprinted(list(detector.hits.values()), lines)),
        skipped=tuple(skipped_of(world.files)),
        files=len(read),
        lines=sum(item.lines for item in read),
        incomplete=tuple(dict.fromkeys(incomplete)),
        outside_profile=tuple(path for path in sorted(world.files) if world.is_test(path)),
    )


def judged(whole: Report, files: Mapping[str, str], config: ScanConfig, seconds: float) -> Report:
    """The report as it is shown: what the source silences apart, what only looks like a weakness left out."""
    findings = [f for f in whole.findings if config.include_pattern or f.confidence is not Confidence.PATTERN]
    silenced = {f.path: rows_of(files[f.path]) for f in findings if f.path in files and config.suppress}
    kept, suppressed, notices = apply_suppressions(findings, silenced, config.today)
    return replace(
        whole,
        findings=tuple(kept),
        suppressed=tuple(suppressed),
        notices=tuple(notices),
        seconds=round(seconds, 3),
    )


def fingerprinted(hits: list[Hit], texts: TextLines) -> list[Finding]:
    """Findings in reading order; fingerprints survive moved lines but tell equal lines of one function
    apart."""
    order = sorted(
        hits, key=lambda h: (h.frame_path, getattr(h.node, "lineno", 1), h.node_column(), h.rule.id)
    )
    seen: Counter[tuple[str, str, str, str]] = Counter()
    findings: list[Finding] = []
    for hit in order:
        lines = texts.get(hit.frame_path, [])
        line: int = getattr(hit.node, "lineno", 1)
        text = " ".join(lines[line - 1].split()) if 0 < line <= len(lines) else ""
        identity = (hit.rule.id, hit.frame_path, hit.scope, text)
        seen[identity] += 1
        digest = hashlib.sha256("\0".join((*identity, str(seen[identity]))).encode()).hexdigest()
        findings.append(finding_of(hit, digest[:32]))
    return findings
