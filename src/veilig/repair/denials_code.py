"""Does a change of code hide a defect, tell tests from users, or take a feature away?"""

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from veilig.repair.edit import parse

Reason = tuple[str, int, str]
_SUPPRESSION = re.compile(
    r"#\s*(noqa|nosec|nosemgrep|veilig:\s*ignore|type:\s*ignore|pyright:\s*ignore|pragma:\s*no\s*cover|pylint:\s*disable"
    r"|ruff:\s*noqa|flake8:\s*noqa|mypy:\s*ignore|lgtm)",
    re.IGNORECASE,
)
_EXITS = frozenset(
    {"sys.exit", "os._exit", "os.abort", "os.kill", "exit", "quit", "atexit.register", "os.execv"}
)
_PROBES = frozenset(
    {"sys._getframe", "inspect.stack", "inspect.currentframe", "traceback.extract_stack", "gc.get_objects"}
)
_TEST_NAMES = re.compile(r"\b_?(pytest|unittest|PYTEST_\w+|nose|tox|CI_TESTING|_called_from_test)\b")
_CATCH_ALL = frozenset({"Exception", "BaseException", "builtins.Exception", "builtins.BaseException"})
_CATCH_ALL_TEXT = re.compile(r"^\s*except\s*(?::|\(?[^:\n]*\b(?:Base)?Exception\b)", re.MULTILINE)


_ROUTE = re.compile(r"\.(route|get|post|put|delete|patch|websocket|command)$")


@dataclass(slots=True)
class Facts:
    """What one version of a file contains; each tally maps what was found to the lines it stands on."""

    definitions: dict[str, int] = field(default_factory=dict[str, int])
    sizes: dict[str, int] = field(default_factory=dict[str, int])
    stubs: dict[str, int] = field(default_factory=dict[str, int])
    imported: set[str] = field(default_factory=set[str])
    tallies: dict[str, dict[str, list[int]]] = field(default_factory=dict[str, dict[str, list[int]]])
    parsed: bool = True

    def note(self, rule: str, what: str, line: int) -> None:
        """Count one occurrence."""
        self.tallies.setdefault(rule, {}).setdefault(what, []).append(line)


_RULES: Mapping[str, str] = {
    "except.catch-all": "{} catches everything, defects included",
    "exit.inserted": "{} ends the process or hooks into its end",
    "test.special-cased": "{} tells a test run from a real one",
    "check.suppressed": "adds the comment {!r}",
    "equality.always": "{} makes everything equal",
}


def judge_code(
    path: str,
    old: str | None,
    new: str | None,
    tests: str,
    files: Mapping[str, str],
    may_remove: frozenset[str],
) -> Iterator[Reason]:
    """(rule, line, why) for one Python file.

    tests: the text of all tests; what they name is not private. files: the project after the change.
    may_remove: "path:name" of definitions that may go.
    """
    before = facts(old) if old is not None else Facts()
    after = facts(new) if new is not None else Facts()
    if new is not None and not after.parsed:
        if before.parsed:
            yield "syntax.broken", 1, "the file no longer parses"
        return
    for rule, text in _RULES.items():
        was, now = before.tallies.get(rule, {}), after.tallies.get(rule, {})
        # `except:` that becomes `except Exception` is no new one: all kinds are counted together.
        if rule == "except.catch-all" and sum(map(len, now.values())) <= sum(map(len, was.values())):
            continue
        for what, lines in now.items():
            if len(lines) > len(was.get(what, [])):
                yield rule, lines[-1], text.format(what)
    for rule, why in (
        ("assert.loosened", "an assertion is gone: {}"),
        ("feature.deleted", "the route {} is gone"),
    ):
        key = "asserts" if rule == "assert.loosened" else "routes"
        was = Counter({what: len(lines) for what, lines in before.tallies.get(key, {}).items()})
        now = Counter({what: len(lines) for what, lines in after.tallies.get(key, {}).items()})
        for what in sorted(was - now):
            if not (key == "asserts" and sum(now.values()) >= sum(was.values()) and not _vacuous(now - was)):
                yield rule, before.tallies[key][what][0], why.format(what)
    yield from _deleted(path, before, after, tests, files, may_remove)


