"""What holds work from outside within bounds (CWE-400, 409, 674, 770, 835, 1333)?"""

import ast
import itertools
import re
from collections.abc import Iterator

from veilig.audit.rules.backtracking import catastrophic
from veilig.repair.edit import Edit, newline_of
from veilig.repair.recipes.proposal import Proposal
from veilig.repair.recipes.weakness_settings import constant_named, protective
from veilig.repair.recipes.weakness_site import Function, Site
from veilig.repair.recipes.weakness_template import literal
from veilig.repair.recipes.weakness_text import above_definition, own_lines, refusal
from veilig.repair.recipes.weakness_values import defined, there

_ITEMS = "1_000"
_DEPTH_MAX = 200  # Python's own recursion limit is 1000, and one level may take several frames
_TEXT_CHARS = 5  # length of the texts on which a simplified pattern is compared with the old one
_LETTERS_MAX = 6
_REPEATS_MAX = 8  # with more of them even five characters can take long
_PATTERN_CHARS_MAX = 200


def limit_of(site: Site, pattern: str) -> str:
    """A numeric constant of this module whose name matches, "" when there is none."""
    for item in site.tree.body:
        target = item.targets[0] if isinstance(item, ast.Assign) else None
        if isinstance(target, ast.Name) and re.search(pattern, target.id):
            assert isinstance(item, ast.Assign)
            if isinstance(item.value, ast.Constant | ast.BinOp) and not isinstance(
                getattr(item.value, "value", 0), str
            ):
                return target.id
    return ""


def capped(site: Site) -> list[Proposal]:
    """min(..., limit) around the number that decides how much is done."""
    asks = "which is the largest number that still makes sense here?"
    sinks = (
        "range", "bytearray", "bytes", "urandom", "token_bytes", "token_hex", "repeat", "sleep", "zeros",
        "ones", "empty", "ThreadPoolExecutor", "Pool", "limit", "fetchmany", "resize", "thumbnail", "new",
    )  # fmt: skip
    for call in site.calls(suffix=sinks):
        name = site.name_of(call.func).rsplit(".", 1)[-1]
        known = limit_of(site, r"(?i)max|limit")
        bound = known or {"sleep": "10", "resize": "4_096", "thumbnail": "4_096", "Pool": "16"}.get(
            name, _ITEMS
        )
        parts: list[ast.expr] = []
        for arg in [*call.args, *(k.value for k in call.keywords if k.arg in ("size", "max_workers"))]:
            items = arg.elts if isinstance(arg, ast.Tuple) else [arg]
            parts += [item for item in items if not isinstance(item, ast.Constant | ast.Starred)]
        if not parts:
            continue
        edits = [site.replace(part, f"min({site.source(part)}, {bound})") for part in parts]
        return [site.proposal(f"at most {bound}", *edits, decision="" if known else asks)]
    for mult in site.nodes(ast.BinOp):
        if isinstance(mult.op, ast.Mult) and not isinstance(mult.right, ast.Constant):
            edit = site.replace(mult.right, f"min({site.source(mult.right)}, {_ITEMS})")
            return [site.proposal(f"at most {_ITEMS}", edit, decision=asks)]
    return []


def simpler_pattern(site: Site) -> list[Proposal]:
    """The pattern without the inner repeat, where it accepts and finds the same texts."""
    for call in site.nodes(ast.Call):
        candidates = list(call.args[:1])
        if isinstance(call.func, ast.Attribute):
            candidates.insert(0, call.func.value)
        for node in candidates:
            place = defined(site, node)
            made = place[1] if place is not None else None
            if isinstance(made, ast.Call) and site.name_of(made.func).endswith("compile") and made.args:
                made = made.args[0]
            if place is None or not isinstance(made, ast.Constant) or not isinstance(made.value, str):
                continue
            where = there(place)
            for new in _simpler(made.value):
                start, end = where.lines.span(made)
                raw = where.lines.text[start:end]
                text = raw.replace(made.value, new) if made.value in raw else literal(new)
                edit = where.replace(made, text)
                return [site.proposal(f"the pattern {new} finds the same", edit)]
    return []


