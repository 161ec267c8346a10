"""Invoices that customers download."""

import os

from flask import Blueprint, abort, current_app

files = Blueprint("files", __name__)


@files.get("/invoices/<path:name>")
def invoice(name):
    path = os.path.join(current_app.config["UPLOADS"], name)
    if not os.path.isfile(path):
        abort(404)
    with open(path, encoding="utf-8") as file:
        return file.read(), 200, {"Content-Type": "text/plain; charset=utf-8"}