def _vacuous(asserts: Counter[str]) -> bool:
    return any(re.fullmatch(r"True|1|not False|'.*'|\w+ or True|True or .*", what) for what in asserts)


def _deleted(
    path: str, before: Facts, after: Facts, tests: str, files: Mapping[str, str], may_remove: frozenset[str]
) -> Iterator[Reason]:
    for name, line in before.definitions.items():
        if f"{path}:{name}" in may_remove:
            continue
        last = name.rsplit(".", 1)[-1]
        public = not any(part.startswith("_") and not part.endswith("__") for part in name.split("."))
        if name not in after.definitions:
            tested = re.search(rf"\b{re.escape(last)}\b", tests) is not None
            moved = name in after.imported or name.split(".")[0] in after.imported
            if not after.definitions and not after.imported:
                moved = any(
                    re.search(rf"^(?:def|class|async def) {last}\b", text, re.MULTILINE)
                    for text in files.values()
                )
            if (public or tested) and not moved:
                yield "feature.deleted", line, f"{name} is gone" + (", and tests name it" if tested else "")
        elif name in after.stubs and name not in before.stubs and before.sizes.get(name, 0) > 1:
            yield "feature.deleted", after.definitions[name], f"the body of {name} is emptied"


def facts(text: str) -> Facts:
    """The facts of one version; of a text that does not parse, what its lines alone tell."""
    found = Facts()
    for line, comment in _comments(text):
        match = _SUPPRESSION.search(comment)
        if match:
            found.note("check.suppressed", match.group(1).lower(), line)
    try:
        tree = parse(text)
    except (SyntaxError, ValueError, RecursionError):
        found.parsed = False
        _facts_of_lines(text, found)
        return found
    names = _import_names(tree, found)
    _visit(tree, "", names, found)
    return found


