"""Which bracket, quote, comma or single token is missing or too much?"""

import re
from collections.abc import Iterator

from veilig.repair.edit import LineMap
from veilig.repair.recipes.syntax_change import (
    CLOSERS,
    Change,
    Trouble,
    code_end,
    indent_of,
    lexemes,
    unclosed,
)

LINES_AHEAD = 30  # how far below its start an unclosed bracket or string is followed
GAPS_MAX = 14
_STATEMENT = re.compile(
    r"\s*(?:def|class|return|import|from|if|for|while|with|try|raise|assert|async|del|@\w|[\w.\[\]]+(?:\s*:[^=]+)?\s*=[^=])"
)


def token_changes(lines: LineMap, trouble: Trouble) -> Iterator[Change]:
    """Quotes and brackets by the message, then any single token near the error."""
    message = trouble.message
    at = lines.line_start(trouble.line) + trouble.column
    if "unterminated triple-quoted" in message:
        yield from _close_triple(lines, at)
    elif "unterminated" in message:
        yield from _close_quote(lines, trouble, at)
    yield from _quote_mix(lines, trouble.line)
    yield from _close_bracket(lines, trouble, at)
    if "unmatched" in message or "does not match" in message:
        yield from _stray_closer(lines, at)
    named = re.search(r"closing parenthesis '.' does not match opening parenthesis '([(\[{])'", message)
    if named:  # the message sees inside f-strings, where our own reading of a damaged line does not
        closer = CLOSERS[named[1]]
        yield Change(1.2, f"closes the bracket with {closer}", ((at, at, closer),))
    yield from _commas(lines, trouble)
    yield from _any_token(lines, trouble, at)


def _close_quote(lines: LineMap, trouble: Trouble, at: int) -> Iterator[Change]:
    quote_at = at
    while quote_at < len(lines.text) and lines.text[quote_at] not in "'\"":
        quote_at += 1
    quote = lines.text[quote_at : quote_at + 1]
    end = lines.line_end(trouble.line)
    row = lines.text[quote_at + 1 : end]
    if not quote:
        return
    tail = len(row)
    yield Change(1.6, "closes the string", ((quote_at + 1 + tail, quote_at + 1 + tail, quote),))
    stripped = row.rstrip()
    rank = 0
    while stripped and (stripped[-1] in ")]},:;" or stripped[-1].isspace()):
        stripped = stripped[:-1].rstrip()
        place = quote_at + 1 + len(stripped)
        rank += 1
        balanced = lines.text[place:end].strip().lstrip(",")
        cost = 1.0 + 0.1 * rank if balanced else 1.5
        yield Change(cost, "closes the string", ((place, place, quote),))
    for match in re.finditer(r"[,)\]}:+]| (?:if|for|and|or|in|%|\+) ", row):
        place = quote_at + 1 + match.start()
        yield Change(1.9, "closes the string", ((place, place, quote),))
    other = "'" if quote == '"' else '"'
    for index, char in enumerate(row):
        if char == other:
            place = quote_at + 1 + index
            yield Change(1.2, "closes the string with the same quote", ((place, place + 1, quote),))
            yield Change(1.3, "opens the string with the same quote", ((quote_at, quote_at + 1, other),))
    yield Change(2.6, "removes the stray quote", ((quote_at, quote_at + 1, ""),))
    # The stray quote may be the closing one of a string that was never opened.
    before = lines.text[lines.line_start(trouble.line) : quote_at]
    word = re.search(r"[\w ./:-]*$", before)
    if word and word.group().strip():
        place = lines.line_start(trouble.line) + word.start() + len(word.group()) - len(word.group().lstrip())
        yield Change(1.7, "opens the string", ((place, place, quote),))
        last = re.search(r"[\w./:-]+$", before)
        if last:
            place = lines.line_start(trouble.line) + last.start()
            yield Change(1.6, "opens the string", ((place, place, quote),))


def _quote_mix(lines: LineMap, line: int) -> Iterator[Change]:
    """'it's' : the outer quotes become the other kind, or the inner one is escaped."""
    start, end = lines.line_start(line), lines.line_end(line)
    row = lines.text[start:end]
    for quote, other in (("'", '"'), ('"', "'")):
        places = [start + index for index, char in enumerate(row) if char == quote]
        if len(places) < 3:
            continue
        for first in range(len(places) - 2):
            for last in range(first + 2, min(len(places), first + 6)):
                inside = lines.text[places[first] + 1 : places[last]]
                if other not in inside:
                    spans = (
                        (places[first], places[first] + 1, other),
                        (places[last], places[last] + 1, other),
                    )
                    yield Change(1.4 + 0.1 * (last - first), "changes the outer quotes", spans)
        for place in places[1:-1]:
            yield Change(1.8, "escapes the quote", ((place, place, "\\"),))


def _close_triple(lines: LineMap, at: int) -> Iterator[Change]:
    match = re.compile(r"'''|\"\"\"").search(lines.text, at)
    if not match:
        return
    quote = match.group()
    opening = lines.position(match.start())[0]
    indent = indent_of(lines.line_text(opening))
    code_seen = 0
    for row in range(opening, min(opening + LINES_AHEAD, len(lines.starts)) + 1):
        text = lines.line_text(row)
        if row > opening and _STATEMENT.match(text):
            code_seen += 1
        if row > opening and not text.strip():
            continue
        place = lines.line_end(row)
        cost = (1.0 if row == opening else 1.1) + 0.3 * code_seen
        cost -= 0.2 if _before_statement(lines, row) and not code_seen else 0
        yield Change(cost, "closes the triple-quoted string", ((place, place, quote),))
        if row > opening:
            start = lines.line_start(row)
            yield Change(
                cost + 0.1, "closes the triple-quoted string", ((start, start, f"{indent}{quote}\n"),)
            )
    end = len(lines.text)
    yield Change(2.0, "closes the triple-quoted string at the end of the file", ((end, end, quote + "\n"),))
    yield Change(2.4, "removes the stray triple quote", ((match.start(), match.end(), ""),))