def _simpler(pattern: str) -> Iterator[str]:
    """Patterns with one or two repeats less that are not catastrophic and match the same short texts."""
    places = [m.start() for m in re.finditer(r"(?<!\\)[+*]", pattern)]
    if len(places) > _REPEATS_MAX or len(pattern) > _PATTERN_CHARS_MAX:
        return
    for count in (1, 2, 3):
        for chosen in itertools.combinations(places, count):
            new = "".join(c for i, c in enumerate(pattern) if i not in chosen)
            try:
                better = not catastrophic(new) and _same(pattern, new)
            except re.error:
                continue
            if better:
                yield new


def _same(old: str, new: str) -> bool:
    """Whether both match the same way, on every text of up to five of the pattern's letters."""
    letters = _letters(old)
    one, other = re.compile(old), re.compile(new)
    for length in range(_TEXT_CHARS + 1):
        for text in map("".join, itertools.product(letters, repeat=length)):
            for method in ("match", "fullmatch"):
                a, b = getattr(one, method)(text), getattr(other, method)(text)
                if (a is None) != (b is None) or (a is not None and a.span() != b.span()):
                    return False
    return True


def _letters(pattern: str) -> list[str]:
    """A few characters that the pattern tells apart: those in it, one of each class, and one it lacks."""
    found = [c for c in pattern if c not in "^$()[]{}?*+|\\"]
    kinds = {r"\d": "1", r"\w": "a", r"\s": " ", "a-z": "a", "A-Z": "B", "0-9": "1"}
    found = [c for key, c in kinds.items() if key in pattern] + [c for c in found if c not in "azAZ09"]
    found += [c for c in pattern if c.isalpha()][:2]
    return [*list(dict.fromkeys(found))[: _LETTERS_MAX - 1], "~"]


def archive_size(site: Site) -> list[Proposal]:
    """The sizes that the archive names are added up before anything is unpacked."""
    asks = "how large may an archive become?"
    for call in site.nodes(ast.Call):
        if not isinstance(call.func, ast.Attribute) or call.func.attr not in (
            "extractall",
            "read",
            "extract",
        ):
            continue
        archive = site.source(call.func.value)
        known = limit_of(site, r"(?i)limit|max")
        bound = known or "100 * 1024 * 1024"
        statement = _outermost(site, call, archive)
        if statement is None:
            continue
        rows = [
            f"if sum(member.file_size for member in {archive}.infolist()) > {bound}:",
            '    raise ValueError("the archive is too large")',
        ]
        before = site.before(statement, rows)
        if before is not None:
            title = f"archives of at most {bound} bytes"
            return [site.proposal(title, before, decision="" if known else asks)]
    return []


def _outermost(site: Site, call: ast.Call, archive: str) -> ast.stmt | None:
    """The statement around the call that stands right behind the opening of the archive."""
    node: ast.AST = call
    last: ast.stmt | None = None
    while node in site.parents and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Module):
        if isinstance(node, ast.stmt):
            last = node
        parent = site.parents[node]
        opened = isinstance(parent, ast.With | ast.AsyncWith) and any(
            item.optional_vars is not None and site.source(item.optional_vars) == archive
            for item in parent.items
        )
        if opened:
            break
        node = parent
    return last


def deadline(site: Site) -> list[Proposal]:
    """The loop ends at a deadline, with TimeoutError."""
    for loop in site.nodes(ast.While):
        if not isinstance(loop.test, ast.Constant) or loop.orelse or not own_lines(site, loop):
            continue
        function = site.function(loop)
        given = _span_given(function)
        newline, indent = newline_of(site.lines.text), site.indent(loop)
        asks = "" if given else "how long may this wait?"
        name = site.free_name("deadline")
        before = site.before(loop, [f"{name} = time.monotonic() + {given or '300'}"])
        if before is None:
            continue
        end = site.lines.line_end(loop.end_lineno or loop.lineno)
        tail = (
            f'{newline}{indent}else:{newline}{indent}    raise TimeoutError("still waiting at the deadline")'
        )
        edits = [before, site.replace(loop.test, f"time.monotonic() < {name}"), site.insert(end, tail)]
        return [site.proposal("waits up to a deadline", *edits, *site.add_import("time"), decision=asks)]
    return []


