"""Which repairs are known for one problem? The one place where every recipe is asked."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from veilig.audit.advisories import VulnerablePin
from veilig.audit.finding import Finding
from veilig.repair.recipes import syntax, weakness
from veilig.repair.recipes.proposal import Advice, Context, Defect, Failure, Frame, Proposal


def defects(files: Mapping[str, str]) -> list[Defect]:
    """Syntax errors and configuration typos that reading alone finds, in the order of the files."""
    found: list[Defect] = []
    for path in sorted(files):
        if path.endswith((".py", ".pyi")):
            found += syntax.detect(path, files[path])
    return found


def for_defect(defect: Defect, files: Mapping[str, str]) -> list[Proposal | Advice]:
    """Edits for one defect, best first."""
    if defect.kind == "syntax":
        return [*syntax.repair_text(defect.path, files[defect.path])]
    return []


def for_weakness(finding: Finding, files: Mapping[str, str]) -> list[Proposal | Advice]:
    """Edits for one weakness, best first, or one piece of advice."""
    return weakness.propose(finding, files)


def for_pin(pins: Sequence[VulnerablePin], files: Mapping[str, str]) -> list[Proposal | Advice]:
    """The edit that moves a vulnerable pin to its lowest clean version."""
    del pins, files
    return []


def for_failure(files: Mapping[str, str], failure: Mapping[str, Any]) -> list[Proposal]:
    """Edits for one failing test or import, best first."""
    frames = tuple(Frame(str(p), int(n), str(f), str(t)) for p, n, f, t in failure.get("frames", []))
    told = Failure(
        exception=str(failure.get("exception", "")),
        message=str(failure.get("message", "")),
        path=str(failure.get("path", "")),
        line=int(failure.get("line", 0)),
        frames=frames,
        text=str(failure.get("text", "")),
    )
    context = Context(files, told, python_version=sys.version_info[:2])
    return (
        syntax.propose(context) if told.exception in ("SyntaxError", "IndentationError", "TabError") else []
    )
