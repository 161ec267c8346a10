"""How does a value from outside stay a value (CWE-88, 91, 113, 117, 134, 494, 502, 915, 943, 1236)?"""

import ast
import re

from veilig.repair.edit import Edit
from veilig.repair.recipes.proposal import Confidence, Proposal
from veilig.repair.recipes.weakness_command import knows_end_of_options
from veilig.repair.recipes.weakness_filter import wrap_values
from veilig.repair.recipes.weakness_settings import constant_named
from veilig.repair.recipes.weakness_site import Site, keyword_of
from veilig.repair.recipes.weakness_template import literal, values_of
from veilig.repair.recipes.weakness_text import above_definition, own_lines, refusal

_LOGS = ("debug", "info", "warning", "error", "critical", "exception", "log", "print")
_LINE_BREAKS = '{value}.replace("\\r", "").replace("\\n", "")'


def quote_in_log(site: Site) -> list[Proposal]:
    """repr() of the value: a line break from outside cannot start a line of its own in the log."""
    found: list[Proposal] = []
    for call in site.calls(suffix=_LOGS):
        for arg in call.args:
            for part in ast.walk(arg) if isinstance(arg, ast.JoinedStr | ast.BinOp) else ():
                if (
                    isinstance(part, ast.FormattedValue)
                    and part.conversion == -1
                    and part.format_spec is None
                ):
                    at = site.lines.span(part.value)[1]
                    found.append(site.proposal("value shown with !r in the log", site.insert(at, "!r")))
            found += _joined(site, arg)
            found += _braces(site, arg)
        found += _percent(site, call)
        if site.name_of(call.func) == "print":
            for arg in call.args:
                if isinstance(arg, ast.Name | ast.Subscript | ast.Attribute):
                    found.append(site.proposal("repr()", site.replace(arg, f"repr({site.source(arg)})")))
        if len(call.args) == 1 and isinstance(call.args[0], ast.Name) and not found:
            edits = [site.replace(call.args[0], f'"%r", {site.source(call.args[0])}')]
            found.append(site.proposal("value shown with %r in the log", *edits))
    return found


def _joined(site: Site, arg: ast.expr) -> list[Proposal]:
    """`"text " + value`."""
    if not isinstance(arg, ast.BinOp) or not isinstance(arg.op, ast.Add):
        return []
    parts = [n for n in ast.walk(arg) if isinstance(n, ast.Name | ast.Subscript | ast.Attribute | ast.Call)]
    outer = [p for p in parts if isinstance(site.parents.get(p), ast.BinOp)]
    return [site.proposal("repr() in the log", site.replace(p, f"repr({site.source(p)})")) for p in outer]


def _braces(site: Site, arg: ast.expr) -> list[Proposal]:
    """`"text {}".format(value)`."""
    if not isinstance(arg, ast.Call) or not isinstance(arg.func, ast.Attribute) or arg.func.attr != "format":
        return []
    text = arg.func.value
    if not isinstance(text, ast.Constant) or not isinstance(text.value, str):
        return []
    new = re.sub(r"\{(\w*)\}", r"{\1!r}", text.value)
    found = [site.proposal("values shown with !r in the log", site.replace(text, literal(new)))]
    edits = [site.replace(v, f"repr({site.source(v)})") for v in arg.args if not isinstance(v, ast.Constant)]
    return [*found, site.proposal("values shown with repr() in the log", *edits)] if edits else found


def _percent(site: Site, call: ast.Call) -> list[Proposal]:
    """`log.info("... %s", value)` and `"... %s" % value`: %r for one text after the other, then for all."""
    holder: ast.expr | None = next((a for a in call.args if isinstance(a, ast.Constant)), None)
    for arg in call.args:
        if isinstance(arg, ast.BinOp) and isinstance(arg.op, ast.Mod):
            holder = arg.left
    if not isinstance(holder, ast.Constant) or not isinstance(holder.value, str):
        return []
    spots = [m.start() for m in re.finditer(r"(?<!%)%s", holder.value)]
    new: list[str] = []
    for spot in spots:
        new.append(f"{holder.value[:spot]}%r{holder.value[spot + 2 :]}")
    if len(spots) > 1:
        new.append(re.sub(r"(?<!%)%s", "%r", holder.value))
    return [site.proposal("value shown with %r in the log", site.replace(holder, literal(n))) for n in new]


def plain_header(site: Site) -> list[Proposal]:
    """Line breaks are taken out of what goes into a header."""
    for call in site.calls(suffix=("send_header", "sendmail", "add_header", "set_header")):
        node = call.args[-1] if call.args else None
        if node is None:
            continue
        values = values_of(site, node)
        if not values and isinstance(node, ast.Name | ast.Subscript | ast.Attribute | ast.Call):
            values = [node]
        if site.name_of(call.func).endswith("sendmail") and len(values) > 1:
            values = values[:-1]  # the last one is the body, in which line breaks belong
        edits = [site.replace(v, _LINE_BREAKS.format(value=_text(site, v))) for v in values]
        if edits:
            return [site.proposal("no line breaks in headers", *edits)]
    return []