def _before_statement(lines: LineMap, row: int) -> bool:
    for below in range(row + 1, len(lines.starts) + 1):
        if lines.line_text(below).strip():
            return bool(_STATEMENT.match(lines.line_text(below)))
    return True


def _close_bracket(lines: LineMap, trouble: Trouble, at: int) -> Iterator[Change]:
    upto = lines.line_end(max(trouble.line, trouble.end_line))
    opens = unclosed(lines.text, upto)
    if "never closed" in trouble.message:
        opens = [*opens, *(token for token in lexemes(lines.text, at, at + 1) if token.lastgroup == "open")]
    seen: set[int] = set()
    for token in reversed(opens[-3:]):
        if token.start() in seen:
            continue
        seen.add(token.start())
        closer = CLOSERS[token.group()]
        opening = lines.position(token.start())[0]
        indent = len(indent_of(lines.line_text(opening)))
        for rank, row in enumerate(range(opening, min(opening + LINES_AHEAD, len(lines.starts)) + 1)):
            text = lines.line_text(row)
            if row > opening and text.strip() and len(indent_of(text)) <= indent and _STATEMENT.match(text):
                break
            if not text.strip():
                continue
            last = _before_statement(lines, row)
            yield from _closer_places(lines, row, token.start(), closer, 1.0 if last else 1.3 + 0.02 * rank)


def _closer_places(lines: LineMap, row: int, opened: int, closer: str, cost: float) -> Iterator[Change]:
    start = max(lines.line_start(row), opened)
    end = code_end(lines.text, start, lines.line_end(row))
    title = f"closes the bracket with {closer}"
    tail = lines.text[start:end]
    if tail.endswith(":"):
        yield Change(cost, title, ((end - 1, end - 1, closer),))
        yield Change(cost + 0.5, title, ((end, end, closer),))
    elif tail.endswith((",", "\\")):
        yield Change(cost + 0.2, title, ((end - 1, end - 1, closer),))
        yield Change(cost + 0.3, title, ((end, end, closer),))
        yield Change(cost + 0.4, title, ((end - 1, end, closer),))
    else:
        yield Change(cost, title, ((end, end, closer),))
        if tail.rstrip().endswith((")", "]", "}")):
            yield Change(cost + 0.4, title, ((end - 1, end - 1, closer),))
    for match in re.finditer(r" (?:if|for|and|or|in|is|not|else|as) |[,:=+\-*/%<>.)\]}]", tail):
        place = start + match.start()
        yield Change(cost + 0.8, title, ((place, place, closer),))


def _stray_closer(lines: LineMap, at: int) -> Iterator[Change]:
    found = next((token for token in lexemes(lines.text, at, at + 2) if token.lastgroup == "close"), None)
    if found is None:
        return
    span = (found.start(), found.end())
    yield Change(1.1, f"removes the stray {found.group()}", ((*span, ""),))
    opens = unclosed(lines.text, found.start())
    if opens:
        closer = CLOSERS[opens[-1].group()]
        if closer != found.group():
            yield Change(1.0, f"{found.group()} -> {closer}", ((*span, closer),))
            yield Change(1.3, f"closes the bracket with {closer}", ((found.start(), found.start(), closer),))
            opener = next(key for key, value in CLOSERS.items() if value == found.group())
            change = (opens[-1].start(), opens[-1].end(), opener)
            yield Change(1.1, f"{opens[-1].group()} -> {opener}", (change,))


def _commas(lines: LineMap, trouble: Trouble) -> Iterator[Change]:
    """A comma between two elements: inside the reported range, and at the ends of its lines."""
    start = lines.line_start(trouble.line) + trouble.column
    end = lines.line_start(trouble.end_line) + trouble.end_column
    hinted = "comma" in trouble.message
    previous = None
    for token in lexemes(lines.text, start, max(end, start)):
        if token.lastgroup in ("space", "comment", "newline"):
            continue
        if previous is not None and previous.end() < token.start() and hinted:
            crosses = "\n" in lines.text[previous.end() : token.start()]
            cost = 0.9 if crosses else 1.0
            yield Change(cost, "adds the missing comma", ((previous.end(), previous.end(), ","),))
        previous = token
    for row in range(max(trouble.line - 1, 1), trouble.end_line + 1):
        place = code_end(lines.text, lines.line_start(row), lines.line_end(row))
        if place > lines.line_start(row) and lines.text[place - 1] not in ",([{:":
            yield Change(1.4 if hinted else 2.2, "adds the missing comma", ((place, place, ","),))


def _any_token(lines: LineMap, trouble: Trouble, at: int) -> Iterator[Change]:
    first = lines.line_start(max(trouble.line - 1, 1))
    tokens = [
        token
        for token in lexemes(lines.text, first, lines.line_end(trouble.line))
        if token.lastgroup not in ("space", "newline", "comment")
    ]
    tokens.sort(key=lambda token: abs(token.start() - at))
    for rank, token in enumerate(tokens[:GAPS_MAX]):
        far = 0.15 * rank
        for piece in (",", ":", ")", "]", "}", "(", "=", ".", "[", "{", "+"):
            yield Change(3.0 + far, f"adds {piece}", ((token.start(), token.start(), piece),))
            if piece in ",:)]}":
                yield Change(3.1 + far, f"adds {piece}", ((token.end(), token.end(), piece),))
        if token.lastgroup != "string":
            yield Change(3.6 + far, f"removes {token.group()}", ((token.start(), token.end(), ""),))
