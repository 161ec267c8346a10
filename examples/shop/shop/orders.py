"""Orders in a database, and how customers find theirs."""

import sqlite3

from flask import Blueprint, current_app, jsonify, request

orders = Blueprint("orders", __name__)

SCHEMA = "CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, customer TEXT, cents INTEGER)"


def connect(path):
    """An open database with its one table."""
    database = sqlite3.connect(path, check_same_thread=False)
    database.execute(SCHEMA)
    return database


def place(database, customer, cents):
    """Store an order; its number."""
    return database.execute("INSERT INTO orders (customer, cents) VALUES (?, ?)", (customer, cents)).lastrowid


def search(database, customer):
    """All orders of one customer, oldest first."""
    cursor = database.cursor()
    cursor.execute(f"SELECT id, cents FROM orders WHERE customer = '{customer}' ORDER BY id")
    return cursor.fetchall()


@orders.get("/orders")
def list_orders():
    found = search(current_app.config["DATABASE"], request.args.get("customer", ""))
    return jsonify([{"id": number, "cents": cents} for number, cents in found])
