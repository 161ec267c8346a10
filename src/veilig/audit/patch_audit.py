"""What would a change bring in: weaknesses, packages nobody knows, look-alike names, new capabilities?

Made for changes that a model wrote, and as true for those of a person. Pure: two trees as text go in.
"""

import ast
import hashlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import PurePosixPath

from veilig.audit.baseline import only_added
from veilig.audit.dependencies import is_dependency_file, read_dependencies
from veilig.audit.dependencies_edges import package_of_import
from veilig.audit.finding import Confidence, Finding, Notice, Report, Severity
from veilig.audit.popular_packages import POPULAR
from veilig.audit.scan import ScanConfig, scan_sources

CWE_COMPONENT = 1357  # reliance on an insufficiently trustworthy component
SHORT_NAME_CHARS = 4  # below five characters every name is one edit away from some other
LONG_NAME_CHARS = 9  # from here on two edits still look like a slip


class Capability(StrEnum):
    """What added code could do that the file could not do before."""

    NETWORK = "reach the network"
    EXECUTE = "start programs or run code"
    NATIVE = "call native code"


_MODULES: Mapping[str, Capability] = {
    **dict.fromkeys(
        [
            "socket",
            "ssl",
            "http.client",
            "urllib.request",
            "requests",
            "httpx",
            "aiohttp",
            "urllib3",
            "ftplib",
            "smtplib",
            "imaplib",
            "poplib",
            "paramiko",
            "websocket",
            "websockets",
            "grpc",
            "boto3",
            "pycurl",
            "xmlrpc.client",
            "socketserver",
            "http.server",
        ],
        Capability.NETWORK,
    ),
    **dict.fromkeys(
        ["subprocess", "pty", "runpy", "code", "codeop", "pexpect", "sh", "fabric"], Capability.EXECUTE
    ),
    **dict.fromkeys(["ctypes", "cffi"], Capability.NATIVE),
}
_CALLS: Mapping[str, Capability] = {
    **dict.fromkeys(["eval", "exec", "compile", "__import__", "importlib.import_module"], Capability.EXECUTE),
    **dict.fromkeys(["os.system", "os.popen", "os.posix_spawn"], Capability.EXECUTE),
    **dict.fromkeys(
        ["asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell"], Capability.EXECUTE
    ),
    **dict.fromkeys(["asyncio.open_connection", "asyncio.start_server"], Capability.NETWORK),
}
# Files that run by themselves when somebody installs, builds, commits or pushes.
_RUNS_BY_ITSELF = re.compile(
    r"(^|/)(setup\.py|setup\.cfg|conftest\.py|sitecustomize\.py|usercustomize\.py|Makefile|Dockerfile[^/]*|"
    r"\.pre-commit-config\.yaml|\.gitlab-ci\.yml|Jenkinsfile|tox\.ini|noxfile\.py|[^/]*\.pth)$"
    r"|(^|/)(\.github/(workflows|actions)|\.husky|\.git)/"
)


@dataclass(frozen=True, slots=True)
class Use:
    """One place where code uses a capability."""

    capability: Capability
    line: int
    what: str


def audit_change(
    before: Mapping[str, str],
    after: Mapping[str, str],
    added: Mapping[str, frozenset[int]],
    *,
    known_packages: Iterable[str] = (),
    config: ScanConfig | None = None,
    scan: Callable[[Mapping[str, str]], Report] | None = None,
) -> Report:
    """The report on what a change adds; `before` and `after` are whole trees (relative path -> text).

    added: path -> added lines (`baseline.added_lines`). Findings are weaknesses on added lines that were not
    there before, and packages that are unknown or look like a known one. Capabilities and files that run by
    themselves are notices: they are to be read, they are not wrong. known_packages: canonical names that
    exist, for example every name in the advisory data. scan: reads a tree, where it can be done faster than
    all at once (two trees that differ little share nearly everything).
    """
    texts = _python(before), _python(after)
    old, new = [scan(files) if scan else scan_sources(files, config) for files in texts]
    seen = {finding.fingerprint for finding in old.findings}
    report = only_added(new, added)
    findings = [finding for finding in report.findings if finding.fingerprint not in seen]
    known = POPULAR | frozenset(known_packages) | _locked(before)
    findings += _packages(before, after, added, known)
    notices = [*report.notices, *_capabilities(before, after, added)]
    notices += [
        Notice(path, 1, "this file runs by itself on install, build or push: read every added line")
        for path in sorted(added)
        if _RUNS_BY_ITSELF.search(path)
    ]
    return replace(report, findings=tuple(findings), notices=tuple(notices))


def _python(files: Mapping[str, str]) -> dict[str, str]:
    return {path: text for path, text in files.items() if path.endswith((".py", ".pyw"))}


# --- packages -------------------------------------------------------------------------------------


def _locked(files: Mapping[str, str]) -> frozenset[str]:
    named = read_dependencies({path: text for path, text in files.items() if is_dependency_file(path)})
    return frozenset(item.name for item in named.requirements)


