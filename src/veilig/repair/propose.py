"""Which repairs are known for one problem? The one place where every recipe is asked."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from veilig.audit.advisories import VulnerablePin
from veilig.audit.finding import Finding
from veilig.repair.recipes import catalog, pins, weakness
from veilig.repair.recipes.proposal import Advice, Context, Defect, Distribution, Failure, Frame, Proposal


def defects(files: Mapping[str, str], paths: frozenset[str] = frozenset()) -> list[Defect]:
    """Syntax errors and configuration typos that reading alone finds, in the order of the files.

    paths: every file of the project, those that were not read included.
    """
    return catalog.detect(files, paths)


def for_defects(
    found: Sequence[Defect], files: Mapping[str, str], paths: frozenset[str] = frozenset()
) -> list[list[Proposal | Advice]]:
    """Edits for each defect, best first: those on its line, or for its file when it is alone there."""
    offered = catalog.propose(Context(files, paths=paths)) if found else []
    result: list[list[Proposal | Advice]] = []
    for defect in found:
        here = [o for o in offered if o.path == defect.path]
        exact = [o for o in here if o.line == defect.line]
        alone = sum(d.path == defect.path for d in found) == 1
        result.append(exact or (here if alone else []))
    return result


def for_weakness(finding: Finding, files: Mapping[str, str]) -> list[Proposal | Advice]:
    """Edits for one weakness, best first, or one piece of advice."""
    return weakness.propose(finding, files)


def for_pin(found: Sequence[VulnerablePin], files: Mapping[str, str]) -> list[Proposal | Advice]:
    """The edit that moves a vulnerable pin to its lowest clean version."""
    return pins.propose(found, files)


def for_failure(
    files: Mapping[str, str],
    failure: Mapping[str, Any],
    installed: Mapping[str, Distribution],
    exports: Mapping[str, frozenset[str]] | None = None,
) -> list[Proposal]:
    """Edits for one failing test or import, best first; `exports`: names of modules outside the project.

    failure: as `providers/testing.py` describes it, with the group's suspected `lines` when they are known.
    """
    frames = tuple(Frame(str(p), int(n), str(f), str(t)) for p, n, f, t in failure.get("frames", []))
    told = Failure(
        exception=str(failure.get("exception", "")),
        message=str(failure.get("message", "")),
        path=str(failure.get("path", "")),
        line=int(failure.get("line", 0)),
        frames=frames,
        text=str(failure.get("text", "")),
    )
    suspects: dict[str, set[int]] = {}
    for path, line, *_ in failure.get("lines", []):
        suspects.setdefault(str(path), set()).add(int(line))
    context = Context(
        files,
        told,
        installed,
        python_version=sys.version_info[:2],
        exports=exports or {},
        suspects={path: frozenset(lines) for path, lines in suspects.items()},
    )
    return [o for o in catalog.propose(context) if isinstance(o, Proposal)]
