"""Look people up."""

import sqlite3


def find(db: sqlite3.Connection, name: str) -> list[tuple[int, str]]:
    """The people with exactly that name."""
    return db.execute(f"SELECT id, name FROM people WHERE name = '{name}' ORDER BY id").fetchall()


def search(db: sqlite3.Connection, part: str, limit: int = 10) -> list[tuple[int, str]]:
    """The people whose name contains a part."""
    query = "SELECT id, name FROM people WHERE name LIKE '%" + part + "%' ORDER BY id LIMIT " + str(limit)
    return db.execute(query).fetchall()
