"""What is one event of the ledger, as a value, as bytes to hash and as a row?"""

import hashlib
import os
import re
from dataclasses import dataclass
from json.encoder import encode_basestring  # the C function json itself uses for text
from typing import cast

from veilig.core.canonical import JSON, canonical_text, parse
from veilig.core.errors import LedgerError, LedgerTampered
from veilig.core.event import EVENT_VERSION, EVENTS
from veilig.core.ledger_tree import HASH_BYTES, leaf_hash
from veilig.core.limits import EVENT_BODY_BYTES_MAX

SESSION_CHARS_MAX = 200  # an id, not a story
KEY_CHARS_MAX = 1000  # of a budget or claim key
_NAME = re.compile(r"[a-z][a-z_]*\.[a-z][a-z_]*")

COLUMNS = "seq, session, name, v, t_ms, boot, up_ms, wall_ms, body, leaf, hash, salt"
type Row = tuple[int, str, str, int, int, str, int, int, str, bytes, bytes, bytes | None]

SALT_BYTES = 16  # of each body: without it, an erased body that is short could be guessed from its hash
ERASED = ""  # stands where a body was; no JSON text is empty


@dataclass(frozen=True, slots=True)
class Draft:
    """A fact that is not in the ledger yet."""

    name: str
    session: str
    body: dict[str, JSON]


@dataclass(frozen=True, slots=True)
class Event:
    """A fact in the ledger. seq: 1-based over all sessions. leaf, hash: hex SHA-256.

    t_ms: ledger time, a lower bound of the real time since the first event. up_ms: uptime, never
    going back within one boot. wall_ms: what the wall clock said; for people, never for decisions.
    """

    seq: int
    session: str
    name: str
    v: int
    t_ms: int
    boot: str
    up_ms: int
    wall_ms: int
    body: dict[str, JSON]
    leaf: str
    hash: str
    salt: str = ""

    @property
    def erased(self) -> bool:
        """Its body is gone (`body` is empty); that it was here, when and in which session, still stands."""
        return len(self.salt) == 2 * HASH_BYTES


def event_line(row: Row) -> bytes:
    """The canonical JSON of an event without its hashes: the entry of its Merkle leaf.

    In place of the body stands its commitment (in version 1: the body itself).
    """
    seq, session, name, v, t_ms, boot, up_ms, wall_ms, body, _, _, salt = row
    if v != 1:
        body = f'"{commitment(salt or b"", body).hex()}"'
    return (
        f'{{"body":{body},"boot":{encode_basestring(boot)},"name":{encode_basestring(name)},"seq":{seq},'
        f'"session":{encode_basestring(session)},"t_ms":{t_ms},"up_ms":{up_ms},"v":{v},"wall_ms":{wall_ms}}}'
    ).encode()


def commitment(salt: bytes, body: str) -> bytes:
    """SHA-256(salt || body); of an erased body nothing but this is left, where its salt stood."""
    if body == ERASED and len(salt) == HASH_BYTES:
        return salt
    return hashlib.sha256(salt + body.encode()).digest()


def genesis(ledger_id: str) -> bytes:
    """What the first event's hash is chained to: rows of another ledger never fit."""
    return hashlib.sha256(b"veilig.ledger.v1\0" + ledger_id.encode()).digest()


def chain_hash(before: bytes, leaf: bytes) -> bytes:
    """SHA-256(hash of the event before || leaf)."""
    return hashlib.sha256(before + leaf).digest()


def check_draft(name: str, session: str) -> None:
    """Raises LedgerError for an unknown event name or an unusable session id."""
    if name not in EVENTS:
        shape = "" if _NAME.fullmatch(name) else ", and it is not noun.verb"
        raise LedgerError(
            f"unknown event {name!r}",
            why=f"core/event.py does not list it{shape}",
            fix="add it there with its fields, or use a listed name",
        )
    if not session or not session.isprintable() or len(session) > SESSION_CHARS_MAX or " " in session:
        raise LedgerError(
            f"session id {session[:80]!r} cannot be recorded",
            why=f"an id is 1 to {SESSION_CHARS_MAX} printable characters without spaces",
            fix="use a short id",
        )