def _text(site: Site, node: ast.expr) -> str:
    source = site.source(node)
    simple = isinstance(node, ast.Name | ast.Attribute | ast.Subscript | ast.Call)
    return source if simple else f"({source})"


def escaped_xml(site: Site) -> list[Proposal]:
    """xml.sax.saxutils.escape() around each value, the quotes too."""
    calls = site.calls(suffix=("fromstring", "XML", "parseString", "write", "write_text", "sendall"))
    nodes = [node for call in calls for node in call.args[:1]]
    found = wrap_values(site, nodes, lambda text: f'escape({text}, {{\'"\': "&quot;"}})', ("escape", "int"))
    if not found:
        return []
    edits = [site.replace(value, new) for value, new in found]
    return [site.proposal("escape() in XML", *edits, *site.add_import("xml.sax.saxutils", "escape"))]


def plain_format(site: Site) -> list[Proposal]:
    """string.Template, which reaches no attributes, for a format from outside."""
    asks = "the texts have to say $name instead of {name}: who changes those that are stored?"
    for call in site.calls(suffix=("format", "format_map")):
        if not isinstance(call.func, ast.Attribute) or (call.args and call.func.attr == "format"):
            continue
        start, end = site.lines.span(call.func)
        text = f"string.Template({site.source(call.func.value)}).safe_substitute"
        edits = [Edit(site.finding.path, start, end, text), *site.add_import("string")]
        return [site.proposal("string.Template for the format", *edits, decision=asks)]
    return []


def plain_cell(site: Site) -> list[Proposal]:
    """A quote before every text cell, so that no table program takes it for a formula."""
    for call in site.calls(suffix=("writerow", "writerows")):
        row = call.args[0] if call.args else None
        if isinstance(row, ast.ListComp | ast.GeneratorExp):
            row = row.elt
        cells = row.elts if isinstance(row, ast.List | ast.Tuple) else []
        if isinstance(row, ast.Dict):
            cells = row.values
        wanted = [c for c in cells if not isinstance(c, ast.Constant | ast.Starred)]
        wanted = [
            c for c in wanted if site.name_of(getattr(c, "func", c)) not in ("int", "float", "len", "round")
        ]
        found: list[Proposal] = []
        for group in [*([c] for c in wanted), wanted] if len(wanted) > 1 else [wanted]:
            edits = [site.replace(cell, _quoted(site, cell)) for cell in group]
            if edits:
                found.append(site.proposal("a quote before the cell", *edits, confidence=Confidence.MEDIUM))
        return found
    return []


def _quoted(site: Site, cell: ast.expr) -> str:
    text = site.source(cell)
    return f'f"\'{{{text}}}"' if not re.search(r"[\"'{}\\\n]", text) else f'"\'" + str({text})'


def named_fields(site: Site) -> list[Proposal]:
    """Only fields from a list are copied: the file's own list, or one to be confirmed."""
    known = constant_named(site, r"(?i)edit|allow|field|public|writ|column")
    asks = "" if known else "which fields may the sender set?"
    name = known or "EDITABLE_FIELDS"
    for call in site.nodes(ast.Call):
        statement = site.statement(call)
        edits: list[Edit] = []
        if site.name_of(call.func) == "setattr" and len(call.args) == 3:
            before = site.before(
                statement, [f"if {site.source(call.args[1])} not in {name}:", "    continue"]
            )
            loop = site.parents.get(statement)
            if before is None or not isinstance(loop, ast.For):
                continue
            edits = [before]
        else:
            for item in call.keywords:
                if item.arg is None:
                    text = f"{{k: v for k, v in {site.source(item.value)}.items() if k in {name}}}"
                    edits.append(site.replace(item.value, text))
        if not edits:
            continue
        if not known:
            edits.append(above_definition(site, statement, [f"{name} = {_fields(site)}"]))
        return [site.proposal(f"only the fields of {name}", *edits, decision=asks)]
    return []


_PRIVILEGED = re.compile(
    r"(?i)admin|staff|role|password|hash|superuser|balance|^id$|_id$|owner|permission|credit"
)


def _fields(site: Site) -> str:
    """The plain fields of the project's models, as a guess for a person to confirm."""
    names: list[str] = []
    for path, text in site.files.items():
        if path.endswith(("models.py", "model.py")):
            names += re.findall(
                r"(?m)^    (\w+)(?:: Mapped\[\w+\])? = (?:models\.|db\.|mapped_)(?:\w*Field|Column|column)",
                text,
            )
    kept = [n for n in dict.fromkeys(names) if not _PRIVILEGED.search(n)]
    shown = ", ".join(f'"{n}"' for n in kept[:12])
    return f"({shown},)" if kept else "()"


