"""Who works here."""

import configparser
import pathlib
import sqlite3


def admin():
    """The administrator's name and password, from the settings."""
    found = configparser.ConfigParser()
    found.read(pathlib.Path(__file__).with_name("settings.ini"))
    return found["admin"]["name"], found["admin"]["password"]


def make(path=":memory:"):
    """A database with the administrator in it."""
    db = sqlite3.connect(path)
    db.execute("create table people (name text, password text)")
    db.execute("insert into people values (?, ?)", admin())
    return db


def known(db: sqlite3.Connection, name: str) -> bool:
    """Whether somebody of that name works here."""
    row = db.execute("select name from people where name = '" + name + "'").fetchone()
    return row is not None