def make_row(draft: Draft, *, seq: int, t_ms: int, boot: str, up_ms: int, wall_ms: int, before: bytes) -> Row:
    """The complete row of a new event. Raises LedgerError when the draft cannot be recorded."""
    check_draft(draft.name, draft.session)
    if not isinstance(draft.body, dict):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
        raise LedgerError(f"the body of {draft.name} is not a JSON object", fix="pass a dict")
    body = canonical_text(draft.body)
    if len(body) > EVENT_BODY_BYTES_MAX or len(body.encode()) > EVENT_BODY_BYTES_MAX:
        raise LedgerError(
            f"the body of {draft.name} is larger than {EVENT_BODY_BYTES_MAX} bytes",
            why="the ledger holds facts, not artefacts",
            fix="record its digest and size, and keep the bytes in a file",
        )
    row: Row = (
        seq, draft.session, draft.name, EVENT_VERSION, t_ms, boot, up_ms, wall_ms, body, b"", b"",
        os.urandom(SALT_BYTES),
    )  # fmt: skip
    leaf = leaf_hash(event_line(row))
    return (*row[:9], leaf, chain_hash(before, leaf), row[11])


def event_of(row: Row, body: dict[str, JSON]) -> Event:
    """The event of a row whose body is already known."""
    return Event(
        row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], body, row[9].hex(), row[10].hex(),
        (row[11] or b"").hex(),
    )  # fmt: skip


def read_row(row: Row) -> Event:
    """The event of a stored row, after its leaf was recomputed from the raw columns.

    Raises LedgerTampered naming the seq when a column has the wrong type, the leaf does not fit or
    the body is no JSON object. (Whether it stands in the right place, only `verify` can say.)
    """
    seq = row[0]
    try:
        if not (type(seq) is type(row[3]) is type(row[4]) is type(row[6]) is type(row[7]) is int):
            raise LedgerTampered(f"event {seq!r} has a number of the wrong type", seq=_number(seq))
        if len(row[10]) != HASH_BYTES or leaf_hash(event_line(row)) != row[9]:
            raise tampered(seq, "its content does not fit its hash")
        body: JSON = {} if is_erased(row) else parse(row[8])
    except (TypeError, ValueError, AttributeError) as error:
        raise tampered(_number(seq), "a column cannot be read") from error
    if not isinstance(body, dict):
        raise tampered(seq, "its body is not a JSON object")
    return event_of(row, body)


def is_erased(row: Row) -> bool:
    """Whether the row's body was erased."""
    return row[8] == ERASED and row[3] != 1 and len(row[11] or b"") == HASH_BYTES


def keys_of(body: dict[str, JSON], field: str, seq: int | None = None) -> list[str]:
    """The texts in `body[field]`, each once; [] when absent.

    Raises LedgerError for another shape: a budget that is not counted would be a hole. With `seq`
    the body was stored already, and the same trouble is LedgerTampered.
    """
    value = body.get(field)
    if value is None:
        return []
    items = cast(list[object], value) if isinstance(value, list) else [None]
    good = [item for item in items if isinstance(item, str) and 0 < len(item) <= KEY_CHARS_MAX]
    if len(good) == len(items) == len(set(good)):
        return good
    if seq is not None:
        raise tampered(seq, f"its {field} cannot have been recorded")
    raise LedgerError(
        f"{field} is {str(value)[:80]}",
        why=f"it is a list of different, non-empty texts of at most {KEY_CHARS_MAX} characters",
        fix="correct the event's body",
    )


def lease_of(name: str, body: dict[str, JSON], seq: int | None = None) -> int:
    """The token in the body of a `session.leased`. Raises as `keys_of` for what is no token."""
    token = body.get("token")
    if type(token) is int and token > 0:
        return token
    if seq is not None:
        raise tampered(seq, "its token cannot have been recorded")
    raise LedgerError(f"{name} has the token {token!r}"[:200], fix="take the lease with `lease`")


def tampered(seq: int, why: str) -> LedgerTampered:
    """The error that names the first bad event."""
    return LedgerTampered(
        f"the ledger is not what was written: event {seq}",
        seq=seq,
        why=why,
        fix="keep the file as evidence; restore the ledger from a backup that verifies",
    )


def _number(seq: object) -> int:
    return seq if isinstance(seq, int) else 0