def ends_options(site: Site) -> list[Proposal]:
    """`--` before the value where the program knows it, else no value that starts with a dash."""
    for call in site.nodes(ast.Call):
        words = call.args[0] if call.args else keyword_of(call, "args")
        items = words.elts if isinstance(words, ast.List | ast.Tuple) else list(call.args)
        values = [i for i in items[1:] if not isinstance(i, ast.Constant | ast.Starred)]
        if not values or not isinstance(items[0], ast.Constant):
            continue
        program = str(items[0].value).rpartition("/")[2]
        second = str(items[1].value) if len(items) > 1 and isinstance(items[1], ast.Constant) else ""
        clean = knows_end_of_options(program, second)
        behind = items[items.index(values[0]) :]
        if clean and not any(isinstance(i, ast.Constant) and str(i.value).startswith("-") for i in behind):
            edit = site.insert(site.lines.span(values[0])[0], '"--", ')
            return [site.proposal('"--" ends the options', edit)]
        statement = site.statement(call)
        names = [v for v in values if isinstance(v, ast.Name)]
        refuse, imports = refusal(site, 400, "the value may not start with a dash", "ValueError")
        for value in names or values:
            variable = site.source(value) if names else site.free_name("argument")
            rows = [] if names else [f"{variable} = {site.source(value)}"]
            rows += [f'if {variable}.startswith("-"):', f"    {refuse}"]
            before = site.before(statement, rows)
            if before is not None:
                edits = [before, *imports] if names else [before, *imports, site.replace(value, variable)]
                return [site.proposal("no value that starts with a dash", *edits)]
    return []


def json_instead(site: Site) -> list[Proposal]:
    """Json for pickle, in both directions where this file has both."""
    asks = "does the data hold only what JSON can express? what is stored as pickle is no longer read"
    edits: list[Edit] = []
    read = written = False
    for node in ast.walk(site.tree):
        if not isinstance(node, ast.Call):
            continue
        module, _, function = site.name_of(node.func).rpartition(".")
        if module not in ("pickle", "dill", "cloudpickle", "marshal", "jsonpickle"):
            continue
        if function in ("loads", "load", "decode") and len(node.args) == 1:
            read = True
            edits.append(site.replace(node.func, "json.load" if function == "load" else "json.loads"))
        elif function in ("dumps", "encode") and node.args:
            written = True
            end = "" if module == "jsonpickle" else ".encode()"
            edits.append(site.replace(node, f"json.dumps({site.source(node.args[0])}){end}"))
        elif function == "dump":
            return []  # the file would have to be opened for text
    if not read or not written:
        return []  # who writes the data is not to be seen
    return [site.proposal("json instead of pickle", *edits, *site.add_import("json"), decision=asks)]


def text_values(site: Site) -> list[Proposal]:
    """str() around the values of a query document: operators come in as objects."""
    for call in site.nodes(ast.Call):
        for node in [*call.args, *(k.value for k in call.keywords)]:
            if isinstance(node, ast.Dict):
                wanted = [
                    v
                    for v in node.values
                    if isinstance(v, ast.Name | ast.Subscript | ast.Attribute | ast.Call)
                    and site.name_of(getattr(v, "func", v)) not in ("str", "int", "float", "bool")
                ]
                edits = [site.replace(v, f"str({site.source(v)})") for v in wanted]
                if edits:
                    title = "str() around the query's values"
                    return [site.proposal(title, *edits, confidence=Confidence.MEDIUM)]
    return []


def pinned_digest(site: Site) -> list[Proposal]:
    """The digest of what was downloaded is compared before it is stored or run."""
    for function in [n for n in ast.walk(site.tree) if isinstance(n, ast.FunctionDef)]:
        for node in ast.walk(function):
            if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
                continue
            source = site.source(node.value)
            if not re.search(r"\.content$|\.read\(\)$|\.text$", source) or not own_lines(site, node):
                continue
            entry = re.search(r"""(\w+)\[["']url["']\]""", site.source(function))
            listed = entry is not None and any(
                re.search(r"""["']sha256["']""", t) for t in site.files.values()
            )
            pinned = (
                f'{entry[1]}["sha256"]' if entry is not None and listed else 'os.environ["DOWNLOAD_SHA256"]'
            )
            data = f"{node.targets[0].id}.encode()" if source.endswith(".text") else node.targets[0].id
            outer: ast.stmt = node
            while isinstance(site.parents.get(outer), ast.With) and own_lines(site, outer):
                up = site.parents[outer]
                assert isinstance(up, ast.stmt)
                outer = up
            indent = site.indent(outer)
            rows = [
                f"if not hmac.compare_digest(hashlib.sha256({data}).hexdigest(), {pinned}):",
                '    raise ValueError("the download is not the one that was expected")',
            ]
            at = site.lines.line_end(outer.end_lineno or outer.lineno)
            edits = [site.insert(at, "".join(f"\n{indent}{row}" for row in rows))]
            edits += [*site.add_import("hashlib"), *site.add_import("hmac")]
            edits += site.add_import("os") if not listed else ()
            asks = "" if listed else "which SHA-256 is expected? DOWNLOAD_SHA256 must be set where this runs"
            return [site.proposal("compares the download's SHA-256", *edits, decision=asks)]
    return []
