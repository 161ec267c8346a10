"""Which files of a tree are one program, and what must be judged of it that nobody remembers?

A value crosses files, so what one file shows depends on its whole program (modules that import one another or
lie in one folder). A tree is judged program by program, a program module by module.
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

from veilig.audit.engine.program import joined
from veilig.audit.engine.source import ModuleInfo, Project, module_name
from veilig.audit.finding import Finding, Report
from veilig.audit.memory import Memory
from veilig.audit.options import ScanConfig
from veilig.audit.rules import RULES
from veilig.audit.scan import assembled, judged
from veilig.audit.units import Unit, World

COLLECT_AFTER = (3_000_000, 50, 100)  # objects, then rounds

type Texts = Mapping[str, str]
type Units = Mapping[str, Unit]
type Spread = Callable[[Sequence[Task], float], Iterable[Units]]


@dataclass(frozen=True, slots=True)
class Task:
    """A world and those of its modules that must be judged, with what is remembered of them."""

    world: World
    paths: tuple[str, ...]
    old: Units


# Finds too much rather than too little (an import in a text joins two programs that could stand apart).
# They begin with plain letters, not with \b: the search for those is ten times as fast.
_FROM = re.compile(r"from[ \t]+(\.*[ \t]*[\w.]*)[ \t]+import[ \t]*(?:\\\s*)?(\([^)]*\)|[^\n;#()]*)")
_IMPORT = re.compile(
    r"import[ \t]+([\w.]+(?:[ \t]+as[ \t]+\w+)?(?:[ \t]*,[ \t]*[\w.]+(?:[ \t]+as[ \t]+\w+)?)*)"
)


def scan_tree(
    files: Texts, config: ScanConfig, memory: Memory | None = None, spread: Spread | None = None
) -> Report:
    """The report on a tree, program by program; modules of which `memory` still holds are not judged again.

    memory: takes the results of this run in; only for rules that have an identity, and only complete ones.
    spread: how the work is done (one module after the other by default). Raises nothing.
    """
    started = time.monotonic()
    deadline = started + config.seconds_max
    raw = replace(config, include_pattern=True, suppress=False)
    keep = memory if config.rules is RULES or config.identity else None
    if keep is not None:
        keep.believe(_settings(raw))
    tasks = [_task(texts, raw, keep) for texts in programs_of(files)]
    with _few_collections():
        fresh = (spread or one_by_one)(tasks, deadline)
        done = [(task.world, {**task.old, **units}) for task, units in zip(tasks, fresh, strict=True)]
        whole = united([assembled(world, units, raw) for world, units in done])
    if keep is not None:
        keep.remember(done)
    return judged(whole, files, config, time.monotonic() - started)


def _task(texts: Texts, config: ScanConfig, memory: Memory | None) -> Task:
    if memory is None:
        return Task(World(texts, config), tuple(sorted(texts)), {})
    same = memory.facts(texts)
    world = World(texts, config, same)
    old = memory.units(world, same)
    todo = tuple(path for path in sorted(texts) if not _whole(world, path, old.get(path)))
    memory.recalled += len(texts) - len(todo)
    return Task(world, todo, old)


def _whole(world: World, path: str, unit: Unit | None) -> bool:
    known = world.files.get(path)
    if known is not None and known.skipped:
        return True
    return unit is not None and bool(unit.flow.touched) and bool(unit.shape.touched)


def one_by_one(tasks: Sequence[Task], deadline: float) -> Iterable[Units]:
    """The units of each task, one after the other."""
    for task, following in zip(tasks, [*tasks[1:], None], strict=False):
        yield task.world.judge(task.paths, task.old, deadline) if task.paths else {}
        if following is None or following.world is not task.world:
            task.world.forget()


@contextmanager
def _few_collections() -> Generator[None]:
    """Trees and values hold few cycles: looking for them all the time is a fifth of the work."""
    before = gc.get_threshold()
    gc.set_threshold(*COLLECT_AFTER)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def programs_of(files: Texts) -> list[Texts]:
    """The programs of the tree in path order, as far as texts that nobody parsed can tell them apart."""
    project = Project()
    for path in sorted(files):
        module = ModuleInfo(path, module_name(path), ast.Module([], []), [], path.endswith("__init__.py"))
        module.imports = _imports(files[path])
        project.add(module)
    return [{module.path: files[module.path] for module in group} for group in joined(project)]


def _settings(config: ScanConfig) -> str:
    spelt = f"{engine_identity()}\0{config.include_tests}\0{config.file_bytes_max}\0{config.identity}"
    return hashlib.sha256(spelt.encode()).hexdigest()


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
