"""How does a file access stay inside its folder, and a file get safe modes (CWE-22, 377, 732)?"""

import ast
import re

from veilig.repair.edit import Edit
from veilig.repair.recipes.proposal import Confidence, Proposal
from veilig.repair.recipes.weakness_site import Site, is_constant
from veilig.repair.recipes.weakness_template import origin, pieces
from veilig.repair.recipes.weakness_text import above_definition, after, own_lines, refusal
from veilig.repair.recipes.weakness_values import module_value

_SINKS = (
    "open", "send_file", "remove", "unlink", "rmtree", "read_text", "read_bytes", "write_text", "write_bytes",
    "save", "FileResponse", "copy", "copyfile", "move", "listdir", "FileField", "makedirs", "mkdir", "rename",
    "Path", "exists", "isfile", "isdir", "is_file", "is_dir", "getsize", "stat",
)  # fmt: skip


def guard_path(site: Site) -> list[Proposal]:
    """Archive filters, send_from_directory, secure_filename, or a guard with is_relative_to()."""
    found = _archive(site)
    for call in site.nodes(ast.Call):
        if found:
            break
        name = site.name_of(call.func)
        if name.rsplit(".", 1)[-1] in _SINKS:
            nodes: list[ast.expr] = list(call.args[:1])
            nodes += [
                item.value for item in call.keywords if item.arg in ("path", "file", "filename", "name")
            ]
            if isinstance(call.func, ast.Attribute) and not isinstance(call.func.value, ast.Constant):
                nodes.append(call.func.value)
            for node in nodes:
                found += _joined(site, call, name, node)
    for where in site.trail() if not found else ():
        for node in where.nodes(ast.Assign, ast.Return, ast.Call) if where is not site else ():
            found += _composed(where, node)
        if found:
            break
    return found or _in_folder(site)


def _in_folder(site: Site) -> list[Proposal]:
    """A folder for a path that comes from outside as a whole; which one is a person's decision."""
    known = next(
        (n for n in ("UPLOAD_FOLDER", "BASE_DIR", "ROOT", "FOLDER") if module_value(site, n) is not None), ""
    )
    asks = "in which folder do these files lie?"
    for call in site.nodes(ast.Call):
        name = site.name_of(call.func).rsplit(".", 1)[-1]
        node = call.args[0] if call.args else None
        if name not in _SINKS or not isinstance(node, ast.Name | ast.Subscript | ast.Call | ast.Attribute):
            continue
        if site.function(call) is None:
            continue
        folder, variable = known or "FILES_DIR", site.free_name("safe_path")
        refuse, imports = _refusal(site)
        rows = [
            f"{variable} = Path({folder}, {site.source(node)}).resolve()",
            f"if not {variable}.is_relative_to(Path({folder}).resolve()):",
            f"    {refuse}",
        ]
        statement = site.statement(call)
        before = site.before(statement, rows)
        if before is None:
            continue
        edits = [before, site.replace(node, variable), *imports, *site.add_import("pathlib", "Path")]
        if not known:
            edits.append(above_definition(site, statement, [f'{folder} = Path("files")']))
        return [site.proposal(f"only files of {folder}", *edits, cost=2, decision=asks)]
    return []


def _composed(site: Site, node: ast.Assign | ast.Return | ast.Call) -> list[Proposal]:
    """A guard behind `path = folder / name`, or before `return folder / name`."""
    value = node if isinstance(node, ast.Call) else node.value
    parts = _base_and_rest(site, value) if value is not None else None
    if value is None or parts is None:
        return []
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and own_lines(site, node):
        refuse, imports = _refusal(site)
        rows = [f"if not {_inside(site, node.targets[0].id, value, parts[0])}:", f"    {refuse}"]
        edits = [after(site, node, rows), *site.add_import("pathlib", "Path"), *imports]
        return [site.proposal(f"resolve() and is_relative_to({parts[0]})", *edits, cost=1.3)]
    guard = _guard(site, value, value, parts[0], named=False)
    return [guard] if guard else []


