"""Which edit of the line that fails, or of the one above, may repair a syntax error?"""

import keyword
import re
from collections.abc import Callable, Iterator

from veilig.repair.edit import LineMap
from veilig.repair.recipes.nearest import distance
from veilig.repair.recipes.syntax_change import Change, Trouble, code_end, lexemes

_HEADER = re.compile(
    r"\s*(?:async\s+)?(?:if|elif|else|for|while|def|class|try|except|finally|with|match|case)\b"
)
_KEYWORDS = frozenset(keyword.kwlist) - {"True", "False", "None"}
_Rewrite = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str], float, str]
_REWRITES: tuple[_Rewrite, ...] = tuple(
    (re.compile(pattern), new, cost, title)
    for pattern, new, cost, title in (
        (r"^(\s*)else\s+if\b", r"\1elif", 1.0, "else if -> elif"),
        (r"^(\s*)(?:elseif|elsif|elsefi|elfi)\b", r"\1elif", 1.0, "elif misspelt"),
        (r"^(\s*)([\w.\[\]]+)\s*\+\+\s*;?", r"\1\2 += 1", 1.0, "++ -> += 1"),
        (r"^(\s*)([\w.\[\]]+)\s*--\s*;?\s*$", r"\1\2 -= 1", 1.0, "-- -> -= 1"),
        (r"&&", "and", 1.2, "&& -> and"),
        (r"\s*&&\s*", " and ", 1.1, "&& -> and"),
        (r"\s*\|\|\s*", " or ", 1.1, "|| -> or"),
        (r"!(?=[\w(])", "not ", 1.2, "! -> not"),
        (r"===", "==", 1.0, "=== -> =="),
        (r"!==", "!=", 1.0, "!== -> !="),
        (r"<>", "!=", 1.0, "<> -> !="),
        (r"=<", "<=", 1.1, "=< -> <="),
        (r"=>", ">=", 1.1, "=> -> >="),
        (r"=>", ":", 1.6, "=> -> :"),
        (r"^(\s*)(?:function|func|fn|fun|sub)\s+(?=\w+\s*\()", r"\1def ", 1.0, "function -> def"),
        (r"^(\s*)(async\s+)?def\s+(\w+)\s*:", r"\1\2def \3():", 1.0, "adds the missing parameter list"),
        (r"^(\s*)(?:catch)\b", r"\1except", 1.2, "catch -> except"),
        (r"^(\s*)(?:let|const|var)\s+(?=\w+\s*=)", r"\1", 1.2, "removes the declaration keyword"),
        (r"\bnew\s+(?=[\w.]+\s*\()", "", 1.2, "removes new"),
        (r"^(\s*for\s+[\w, ()]+?)\s+(?:of|on|im|ni|=)\s+", r"\1 in ", 1.0, "for ... in"),
        (r"^(\s*)exec\s+(.+?)(\s*)$", r"\1exec(\2)\3", 1.4, "exec statement -> call"),
        (r"^(\s*)raise\s+([\w.]+)\s*,\s*(.+?)(\s*)$", r"\1raise \2(\3)\4", 1.1, "raise E, x -> raise E(x)"),
        (r"^(\s*except\s+)([\w.]+|\([^)]*\))\s*,\s*(\w+)\s*:", r"\1\2 as \3:", 1.0, "except E, e -> as e"),
        (r"`([^`]+)`", r"repr(\1)", 1.2, "backticks -> repr()"),
        (r"\b0+([1-7][0-7]*)\b(?!\.)", r"0o\1", 1.2, "octal literal with 0o"),
        (r"(?<![\w.])0+([1-9]\d*)\b", r"\1", 1.4, "leading zeros removed"),
        (r"\b(\d+)[lL]\b", r"\1", 1.0, "long literal suffix removed"),
        (r"\b[uU][rR](?=['\"])", "r", 1.0, "ur string prefix -> r"),
        (r"\\[ \t]+$", r"\\", 1.0, "space after the backslash removed"),
        (
            r"^(\s*)(import\s+[\w.]+)\s+(from\s+[\w.]+)\s*$",
            r"\1\3 \2",
            1.1,
            "import x from y -> from y import x",
        ),
        (r"^(\s*class\s+\w+)\s*\(\s*:", r"\1:", 1.1, "class header"),
        (r"^(\s*)(?:then|begin|end|\})\s*;?\s*$", "", 1.8, "removes a foreign block word"),
        (r"\s*\{\s*$", ":", 1.8, "{ -> :"),
        (r"\?\s*([^:]+?)\s*:\s*", r"if \1 else ", 2.6, "conditional expression"),
        (r"::", ":", 1.2, ":: -> :"),
        (r":\s*:", ":", 1.2, "double colon"),
        (r"\.\.(?!\.)", ".", 1.2, ".. -> ."),
        (r",\s*,", ",", 1.2, "double comma"),
        (r"^(\s*)//(.*)$", r"\1#\2", 1.2, "// -> # comment"),
        (r"\s//\s(.*)$", r"  # \1", 1.9, "// -> # comment"),
        (r";\s*$", "", 1.4, "semicolon removed"),
        (r"^(\s*)(?:>>> |\.\.\. |\$ |[-+] )", r"\1", 1.6, "prompt or diff sign removed"),
        (r"^```.*$", "", 1.0, "code fence removed"),
        (r"\{\s*\}'", "{}'", 2.5, "format braces"),
    )
)


