"""What do the project's own pyproject.toml and the operator's policy say about an audit?"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, cast

from veilig.audit.finding import Severity, Suppressed
from veilig.cli.audit_report import Root
from veilig.core.errors import UsageError
from veilig.core.policy_match import PathGlob, wrong_path_glob
from veilig.core.suggest import nearest

TABLE = "[tool.veilig.audit]"
KEYS = ("exclude", "rules", "fail-at", "pattern", "baseline")
FILE_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    """What a project says about its own audit; paths are those of files, an empty text says nothing."""

    exclude: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    fail_at: str = ""
    pattern: bool = False
    baseline: str = ""
    source: str = ""


def read_settings(folder: Path) -> Settings:
    """The table in the folder's pyproject.toml. Raises UsageError for one that is wrong."""
    import tomllib

    file = folder / "pyproject.toml"
    try:
        if not file.is_file() or file.is_symlink() or file.stat().st_size > FILE_BYTES_MAX:
            return Settings()
        data: Mapping[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
        table = data.get("tool", {}).get("veilig", {}).get("audit", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, AttributeError, OSError):
        return Settings()  # the audit itself reports a file that cannot be read
    if not isinstance(table, dict):
        raise _wrong(file, "audit", "it is no table")
    given = cast("dict[str, Any]", table)
    for key in given:
        if key not in KEYS:
            near = nearest(key, KEYS)
            raise _wrong(
                file, key, f"known keys are {', '.join(KEYS)}", f"did you mean {near!r}?" if near else ""
            )
    exclude = _texts(file, given, "exclude")
    for glob in exclude:
        if problem := wrong_path_glob(glob):
            raise _wrong(file, "exclude", f"{glob!r}: {problem}")
    fail_at, pattern, baseline = (
        given.get("fail-at", ""),
        given.get("pattern", False),
        given.get("baseline", ""),
    )
    if fail_at not in ("", *Severity):
        raise _wrong(file, "fail-at", f"it is one of {', '.join(Severity)}")
    if not isinstance(pattern, bool):
        raise _wrong(file, "pattern", "it is true or false")
    rules = tuple(_inside(file, folder, name, "rules") for name in _texts(file, given, "rules"))
    kept = _inside(file, folder, baseline, "baseline") if baseline else ""
    return Settings(exclude, rules, str(fail_at), pattern, kept, str(file))


def settled(given: argparse.Namespace, found: Sequence[Settings]) -> argparse.Namespace:
    """The command line with what the projects say where it is silent: the strictest of several."""
    ready = argparse.Namespace(**vars(given))
    floors = [Severity(s.fail_at or "low") for s in found]
    ready.fail_at = given.fail_at or min(floors, key=lambda s: s.rank, default=Severity.LOW).value
    ready.pattern = given.pattern or any(s.pattern for s in found)
    ready.rules = list(dict.fromkeys([*given.rules, *(rule for s in found for rule in s.rules)]))
    baselines = [s.baseline for s in found if s.baseline]
    if not given.baseline and baselines and not given.write_baseline:
        if len(found) > 1:
            raise UsageError(
                "several folders, and one names a baseline",
                why="it would silence findings of the others",
                fix="audit them one by one, or give --baseline",
            )
        ready.baseline = baselines[0]
    return ready


def operator_excludes(folder: Path, policy: str | None) -> tuple[str, ...]:
    """`audit.exclude` of the operator's policy. Raises PolicyError."""
    from veilig.law import find_laws

    return find_laws(folder, policy, os.environ).operator.elsewhere.audit_exclude


def without_excluded(root: Root, globs: Sequence[str], whose: str) -> Root:
    """The root with findings in excluded files among the suppressed ones: counted, with who said so."""
    if not globs:
        return root
    here = "" if root.path in (".", "./") else f"{PurePosixPath(root.path).as_posix()}/"
    patterns = [PathGlob(glob) for glob in globs]
    kept, silenced = list(root.report.findings), list(root.report.suppressed)
    for finding in root.report.findings:
        inside = finding.path.removeprefix(here)
        found = next((p for p in patterns if p.matches(inside)), None)
        if found is not None:
            kept.remove(finding)
            silenced.append(Suppressed(finding, f"{whose} excludes {found.text}"))
    return replace(root, report=replace(root.report, findings=tuple(kept), suppressed=tuple(silenced)))


def _texts(file: Path, table: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value: object = table.get(key, [])
    items = cast("list[object]", value) if isinstance(value, list) else [None]
    if not all(isinstance(item, str) and item for item in items):
        raise _wrong(file, key, "it is a list of texts")
    return tuple(map(str, items))


def _inside(file: Path, folder: Path, name: object, key: str) -> str:
    """The path of a file inside the project: its settings must not make us read another one."""
    path = (folder / str(name)).resolve()
    if not isinstance(name, str) or not path.is_relative_to(folder.resolve()):
        raise _wrong(file, key, f"{name!r} is not inside the project")
    return str(path)


def _wrong(file: Path, key: str, why: str, fix: str = "") -> UsageError:
    return UsageError(f"{file}: {TABLE} {key}", why=why, fix=fix or "see docs/how-to/audit-a-project.md")
