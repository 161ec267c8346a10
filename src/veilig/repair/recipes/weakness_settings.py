"""Which value of a setting protects, and what must a person decide first (CWE-614, 942, 605, 1021 ...)?"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from veilig.repair.edit import Edit, newline_of
from veilig.repair.recipes.proposal import Confidence, Proposal
from veilig.repair.recipes.weakness_site import Site, is_constant, keyword_of
from veilig.repair.recipes.weakness_template import literal
from veilig.repair.recipes.weakness_values import class_of, defined, there


@dataclass(frozen=True, slots=True)
class Setting:
    """What a setting should be, as source; `decision` asks what has to be known before."""

    value: str
    decision: str = ""


_HTTPS = "is every page of this service reached by https alone?"
_ORIGINS = "which origins may act with the session? list them (CORS_ALLOWED_ORIGINS)"
_SETTINGS = {
    "SESSION_COOKIE_SECURE": Setting("True"),
    "CSRF_COOKIE_SECURE": Setting("True"),
    "SESSION_COOKIE_HTTPONLY": Setting("True"),
    "SESSION_COOKIE_SAMESITE": Setting('"Lax"'),
    "CSRF_COOKIE_SAMESITE": Setting('"Lax"'),
    "REMEMBER_COOKIE_SAMESITE": Setting('"Lax"'),
    "X_FRAME_OPTIONS": Setting('"SAMEORIGIN"'),
    "X-Frame-Options": Setting('"SAMEORIGIN"'),
    "SECURE_CONTENT_TYPE_NOSNIFF": Setting("True"),
    "SECURE_BROWSER_XSS_FILTER": Setting("True"),
    "X-Content-Type-Options": Setting('"nosniff"'),
    "X-XSS-Protection": Setting('"0"'),
    "SECURE_SSL_REDIRECT": Setting("True", _HTTPS),
    "SECURE_HSTS_SECONDS": Setting("31536000", _HTTPS),
    "EMAIL_USE_TLS": Setting("True"),
    "PREFERRED_URL_SCHEME": Setting('"https"'),
    "WTF_CSRF_ENABLED": Setting("True", "does every form send a CSRF token?"),
    "WTF_CSRF_CHECK_DEFAULT": Setting("True", "does every form send a CSRF token?"),
    "JWT_COOKIE_CSRF_PROTECT": Setting("True", "does every form send a CSRF token?"),
    "csrf": Setting("True", "does this form send a CSRF token?"),
    "CORS_ALLOW_ALL_ORIGINS": Setting("False", _ORIGINS),
    "CORS_ORIGIN_ALLOW_ALL": Setting("False", _ORIGINS),
    "ALLOWED_HOSTS": Setting('os.environ["ALLOWED_HOSTS"].split(",")', "which host names are served?"),
    "DATA_UPLOAD_MAX_MEMORY_SIZE": Setting("2_621_440"),
    "DATA_UPLOAD_MAX_NUMBER_FIELDS": Setting("1_000"),
    "DEBUG": Setting("False"),
    "show_indexes": Setting("False"),
}
_VALIDATORS = (
    "UserAttributeSimilarityValidator",
    "MinimumLengthValidator",
    "CommonPasswordValidator",
    "NumericPasswordValidator",
)
_MIDDLEWARE = {
    1021: ("django.middleware.clickjacking.XFrameOptionsMiddleware", ""),
    352: ("django.middleware.csrf.CsrfViewMiddleware", "does every form and script send a CSRF token?"),
}


def settings_at(site: Site) -> Iterator[tuple[str, ast.expr]]:
    """(name, value) of every setting that the finding's lines give: assigned, as a key, or as a keyword."""
    for node in site.nodes(ast.Assign, ast.AnnAssign, ast.Call, ast.Dict):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if node.value is not None:
                yield _named(target), node.value
        elif isinstance(node, ast.Call):
            yield from ((item.arg, item.value) for item in node.keywords if item.arg)
            if isinstance(node.func, ast.Attribute) and len(node.args) == 2 and node.func.attr != "get":
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    yield str(first.value), node.args[1]
        else:
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant):
                    yield str(key.value), value


def _named(target: ast.expr) -> str:
    if isinstance(target, ast.Name):
        return target.id
    if isinstance(target, ast.Attribute):
        return target.attr
    if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
        return str(target.slice.value)
    return ""