def line_changes(lines: LineMap, trouble: Trouble) -> Iterator[Change]:
    """Candidates for the failing line and the nearest code line above it."""
    rows = [trouble.line]
    for above in range(trouble.line - 1, 0, -1):
        if lines.line_text(above).strip():
            rows.append(above)
            break
    if trouble.end_line not in rows:
        rows.append(trouble.end_line)
    for rank, row in enumerate(rows):
        for change in _for_line(lines, row, trouble):
            yield Change(change.cost + 0.6 * rank, change.title, change.spans)
    yield from _print_statements(lines, trouble.line)


def _for_line(lines: LineMap, row: int, trouble: Trouble) -> Iterator[Change]:
    start, end = lines.line_start(row), lines.line_end(row)
    text = lines.text[start:end]
    if _HEADER.match(text):
        at = code_end(lines.text, start, end)
        if not lines.text[:at].endswith(":"):
            yield Change(1.0, "adds the missing colon", ((at, at, ":"),))
            if lines.text[at - 1 : at] in (";", ",", ".", "=", "{"):
                yield Change(1.2, "adds the missing colon", ((at - 1, at, ":"),))
        yield from _single_equals(lines, start, end)
    elif "expected ':'" in trouble.message and row == trouble.line:
        at = start + trouble.column
        yield Change(0.9, "adds the missing colon", ((at, at, ":"),))
    if "==" in trouble.message and row == trouble.line:
        yield from _single_equals(lines, start, end)
    if "==" in text and re.match(r"\s*[\w.]+\s*==", text):
        at = start + text.index("==")
        yield Change(2.4, "== -> =", ((at, at + 2, "="),))
    for pattern, new, cost, title in _REWRITES:
        changed = pattern.sub(new, text)
        if changed != text:
            yield Change(cost, title, ((start, end, changed),))
    yield from _keyword_slips(lines, start, end)
    yield from _gaps_after_keyword(lines, start, end)
    if "f-string" in trouble.message:
        yield from _fstring(lines, start, end)


def _single_equals(lines: LineMap, start: int, end: int) -> Iterator[Change]:
    for token in lexemes(lines.text, start, end):
        if token.group() == "=":
            yield Change(1.0, "= -> == in a condition", ((token.start(), token.end(), "=="),))


