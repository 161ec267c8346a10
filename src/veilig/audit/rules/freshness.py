"""Rules for what must hold once or for a while: expiry, one-time tokens, numbers of messages, first times."""

import ast
import re
from collections.abc import Iterator

from veilig.audit.engine.needles import search
from veilig.audit.engine.source import dotted
from veilig.audit.finding import Confidence, Severity
from veilig.audit.rules.rule import Rule
from veilig.audit.rules.sketch import FunctionSketch, Sketch, constants, last_name
from veilig.audit.rules.slices import called, tests_in, words_in

type Marks = Iterator[tuple[ast.AST, Confidence]]

_EXPIRY = re.compile(
    r"(?i)^(expires?(_at|_on)?|expiry|expiration|valid_(until|to)|not_after|exp|ends_at|valid_till)$"
)
_SPEAKS_OF_TIME = re.compile(
    r"(?i)expir|valid_(until|to|till)|not_after|ends_at|max_age|\bttl\b|\bage\b|\bexp\b|is_valid|fresh"
)
_LOOKS_UP = re.compile(
    r"(?i)^_*((get|find|load|resolve|lookup|read|fetch)_?(user|session|token|key|account|owner|caller|"
    r"client|by_token|"
    r"by_key)?\w*|authenticate\w*|verify\w*|check\w*|validate\w*|redeem\w*|who\w*|current_\w+|"
    r"user_for\w*|accept\w*)$"
)
_CREDENTIAL = re.compile(
    r"(?i)^(plain|raw|presented|given)?_?(token|api_?key|code|secret|session_?id|sid|digest|"
    r"ticket|invite|link)$"
)
_QUERIES = re.compile(
    r"\.(get|first|one|one_or_none|scalar\w*|find_one|fetchone|fetchrow|filter|filter_by|execute|select)\("
)
_NUMBER = re.compile(
    r"(?i)^(counter|nonce|seq|sequence|seq_no|msg_id|message_id|timestamp|ts|jti|serial|sent_at|number)$"
)
_KEEPS = re.compile(r"(?i)(^|\.)(store|save|set|put|update|remember|record|keep)\w*$")
_VERIFIED = re.compile(
    r"(?i)compare_digest|\.verify\(|verify_\w+\(|genuine|authentic|check_mac|valid_mac|signature|\bhmac\b"
)
_CONSUMES = re.compile(
    r"(?i)delete|\bused\b|used_at|consume|\.pop\(|remove|invalidate|revoke|getdel|expire\(|spent|"
    r"redeemed|burn|"
    r"= None\b|=None\b|check_token\(|signer|serializer|jwt\."
)
_SETS_PASSWORD = re.compile(
    r"(?i)set_password\(|hash_password\(|generate_password_hash\(|make_password\(|hashpw\(|"
    r"set +\w*(password|pw|hash)\w* *="
)


def _expiry_unasked(sketch: Sketch) -> Marks:
    """A record has an end, and who takes it by its token does not look at it."""
    stored = {name for name in _stored_names(sketch) if _EXPIRY.match(name)}
    if not stored:
        return
    for function in sketch.functions:
        if not _LOOKS_UP.match(function.name) or not any(map(_CREDENTIAL.match, function.parameters)):
            continue
        if not search(_QUERIES, function.body) or search(_SPEAKS_OF_TIME, function.body):
            continue
        made = {dotted(call.func).rpartition(".")[2] for call in function.calls()}
        if made & {"delete", "add", "create", "insert", "issue", "revoke", "insert_one"}:
            continue
        further = " ".join(
            ast.unparse(n) for n in called(sketch, function) if isinstance(n, ast.Compare | ast.Call)
        )
        answers = any(
            isinstance(n, ast.Return) and n.value is not None for n in function.own_each(ast.Return)
        )
        if answers and not _SPEAKS_OF_TIME.search(further):
            yield function.node, Confidence.POSSIBLE