def _span_given(function: Function | None) -> str:
    if function is None:
        return ""
    for arg in [*function.args.args, *function.args.kwonlyargs]:
        if re.search(r"(?i)deadline|timeout|max_wait|wait_s", arg.arg):
            return arg.arg
    return ""


def bounded_depth(site: Site) -> list[Proposal]:
    """A depth that is counted and refused above a limit."""
    for function in _around(site):
        inner = [
            node
            for node in ast.walk(function)
            if isinstance(node, ast.Call)
            and (
                (isinstance(node.func, ast.Name) and node.func.id == function.name)
                or (
                    isinstance(node.func, ast.Attribute) and site.source(node.func) == f"self.{function.name}"
                )
            )
        ]
        if not inner or function.args.vararg or function.args.kwarg:
            continue
        names = [a.arg for a in [*function.args.args, *function.args.kwonlyargs]]
        name = next((n for n in names if re.search(r"(?i)depth|level", n)), "")
        edits: list[Edit] = []
        if not name:
            name = "depth"
            last = [*function.args.args, *function.args.kwonlyargs]
            if not last or "depth" in {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}:
                continue
            tail = [*last, *function.args.defaults, *(d for d in function.args.kw_defaults if d is not None)]
            at = max(site.lines.span(item)[1] for item in tail)
            edits.append(site.insert(at, ", depth: int = 0" if last[-1].annotation else ", depth=0"))
            edits += [site.set_keyword(call, "depth", "depth + 1") for call in inner]
        known = limit_of(site, r"(?i)depth|level|nest")
        body = [item for item in function.body if not _is_text(item)] or function.body
        rows = [f"if {name} > {known or _DEPTH_MAX}:", '    raise ValueError("nested too deep")']
        before = site.before(body[0], rows)
        if before is not None:
            return [site.proposal(f"at most {known or _DEPTH_MAX} levels", before, *edits)]
    return []


def _around(site: Site) -> list[Function]:
    found = [
        n
        for n in ast.walk(site.tree)
        if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
        and n.lineno <= site.finding.line <= (n.end_lineno or n.lineno)
    ]
    return found[::-1]


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


_EXTENSIONS = '{".png", ".jpg", ".jpeg", ".gif", ".pdf", ".txt"}'


def known_kind(site: Site) -> list[Proposal]:
    """Only files with an extension from a list are stored."""
    for call in site.nodes(ast.Call):
        function = site.function(call)
        if function is None:
            continue
        named = [
            n
            for n in ast.walk(function)
            if isinstance(n, ast.Attribute)
            and n.attr in ("filename", "name")
            and isinstance(n.value, ast.Name)
        ]
        uploads = [n for n in named if n.attr == "filename"] or [n for n in named if "file" in site.source(n)]
        if not uploads:
            continue
        statement = site.statement(call)
        known = constant_named(site, r"(?i)ext|suffix|allowed|types")
        asks = "" if known else "which kinds of files may be uploaded?"
        name = known or "ALLOWED_EXTENSIONS"
        dotted = '.lstrip(".")' if known and not re.search(r"""['"]\.""", _shown(site, known)) else ""
        refuse, imports = refusal(site, 400, "this kind of file may not be uploaded", "ValueError")
        test = f"os.path.splitext({site.source(uploads[0])} or '')[1].lower(){dotted}"
        before = site.before(statement, [f"if {test} not in {name}:", f"    {refuse}"])
        if before is None:
            continue
        edits = [before, *imports, *site.add_import("os")]
        if not known:
            edits.append(above_definition(site, statement, [f"{name} = {_EXTENSIONS}"]))
        return [site.proposal("only known kinds of files", *edits, decision=asks)]
    return []


def _shown(site: Site, name: str) -> str:
    for item in site.tree.body:
        if isinstance(item, ast.Assign) and site.source(item.targets[0]) == name:
            return site.source(item.value)
    return ""


def limited(site: Site) -> list[Proposal]:
    """A limit on a number from outside, or the setting that has one."""
    return capped(site) or protective(site)