def protective(site: Site) -> list[Proposal]:
    """The protecting value of a known setting, a missing middleware, the default validators."""
    for name, value in settings_at(site):
        if name in ("MIDDLEWARE", "MIDDLEWARE_CLASSES") and isinstance(value, ast.List | ast.Tuple):
            found = _middleware(site, value)
            if found:
                return found
        if name == "AUTH_PASSWORD_VALIDATORS":
            return [_validators(site, value)]
        if name in ("Content-Security-Policy", "CSP_SCRIPT_SRC", "CSP_DEFAULT_SRC"):
            found = _policy(site, value)
            if found:
                return found
        wanted = _SETTINGS.get(name)
        if wanted is None or site.source(value) == wanted.value:
            continue
        imports = site.add_import("os") if wanted.value.startswith("os.") else ()
        asks = wanted.decision
        if name.endswith("SAMESITE") and isinstance(value, ast.Constant) and str(value.value) == "None":
            asks = "is this site used inside or called from pages of other sites?" if value.value else ""
        edit = site.replace(value, wanted.value)
        level = Confidence.MEDIUM if asks else Confidence.HIGH
        return [site.proposal(f"{name} = {wanted.value}", edit, *imports, confidence=level, decision=asks)]
    return []


def _middleware(site: Site, value: ast.List | ast.Tuple) -> list[Proposal]:
    name, asks = _MIDDLEWARE.get(site.finding.cwe, ("", ""))
    if not name or not value.elts:
        return []
    behind = value.elts[-1]
    if site.finding.cwe == 352:
        known = [e for e in value.elts if re.search(r"CommonMiddleware|SessionMiddleware", site.source(e))]
        behind = known[-1] if known else behind
    several = behind.lineno > value.lineno
    column = site.lines.line_text(behind.lineno)
    indent = column[: len(column) - len(column.lstrip())]
    gap = f",{newline_of(site.lines.text)}{indent}" if several else ", "
    edit = site.insert(site.lines.span(behind)[1], f'{gap}"{name}"')
    return [site.proposal(f"adds {name.rsplit('.', 1)[-1]}", edit, decision=asks)]


def _validators(site: Site, value: ast.expr) -> Proposal:
    newline = newline_of(site.lines.text)
    rows = [f'    {{"NAME": "django.contrib.auth.password_validation.{name}"}},' for name in _VALIDATORS]
    text = newline.join(["[", *rows, "]"])
    return site.proposal("Django's own four password validators", site.replace(value, text))


def _policy(site: Site, value: ast.expr) -> list[Proposal]:
    """The policy without 'unsafe-...', and with 'self' where any host was allowed."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        text = re.sub(r" *'unsafe-(inline|eval)'", "", value.value)
        text = re.sub(r"frame-ancestors \*", "frame-ancestors 'self'", text)
        text = re.sub(r"((?:default|script)-src[^;]*?) \*", r"\1 'self'", text)
        new = literal("'self'" if text in ("", "*") else text)
    else:
        unsafe = r"""(?:"'unsafe-(?:inline|eval)'"|'\\'unsafe-(?:inline|eval)\\'')"""
        new = re.sub(rf",\s*{unsafe}|{unsafe},?\s*", "", site.source(value))
    if new == site.source(value):
        return []
    asks = "do the pages have scripts inside the page or from other hosts? they stop working"
    return [site.proposal("a content security policy that protects", site.replace(value, new), decision=asks)]


def address(site: Site) -> list[Proposal]:
    """127.0.0.1 for a server that listens on every interface."""
    asks = "must other machines reach this service? then name the interface, or let a proxy stand before it"
    for call in site.nodes(ast.Call):
        nodes = [
            *call.args,
            *(item.value for item in call.keywords if item.arg in ("host", "address", "listen")),
        ]
        for node in [
            part for item in nodes for part in (item.elts if isinstance(item, ast.Tuple) else [item])
        ]:
            found = defined(site, node)
            if found is None or not isinstance(found[1], ast.Constant):
                continue
            value = str(found[1].value)
            if value in ("0.0.0.0", "", "::"):  # noqa: S104  # what is replaced
                new = '"::1"' if value == "::" else '"127.0.0.1"'
                return [
                    site.proposal(f"listens on {new}", there(found).replace(found[1], new), decision=asks)
                ]
            if value.startswith("0.0.0.0:"):
                new = f'"127.0.0.1:{value.partition(":")[2]}"'
                return [
                    site.proposal(f"listens on {new}", there(found).replace(found[1], new), decision=asks)
                ]
    return []


def origins(site: Site) -> list[Proposal]:
    """Listed origins for any origin, or no credentials for any origin."""
    found = protective(site)
    if found:
        return found
    asks = "which origins may act with the session of a user?"
    for call in site.nodes(ast.Call):
        for name in ("allow_origins", "origins", "cors_allowed_origins", "allow_origin_regex", "resources"):
            value = keyword_of(call, name)
            place = defined(site, value) if value is not None else None
            if value is None or place is None or name == "resources":
                continue
            wild = [
                part
                for part in ast.walk(place[1])
                if isinstance(part, ast.Constant) and str(part.value) in ("*", ".*", "https?://.*", "http.*")
            ]
            if wild:
                known = constant_named(site, r"ORIGIN")
                new = known or 'os.environ["CORS_ORIGINS"].split(",")'
                imports = () if known else there(place).add_import("os")
                node: ast.expr = place[1] if name != "allow_origin_regex" else value
                if name == "allow_origin_regex":
                    new, imports = "None", ()
                edit = (there(place) if node is place[1] else site).replace(node, new)
                title = "origins from a list instead of any"
                found.append(site.proposal(title, edit, *imports, decision="" if known else asks))
        for name in ("supports_credentials", "allow_credentials"):
            given = keyword_of(call, name)
            if is_constant(given, True) and given is not None:
                edit = site.replace(given, "False")
                title = f"{name}=False: other sites read without the session"
                found.append(site.proposal(title, edit, cost=1.5, decision=asks))
    return found


def constant_named(site: Site, pattern: str) -> str:
    """A constant collection of texts in this module whose name matches, "" when there is none."""
    for item in site.tree.body:
        target = item.targets[0] if isinstance(item, ast.Assign) else getattr(item, "target", None)
        value = item.value if isinstance(item, ast.Assign | ast.AnnAssign) else None
        if not isinstance(target, ast.Name) or not re.search(pattern, target.id):
            continue
        if isinstance(value, ast.Call) and site.name_of(value.func) in ("frozenset", "set", "tuple", "list"):
            value = value.args[0] if value.args else None
        if isinstance(value, ast.Set | ast.List | ast.Tuple) and all(
            isinstance(part, ast.Constant) and isinstance(part.value, str) for part in value.elts
        ):
            return target.id
    return ""


def listing(site: Site) -> list[Proposal]:
    """No index of the files of a directory."""
    for call in site.nodes(ast.Call):
        for name in ("show_index", "show_indexes"):
            value = keyword_of(call, name)
            if is_constant(value, True) and value is not None:
                return [site.proposal(f"{name}=False", site.replace(value, "False"))]
    return protective(site)


def served(site: Site) -> list[Proposal]:
    """A directory `static` below the program's own, instead of that one."""
    asks = "which files are public? they have to be moved into the directory that is served"
    for call in site.nodes(ast.Call):
        name = site.name_of(call.func).rsplit(".", 1)[-1]
        keyword = {"Flask": "static_folder", "StaticFiles": "directory", "add_static": "path"}.get(name, "")
        node = keyword_of(call, keyword) if keyword else None
        index = {"add_static": 1, "StaticFiles": 0, "send_from_directory": 0}.get(name)
        if node is None and index is not None and len(call.args) > index:
            node = call.args[index]
        if node is None:
            continue
        literal = (
            isinstance(node, ast.Constant) or "getcwd" in site.source(node) or "dirname" in site.source(node)
        )
        new = '"static"' if isinstance(node, ast.Constant) else f'{site.source(node)} / "static"'
        if literal and not isinstance(node, ast.Constant):
            new = f'os.path.join({site.source(node)}, "static")'
        imports = site.add_import("os") if new.startswith("os.path.") else ()
        edits = [site.replace(node, new)]
        index_flag = keyword_of(call, "show_index")
        if is_constant(index_flag, True) and index_flag is not None:
            edits.append(site.replace(index_flag, "False"))
        return [site.proposal("serves the directory static alone", *edits, *imports, decision=asks)]
    return []