def _stored_names(sketch: Sketch) -> Iterator[str]:
    """Fields of classes, keywords of records that are made, and columns of tables in this module."""
    for node in sketch.each(ast.ClassDef, ast.Call):
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                targets = item.targets if isinstance(item, ast.Assign) else []
                targets = [item.target] if isinstance(item, ast.AnnAssign) else targets
                yield from map(last_name, targets)
        elif isinstance(node, ast.Call):
            if dotted(node.func).rpartition(".")[2][:1].isupper():
                yield from (keyword.arg or "" for keyword in node.keywords)
            if dotted(node.func).rpartition(".")[2].startswith("execute"):
                for text in constants(node):
                    if re.match(r"(?i)\s*(insert|create table)", text):
                        yield from re.findall(r"\b\w+\b", text)


def _replayed(sketch: Sketch) -> Marks:
    """The number of a genuine message is stored, and nobody asks whether it is newer than the last."""
    for function in sketch.functions:
        if not search(_VERIFIED, function.body):
            continue
        for name, node in _kept_numbers(function):
            compared = {word for test in tests_in(function) for word in words_in(list(ast.walk(test)))}
            inside = [
                other
                for other in called(sketch, function)
                if isinstance(other, ast.Compare) and name in ast.unparse(other)
            ]
            if name not in compared and not inside and not search(r"nx=True|setnx|add\(", function.body):
                yield node, Confidence.POSSIBLE


def _kept_numbers(function: FunctionSketch) -> Iterator[tuple[str, ast.AST]]:
    """The number of a message where it is put away: `state["last"] = msg["counter"]`."""
    for node in function.own_each(ast.Assign, ast.Expr):
        values: list[ast.expr] = []
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute | ast.Subscript):
            values = [node.value]
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            values = node.value.args if _KEEPS.search(dotted(node.value.func)) else []
        for value in values:
            name = last_name(value) if isinstance(value, ast.Attribute | ast.Subscript) else ""
            if _NUMBER.match(name):
                yield name, node


def _again_and_again(sketch: Sketch) -> Marks:
    """A token is looked up and a password set, and the token stays as it was."""
    for function in sketch.functions:
        if not search(r"(?i)token|code|digest|fingerprint|\bfp\b", function.body):
            continue
        sets = search(_SETS_PASSWORD, function.body)
        named = search(r"(?i)reset|recover|forgot|confirm", function.text)
        stored = any(
            re.search(r"(?i)select\b.*\bfrom\s+\w*(reset|token|code|recover)", text)
            for call in function.calls()
            for text in constants(call)
        ) or search(
            r"(?i)(reset|token|code|recover)\w*\.(query|objects)\b|\((\w*Reset\w*|\w*Token)\)", function.body
        )
        if sets and named and stored and not search(_CONSUMES, function.body):
            deeper = " ".join(ast.unparse(n) for n in called(sketch, function) if isinstance(n, ast.Call))
            if not re.search(r"(?i)delete|consume|used|invalidate|revoke", deeper):
                yield function.node, Confidence.POSSIBLE


def _first_time(sketch: Sketch) -> Marks:
    """A method tells whether it was the first time, and nobody listens."""
    for function in sketch.functions:
        for node in function.own_each(ast.Expr):
            if not isinstance(node, ast.Expr):
                continue
            call = node.value.value if isinstance(node.value, ast.Await) else node.value
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute | ast.Name):
                continue
            name = dotted(call.func).rpartition(".")[2] or last_name(call.func)
            found = sketch.program.functions.only(name)
            if found is not None and found is not function.node and _tells_rows(found):
                yield node, Confidence.POSSIBLE


