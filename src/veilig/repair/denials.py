"""Which changes may no repair make, however green the tests are?"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from veilig.audit.advisories_versions import parsed_version
from veilig.audit.dependencies import Requirement, is_dependency_file, read_dependencies
from veilig.repair.denials_code import judge_code
from veilig.repair.denials_config import is_test_config, judge_config
from veilig.repair.denials_paths import is_protected, is_test_path, steers_tests


@dataclass(frozen=True, slots=True)
class Denial:
    """One reason to refuse a patch; `line` is 0 when the whole file is meant."""

    rule: str
    path: str
    line: int
    why: str


@dataclass(frozen=True, slots=True)
class PatchPolicy:
    """What an operator may loosen; the default is what no repair may do.

    may_edit_tests: existing tests and their configuration may change, because a person asked for it.
    may_remove: public definitions that a person agreed to lose ("module.py:name").
    vulnerable: (package, version) -> whether an advisory covers it; without it only versions are compared.
    """

    may_edit_tests: bool = False
    may_remove: frozenset[str] = frozenset()
    vulnerable: Callable[[str, str], bool] | None = None


DEFAULT_POLICY = PatchPolicy()


def judge_patch(
    before: Mapping[str, str], after: Mapping[str, str], *, policy: PatchPolicy = DEFAULT_POLICY
) -> list[Denial]:
    """Every reason to refuse the change from `before` to `after`; an empty list only means no denial.

    before, after: relative posix path -> text of all project files. Unchanged ones may be left out of both,
    but a file in `before` that is missing in `after` counts as deleted.
    """
    found: list[Denial] = []
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    tests = "\n".join(text for path, text in before.items() if is_test_path(path))
    for path in changed:
        old, new = before.get(path), after.get(path)
        found += _judge_path(path, old, new, policy)
        if is_test_path(path):
            continue
        if is_test_config(path) and not policy.may_edit_tests:
            found += [
                Denial(rule, path, line, why) for rule, line, why in judge_config(path, old, new, before)
            ]
        if path.endswith((".py", ".pyi")):
            kept = {name for name in policy.may_remove if name.startswith(f"{path}:")}
            for rule, line, why in judge_code(path, old, new, tests, after, frozenset(kept)):
                found.append(Denial(rule, path, line, why))
    found += _judge_pins(before, after, [path for path in changed if is_dependency_file(path)], policy)
    return list(dict.fromkeys(found))


def _judge_path(path: str, old: str | None, new: str | None, policy: PatchPolicy) -> list[Denial]:
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts or "\\" in path or re.match(r"[A-Za-z]:", path):
        return [Denial("outside", path, 0, "the path lies outside the project")]
    if is_protected(path):
        return [Denial("protected", path, 0, "git, veilig and CI files are not a repair's to change")]
    if policy.may_edit_tests:
        return []
    if steers_tests(path) and old != new:
        what = "new" if old is None else "deleted" if new is None else "changed"
        return [Denial("test.steered", path, 0, f"{what} file that decides how or which tests run")]
    if is_test_path(path) and old is not None:
        if new is None:
            return [Denial("test.deleted", path, 0, "a test file is deleted or renamed")]
        line = next(
            (n for n, (a, b) in enumerate(zip(old.split("\n"), new.split("\n"), strict=False), 1) if a != b),
            1,
        )
        return [
            Denial(
                "test.edited", path, line, "a test file is edited; tests say what is right, repairs do not"
            )
        ]
    return []


def _judge_pins(
    before: Mapping[str, str], after: Mapping[str, str], changed: list[str], policy: PatchPolicy
) -> list[Denial]:
    found: list[Denial] = []
    for path in changed:
        if path not in before:
            continue
        old = read_dependencies({path: before[path]})
        new = read_dependencies({path: after[path]}) if path in after else None
        now: dict[str, list[Requirement]] = {}
        for item in new.requirements if new else ():
            now.setdefault(item.name, []).append(item)
        if old.requirements and new is not None and any(item.name == path for item in new.not_assessed):
            found.append(Denial("pin.unreadable", path, 1, "the file can no longer be read as dependencies"))
            continue
        for item in old.requirements:
            why = _pin_loosened(item, now.get(item.name, []), policy)
            if why:
                line = now[item.name][0].line if now.get(item.name) else item.line
                found.append(Denial("pin.loosened", path, line, f"{item.name}: {why}"))
    return found


def _pin_loosened(old: Requirement, now: list[Requirement], policy: PatchPolicy) -> str:
    if not now:
        wanted = old.version or _floor(old.spec)
        return "the pinned requirement is removed" if wanted is not None else ""
    if old.version is None:
        floor = _floor(old.spec)
        floors = [item.version or _floor(item.spec) for item in now]
        if floor is None:
            return ""
        if None in floors:
            return f"the lower bound {floor} is removed"
        return (
            f"the lower bound {floor} is lowered" if any(_older(low or "", floor) for low in floors) else ""
        )
    versions = [item.version for item in now]
    if old.version in versions:
        return ""
    if None in versions:
        floor = _floor(next(item.spec for item in now if item.version is None))
        if floor is None or _older(floor, old.version):
            return f"{old.version} is no longer pinned"
    for version in versions:
        if version is None:
            continue
        if parsed_version(version) is None or parsed_version(old.version) is None:
            return f"{old.version} -> {version} cannot be compared"
        if _older(version, old.version):
            return f"{old.version} -> {version} is a downgrade"
        if policy.vulnerable and policy.vulnerable(old.name, version):
            return f"{version} has known vulnerabilities"
    return ""


def _floor(spec: str) -> str | None:
    """The lower bound of a specifier, None when there is none."""
    caret = re.match(r"\s*[\^~]\s*(\d[\w.]*)", spec)
    if caret:
        return caret[1]
    try:
        parts = SpecifierSet(spec)
    except InvalidSpecifier:
        return None
    bounds = [
        part.version.removesuffix(".*") for part in parts if part.operator in (">=", ">", "~=", "==", "===")
    ]
    return bounds[0] if bounds else None


def _older(version: str, than: str) -> bool:
    left, right = parsed_version(version), parsed_version(than)
    return left is None or right is None or left < right
