"""How does a command run without a shell, and text without being code (CWE-78, 94, 95)?"""

import ast
import re
import shlex

from veilig.repair.edit import Edit
from veilig.repair.recipes.proposal import Confidence, Proposal
from veilig.repair.recipes.weakness_site import Site, is_constant, keyword_of
from veilig.repair.recipes.weakness_template import Piece, is_composed, literal, origin, pieces

_SHELL_SIGNS = re.compile(r"[|&;<>$`*?~(){}\[\]\n!#\\]")
_SUBPROCESS = ("run", "call", "check_call", "check_output", "Popen")
_OPEN, _CLOSE = "\ue000", "\ue001"  # private use: marks where a value stands while the words are split


def without_shell(site: Site) -> list[Proposal]:
    """An argument list where the constant part needs no shell; else shlex.quote() around each value."""
    result: list[Proposal] = []
    for call in site.nodes(ast.Call):
        name = site.name_of(call.func)
        if not call.args or not _is_shell(name, call):
            continue
        source, named = origin(site, call.args[0])
        argument = call.args[0]
        if named and isinstance(argument, ast.Name) and site.uses_of(argument) != 1:
            continue
        found = pieces(source)
        words = _words(site, found)
        if words is not None:
            edits = _as_list(site, call, name, source, f"[{', '.join(words)}]", inline=not named)
            if edits:
                result.append(site.proposal("argument list instead of a shell", *edits))
        edits = quoted_words(site, source)
        if edits:
            result.append(_quoting(site, edits))
        if result:
            return result
    for where in site.trail():
        if where is site:
            continue
        for node in where.nodes(ast.JoinedStr, ast.BinOp, ast.Call):
            edits = quoted_words(where, node) if _is_command(node) else []
            if edits:
                return [_quoting(where, edits)]
    return []


def _quoting(site: Site, edits: list[Edit]) -> Proposal:
    title = "shell words quoted: the command needs its shell"
    return site.proposal(title, *edits, *site.add_import("shlex"), cost=2, confidence=Confidence.MEDIUM)


def _is_command(node: ast.expr) -> bool:
    """Text with a word and a blank before the first value: a program and its arguments."""
    found = pieces(node)
    return bool(found) and is_composed(found) and " " in found[0].text


def quoted_words(site: Site, node: ast.expr) -> list[Edit]:
    """Edits that put shlex.quote() around each value, in place of the quotes that stand around it.

    Empty when a value stands inside a longer quoted text, where quoting it would not protect.
    """
    found = pieces(node)
    if found is None or not is_composed(found):
        return []
    edits: list[Edit] = []
    open_quote = ""
    for index, piece in enumerate(found):
        if piece.value is None:
            open_quote = _open_quote(piece.text, open_quote)
            continue
        value = piece.value
        if isinstance(value, ast.Call) and site.name_of(value.func).rsplit(".", 1)[-1] in (
            "quote",
            "int",
            "float",
        ):
            continue
        after = found[index + 1].text if index + 1 < len(found) and found[index + 1].value is None else ""
        before = found[index - 1].text if index and found[index - 1].value is None else ""
        if open_quote:
            if before[-1:] != open_quote or after[:1] != open_quote:
                return []
            if not isinstance(node, ast.JoinedStr):
                return _rebuilt(site, node, found)
            stripped = _without_quotes(site, value)
            if not stripped:
                return []
            edits += stripped
        text = site.source(value)
        sure = piece.how == "+" or _is_text(site, value)
        edits.append(site.replace(value, f"shlex.quote({text})" if sure else f"shlex.quote(str({text}))"))
    return edits


def _rebuilt(site: Site, node: ast.expr, found: list[Piece]) -> list[Edit]:
    """The whole text joined anew with +, without the quotes around the values."""
    parts: list[str] = []
    for index, piece in enumerate(found):
        if piece.value is not None:
            source = site.source(piece.value)
            sure = piece.how == "+" or _is_text(site, piece.value)
            parts.append(f"shlex.quote({source})" if sure else f"shlex.quote(str({source}))")
            continue
        text = piece.text
        if index and text[:1] in ("'", '"'):
            text = text[1:]
        if index + 1 < len(found) and text[-1:] in ("'", '"'):
            text = text[:-1]
        if "'" in text or '"' in text:
            return []
        parts += [literal(text)] if text else []
    return [site.replace(node, " + ".join(parts))]


def _open_quote(text: str, state: str) -> str:
    for char in text:
        if char in "'\"":
            state = "" if state == char else (state or char)
    return state


def _without_quotes(site: Site, value: ast.expr) -> list[Edit]:
    """Edits that take away the quotes on both sides of a replacement field of an f-string."""
    start, end = site.lines.span(value)
    text = site.lines.text
    head = re.search(r"(\\?['\"])\{\s*$", text[:start])
    tail = re.match(r"\s*\}(\\?['\"])", text[end:])
    if head is None or tail is None or head[1] != tail[1]:
        return []
    path = site.finding.path
    first = Edit(path, head.start(1), head.end(1), "")
    return [first, Edit(path, end + tail.start(1), end + tail.end(1), "")]


def _is_shell(name: str, call: ast.Call) -> bool:
    if name in ("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"):
        return True
    if name == "asyncio.create_subprocess_shell":
        return True
    known = name.startswith("subprocess.") and name.rsplit(".", 1)[-1] in _SUBPROCESS
    return known and is_constant(keyword_of(call, "shell"), True)