def _comments(text: str) -> Iterator[tuple[int, str]]:
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text.removeprefix("\ufeff")).readline))
    except (tokenize.TokenError, SyntaxError, ValueError):
        # Without tokens every "#" counts, those in strings too: that can only deny more.
        yield from ((number, row) for number, row in enumerate(text.split("\n"), 1) if "#" in row)
        return
    yield from ((token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT)


def _facts_of_lines(text: str, found: Facts) -> None:
    for match in re.finditer(r"^([ \t]*)(?:async\s+)?(?:def|class)\s+(\w+)", text, re.MULTILINE):
        if not match[1]:
            found.definitions[match[2]] = text.count("\n", 0, match.start()) + 1
    for match in _CATCH_ALL_TEXT.finditer(text):
        found.note("except.catch-all", "except", text.count("\n", 0, match.start()) + 1)
    for name in (*_EXITS, *_PROBES):
        for match in re.finditer(rf"(?<![\w.]){re.escape(name)}\s*\(", text):
            rule = "exit.inserted" if name in _EXITS else "test.special-cased"
            found.note(rule, name, text.count("\n", 0, match.start()) + 1)
    for match in _TEST_NAMES.finditer(text):
        found.note("test.special-cased", match[0], text.count("\n", 0, match.start()) + 1)
    found.imported |= {
        match[1] for match in re.finditer(r"^\s*(?:from\s+\S+\s+)?import\s+(\w+)", text, re.MULTILINE)
    }


def _import_names(tree: ast.Module, found: Facts) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            origin = f"{node.module or ''}." if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                full = origin + alias.name
                names[alias.asname or alias.name.split(".")[0]] = (
                    full if alias.asname or origin else alias.name.split(".")[0]
                )
                # Only what another module of the project may define can have moved there.
                inside = isinstance(node, ast.ImportFrom) and (node.level > 0 or not _foreign(node.module))
                if inside:
                    found.imported.add(alias.asname or alias.name)
                if _TEST_NAMES.search(full) or full == "sys.argv" or full in _PROBES:
                    found.note("test.special-cased", f"import {full}", node.lineno)
    return names


def _foreign(module: str | None) -> bool:
    return (module or "").partition(".")[0] in sys.stdlib_module_names


def _name(node: ast.AST, names: Mapping[str, str]) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    parts.append(names.get(node.id, node.id) if isinstance(node, ast.Name) else "")
    return ".".join(reversed(parts))


def _visit(node: ast.AST, prefix: str, names: Mapping[str, str], found: Facts) -> None:
    for child in ast.iter_child_nodes(node):
        inner = prefix
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            # Functions inside functions are nobody's interface; their contents count all the same.
            if isinstance(node, ast.Module | ast.ClassDef | ast.If | ast.Try):
                _define(child, prefix, names, found)
            inner = f"{prefix}{child.name}."
        elif isinstance(child, ast.ExceptHandler):
            _handler(child, names, found)
        elif isinstance(child, ast.Assert):
            found.note("asserts", ast.unparse(child.test), child.lineno)
        elif isinstance(child, ast.Raise) and child.exc is not None:
            raised = child.exc.func if isinstance(child.exc, ast.Call) else child.exc
            if _name(raised, names) == "SystemExit":
                found.note("exit.inserted", "raise SystemExit", child.lineno)
        elif isinstance(child, ast.Call):
            _call(child, names, found)
        elif isinstance(child, ast.Attribute) and _name(child, names) == "sys.argv":
            found.note("test.special-cased", "sys.argv", child.lineno)
        elif (
            isinstance(child, ast.Constant)
            and isinstance(child.value, str)
            and not isinstance(node, ast.Expr)
        ):
            match = _TEST_NAMES.search(child.value)
            if match:
                found.note("test.special-cased", match[0], child.lineno)
        _visit(child, inner, names, found)


def _define(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef,
    prefix: str,
    names: Mapping[str, str],
    found: Facts,
) -> None:
    qualified = f"{prefix}{node.name}"
    found.definitions[qualified] = node.lineno
    body = [
        item
        for item in node.body
        if not (isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant))
    ]
    found.sizes[qualified] = sum(isinstance(item, ast.stmt) for item in ast.walk(node)) - 1
    if all(_is_stub(item) for item in body):
        found.stubs[qualified] = node.lineno
        if node.name in ("__eq__", "__ne__") and body and isinstance(body[0], ast.Return):
            found.note("equality.always", qualified, node.lineno)
    for decorator in node.decorator_list:
        if not isinstance(decorator, ast.Call) or not decorator.args:
            continue
        first = decorator.args[0]
        if isinstance(first, ast.Constant) and _ROUTE.search(_name(decorator.func, names)):
            found.note("routes", str(first.value), node.lineno)


def _is_stub(node: ast.stmt) -> bool:
    if isinstance(node, ast.Pass):
        return True
    if isinstance(node, ast.Return):
        return node.value is None or isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Raise) and node.exc is not None and "NotImplemented" in ast.unparse(node.exc)


def _handler(node: ast.ExceptHandler, names: Mapping[str, str], found: Facts) -> None:
    kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    wide = [kind for kind in kinds if kind is None or _name(kind, names) in _CATCH_ALL]
    # A handler that raises again hides nothing.
    raises = isinstance(node.body[-1], ast.Raise)
    if wide and not raises:
        shown = "except:" if wide[0] is None else f"except {_name(wide[0], names)}"
        found.note("except.catch-all", shown, node.lineno)


def _call(node: ast.Call, names: Mapping[str, str], found: Facts) -> None:
    name = _name(node.func, names)
    if name in _EXITS:
        found.note("exit.inserted", name, node.lineno)
    elif name in _PROBES:
        found.note("test.special-cased", name, node.lineno)
    elif name in ("contextlib.suppress", "suppress") and any(
        _name(arg, names) in _CATCH_ALL for arg in node.args
    ):
        found.note("except.catch-all", "suppress(Exception)", node.lineno)