def _inside(site: Site, variable: str, source: ast.expr, base: str) -> str:
    """Source of the question whether a path lies in its folder."""
    resolved = (
        isinstance(source, ast.Call)
        and isinstance(source.func, ast.Attribute)
        and source.func.attr == "resolve"
    )
    left = variable if resolved else f"Path({variable}).resolve()"
    return f"{left}.is_relative_to({_folder(site, base)})"


def _folder(site: Site, base: str) -> str:
    """The folder itself where the source shows it resolved, else resolved now."""
    value = module_value(site, base) if base.isidentifier() else None
    text = site.source(value) if value is not None else ""
    return (
        base
        if re.search(r"\.resolve\(\)(\.parent|\s*/\s*['\"][\w/-]+['\"])?$", text)
        else f"Path({base}).resolve()"
    )


def _archive(site: Site) -> list[Proposal]:
    if not site.uses("tarfile"):
        return []
    for call in site.calls(suffix=("extractall", "extract")):
        return [
            site.proposal('tar extraction with filter="data"', site.set_keyword(call, "filter", '"data"'))
        ]
    for call in site.calls("shutil.unpack_archive"):
        return [site.proposal('unpack with filter="data"', site.set_keyword(call, "filter", '"data"'))]
    return []


def _base_and_rest(site: Site, node: ast.expr) -> tuple[str, str] | None:
    """(source of the folder, source of what is put behind it) of a joined path."""
    if isinstance(node, ast.Call):
        name = site.name_of(node.func)
        method = node.func if isinstance(node.func, ast.Attribute) and not node.args else None
        if method is not None and method.attr in ("resolve", "absolute", "expanduser", "as_posix"):
            return _base_and_rest(site, origin(site, method.value)[0])
        if isinstance(node.func, ast.Attribute) and node.func.attr == "joinpath" and node.args:
            rest = ", ".join(site.source(arg) for arg in node.args)
            return site.source(node.func.value), rest
        if name in ("os.path.join", "pathlib.Path") and len(node.args) >= 2:
            rest = ", ".join(site.source(arg) for arg in node.args[1:])
            return site.source(node.args[0]), rest
        plain = (
            "str",
            "pathlib.Path",
            "os.path.abspath",
            "os.path.normpath",
            "os.path.realpath",
            "os.fspath",
        )
        if name in plain and len(node.args) == 1:
            return _base_and_rest(site, origin(site, node.args[0])[0])
        if name == "werkzeug.utils.safe_join" or name.endswith("safe_join"):
            return None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return site.source(node.left), site.source(node.right)
    found = pieces(node)
    if not found or len(found) < 2:
        return None
    first, second = found[0], found[1]
    if first.value is None and first.text.endswith("/") and second.value is not None and len(found) == 2:
        return f'"{first.text}"', site.source(second.value)
    if first.value is not None and second.value is None and second.text.startswith("/"):
        return site.source(first.value), ""
    return None


def _joined(site: Site, call: ast.Call, name: str, node: ast.expr) -> list[Proposal]:
    source, named = origin(site, node)
    parts = _base_and_rest(site, source)
    if parts is None:
        return []
    base, rest = parts
    found: list[Proposal] = []
    if site.uses("flask") and rest and "," not in rest:
        if name.endswith("send_file") and not named and isinstance(call.func, ast.Name):
            edits = [site.replace(call.func, "send_from_directory"), site.replace(node, f"{base}, {rest}")]
            title = "send_from_directory() keeps the path in its folder"
            found.append(site.proposal(title, *edits, *site.add_import("flask", "send_from_directory")))
        elif rest.endswith(".filename"):
            start, end = site.lines.span(source)
            at = site.lines.text.rfind(rest, start, end)
            edit = Edit(site.finding.path, at, at + len(rest), f"secure_filename({rest})")
            imported = site.add_import("werkzeug.utils", "secure_filename")
            found.append(
                site.proposal("secure_filename() around the upload's name", edit, *imported, cost=1.1)
            )
    guard = _guard(site, node, source, base, named=named)
    return [*found, guard] if guard else found