def _words(site: Site, found: list[Piece] | None) -> list[str] | None:
    """Source of each word of the command; None when a shell is needed to read it."""
    if found is None:
        return None
    marked = ""
    values: list[Piece] = []
    for piece in found:
        if piece.value is None:
            if _SHELL_SIGNS.search(piece.text):
                return None
            marked += piece.text
        else:
            marked += f"{_OPEN}{len(values)}{_CLOSE}"
            values.append(piece)
    try:
        words = shlex.split(marked)
    except ValueError:
        return None
    # A program that comes from outside stays dangerous without a shell, too.
    if not words or words[0].startswith(_OPEN) or "=" in words[0]:
        return None
    shown = [_word(site, word, values) for word in words]
    first = next((i for i, word in enumerate(words) if _OPEN in word), len(words))
    rest = [word for word in words[first:] if word.startswith("-")]
    if knows_end_of_options(words[0], words[1] if len(words) > 1 else "") and not rest and "--" not in words:
        shown.insert(first, '"--"')
    return shown


def knows_end_of_options(program: str, second: str = "") -> bool:
    """Whether the program takes `--` as the end of its options, in the place where a value usually stands."""
    name = program.rpartition("/")[2]
    git = name == "git" and second in ("clone", "add", "rm", "ls-remote", "fetch", "push", "init")
    return git or name in ("tar", "grep", "rm", "cp", "mv", "cat", "sort", "less", "gpg", "sed", "unzip")


def _word(site: Site, word: str, values: list[Piece]) -> str:
    parts = re.split(rf"{_OPEN}(\d+){_CLOSE}", word)
    if len(parts) == 1:
        return literal(word)
    rendered = [_value(site, values[int(part)]) if index % 2 else part for index, part in enumerate(parts)]
    if len(parts) == 3 and not parts[0] and not parts[2]:
        return rendered[1]
    return " + ".join(text if index % 2 else literal(text) for index, text in enumerate(rendered) if text)


def _value(site: Site, piece: Piece) -> str:
    assert piece.value is not None
    source = site.source(piece.value)
    return source if piece.how == "+" or _is_text(site, piece.value) else f"str({source})"


def _is_text(site: Site, node: ast.expr) -> bool:
    """Whether a value is certainly a str: from a request, the command line, or annotated as one."""
    value, _ = origin(site, node)
    if isinstance(value, ast.JoinedStr) or (isinstance(value, ast.Constant) and isinstance(value.value, str)):
        return True
    if isinstance(value, ast.Subscript):
        value = value.value
    name = site.name_of(value.func if isinstance(value, ast.Call) else value)
    if re.search(r"(^|\.)request\.|^sys\.argv|^os\.environ|^input$|^str$", name):
        return True
    function = site.function(node)
    if isinstance(node, ast.Name) and function is not None:
        for arg in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs):
            if arg.arg == node.id:
                return isinstance(arg.annotation, ast.Name) and arg.annotation.id == "str"
    return False


def _as_list(
    site: Site, call: ast.Call, name: str, source: ast.expr, argv: str, *, inline: bool
) -> list[Edit]:
    edits = [] if inline else [site.replace(source, argv)]
    shown = argv if inline else site.source(call.args[0])
    if (name.startswith("subprocess.") and not name.endswith("output")) or name == "subprocess.check_output":
        edits += [site.replace(source, argv)] if inline else []
        return [*edits, *_drop_keyword(site, call, "shell")]
    imported = list(site.add_import("subprocess"))
    if name == "asyncio.create_subprocess_shell":
        start, end = site.lines.span(call.func)
        renamed = site.lines.text[start:end].replace("create_subprocess_shell", "create_subprocess_exec")
        if renamed == site.lines.text[start:end] or "." not in renamed:
            return []
        flat = shown[1:-1] if inline else f"*{shown}"
        return [*edits, Edit(site.finding.path, start, end, renamed), site.replace(call.args[0], flat)]
    parent = site.parents.get(call)
    captured = f"subprocess.run({shown}, capture_output=True, text=True, check=False).stdout"
    if name == "os.system":
        plain = f"subprocess.run({shown}, check=False)"
        code = plain if isinstance(parent, ast.Expr) else f"{plain}.returncode"
        return [*edits, site.replace(call, code), *imported]
    if name == "subprocess.getoutput":
        return [*edits, site.replace(call, f'{captured}.rstrip("\\n")'), *imported]
    outer = site.parents.get(parent) if isinstance(parent, ast.Attribute) and parent.attr == "read" else None
    if name == "os.popen" and isinstance(outer, ast.Call) and not outer.args:
        return [*edits, site.replace(outer, captured), *imported]
    return []


def _drop_keyword(site: Site, call: ast.Call, name: str) -> list[Edit]:
    for item in call.keywords:
        if item.arg == name:
            start, end = site.lines.span(item)
            before = site.lines.text[:start].rstrip()
            cut = len(before) - 1 if before.endswith(",") else start
            return [Edit(site.finding.path, cut, end, "")]
    return []


def literal_eval(site: Site) -> list[Proposal]:
    """ast.literal_eval() for eval() of one argument; nothing stands in for the other calls that run text."""
    for call in site.calls("eval", "builtins.eval"):
        if len(call.args) == 1 and not call.keywords and not is_composed(pieces(call.args[0])):
            edits = [site.replace(call.func, "ast.literal_eval"), *site.add_import("ast")]
            return [site.proposal("eval -> ast.literal_eval", *edits)]
    return []
