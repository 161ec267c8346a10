"""What is wrong in these sources? The pure entry: text in, report out; nothing is read, run or asked."""

import hashlib
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from veilig.audit.detect import Detector, Hit, Place, finding_of
from veilig.audit.engine.knowledge import Knowledge
from veilig.audit.engine.run import follow_unit, new_engine
from veilig.audit.engine.source import ModuleInfo, UnparsableError, build, parse
from veilig.audit.finding import Confidence, Finding, Incomplete, Report, Skipped
from veilig.audit.rules import RULES
from veilig.audit.rules.known import KNOWLEDGE
from veilig.audit.rules.rule import Rule
from veilig.audit.shapes import look_at_shapes
from veilig.audit.suppress import apply_suppressions

FILE_BYTES_MAX = 2 << 20  # 2 MiB: larger Python files are generated data
SECONDS_MAX = 600.0
TEST_PATH = re.compile(r"(^|/)(tests?|testing|conftest\.py|test_[^/]*\.py|[^/]*_test\.py)(/|$)")


@dataclass(frozen=True, slots=True)
class ScanConfig:
    """What to look for and how far to go. `today` (ISO date) decides which suppressions have expired."""

    rules: tuple[Rule, ...] = RULES
    include_pattern: bool = False
    include_tests: bool = False
    file_bytes_max: int = FILE_BYTES_MAX
    seconds_max: float = SECONDS_MAX
    today: str = ""
    knowledge: Knowledge = KNOWLEDGE
    identity: str = ""  # of rules that are not ours: what was found with others is not believed
    suppress: bool = True  # False: what is silenced in the source is reported like everything else


def scan_sources(files: Mapping[str, str], config: ScanConfig | None = None) -> Report:
    """The report on these files (relative posix path -> text).

    Never raises on any content: what cannot be parsed is `skipped`, what is too deep or too large to follow
    is
    `incomplete`. Test files take part (they may be imported) but are not reported on unless asked for.
    """
    config = config if config is not None else ScanConfig()
    started = time.monotonic()
    deadline = started + config.seconds_max
    modules, skipped = _parse_all(files, config)
    texts = {path: module.lines for path, module in modules.items()}
    detector = Detector(config.rules, texts)
    engine = new_engine(build(modules), config.knowledge, detector)
    incomplete: list[Incomplete] = []
    hits: dict[Place, Hit] = {}
    for path, module in modules.items():
        unit = follow_unit(engine, module, lambda: time.monotonic() > deadline)
        incomplete.extend(unit.incomplete)
        detector.turn(unit.told)
        if not module.is_test:
            program = engine.project.programs.get(path)
            incomplete.extend(look_at_shapes(module, detector, config.rules, program))
        told = detector.turn(hits)
        for hit in told.values():
            detector.add(hit)
        hits = detector.turn(None)
    findings = fingerprinted(list(hits.values()), texts)
    if not config.include_pattern:
        findings = [finding for finding in findings if finding.confidence is not Confidence.PATTERN]
    readable = texts if config.suppress else {}  # without its line no comment can be found
    kept, suppressed, notices = apply_suppressions(findings, readable, config.today)
    unique = dict.fromkeys(incomplete)
    return Report(
        findings=tuple(kept),
        skipped=tuple(skipped),
        files=len(modules),
        lines=sum(len(lines) for lines in texts.values()),
        seconds=round(time.monotonic() - started, 3),
        incomplete=tuple(unique),
        suppressed=tuple(suppressed),
        notices=tuple(notices),
        outside_profile=tuple(sorted(path for path, module in modules.items() if module.is_test)),
    )


def _parse_all(files: Mapping[str, str], config: ScanConfig) -> tuple[dict[str, ModuleInfo], list[Skipped]]:
    modules: dict[str, ModuleInfo] = {}
    skipped: list[Skipped] = []
    for path in sorted(files):
        text = files[path]
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            skipped.append(Skipped(path, "not a relative path inside the root"))
            continue
        if len(text) > config.file_bytes_max:
            skipped.append(Skipped(path, f"larger than {config.file_bytes_max} characters"))
            continue
        is_test = not config.include_tests and TEST_PATH.search(path) is not None
        try:
            modules[path] = parse(path, text, is_test=is_test)
        except UnparsableError as error:
            skipped.append(Skipped(path, str(error)))
    return modules, skipped


def fingerprinted(hits: list[Hit], texts: Mapping[str, list[str]]) -> list[Finding]:
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