def _keyword_slips(lines: LineMap, start: int, end: int) -> Iterator[Change]:
    for token in lexemes(lines.text, start, end):
        word = token.group()
        if token.lastgroup != "word" or word in _KEYWORDS or len(word) < 2:
            continue
        for known in sorted(_KEYWORDS):
            limit = 1 if len(known) < 5 else 2
            gap = distance(word.lower(), known, limit=limit)
            swapped = sorted(word.lower()) == sorted(known)
            if (gap <= limit or swapped) and (gap < len(known) - 1 or swapped):
                cost = 1.0 + 0.4 * min(gap, 2) + (0 if swapped else 0.3) + (0.4 if len(word) < 3 else 0)
                yield Change(cost, f"{word} -> {known}", ((token.start(), token.end(), known),))
        for known in (
            "return",
            "import",
            "def",
            "class",
            "elif",
            "if",
            "for",
            "while",
            "from",
            "not",
            "raise",
        ):
            rest = word.removeprefix(known)
            if rest and rest != word:
                at = token.start() + len(known)
                yield Change(1.8, f"{word} -> {known} {rest}", ((at, at, " "),))


def _gaps_after_keyword(lines: LineMap, start: int, end: int) -> Iterator[Change]:
    """`for x items:` without `in`, `import a b` without a comma or `as`."""
    match = re.match(r"\s*for\s+\w+(?:\s*,\s*\w+)*(?=\s+[\w(\[])", lines.text[start:end])
    if match and not re.match(r"\s+in\b", lines.text[start + match.end() : end]):
        at = start + match.end()
        yield Change(1.2, "adds the missing in", ((at, at, " in"),))


def _fstring(lines: LineMap, start: int, end: int) -> Iterator[Change]:
    for match in re.finditer(r"[{}]", lines.text[start:end]):
        at = start + match.start()
        yield Change(1.6, f"doubles {match.group()} in an f-string", ((at, at, match.group()),))
        yield Change(1.7, f"removes {match.group()} from an f-string", ((at, at + 1, ""),))
    for match in re.finditer(r"\{[^{}'\"]*(?=['\"])", lines.text[start:end]):
        at = start + match.end()
        yield Change(1.2, "closes the brace of an f-string", ((at, at, "}"),))
    for match in re.finditer(r"\{(?:(?!\{)[^}])*$|\{[^{}]*\w(?=\W)", lines.text[start:end]):
        at = start + match.end()
        yield Change(1.8, "closes the brace of an f-string", ((at, at, "}"),))


_PRINT = re.compile(
    r"^(?P<indent>[ \t]*)print[ \t]+(?![ \t]*[=(])(?P<what>[^#\n\r]*?)(?P<tail>[ \t]*(?:#[^\n\r]*)?)$",
    re.MULTILINE,
)
_PRINT_PAREN = re.compile(
    r"^(?P<indent>[ \t]*)print[ \t]+(?P<what>\([^#\n\r]*?)(?P<tail>[ \t]*(?:#[^\n\r]*)?)$", re.MULTILINE
)


def _print_call(match: re.Match[str]) -> str:
    what, extra = match["what"], ""
    stream = re.match(r">>\s*([\w.]+)\s*,?\s*", what)
    if stream:
        what, extra = what[stream.end() :], f"file={stream[1]}"
    if what.endswith(","):
        what, extra = what[:-1].rstrip(), ", ".join(filter(None, (extra, 'end=" "')))
    return f"{match['indent']}print({', '.join(filter(None, (what, extra)))}){match['tail']}"


def _print_statements(lines: LineMap, line: int) -> Iterator[Change]:
    text = lines.text
    for pattern in (_PRINT, _PRINT_PAREN):
        if pattern.search(text):
            every = pattern.sub(_print_call, text)
            yield Change(1.1, "print statements -> print()", ((0, len(text), every),))
            start, end = lines.line_start(line), lines.line_end(line)
            one = pattern.sub(_print_call, text[start:end])
            if one != text[start:end]:
                yield Change(1.0, "print statement -> print()", ((start, end, one),))
