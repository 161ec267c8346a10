"""Which files of a tree are one program, and which programs were looked at before, byte for byte the same?

A value crosses files, so what one file shows depends on its whole program: the unit of work, of memory and of
parallel work is the program (modules that import one another or lie in one folder), never the file.
"""

import ast
import gc
import hashlib
import re
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePosixPath

from veilig.audit.engine.source import ModuleInfo, Project, join_programs, module_name
from veilig.audit.finding import Confidence, Finding, Report
from veilig.audit.memory import Memory
from veilig.audit.rules import RULES
from veilig.audit.scan import ScanConfig, scan_sources
from veilig.audit.suppress import apply_suppressions

COLLECT_AFTER = (100_000, 50, 100)  # objects, then rounds

type Texts = Mapping[str, str]
type Scan = Callable[[Texts, ScanConfig], Report]
type Spread = Callable[[Sequence[Texts], ScanConfig], Iterable[Report]]

# Finds too much rather than too little (an import in a text joins two programs that could stand apart).
# They begin with plain letters, not with \b: the search for those is ten times as fast.
_FROM = re.compile(r"from[ \t]+(\.*[ \t]*[\w.]*)[ \t]+import[ \t]*(?:\\\s*)?(\([^)]*\)|[^\n;#()]*)")
_IMPORT = re.compile(
    r"import[ \t]+([\w.]+(?:[ \t]+as[ \t]+\w+)?(?:[ \t]*,[ \t]*[\w.]+(?:[ \t]+as[ \t]+\w+)?)*)"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """The programs of a tree, each with the key under which its report is remembered."""

    programs: tuple[Texts, ...]
    keys: tuple[str, ...]


def scan_tree(
    files: Texts, config: ScanConfig, memory: Memory | None = None, spread: Spread | None = None
) -> Report:
    """The report on a tree, program by program; those that `memory` knows are not looked at again.

    memory: takes the reports of this run in; only complete ones, and only for rules that have an identity.
    spread: how several programs are scanned (one after the other by default). Raises nothing.
    """
    started = time.monotonic()
    raw = replace(config, include_pattern=True, suppress=False)
    keep = memory if config.rules is RULES or config.identity else None
    plan = plan_of(files, raw)
    reports = {key: keep.recall(key, files) for key in plan.keys} if keep is not None else {}
    todo = [(k, p) for k, p in zip(plan.keys, plan.programs, strict=True) if reports.get(k) is None]
    fresh = (spread or one_by_one)([program for _, program in todo], raw)
    for (key, _), report in zip(todo, fresh, strict=True):
        reports[key] = report
        if keep is not None:
            keep.remember(key, report)
    if keep is not None:
        keep.retain(plan.keys)
    whole = united([r for key in plan.keys if (r := reports.get(key)) is not None])
    return _judged(whole, files, config, time.monotonic() - started)


def one_by_one(programs: Sequence[Texts], config: ScanConfig) -> Iterable[Report]:
    """The programs' reports in order; the time of all together is what the configuration allows."""
    deadline = time.monotonic() + config.seconds_max
    for program in programs:
        with _few_collections():
            report = scan_sources(program, replace(config, seconds_max=max(deadline - time.monotonic(), 0.0)))
        yield report


@contextmanager
def _few_collections() -> Generator[None]:
    """Trees and values hold few cycles: looking for them all the time is a fifth of the work."""
    before = gc.get_threshold()
    gc.set_threshold(*COLLECT_AFTER)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def plan_of(files: Texts, config: ScanConfig) -> Plan:
    """The programs of the tree in path order, keyed by contents, engine, interpreter and options."""
    project = Project()
    for path in sorted(files):
        module = ModuleInfo(path, module_name(path), ast.Module([], []), [], path.endswith("__init__.py"))
        module.imports = _imports(files[path])
        project.add(module)
    join_programs(project)
    groups: dict[int, list[str]] = {}
    for path in sorted(files):
        program = project.programs.get(path)
        groups.setdefault(id(program) if program is not None else 0, []).append(path)
    settings = f"{engine_identity()}\0{config.include_tests}\0{config.file_bytes_max}\0{config.identity}"
    keys: list[str] = []
    for paths in groups.values():
        digest = hashlib.sha256(settings.encode())
        for path in paths:
            body = hashlib.sha256(files[path].encode("utf-8", "surrogatepass")).digest()
            digest.update(path.encode("utf-8", "surrogatepass") + b"\0" + body)
        keys.append(digest.hexdigest())
    return Plan(tuple({p: files[p] for p in paths} for paths in groups.values()), tuple(keys))


@cache
def engine_identity() -> str:
    """SHA-256 over the audit's own sources and the interpreter: any change of either forgets everything."""
    import sys

    digest = hashlib.sha256(sys.version.encode())
    folder = Path(__file__).parent
    for path in sorted(folder.rglob("*.py")):
        digest.update(PurePosixPath(path.relative_to(folder)).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def united(reports: Sequence[Report]) -> Report:
    """One report on all of them, paths in order."""
    return Report(
        findings=tuple(sorted((f for r in reports for f in r.findings), key=_place)),
        skipped=tuple(sorted((s for r in reports for s in r.skipped), key=lambda s: s.path)),
        files=sum(r.files for r in reports),
        lines=sum(r.lines for r in reports),
        incomplete=tuple(i for r in reports for i in r.incomplete),
        outside_profile=tuple(sorted(p for r in reports for p in r.outside_profile)),
    )


def _judged(whole: Report, files: Texts, config: ScanConfig, seconds: float) -> Report:
    findings = [f for f in whole.findings if config.include_pattern or f.confidence is not Confidence.PATTERN]
    texts = {f.path: files[f.path].splitlines() for f in findings if f.path in files}
    kept, suppressed, notices = apply_suppressions(findings, texts, config.today)
    return replace(
        whole,
        findings=tuple(kept),
        suppressed=tuple(suppressed),
        notices=tuple(notices),
        seconds=round(seconds, 3),
    )


def _place(finding: Finding) -> tuple[str, int, int, str]:
    return finding.path, finding.line, finding.column, finding.rule


def _imports(text: str) -> list[ast.Import | ast.ImportFrom]:
    """What the text may import, as `join_programs` wants it."""
    found: list[ast.Import | ast.ImportFrom] = []
    if "import" not in text:
        return found
    for match in _FROM.finditer(text):
        base = match[1].replace(" ", "").replace("\t", "")
        dots = len(base) - len(base.lstrip("."))
        names = [n.split()[0] for n in re.sub(r"#[^\n]*|[()\\]", " ", match[2]).split(",") if n.strip()]
        found.append(ast.ImportFrom(base[dots:] or None, [ast.alias(n) for n in names], dots))
    for match in _IMPORT.finditer(text):
        names = [n.split()[0] for n in match[1].split(",") if n.strip()]
        found.append(ast.Import([ast.alias(n) for n in names]))
    return found
