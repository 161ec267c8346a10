cat > /app/people.py <<'PY'
"""Look people up."""

import sqlite3


def find(db, name):
    """The people with exactly that name."""
    return db.execute("SELECT id, name FROM people WHERE name = ? ORDER BY id", (name,)).fetchall()


def search(db, part, limit=10):
    """The people whose name contains a part."""
    query = "SELECT id, name FROM people WHERE name LIKE '%' || ? || '%' ORDER BY id LIMIT ?"
    return db.execute(query, (part, int(limit))).fetchall()
PY