def debug_class(site: Site) -> list[Proposal]:
    """The settings class without debug mode, from the same module as the one with it."""
    for call in site.calls(suffix=("from_object",)):
        if not call.args or not isinstance(call.args[0], ast.Name):
            continue
        name = call.args[0]
        owner = class_of(site, name.id)
        default = _default_of(site, name) if owner is None else None
        if default is not None:
            name, owner = default, class_of(site, default.id)
        if owner is None:
            continue
        where, node = owner
        for other in where.tree.body:
            off = isinstance(other, ast.ClassDef) and any(
                isinstance(item, ast.Assign)
                and _named(item.targets[0]) == "DEBUG"
                and is_constant(item.value, False)
                for item in other.body
            )
            if isinstance(other, ast.ClassDef) and off and other.name != node.name:
                edits = [site.replace(name, other.name)]
                if where.finding.path != site.finding.path:
                    edits += _same_from(site, name.id, other.name)
                asks = "how do developers ask for the debug settings from now on?"
                return [site.proposal(f"{other.name} instead of {node.name}", *edits, decision=asks)]
    return []


def _default_of(site: Site, node: ast.Name) -> ast.Name | None:
    function = site.function(node)
    if function is None:
        return None
    spec = function.args
    names = [*spec.posonlyargs, *spec.args]
    for arg, value in zip(names[len(names) - len(spec.defaults) :], spec.defaults, strict=True):
        if arg.arg == node.id and isinstance(value, ast.Name):
            return value
    return None


def _same_from(site: Site, old: str, new: str) -> list[Edit]:
    """`new` joins the import that `old` comes from, unless it stands there already."""
    for node in ast.walk(site.tree):
        if isinstance(node, ast.ImportFrom) and any(alias.name == old for alias in node.names):
            if any(alias.name == new for alias in node.names):
                return []
            return [site.insert(site.lines.span(node.names[-1])[1], f", {new}")]
    return []
