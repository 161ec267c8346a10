"""Which ledger does a text name: a file, or an organisation's ledger in a PostgreSQL database?"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from veilig.core.errors import UsageError

SCHEMES = ("postgresql", "postgres")
ORG = "main"  # where an address names none
_ORG = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_SECRET = frozenset({"password", "sslpassword", "sslkey", "passfile", "oauth_client_secret"})


@dataclass(frozen=True, slots=True)
class Address:
    """An organisation's ledger in a database. `shown` has no password; `conninfo` has what was given."""

    shown: str
    org: str
    conninfo: str = field(repr=False)

    def __str__(self) -> str:
        return self.shown


def is_server(text: str) -> bool:
    """Whether this names a database rather than a file."""
    return text.partition("://")[0].lower() in SCHEMES and "://" in text


def parse_place(text: str) -> Path | Address:
    """A path, or an address `postgresql://[user[:password]@][host][:port][,...]/database[?org=NAME&...]`.

    The password is better left to `PGPASSFILE` or a service file. Raises UsageError; its text names no
    password.
    """
    if not is_server(text):
        if "://" in text:
            raise UsageError(
                f"a ledger cannot be kept at {text.partition('://')[0]}://...",
                why="it is a file, or stands in a PostgreSQL database",
                fix="write a path, or postgresql://user@host/database?org=NAME",
            )
        return Path(text).expanduser()
    try:
        parts = urlsplit(text)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise UsageError("the ledger's address cannot be read", fix="postgresql://user@host/db") from error
    org = next((value for key, value in query if key == "org"), ORG)
    if not _ORG.fullmatch(org):
        raise UsageError(
            f"{org[:80]!r} cannot name an organisation",
            why="it is 1 to 63 of a-z, 0-9, dot, underscore and hyphen, and starts with a letter or digit",
            fix="write ...?org=acme",
        )
    if not parts.path.strip("/") and not any(key in ("dbname", "service") for key, _ in query):
        raise UsageError("the ledger's address names no database", fix="postgresql://user@host/DATABASE")
    kept = [(key, value) for key, value in query if key != "org"]
    conninfo = urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(kept, quote_via=quote), ""))
    user, at, hosts = parts.netloc.rpartition("@")
    plain = [*((key, value) for key, value in kept if key not in _SECRET), ("org", org)]
    shown = urlunsplit(
        ("postgresql", user.partition(":")[0] + at + hosts, parts.path, urlencode(plain, safe="/"), "")
    )
    return Address(shown, org, conninfo)


def has_password(text: str) -> bool:
    """Whether an address carries a password itself, in the one way or the other."""
    if not is_server(text):
        return False
    parts = urlsplit(text)
    user = parts.netloc.rpartition("@")[0]
    return ":" in unquote(user) or any(
        key in _SECRET - {"passfile", "sslkey"} for key, _ in parse_qsl(parts.query)
    )