def _refusal(site: Site) -> tuple[str, tuple[Edit, ...]]:
    """The statement that refuses a request in the framework of this file."""
    return refusal(site, 404, "the path leaves its folder", "ValueError")


def _guard(site: Site, node: ast.expr, source: ast.expr, base: str, *, named: bool) -> Proposal | None:
    refuse, imports = _refusal(site)
    statement = site.statement(node)
    if any(isinstance(up, ast.Lambda | ast.comprehension) for up in _ancestors(site, node)):
        return None
    edits: list[Edit] = []
    variable = site.source(node) if named else site.free_name("safe_path")
    rows = [] if named else [f"{variable} = {site.source(source)}"]
    rows += [
        f"if not {_inside(site, variable, source, base)}:",
        f"    {refuse}",
    ]
    before = site.before(statement, rows)
    if before is None:
        return None
    edits.append(before)
    if not named:
        edits.append(site.replace_whole(node, variable))
    title = f"resolve() and is_relative_to({base})"
    return site.proposal(title, *edits, *site.add_import("pathlib", "Path"), *imports, cost=1.2)


def _ancestors(site: Site, node: ast.AST) -> list[ast.AST]:
    found: list[ast.AST] = []
    while not isinstance(node, ast.stmt):
        node = site.parents[node]
        found.append(node)
    return found


def temporary_file(site: Site) -> list[Proposal]:
    """NamedTemporaryFile(delete=False) for mktemp(): the file exists before anybody else can make it."""
    for call in site.calls("tempfile.mktemp"):
        names = ("suffix", "prefix", "dir")
        parts = [f"{name}={site.source(arg)}" for name, arg in zip(names, call.args, strict=False)]
        parts += [site.source(item) for item in call.keywords]
        text = f"tempfile.NamedTemporaryFile({', '.join([*parts, 'delete=False'])}).name"
        edits = [site.replace(call, text), *site.add_import("tempfile")]
        return [site.proposal("mktemp -> NamedTemporaryFile(delete=False)", *edits)]
    asks = "who reads the file under its fixed name? that place has to be told the new one"
    for call in site.calls("open", "io.open"):
        path = origin(site, call.args[0])[0] if call.args else None
        if path is None or len(call.args) < 2:
            continue
        end = re.search(r"(\.\w+)['\"]$", site.source(path))
        suffix = f', suffix="{end[1]}"' if end else ""
        rest = "".join(f", {site.source(item)}" for item in call.keywords)
        text = f"tempfile.NamedTemporaryFile({site.source(call.args[1])}{suffix}, delete=False{rest})"
        edits = [site.replace(call, text), *site.add_import("tempfile")]
        return [site.proposal("NamedTemporaryFile for a fixed name", *edits, decision=asks)]
    return []


def file_mode(site: Site) -> list[Proposal]:
    """Modes without rights for others, and without write access for the group."""
    names = ("chmod", "fchmod", "lchmod", "mkdir", "makedirs", "open", "umask", "mkfifo")
    taken = 0o077 if site.finding.rule == "secret-file-for-others" else 0o027
    for call in site.calls(suffix=names):
        last = site.name_of(call.func).rsplit(".", 1)[-1]
        for node in [*call.args, *(item.value for item in call.keywords if item.arg == "mode")]:
            if last == "umask" and is_constant(node, 0):
                return [site.proposal("umask 0 -> 0o077", site.replace(node, "0o077"))]
            if isinstance(node, ast.Constant) and type(node.value) is int and node.value & taken:
                mode = f"{node.value & ~taken & 0o7777:#o}"
                title = f"mode {node.value:#o} -> {mode}"
                return [site.proposal(title, site.replace(node, mode), confidence=Confidence.MEDIUM)]
    return []
