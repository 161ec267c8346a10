"""Do container and environment files name what the project has?"""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath

from veilig.audit.languages.language import is_dockerfile
from veilig.repair.edit import Edit
from veilig.repair.recipes.deployment_words import misspelt
from veilig.repair.recipes.nearest import nearest
from veilig.repair.recipes.proposal import Confidence, Defect, Needs, Proposal

RECIPE = "deployment"
_COPY = re.compile(
    r"^[ \t]*(?:COPY|ADD)[ \t]+(?!--from)(?:--\S+[ \t]+)*(?P<sources>[^\[\n]+)[ \t]+\S+[ \t]*$",
    re.MULTILINE | re.IGNORECASE,
)
_USED = re.compile(r"(?:os\.environ(?:\.get)?[\[(]|os\.getenv\()\s*['\"](\w+)['\"]")


def propose(files: Mapping[str, str], paths: frozenset[str] = frozenset()) -> list[Proposal]:
    """COPY sources that do not exist, and words, names and scripts a slip away from those that do.

    paths: every file of the project, those that were not read included.
    """
    there = paths | files.keys()
    found = [*_copies(files, there), *_variables(files), *_interpolated(files), *_programs(files, there)]
    for path, start, word, other in misspelt(files):
        found.append(_make(path, files[path], start, word, other, f"{word} -> {other}", 1.0))
    return sorted(found, key=lambda item: item.cost)


def detect(files: Mapping[str, str], paths: frozenset[str] = frozenset()) -> list[Defect]:
    """The same places as defects."""
    return [Defect("deployment", item.path, item.line, item.title) for item in propose(files, paths)]


def _make(path: str, text: str, start: int, old: str, new: str, title: str, cost: float) -> Proposal:
    line = text.count("\n", 0, start) + 1
    edit = Edit(path, start, start + len(old), new)
    return Proposal(RECIPE, title, path, (edit,), cost, Needs.TESTS, Confidence.MEDIUM, line)


def _known(there: Collection[str], base: str) -> set[str]:
    inside = [path for path in there if base == "." or path.startswith(f"{base}/")]
    paths = [path if base == "." else path[len(base) + 1 :] for path in inside]
    return {str(item) for path in paths for item in (PurePosixPath(path), *PurePosixPath(path).parents)}


def _copies(files: Mapping[str, str], there: Collection[str]) -> Iterator[Proposal]:
    for path, text in files.items():
        if not is_dockerfile(path):
            continue
        known = _known(there, str(PurePosixPath(path).parent))
        for match in _COPY.finditer(text):
            for source in re.finditer(r"[^\s\"]+", match["sources"]):
                name = source[0].removeprefix("./").rstrip("/")
                if not name or name in known or any(sign in name for sign in "*?$[") or name == ".":
                    continue
                for rank, other in enumerate(nearest(name, known)[:2]):
                    start = match.start("sources") + source.start()
                    title = f"COPY {source[0]} -> {other}"
                    yield _make(path, text, start, source[0], other, title, 1.0 + 0.3 * rank)


def _variables(files: Mapping[str, str]) -> Iterator[Proposal]:
    used = {name for path, text in files.items() if path.endswith(".py") for name in _USED.findall(text)}
    for path, text in files.items():
        name = PurePosixPath(path).name
        compose = re.match(r"(docker-)?compose.*\.ya?ml$", name)
        if not (compose or name == ".env" or name.startswith(".env.")):
            continue
        pattern = r"^[ \t]*(?:-[ \t]+|export[ \t]+)?([A-Z][A-Z0-9_]{2,})[ \t]*[=:]"
        defined = {match[1] for match in re.finditer(pattern, text, re.MULTILINE)}
        for match in re.finditer(pattern, text, re.MULTILINE):
            near = [other for other in nearest(match[1], used - defined) if match[1] not in used]
            for other in near[:1]:
                title = f"{match[1]} -> {other}, the name that the code reads"
                yield _make(path, text, match.start(1), match[1], other, title, 1.2)


def _interpolated(files: Mapping[str, str]) -> Iterator[Proposal]:
    """`${NAME}` in a compose file, without a default, a slip away from a name in .env."""
    given = {
        match[1]
        for path, text in files.items()
        if PurePosixPath(path).name == ".env"
        for match in re.finditer(r"^[ \t]*(?:export[ \t]+)?([A-Za-z_]\w*)=", text, re.MULTILINE)
    }
    for path, text in files.items():
        if not re.match(r"(docker-)?compose.*\.ya?ml$", PurePosixPath(path).name):
            continue
        for match in re.finditer(r"(?<!\$)\$(?:\{(\w+)\}|(\w+))", text):
            group = 1 if match[1] else 2
            for other in nearest(match[group], given)[:1] if match[group] not in given else []:
                title = f"{match[group]} -> {other}, the name that .env gives"
                yield _make(path, text, match.start(group), match[group], other, title, 1.1)


def _programs(files: Mapping[str, str], there: Collection[str]) -> Iterator[Proposal]:
    """Scripts of the project that a unit file or a container starts under a name a slip away."""
    scripts = {path for path in there if path.endswith((".py", ".sh"))}
    names = {PurePosixPath(path).name for path in scripts}
    for path, text in files.items():
        base = PurePosixPath(path).name
        if not (base.endswith(".service") or is_dockerfile(path) or base == "Procfile"):
            continue
        pattern = re.compile(r"^(?:Exec\w+=|CMD|ENTRYPOINT|\w+:)[^\n]*$", re.MULTILINE)
        for row in pattern.finditer(text):
            for match in re.finditer(r"[\w-]+\.(?:py|sh)\b", row[0]):
                for other in nearest(match[0], names)[:1] if match[0] not in names else []:
                    start = row.start() + match.start()
                    yield _make(path, text, start, match[0], other, f"{match[0]} -> {other}", 1.1)