def _packages(
    before: Mapping[str, str],
    after: Mapping[str, str],
    added: Mapping[str, frozenset[int]],
    known: frozenset[str],
) -> list[Finding]:
    local = {part for path in after for part in _module_parts(path)}
    had = {name for path in added for name, _ in _imports(before.get(path, ""))}
    found: list[Finding] = []
    for path, lines in sorted(added.items()):
        text = after.get(path, "")
        for name, line in _imports(text) if path.endswith(".py") else ():
            top = name.partition(".")[0]
            if line not in lines or top in local or top in sys.stdlib_module_names or name in had:
                continue
            found += _judged(path, line, package_of_import(name), known, f"import {name}")
        if is_dependency_file(path):
            for item in read_dependencies({path: text}).requirements:
                if item.line in lines:
                    found += _judged(path, item.line, item.name, known, item.written)
    unique = {(f.path, f.line, f.rule, f.message): f for f in found}
    return list(unique.values())


def _judged(path: str, line: int, package: str, known: frozenset[str], written: str) -> list[Finding]:
    twin = lookalike(package, known)
    if twin:
        rule, severity = "lookalike-package", Severity.HIGH
        title = "package name that looks like a known one"
        message = f"{package!r} ({written}) is one slip away from {twin!r}: is it the package that was meant?"
    elif package not in known:
        rule, severity, title = "unknown-package", Severity.MEDIUM, "package that nothing here knows"
        message = (
            f"{package!r} ({written}) is in no lock file, advisory or list of known packages: "
            "a model may have made it up, and somebody may have registered it since"
        )
    else:
        return []
    identity = f"{rule}\0{path}\0{package}"
    return [
        Finding(
            rule, CWE_COMPONENT, title, message, path, line, 0, line, 0, severity, Confidence.POSSIBLE,
            fingerprint=hashlib.sha256(identity.encode()).hexdigest()[:32],
        )
    ]  # fmt: skip


def lookalike(package: str, known: Iterable[str]) -> str | None:
    """The popular name that `package` is easily mistaken for; None when it is known itself or like none.

    One edit (insertion, deletion, replacement or swap of neighbours), two for names of LONG_NAME_CHARS and
    more; or the same name with `python-`, `-python`, a digit or a separator more or less.
    """
    names = frozenset(known) | POPULAR
    if package in names:
        return None
    bare = _bare(package)
    for name in sorted(POPULAR):
        if bare == _bare(name):
            return name
        if min(len(package), len(name)) <= SHORT_NAME_CHARS:
            continue
        limit = 2 if min(len(package), len(name)) >= LONG_NAME_CHARS else 1
        if abs(len(package) - len(name)) <= limit and edits(package, name, limit) <= limit:
            return name
    return None


def _bare(name: str) -> str:
    plain = name.removeprefix("python-").removesuffix("-python").removesuffix("-py").removesuffix("-sdk")
    return re.sub(r"[-_.0]", lambda m: "o" if m[0] == "0" else "", plain.replace("1", "l"))


def edits(left: str, right: str, limit: int) -> int:
    """The number of edits between two names, counted up to `limit` + 1.

    Source: optimal string alignment distance (Damerau 1964).
    """
    before_last: list[int] = []
    last = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        row = [i]
        for j, b in enumerate(right, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, before_last[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
        before_last, last = last, row
    return min(last[-1], limit + 1)


def _module_parts(path: str) -> Iterator[str]:
    pure = PurePosixPath(path)
    if pure.suffix in (".py", ".pyi", ".pyx", ".so"):
        yield pure.stem.partition(".")[0]
        yield from pure.parts[:-1]


# --- capabilities ---------------------------------------------------------------------------------


def _capabilities(
    before: Mapping[str, str], after: Mapping[str, str], added: Mapping[str, frozenset[int]]
) -> Iterator[Notice]:
    everywhere: set[Capability] | None = None
    for path, lines in sorted(added.items()):
        if not path.endswith((".py", ".pyw")):
            continue
        had = {use.capability for use in uses(before.get(path, ""))}
        told: set[Capability] = set()
        for use in uses(after.get(path, "")):
            if use.line not in lines or use.capability in had | told:
                continue
            told.add(use.capability)
            if everywhere is None:
                everywhere = {use.capability for text in _python(before).values() for use in uses(text)}
            where = "the project" if use.capability not in everywhere else "this file"
            yield Notice(path, use.line, f"new for {where}: can {use.capability} ({use.what})")


def uses(text: str) -> list[Use]:
    """The capabilities that the imports and calls of a module show, in order; [] when it does not parse."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []  # the scan of the same text says that it cannot be read
    found: list[Use] = []
    for node in ast.walk(tree):
        for name, line in _named(node):
            capability = _of_module(name)
            if capability is not None:
                found.append(Use(capability, line, f"import {name}"))
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func) if isinstance(node.func, ast.Name | ast.Attribute) else ""
            capability = _CALLS.get(called)
            if called.startswith(("os.exec", "os.spawn")):
                capability = Capability.EXECUTE
            if capability is not None:
                found.append(Use(capability, node.lineno, f"{called}()"))
    return sorted(found, key=lambda use: use.line)


def _of_module(name: str) -> Capability | None:
    parts = name.split(".")
    return next(
        (_MODULES[p] for n in range(len(parts), 0, -1) if (p := ".".join(parts[:n])) in _MODULES), None
    )


def _imports(text: str) -> list[tuple[str, int]]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [pair for node in ast.walk(tree) for pair in _named(node)]


def _named(node: ast.AST) -> Iterator[tuple[str, int]]:
    if isinstance(node, ast.Import):
        yield from ((alias.name, node.lineno) for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module, node.lineno
        yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names if alias.name != "*")
