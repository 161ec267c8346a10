"""Which edit takes a vulnerable pin to the lowest clean version?"""

from collections.abc import Iterable, Mapping
from posixpath import basename

from veilig.audit.advisories import VulnerablePin
from veilig.audit.advisories_versions import parsed_version
from veilig.repair.edit import Edit
from veilig.repair.recipes.proposal import Advice, Confidence, Needs, Proposal

RECIPE = "dependencies"


def propose(pins: Iterable[VulnerablePin], files: Mapping[str, str]) -> list[Proposal | Advice]:
    """One proposal per distribution and version, which moves all its pins together; else advice.

    files: relative posix path -> text, as the requirements were read from them.
    """
    groups: dict[tuple[str, str], list[VulnerablePin]] = {}
    for pin in pins:
        groups.setdefault((pin.requirement.name, pin.requirement.version or ""), []).append(pin)
    found: list[Proposal | Advice] = []
    for group in groups.values():
        found += _propose(group, files)
    return found


def _propose(group: list[VulnerablePin], files: Mapping[str, str]) -> list[Proposal | Advice]:
    first = group[0]
    name, version = first.requirement.name, first.requirement.version or ""
    clean = first.lowest_clean
    requirements = list(dict.fromkeys(pin.requirement for pin in group))
    names = ", ".join(dict.fromkeys(pin.id for pin in group))
    if clean is None:
        text = f"no advisory names a clean version ({names}): replace it, or accept the risk in writing"
        return [Advice(RECIPE, f"{name} {version}: no clean version known", first.path, first.line, text)]
    found: list[Proposal | Advice] = []
    edits: list[Edit] = []
    for item in requirements:
        here = files.get(item.path, "")[item.start : item.end] if item.start >= 0 else ""
        if item.locked:
            text = _relock(item.path, name, clean)
        elif item.hashed:
            text = f"the pin carries hashes: compile the file anew with {name}=={clean}, with its hashes"
        elif here != version:
            text = f"write {name}=={clean} there: the version could not be found at its place in the file"
        else:
            edits.append(Edit(item.path, item.start, item.end, clean))
            continue
        found.append(Advice(RECIPE, f"{name} {version} -> {clean}", item.path, item.line, text))
    if not edits:
        return found
    proposals = [_pin(first, clean, "the lowest clean version", edits, cost=1.0)]
    branch = first.lowest_clean_in_branch
    if branch not in (None, clean):
        same = [Edit(edit.path, edit.start, edit.end, branch or "") for edit in edits]
        proposals.append(_pin(first, branch or "", "the lowest clean version of its branch", same, cost=1.5))
    return [*proposals, *found]


def _pin(pin: VulnerablePin, clean: str, why: str, edits: list[Edit], *, cost: float) -> Proposal:
    old, new = parsed_version(pin.requirement.version or ""), parsed_version(clean)
    # A new major number may have lost what the project uses; the tests have to say.
    sure = old is not None and new is not None and old.major == new.major
    return Proposal(
        recipe=RECIPE,
        title=f"{pin.requirement.name} {pin.requirement.version} -> {clean}, {why}",
        path=edits[0].path,
        edits=tuple(edits),
        cost=cost,
        needs=Needs.TESTS,
        confidence=Confidence.HIGH if sure else Confidence.MEDIUM,
        line=pin.line,
    )


def _relock(path: str, name: str, clean: str) -> str:
    commands = {
        "uv.lock": f"uv lock --upgrade-package {name}=={clean}",
        "poetry.lock": f"poetry update {name}",
        "pdm.lock": f"pdm update {name}",
        "Pipfile.lock": f"pipenv upgrade {name}=={clean}",
    }
    command = commands.get(basename(path), "lock again with the tool that wrote the file")
    return f"the lock file belongs to its tool: {command} (wanted: {name} {clean} or newer)"