def _tells_rows(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Every answer compares the number of rows that changed."""
    returned = [n.value for n in ast.walk(node) if isinstance(n, ast.Return)]
    return bool(returned) and all(
        isinstance(value, ast.Compare)
        and re.search(
            r"rowcount|modified_count|matched_count|upserted|'(UPDATE|INSERT|DELETE)\b", ast.unparse(value)
        )
        for value in returned
    )


UNASKED = Rule(
    id="expiry-never-asked",
    cwe=613,
    title="expiry stored and never asked",
    severity=Severity.MEDIUM,
    what="a record has an end, and who takes it by its token does not look at it",
    why="CWE-613: what was given for a while is valid for ever",
    advice="put the end into the query, or compare it with now",
    silent="functions that look at the end themselves or call one that does",
    shape=_expiry_unasked,
    bad="from .models import Key\ndef make(db, digest, until):\n"
    "    db.add(Key(digest=digest, expires_at=until))\n"
    "def authenticate(db, token):\n    row = db.query(Key).filter_by(digest=token).first()\n"
    "    return row.user if row else None\n",
    good="from .models import Key\ndef make(db, digest, until):\n"
    "    db.add(Key(digest=digest, expires_at=until))\n"
    "def authenticate(db, token, now):\n    row = db.query(Key).filter_by(digest=token).first()\n"
    "    return row.user if row and row.expires_at > now else None\n",
)

REPLAY = Rule(
    id="message-replayed",
    cwe=294,
    title="message accepted again",
    severity=Severity.MEDIUM,
    what="the number of a genuine message is stored, and nobody asks whether it is new",
    why="CWE-294: who heard the message once says it again (CWE-345)",
    advice="refuse numbers that are not above the last one",
    silent="numbers that are compared",
    shape=_replayed,
    bad="import hmac\ndef on(raw, mac, tag, state, msg):\n    if not hmac.compare_digest(mac, tag):\n"
    "        return\n    state['last'] = msg['counter']\n    go(msg)\ndef go(m): ...\n",
    good="import hmac\ndef on(raw, mac, tag, state, msg):\n    if not hmac.compare_digest(mac, tag):\n"
    "        return\n    if msg['counter'] <= state['last']:\n        return\n"
    "    state['last'] = msg['counter']\n    go(msg)\ndef go(m): ...\n",
)

ONE_TIME = Rule(
    id="reset-token-kept",
    cwe=640,
    title="reset token stays valid",
    severity=Severity.MEDIUM,
    what="a token sets a new password and stays as it was",
    why="CWE-640: who finds the old mail takes the account",
    advice="delete the token in the same transaction",
    silent="tokens that are deleted, marked or signed over the old password",
    shape=_again_and_again,
    bad="def reset(db, token, hash_password, pw):\n"
    "    row = db.execute('select user_id from resets where token = ?', (token,)).fetchone()\n"
    "    db.execute('update users set password = ? where id = ?', (hash_password(pw), row[0]))\n",
    good="def reset(db, token, hash_password, pw):\n"
    "    row = db.execute('select user_id from resets where token = ?', (token,)).fetchone()\n"
    "    db.execute('delete from resets where token = ?', (token,))\n"
    "    db.execute('update users set password = ? where id = ?', (hash_password(pw), row[0]))\n",
)

FIRST_TIME = Rule(
    id="first-time-unasked",
    cwe=837,
    title="answer about the first time unread",
    severity=Severity.MEDIUM,
    what="a call tells whether a row changed, and nobody listens before going on",
    why="CWE-837: what should happen once happens as often as somebody asks (CWE-799)",
    advice="go on only when it says that the row is new",
    silent="answers that are looked at",
    shape=_first_time,
    bad="def mark(con, n):\n"
    "    return con.execute('insert or ignore into t values (?)', (n,)).rowcount == 1\n"
    "def claim(con, n, pay):\n    mark(con, n)\n    pay(n)\n",
    good="def mark(con, n):\n"
    "    return con.execute('insert or ignore into t values (?)', (n,)).rowcount == 1\n"
    "def claim(con, n, pay):\n    if mark(con, n):\n        pay(n)\n",
)

RULES = (UNASKED, REPLAY, ONE_TIME, FIRST_TIME)
